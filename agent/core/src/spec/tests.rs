//! Stories of what people send: what is taken, what is refused, and in which words.

mod asked;
mod corpus;
mod described;
mod documented;
mod given;
mod mutated;
mod refused;
mod runs;
mod services;
mod taken;

use super::parse_task_definition;
use expect_test::Expect;
use serde_json::{Value, json};
use std::fmt::{Debug, Display};

/// The parsed value, or the faults as people read them, but folded to fit in here.
fn transcript<T: Debug, E: Display>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(value) => format!("{value:#?}\n")
            .lines()
            .filter(tells)
            .map(line)
            .collect(),
        Err(faults) => faults.to_string().lines().map(folded).collect(),
    }
}

/// Most fields of most definitions are left out.
fn tells(line: &&str) -> bool {
    let says_nothing = [
        ": None,",
        ": [],",
        ": {},",
        "gpus: 0,",
        "follows_tag: false,",
    ];
    !says_nothing.iter().any(|end| line.ends_with(end))
}

fn line(line: &str) -> String {
    format!("{line}\n")
}

fn folded(line: &str) -> String {
    const COLUMNS_MAX: usize = 76;
    let mut folded = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        if column > 0 && column + word.len() > COLUMNS_MAX {
            folded.push_str("\n   ");
            column = 3;
        }
        if column > 0 {
            folded.push(' ');
        }
        folded.push_str(word);
        column += word.len() + 1;
    }
    folded.push('\n');
    folded
}

fn check_definition(json: Value, expected: Expect) {
    expected.assert_eq(&transcript(parse_task_definition(&json)));
}

/// A definition whose only container is a good one with these fields changed.
fn web_with(changes: Value) -> Value {
    let mut container = json!({"name": "web", "image": "nginx", "memory": 128});
    for (name, value) in changes.as_object().expect("changes are an object") {
        container[name] = value.clone();
    }
    json!({"family": "web", "containerDefinitions": [container]})
}
