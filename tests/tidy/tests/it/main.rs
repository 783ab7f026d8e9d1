//! The tree is tidy: every check of the library, run on the tree that this test was built from.

use std::{path::Path, process::Command};

use tidy::{CHECKS, allow::ALLOWED, judge, tree::Tree};

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).expect("the tree that this test was built from is readable");
    assert!(
        tree.file("STYLE.md").is_some(),
        "{} is not the root of the tree",
        root.display()
    );
    let findings: Vec<_> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    let complaints = judge(&findings, ALLOWED);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Bugs are planted by tests alone: a build of the daemon has neither the switch nor the bugs.
#[test]
fn no_daemon_is_built_with_planted_bugs() {
    let tree = |package: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let out = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--locked",
                "--edges",
                "normal,features",
            ])
            .args(["--package", package])
            .current_dir(root)
            .output()
            .expect("cargo runs: it built this test");
        assert!(out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let planted = "holdfast-core feature \"planted\"";
    assert!(tree("sim").contains(planted), "the simulator plants them");
    assert!(!tree("holdfast").contains(planted), "the daemon has them");
}

#[test]
fn every_excuse_has_a_reason() {
    for excuse in ALLOWED {
        assert!(excuse.reason.len() > 10, "{excuse:?}");
    }
}
