//! Every order in which things can come to a task of two containers: what follows from each.

use super::story::{Origin, Story};
use crate::task::status::TaskStatus;
use expect_test::expect_file;
use std::collections::BTreeSet;

/// The essential one and another, of which nothing depends on the other.
const NAMES: &[&str] = &["web", "side"];

/// A story so far, and what may come next.
struct Path {
    steps: Vec<String>,
    /// Commands that are not answered yet.
    open: Vec<String>,
    running: BTreeSet<String>,
    /// Statuses in their order, each once.
    statuses: Vec<String>,
    /// Nothing is left of the task.
    is_over: bool,
}

impl Path {
    /// Plays these steps; what is open follows from what the task asked for.
    fn play(steps: Vec<String>) -> Self {
        let mut story = Story::new(Origin::New, NAMES);
        for step in &steps {
            story.step(step);
        }
        let mut path = Self {
            steps,
            open: vec![],
            running: BTreeSet::new(),
            statuses: vec![],
            is_over: story.task.is_gone(),
        };
        let lines = story.lines().to_owned();
        for (number, line) in lines.lines().enumerate() {
            // The first line is that of the beginning.
            if let Some(step) = number.checked_sub(1).map(|at| path.steps[at].clone()) {
                path.take(&step);
            }
            let told = line.get(24..).unwrap_or_default().trim();
            let (status, asked) = told.split_once(' ').unwrap_or((told, ""));
            if path.statuses.last().is_none_or(|last| last != status) {
                path.statuses.push(status.to_owned());
            }
            let asked = asked.trim().split(", ").filter(|asked| !asked.is_empty());
            for command in asked.map(str::to_owned) {
                let is_new = !path.open.contains(&command);
                assert!(is_new, "{command} is asked twice: {:?}", path.steps);
                path.open.push(command);
            }
        }
        path
    }

    fn take(&mut self, step: &str) {
        let mut words = step.split(' ');
        let (event, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match event {
            "started" => _ = self.running.insert(name.to_owned()),
            "exited" => _ = self.running.remove(name),
            _ => {}
        }
        let answered = match event {
            "created" => "create ",
            "started" => "start ",
            "exited" => "stop ",
            "removed" => "remove ",
            _ => return,
        };
        let its = format!("{answered}{name}");
        self.open.retain(|command| {
            command
                .strip_prefix(&its)
                .is_none_or(|rest| !rest.is_empty() && !rest.starts_with(' '))
        });
    }

    /// Each command may be answered next, and each container that runs may end; once somebody stops
    /// the task. Only when nothing else is open does time pass.
    fn next(&self) -> Vec<String> {
        let mut next = BTreeSet::new();
        for command in &self.open {
            let mut words = command.split(' ');
            let (verb, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let answer = match verb {
                "create" => "created",
                "start" => "started",
                "stop" if self.running.contains(name) => {
                    next.insert(format!("exited {name} 143"));
                    continue;
                }
                "stop" => "exited",
                "remove" => "removed",
                // To have last words is nobody's duty.
                _ => continue,
            };
            let code = if answer == "exited" { " 0" } else { "" };
            next.insert(format!("{answer} {name}{code}"));
        }
        for name in &self.running {
            next.insert(format!("exited {name} 0"));
        }
        if !self.steps.iter().any(|step| step == "stop") {
            next.insert("stop".to_owned());
        }
        if next.is_empty() {
            next.insert("wake".to_owned());
        }
        next.into_iter().collect()
    }
}

/// All ends from here on, each as a line.
fn explore(steps: Vec<String>, lines: &mut Vec<String>) {
    assert!(steps.len() < 20, "it does not end: {steps:?}");
    let path = Path::play(steps);
    let is_stopped = path.statuses.last().is_some_and(|last| last == "STOPPED");
    if is_stopped && path.running.is_empty() {
        let ends = finished(path.steps.clone());
        lines.push(format!("{} | {}", path.steps.join(", "), ends.join(" ")));
        return;
    }
    assert!(
        !is_stopped,
        "STOPPED while something runs: {:?}",
        path.steps
    );
    for step in path.next() {
        let mut steps = path.steps.clone();
        steps.push(step);
        explore(steps, lines);
    }
}

/// The same in the end whichever way removals go: nothing is left. The statuses on the way.
fn finished(steps: Vec<String>) -> Vec<String> {
    assert!(steps.len() < 30, "nothing removes it: {steps:?}");
    let path = Path::play(steps);
    if path.is_over {
        return path.statuses;
    }
    let mut steps = path.steps.clone();
    let next = path.next().into_iter().find(|step| step != "stop");
    steps.push(next.unwrap_or_else(|| "wake".to_owned()));
    finished(steps)
}

#[test]
fn every_order_of_events_leads_to_an_end_with_nothing_left() {
    let mut lines = Vec::new();
    explore(vec![], &mut lines);
    let text = lines.join("\n") + "\n";
    assert!(!text.contains(TaskStatus::Deprovisioning.as_str()));
    expect_file!["every_order.txt"].assert_eq(&text);
}
