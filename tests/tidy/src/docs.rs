//! What is written for people: links lead somewhere, marks have issues, fragments are well named.

use crate::{
    Finding,
    tree::{File, Tree},
};

/// Written in two pieces, so that this file does not find itself.
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];
const LEAKS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
    concat!(".lib", "rary"),
];
const FRAGMENT_KINDS: &[&str] = &["added", "changed", "fixed", "security"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let texts = tree.files.iter().flat_map(|file| {
        let mut found = leaks_in(file);
        found.extend(marks_in(file));
        found
    });
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    let links = pages.flat_map(|file| broken_links_in(tree, file));
    let fragments = tree.paths.iter().filter_map(|path| misnamed_fragment(path));
    texts.chain(links).chain(fragments).collect()
}

fn finding(rule: &'static str, path: &str, line: usize, item: &str, advice: &str) -> Finding {
    let (path, item, advice) = (path.to_owned(), item.to_owned(), advice.to_owned());
    Finding {
        rule,
        path,
        line,
        item,
        size: 0,
        advice,
    }
}

/// Paths that exist on one machine only.
fn leaks_in(file: &File) -> Vec<Finding> {
    let advice = "a path of one machine: nobody else has it";
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let leaks = LEAKS.iter().filter(|leak| line.contains(**leak));
        found.extend(leaks.map(|leak| finding("leak", &file.path, index + 1, leak, advice)));
    }
    found
}

fn marks_in(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for mark in MARKS {
            let unbacked = line
                .match_indices(mark)
                .any(|(at, _)| !has_issue(&line[at + mark.len()..]));
            if unbacked {
                let advice = "needs its issue: (#N) right behind it";
                found.push(finding("mark", &file.path, index + 1, mark, advice));
            }
        }
    }
    found
}

fn has_issue(rest: &str) -> bool {
    let number = rest
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'));
    number
        .is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

fn broken_links_in(tree: &Tree, file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in links_in(&without_code(line)) {
            if !leads_somewhere(tree, &file.path, &target) {
                found.push(finding(
                    "link",
                    &file.path,
                    index + 1,
                    &target,
                    "leads nowhere",
                ));
            }
        }
    }
    found
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of `[text](target)` and of `[text]: target`.
fn links_in(line: &str) -> Vec<String> {
    let inline = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let mut targets: Vec<String> = inline.map(|(target, _)| target.to_owned()).collect();
    if let (true, Some((_, target))) = (line.starts_with('['), line.split_once("]: ")) {
        targets.push(target.to_owned());
    }
    // A title may follow the target.
    let first = |target: String| target.split_whitespace().next().map(str::to_owned);
    targets.into_iter().filter_map(first).collect()
}

fn leads_somewhere(tree: &Tree, page: &str, target: &str) -> bool {
    let outside = target.contains("://") || target.starts_with("mailto:");
    let file = target.split(['#', '?']).next().unwrap_or(target);
    if outside || file.is_empty() {
        return true;
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            _ => parts.push(part),
        }
    }
    parts.is_empty() || tree.paths.contains(&parts.join("/"))
}

fn misnamed_fragment(path: &str) -> Option<Finding> {
    let name = path.strip_prefix("changelog.d/")?;
    let well_named = name
        .strip_suffix(".md")
        .and_then(|stem| stem.rsplit_once('.'));
    let well_named = well_named.is_some_and(|(slug, kind)| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !slug.is_empty() && slug.chars().all(plain) && FRAGMENT_KINDS.contains(&kind)
    });
    let advice = "name it <slug>.<added|changed|fixed|security>.md, the slug in small-letters";
    (name != "README.md" && !well_named).then(|| finding("fragment", path, 0, name, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(files: &[(&str, &str)]) -> Vec<String> {
        let found = check(&Tree::sample(files));
        found
            .iter()
            .map(|found| format!("{}:{} {}", found.path, found.line, found.item))
            .collect()
    }

    #[test]
    fn links_lead_somewhere() {
        let page = "[a](b.md#c) [a](../LICENSE) [a](https://x.y/z) [a](#here) [a](./) `[a](no)`\n\
                    ```\n[a](no.md)\n```\n\
                    [a](gone.md) and [b](../../out.md \"title\")\n[c]: lost.md";
        let files = [("docs/a.md", page), ("docs/b.md", ""), ("LICENSE", "")];
        let bad = [
            "docs/a.md:5 gone.md",
            "docs/a.md:5 ../../out.md",
            "docs/a.md:6 lost.md",
        ];
        assert_eq!(items(&files), bad);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for leak in LEAKS {
            let text = format!("fine\nsee {leak}x");
            assert_eq!(items(&[("a.sh", &text)]), [format!("a.sh:2 {leak}")]);
        }
        assert_eq!(items(&[("a.sh", "tests/e2e/workload/src")]), [""; 0]);
    }

    #[test]
    fn marks_have_issues() {
        for mark in MARKS {
            for bad in ["", ": soon", "(me)", "(#)", "(#x)", " (#1)"] {
                let text = format!("// {mark}{bad}");
                assert_eq!(
                    items(&[("a.rs", &text)]),
                    [format!("a.rs:1 {mark}")],
                    "{text}"
                );
            }
            assert_eq!(
                items(&[("a.rs", &format!("// {mark}(#12): soon"))]),
                [""; 0]
            );
        }
    }

    #[test]
    fn fragments_are_named_alike() {
        let good = [
            "changelog.d/README.md",
            "changelog.d/faster-start.added.md",
            "docs/x.md",
        ];
        for path in good {
            assert_eq!(items(&[(path, "")]), [""; 0], "{path}");
        }
        for name in [
            "x.md",
            "x.broken.md",
            ".fixed.md",
            "Big Thing.added.md",
            "x.added.txt",
        ] {
            let path = format!("changelog.d/{name}");
            assert_eq!(items(&[(&path, "")]), [format!("{path}:0 {name}")]);
        }
    }
}
