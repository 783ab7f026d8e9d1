//! A fleet of real agents on this machine's Docker Engine: for the tests, the demo and the bench.
//!
//! Everything blocks and panics: whoever uses it is a test, or as good as one. A `Fleet` that is
//! dropped, also by a panic, ends its agents and removes its containers, and nothing else.

pub mod fleet;
pub mod crew;
pub mod host;
pub mod docker;
pub mod dns;
pub mod http;
pub mod network;
pub mod program;
pub mod receiver;
pub mod registry;
pub mod place;
pub mod silence;
pub mod usage;
pub mod lab;
pub mod wait;

use std::env;

/// Says loudly that something cannot run here; where `CI` is set, that is a failure.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
    eprintln!("SKIPPED: {why}");
    assert!(env::var_os("CI").is_none(), "SKIPPED, and CI is set: {why}");
}

/// Whether we may do what only root may; says SKIPPED where not.
pub fn is_root_or_skip(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(&format!("{what} needs root"));
    }
    root
}
