//! What the hosts know of one another: the board that they share, and who of them is there.

pub mod trailing;
pub mod body;
pub mod record;
pub mod run;
pub mod schedule;
pub mod namespace;
pub mod tag;
pub mod clock;
pub mod hash_tree;
pub mod board;
pub mod keys;
pub mod values;
pub mod electorate;
pub mod message;
pub mod quarantine;
pub mod outbox;
pub mod repair;
pub mod membership;

#[cfg(test)]
mod tests;
