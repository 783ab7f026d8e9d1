//! This host: what it has, and what it has promised to its tasks.

pub mod ledger;
