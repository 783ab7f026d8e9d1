//! The excused findings, each with its reason; one that nothing needs any more fails the tree.

/// One excuse: for this rule, in this file, this item, up to this size.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    pub rule: &'static str,
    pub path: &'static str,
    pub item: &'static str,
    /// For rules that measure: it may not grow beyond this. 0 for the others.
    pub at_most: usize,
    pub reason: &'static str,
}

pub const ALLOWED: &[Allowed] = &[
    Allowed {
        rule: "only-in",
        path: "agent/src/outbound/tests.rs",
        item: "TcpListener",
        at_most: 0,
        reason: "a test's receiver of webhooks, which is somebody else's program",
    },
    Allowed {
        rule: "only-in",
        path: "agent/src/runtime/tests/replies.rs",
        item: "TcpListener",
        at_most: 0,
        reason: "a test's foreign program, which has a host port",
    },
    Allowed {
        rule: "function-lines",
        path: "tests/sim/src/contract.rs",
        item: "scripts",
        at_most: 126,
        reason: "a table of scripts, one after the other",
    },
    Allowed {
        rule: "function-lines",
        path: "tests/sim/src/faults.rs",
        item: "draw_one",
        at_most: 74,
        reason: "a table of faults, one arm each",
    },
    Allowed {
        rule: "sleep",
        path: "tests/e2e/src/wait.rs",
        item: "sleep(",
        at_most: 0,
        reason: "the one poll of the end-to-end tests, and the bench's idle time",
    },
];
