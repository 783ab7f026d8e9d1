//! Whatever people send instead of a definition is refused in words that lead to the fault.

use super::corpus::definitions;
use crate::{
    limits,
    rng::Rng,
    spec::{SpecErrors, parse_task_definition, read::join_foreign},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::catch_unwind,
};

const CASES: u64 = 5_000;

/// Room for a path, for a wrong value of which 64 characters are shown, each escaped, and for a
/// rule; a circle names all containers of a task, each of which may have 255 letters.
const LINE_CHARS_MAX: usize = 3_000;

/// 20 faults, and how many more there are.
const LINES_MAX: usize = 21;

#[test]
fn a_garbled_definition_is_taken_as_it_is_or_refused_by_the_paths_of_its_faults() {
    let sent: Vec<Value> = definitions().map(|(_, json)| json).collect();
    let mended: Vec<Value> = sent.iter().cloned().filter_map(mended).collect();
    let mut accepted = 0;
    for seed in 0..CASES {
        let rng = &mut Rng::new(seed);
        // Most are refused as they were sent: what is accepted has to come from those mended.
        let from = [&sent, &mended, &mended, &mended][rng.below(4) as usize];
        let mut json = from[rng.index(from.len()).expect("there are some")].clone();
        for _ in 0..=rng.below(2) {
            mutate(&mut json, &sent, rng);
        }
        let outcome = catch_unwind(|| parse_task_definition(&json));
        let Ok(outcome) = outcome else {
            panic!("seed {seed}: panicked at {json}");
        };
        match outcome {
            Ok(definition) => {
                let described = definition.to_ecs_json();
                accepted += 1;
                // With what ECS fills in, one at the very limit is described beyond it.
                if described.to_string().len() <= limits::DEFINITION_BYTES_MAX {
                    let again = parse_task_definition(&described);
                    assert_eq!(again, Ok(definition), "seed {seed}: {json}");
                }
            }
            Err(faults) => check_words(&faults, &json, seed),
        }
    }
    assert!(accepted > CASES / 20, "only {accepted} were accepted");
}

#[test]
fn whoever_does_as_the_refusals_say_is_accepted_in_the_end() {
    for (name, json) in definitions() {
        // These are no definitions at all, or have all of it under another name.
        let hopeless = json.get("containerDefinitions").is_none();
        assert_eq!(mended(json).is_none(), hopeless, "{name}");
    }
}

/// The definition with one fault after the other removed, if that gets anywhere.
fn mended(mut json: Value) -> Option<Value> {
    for _ in 0..200 {
        let Err(faults) = parse_task_definition(&json) else {
            return Some(json);
        };
        let faults = faults.to_string();
        let line = faults.lines().next().expect("a refusal has a fault");
        let places = places(&json);
        if let Some((path, _)) = line.split_once(" is missing; ") {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            let (_, pointer) = places.iter().find(|(path, _)| path == parent)?;
            let of_container = parent.ends_with(']') && !parent.contains('.');
            let filled = match name {
                "containerDefinitions" => return None,
                "family" | "image" => json!("mended"),
                "name" if of_container => json!("mended"),
                "memory" => json!(128),
                "host" => json!({"sourcePath": "/srv/mended"}),
                "sourcePath" => json!("/srv/mended"),
                _ if pointer.is_empty() => return None,
                // An entry of a list that lacks what makes it one.
                _ => {
                    remove(&mut json, pointer);
                    continue;
                }
            };
            json.pointer_mut(pointer)?[name] = filled;
        } else {
            let (_, pointer) = named(line, &places)?;
            remove(&mut json, pointer);
        }
    }
    None
}

fn check_words(faults: &SpecErrors, json: &Value, seed: u64) {
    let text = faults.to_string();
    let places = places(json);
    let paths: BTreeSet<&str> = places.iter().map(|(path, _)| path.as_str()).collect();
    assert!(!text.is_empty(), "seed {seed}");
    assert!(text.lines().count() <= LINES_MAX, "seed {seed}: {text}");
    for line in text.lines() {
        let chars = line.chars().count();
        assert!(chars <= LINE_CHARS_MAX, "seed {seed}: {chars} characters");
        assert!(
            leads(line, &paths),
            "seed {seed}: nowhere in {json}: {line}"
        );
    }
}

/// Whether the words name something of the input, or what is missing from something of it.
fn leads(line: &str, paths: &BTreeSet<&str>) -> bool {
    const OF_ALL: [&str; 3] = ["the request ", "containers wait for one another: ", "and "];
    if OF_ALL.iter().any(|start| line.starts_with(start)) {
        return true;
    }
    if let Some((path, _)) = line.split_once(" is missing; ") {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        return paths.contains(parent);
    }
    // A name that somebody chose may have spaces in it.
    line.match_indices(' ')
        .any(|(end, _)| paths.contains(&line[..end]))
}

/// The longest path that the words begin with.
fn named<'a>(line: &str, places: &'a [(String, String)]) -> Option<&'a (String, String)> {
    let begins = |path: &str| {
        line.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(' '))
    };
    let found = places
        .iter()
        .filter(|(path, _)| !path.is_empty() && begins(path));
    found.max_by_key(|(path, _)| path.len())
}

/// Everything that is in it: the path as refusals write it, and the pointer of RFC 6901.
fn places(json: &Value) -> Vec<(String, String)> {
    let mut places = vec![(String::new(), String::new())];
    add_places(json, "", "", &mut places);
    places
}

fn add_places(json: &Value, path: &str, pointer: &str, places: &mut Vec<(String, String)>) {
    let mut add = |value: &Value, path: String, key: &str| {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        places.push((path.clone(), pointer.clone()));
        add_places(value, &path, &pointer, places);
    };
    match json {
        Value::Object(fields) => {
            // In the order of names, which an object of serde_json may have or not: a seed is to
            // mean the same everywhere.
            for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                add(value, join_foreign(path, name), name);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                add(value, format!("{path}[{i}]"), &i.to_string());
            }
        }
        _ => {}
    }
}

fn remove(json: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("the whole stays");
    let key = key.replace("~1", "/").replace("~0", "~");
    match json.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(&key)),
        Some(Value::Array(items)) => drop(items.remove(key.parse().expect("an index"))),
        _ => panic!("{pointer} leads nowhere"),
    }
}

fn mutate(json: &mut Value, donors: &[Value], rng: &mut Rng) {
    let places = places(json);
    let (_, pointer) = &places[rng.index(places.len()).expect("there is the whole")];
    if rng.below(6) == 0 && !pointer.is_empty() {
        return remove(json, pointer);
    }
    let value = json.pointer_mut(pointer).expect("it was just seen");
    match (rng.below(6), value) {
        (0, Value::Array(items)) if !items.is_empty() => {
            let item = rng.index(items.len()).expect("it has some");
            if rng.below(4) == 0 {
                lengthen(&mut items[item], &odd_text(rng));
            }
            for _ in 0..[1, 2, 25][rng.below(3) as usize] {
                items.push(items[item].clone());
            }
        }
        (1, Value::Object(fields)) => rename(fields, rng),
        (2, value) => {
            let donor = &donors[rng.index(donors.len()).expect("there are some")];
            let places = self::places(donor);
            let (_, pointer) = &places[rng.index(places.len()).expect("there is the whole")];
            *value = donor.pointer(pointer).expect("it was just seen").clone();
        }
        (3, Value::String(text)) => text.push_str(&odd_text(rng)),
        (3, Value::Number(number)) => {
            let near = [-1, 1, 1 << 16, 1 << 32][rng.below(4) as usize];
            *number = number.as_i64().unwrap_or(0).wrapping_add(near).into();
        }
        (_, value) => *value = odd_value(rng),
    }
}

/// Each text in it ends with that, too.
fn lengthen(json: &mut Value, ending: &str) {
    match json {
        Value::String(text) => text.push_str(ending),
        Value::Array(items) => items.iter_mut().for_each(|item| lengthen(item, ending)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| lengthen(value, ending)),
        _ => {}
    }
}

/// Some field of it, or none that was there, gets another name.
fn rename(fields: &mut Map<String, Value>, rng: &mut Rng) {
    let mut names: Vec<String> = fields.keys().cloned().collect();
    names.sort_unstable();
    let name = rng.index(names.len()).map(|i| names[i].clone());
    let value = name.as_ref().and_then(|name| fields.remove(name));
    let name = name.unwrap_or_default();
    let name = match rng.below(4) {
        0 => odd_text(rng),
        1 => name.to_uppercase(),
        2 => name.chars().skip(1).collect(),
        _ => format!("{name}s"),
    };
    fields.insert(name, value.unwrap_or_else(|| odd_value(rng)));
}

fn odd_value(rng: &mut Rng) -> Value {
    match rng.below(9) {
        0 => Value::Null,
        1 => flag(rng).into(),
        2 => json!([]),
        3 => json!({}),
        4 => [i64::MIN, i64::MAX, -1, 0, 1 << 31, 1 << 53][rng.below(6) as usize].into(),
        5 => u64::MAX.into(),
        6 => json!([0.5, 1e308, -0.0, 1e-7][rng.below(4) as usize]),
        7 => nested(rng),
        _ => odd_text(rng).into(),
    }
}

/// No deeper than a request may be: serde_json reads 128 levels.
fn nested(rng: &mut Rng) -> Value {
    let in_lists = flag(rng);
    let wrap = |inner, _| {
        if in_lists {
            json!([inner])
        } else {
            json!({"name": inner})
        }
    };
    (0..rng.below(100)).fold(Value::Null, wrap)
}

fn odd_text(rng: &mut Rng) -> String {
    const PARTS: [&str; 16] = [
        "",
        " ",
        ".",
        "/",
        "..",
        "\0",
        "\n",
        "\"",
        "\\",
        "=",
        "[0]",
        "é",
        "漢字",
        "\u{202e}",
        "👩‍👩‍👧",
        "\u{301}",
    ];
    let mut text: String = (0..rng.below(4))
        .map(|_| PARTS[rng.below(16) as usize])
        .collect();
    if rng.below(4) == 0 {
        let letter = ["x", "ß", "\u{7f}", "\u{e000}"][rng.below(4) as usize];
        let longest = [300, 5_000, limits::DEFINITION_BYTES_MAX as u64][rng.below(3) as usize];
        text.push_str(&letter.repeat(rng.below(longest) as usize));
    }
    text
}

fn flag(rng: &mut Rng) -> bool {
    rng.chance_ppm(500_000)
}
