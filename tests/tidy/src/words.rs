//! The words that we do not use in names of types, functions, modules and files; prose is free.

use crate::{
    Finding, scan,
    tree::{File, Tree},
};

/// The word and what to say instead. The plural is meant too.
const BANNED: &[(&str, &str)] = &[
    ("node", "host"),
    ("instance", "host, or task"),
    ("job", "task, or worker"),
    ("pod", "task"),
    ("master", "no host is one; perhaps keeper"),
    ("leader", "no host is one; perhaps keeper"),
    ("manager", "say what it does"),
    ("helper", "say what it does"),
    ("util", "say what it holds"),
    ("utils", "say what it holds"),
];

/// Where ECS's own words must be spelt its way.
const SPEAKS_ECS: &[&str] = &["agent/src/api", "agent/core/src/spec"];

const NAMING: &[&str] = &["struct", "enum", "trait", "type", "union", "fn", "mod"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let names = tree.rust().flat_map(names_in);
    let files = tree.paths.iter().map(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        (path.clone(), 0, name.to_owned())
    });
    let all = names.chain(files);
    all.filter_map(|(path, line, name)| finding(path, line, name))
        .collect()
}

/// The names that a file gives: where, on which line, what.
fn names_in(file: &File) -> Vec<(String, usize, String)> {
    let tokens = scan::tokens(&file.code);
    let named = tokens
        .windows(2)
        .filter(|pair| NAMING.contains(&pair[0].text));
    named
        .map(|pair| (file.path.clone(), pair[1].line, pair[1].text.to_owned()))
        .collect()
}

fn finding(path: String, line: usize, item: String) -> Option<Finding> {
    let speaks_ecs = SPEAKS_ECS.iter().any(|area| path.starts_with(area));
    let (word, instead) = parts_of(&item).into_iter().find_map(|part| {
        let singular = part.strip_suffix('s').unwrap_or(&part);
        let (word, instead) = BANNED
            .iter()
            .find(|(word, _)| *word == part || *word == singular)?;
        (!(speaks_ecs && *word == "instance")).then_some((word, instead))
    })?;
    let advice = format!("we do not say \"{word}\": {instead}");
    Some(Finding {
        rule: "word",
        path,
        line,
        item,
        size: 0,
        advice,
    })
}

/// `HostReport`, `host_report` and `host-report.md` are made of host and report.
fn parts_of(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        if let (true, Some(part)) = (c.is_alphanumeric(), parts.last_mut()) {
            part.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(path: &str, text: &str) -> Vec<String> {
        check(&Tree::sample(&[(path, text)]))
            .into_iter()
            .map(|found| found.item)
            .collect()
    }

    #[test]
    fn banned_words_are_found_in_names_and_only_there() {
        let text = "struct NodeId; fn start_jobs() {} mod util {} enum K { A } trait PodManager {}";
        let bad = ["NodeId", "start_jobs", "util", "PodManager"];
        assert_eq!(items("agent/src/a.rs", text), bad);
        let good = "// A node.\nfn a(node: &str) { \"node\"; } struct Podium; fn headmaster() {}";
        assert_eq!(items("agent/src/a.rs", good), [""; 0]);
        assert_eq!(items("agent/src/helpers.rs", ""), ["helpers.rs"]);
        assert_eq!(items("docs/leader-election.md", ""), ["leader-election.md"]);
    }

    #[test]
    fn ecs_words_are_spelt_its_way_where_ecs_is_spoken() {
        let text = "struct ContainerInstance;";
        assert_eq!(items("agent/src/api/shapes.rs", text), [""; 0]);
        assert_eq!(items("agent/src/drive.rs", text), ["ContainerInstance"]);
        assert_eq!(items("agent/src/api/shapes.rs", "struct Node;"), ["Node"]);
    }
}
