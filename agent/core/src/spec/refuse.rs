//! Which ECS fields are served, known but refused by name, or unknown.

use super::{
    ecs_fields::ANSWERED,
    error::{Faults, SpecError, SpecErrors},
    read::join_foreign,
};
use serde_json::{Map, Value};

/// Names further apart than this are not taken for each other's misspelling.
const NEAR_EDITS_MAX: usize = 2;

/// Refuses every field of `object` that is not in `served`: by name if it is in `known` (all that
/// ECS has there), else as unknown. `path` is where the object is: empty for a whole request.
///
/// A known field is let through where dropping it changes nothing: `null`, `[]`, `{}`, which files
/// exported from ECS are full of, and `false`, the default of each of ECS's switches.
pub fn check_fields(
    path: &str,
    object: &Map<String, Value>,
    served: &[&str],
    known: &[&str],
) -> Result<(), SpecErrors> {
    let mut faults = Faults::default();
    // serde_json keeps either the order of names or that of the text, as other crates' features
    // have it; the answer must not depend on that.
    let mut names: Vec<&String> = object.keys().collect();
    names.sort_unstable();
    for name in names {
        if let Some(fault) = fault_of(path, name, &object[name], served, known) {
            faults.push(fault);
        }
    }
    faults.finish(())
}

fn fault_of(
    path: &str,
    name: &str,
    value: &Value,
    served: &[&str],
    known: &[&str],
) -> Option<SpecError> {
    if served.contains(&name) || (known.contains(&name) && asks_for_nothing(value)) {
        return None;
    }
    let near = nearest(name, known);
    let path = join_foreign(path, name);
    Some(if known.contains(&name) {
        SpecError::Refused { path }
    } else if ANSWERED.contains(&name) {
        SpecError::Answered { path }
    } else {
        SpecError::Unknown { path, near }
    })
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

/// The known name that `name` is most likely meant to be; the first of equally near ones.
fn nearest(name: &str, known: &[&str]) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    known
        .iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= NEAR_EDITS_MAX)
        .map(|candidate| (edits(&lower, &candidate.to_ascii_lowercase()), candidate))
        // Two edits turn almost any three letters into any other three.
        .filter(|(edits, candidate)| *edits <= NEAR_EDITS_MAX && edits * 2 < candidate.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| (*candidate).to_owned())
}

/// Levenshtein's distance: how many bytes to insert, remove or replace.
pub fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
