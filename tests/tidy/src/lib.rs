//! Checks the tree itself, as text: what `STYLE.md` asks for and no compiler checks.
//!
//! A check is a function from the [`tree::Tree`] to the [`Finding`]s in it. Each has a self-test: a
//! small bad sample that it must catch, beside a good one that it must not. What is found and
//! excused stands in [`allow`], with its reason; an excuse that nothing needs any more fails too,
//! so that the list can only get shorter.

pub mod allow;
pub mod bans;
pub mod docs;
pub mod layers;
pub mod manifests;
pub mod scan;
pub mod shape;
pub mod tree;
pub mod words;

use allow::Allowed;
use tree::Tree;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the rule, as the allow-list writes it.
    pub rule: &'static str,
    pub path: String,
    /// From 1; 0 is the file as a whole.
    pub line: usize,
    /// What offends: the name of a function, a word, a link. With `rule` and `path` it is what the
    /// allow-list names, so it does not change when lines move.
    pub item: String,
    /// How much of it there is, for rules that measure; else 0.
    pub size: usize,
    /// What is wrong and what to do about it.
    pub advice: String,
}

/// A check: from the tree to what is wrong in it.
pub type Check = fn(&Tree) -> Vec<Finding>;

/// Every check, cheapest to understand first.
pub const CHECKS: &[Check] = &[
    shape::check,
    words::check,
    bans::check,
    layers::check,
    manifests::check,
    docs::check,
];

/// What a check finds in a tree of one file, as its self-tests write it: line and item.
#[cfg(test)]
fn items(check: Check, path: &str, text: &str) -> Vec<String> {
    let found = check(&Tree::sample(&[(path, text)]));
    found
        .iter()
        .map(|found| format!("{} {}", found.line, found.item))
        .collect()
}

/// What remains of the findings once the excused ones are taken out, and the excuses that excused
/// nothing; a line for each, ready to print. Empty means tidy.
pub fn judge(findings: &[Finding], allowed: &[Allowed]) -> Vec<String> {
    let excuses = |excuse: &Allowed, found: &Finding| {
        (excuse.rule, excuse.path, excuse.item) == (found.rule, &*found.path, &*found.item)
            && found.size <= excuse.at_most
    };
    let unexcused = findings
        .iter()
        .filter(|found| !allowed.iter().any(|e| excuses(e, found)));
    let mut complaints: Vec<String> = unexcused
        .map(|f| {
            format!(
                "{}:{}: {} `{}`: {}",
                f.path, f.line, f.rule, f.item, f.advice
            )
        })
        .collect();
    let idle = allowed
        .iter()
        .filter(|e| !findings.iter().any(|found| excuses(e, found)));
    complaints.extend(idle.map(|e| {
        let Allowed {
            rule, path, item, ..
        } = e;
        format!("tests/tidy/src/allow.rs: {path}: {rule} `{item}` is excused in vain: remove it")
    }));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(size: usize) -> Finding {
        Finding {
            rule: "function-lines",
            path: "a.rs".to_owned(),
            line: 7,
            item: "long".to_owned(),
            size,
            advice: "too long".to_owned(),
        }
    }

    const EXCUSE: Allowed = Allowed {
        rule: "function-lines",
        path: "a.rs",
        item: "long",
        at_most: 80,
        reason: "one table",
    };

    #[test]
    fn an_excuse_excuses_up_to_its_size_and_not_in_vain() {
        assert_eq!(
            judge(&[finding(71)], &[]),
            ["a.rs:7: function-lines `long`: too long"]
        );
        assert_eq!(judge(&[finding(80)], &[EXCUSE]), [""; 0]);
        assert_eq!(
            judge(&[finding(81)], &[EXCUSE]).len(),
            2,
            "grown: a finding, an idle excuse"
        );
        assert_eq!(
            judge(&[], &[EXCUSE]),
            ["tests/tidy/src/allow.rs: a.rs: function-lines `long` is excused in vain: remove it"]
        );
    }
}
