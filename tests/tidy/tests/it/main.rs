//! The tree is tidy: every check of the library, run on the tree that this test was built from.

use std::path::Path;

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

#[test]
fn every_excuse_has_a_reason() {
    for excuse in ALLOWED {
        assert!(excuse.reason.len() > 10, "{excuse:?}");
    }
}
