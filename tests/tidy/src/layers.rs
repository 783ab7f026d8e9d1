//! The layers of the core: which module may name which, so that what decides stays in order.

use crate::{
    Finding, scan,
    tree::{File, Tree},
};

const ROOT: &str = "agent/core/src/";

/// A module of the core and what it may name with `crate::…`: a module, or one file of it.
///
/// From the ground up; a module may name what stands above it here, where there is a reason to.
/// Machines (`task`, `host`, `cluster`, `schedule`) do not call one another: `agent` alone composes
/// them. They meet in what they share: ids, statuses, records and messages.
const LAYERS: &[(&str, &[&str])] = &[
    // Bugs for tests to plant, by a macro: nothing of it is in a daemon.
    ("planted", &[]),
    ("time", &[]),
    ("rng", &[]),
    ("ids", &["rng"]),
    ("limits", &["time"]),
    ("timings", &["limits", "time"]),
    ("spec", &["time", "rng", "ids", "limits"]),
    // The vocabulary: what happened, what is recorded, what travels, what is asked for. Statuses,
    // records and messages are words, and machines of other modules may say them.
    (
        "event",
        &[
            "time",
            "rng",
            "ids",
            "task::status",
            "cluster::body",
            "cluster::record",
        ],
    ),
    (
        "command",
        &[
            "time",
            "ids",
            "spec",
            "cluster::body",
            "cluster::schedule",
            "cluster::tag",
            "cluster::values",
        ],
    ),
    (
        "input",
        &[
            "ids",
            "command",
            "cluster::keys",
            "cluster::message",
            "cluster::quarantine",
            "cluster::record",
            "cluster::values",
            "task::runtime",
        ],
    ),
    (
        "effect",
        &[
            "ids",
            "limits",
            "command",
            "event",
            "cluster::keys",
            "cluster::message",
            "cluster::record",
            "cluster::values",
            "task::runtime",
        ],
    ),
    // The machines.
    ("host", &["ids", "spec", "cluster::body"]),
    (
        "task",
        &[
            "time",
            "ids",
            "limits",
            "timings",
            "spec",
            "effect",
            "cluster::body",
            "cluster::values",
        ],
    ),
    (
        "cluster",
        &[
            "time",
            "rng",
            "ids",
            "limits",
            "timings",
            "spec",
            "event",
            "input",
            "effect",
            "task::status",
            "task::runtime",
        ],
    ),
    (
        "schedule",
        &[
            "time",
            "rng",
            "ids",
            "limits",
            "timings",
            "spec",
            "cluster",
            "task::status",
            "task::runtime",
        ],
    ),
    // Whoever composes them.
    (
        "agent",
        &[
            "time", "rng", "ids", "limits", "timings", "spec", "event", "command", "input",
            "effect", "host", "task", "cluster", "schedule",
        ],
    ),
    // Whoever watches the composed.
    (
        "recording",
        &["time", "rng", "limits", "input", "effect", "agent"],
    ),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let core = tree.rust().filter(|file| file.path.starts_with(ROOT));
    core.flat_map(findings_in).collect()
}

fn findings_in(file: &File) -> Vec<Finding> {
    let inside = &file.path[ROOT.len()..];
    let module = inside.split(['/', '.']).next().unwrap_or(inside);
    // The root declares the modules and may show any of them.
    if inside == "lib.rs" {
        return Vec::new();
    }
    let finding = |line, item: &str, advice| Finding {
        rule: "layer",
        path: file.path.clone(),
        line,
        item: item.to_owned(),
        size: 0,
        advice,
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        let advice = format!(
            "a module that no layer names: add (\"{module}\", &[what it may use]) to LAYERS in \
             tests/tidy/src/layers.rs, where it belongs from the ground up"
        );
        return vec![finding(0, module, advice)];
    };
    let is_top = !inside.contains('/');
    let named = scan::paths(&file.code).into_iter().filter(|named| {
        // Tests may build what they need from anywhere.
        !file.in_test[named.line - 1]
    });
    let mut found = Vec::new();
    for named in named {
        let [first, second, rest @ ..] = &named.parts[..] else {
            continue;
        };
        match (first.as_str(), second.as_str()) {
            ("super", "super") => {
                let advice = "write `crate::…`, so that the layers can be read".to_owned();
                found.push(finding(named.line, "super::super", advice));
            }
            ("crate", used) => found.extend(use_of(module, allowed, used, rest).map(|item| {
                let advice =
                    format!("`{module}` may only use {allowed:?} (tests/tidy/src/layers.rs)");
                finding(named.line, &item, advice)
            })),
            ("super", used) if is_top => {
                let item = use_of(module, allowed, used, rest);
                found.extend(item.map(|item| {
                    finding(
                        named.line,
                        &item,
                        "write `crate::…`, and mind the layers".to_owned(),
                    )
                }));
            }
            _ => {}
        }
    }
    found
}

/// What is named, if it may not be.
fn use_of(module: &str, allowed: &[&str], used: &str, rest: &[String]) -> Option<String> {
    let part = rest.first().map(|part| format!("{used}::{part}"));
    let may = used == module
        || used == "self"
        || allowed
            .iter()
            .any(|entry| *entry == used || part.as_deref() == Some(entry));
    (!may).then(|| part.unwrap_or_else(|| used.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(path: &str, text: &str) -> Vec<String> {
        crate::items(check, path, text)
    }

    #[test]
    fn a_lower_layer_does_not_name_a_higher_one() {
        let spec = "agent/core/src/spec/service.rs";
        assert_eq!(
            items(spec, "use crate::{ids::Digest, spec::refuse};"),
            [""; 0]
        );
        let bad = ["1 task::status", "1 board::Board", "2 schedule::plan"];
        let text =
            "use crate::{task::status::S, ids, board::Board};\nfn a() { crate::schedule::plan() }";
        assert_eq!(items(spec, text), bad);
        assert_eq!(
            items(spec, "#[cfg(test)]\nmod tests { use crate::agent::Agent; }"),
            [""; 0]
        );
        assert_eq!(items(spec, "use super::super::task;"), ["1 super::super"]);
        assert_eq!(
            items("agent/core/src/spec.rs", "use super::task::T;"),
            ["1 task::T"]
        );
        assert_eq!(
            items("agent/core/src/spec.rs", "mod a { use super::*; }"),
            ["1 *"]
        );
    }

    #[test]
    fn machines_share_words_and_do_not_call_one_another() {
        let host = "agent/core/src/schedule/place.rs";
        assert_eq!(items(host, "use crate::task::status::TaskStatus;"), [""; 0]);
        assert_eq!(
            items(host, "use crate::task::machine::Task;"),
            ["1 task::machine"]
        );
    }

    #[test]
    fn a_module_without_a_layer_is_told_where_to_add_it() {
        let found = check(&Tree::sample(&[("agent/core/src/ledger.rs", "")]));
        assert!(
            found[0]
                .advice
                .contains("add (\"ledger\", &[what it may use]) to LAYERS")
        );
    }

    #[test]
    fn the_table_names_only_modules_that_it_knows() {
        let known = |entry: &str| {
            let module = entry.split("::").next().unwrap_or(entry);
            LAYERS.iter().any(|(name, _)| *name == module)
        };
        let entries = LAYERS.iter().flat_map(|(_, allowed)| *allowed);
        let unknown: Vec<_> = entries.filter(|entry| !known(entry)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
