//! The container runtime in the daemon: carries out the core's commands with Docker.
//!
//! [`Docker`] takes commands and never blocks; one supervisor worker holds the connection, follows
//! Docker's events and compares in full now and then; one short-lived worker serves each command.

mod docker;
mod events;
mod failure;
mod labels;
mod ledger;
mod list;
mod observe;
mod operations;
mod pull;
mod supervise;
mod timestamp;
mod translate;

#[cfg(test)]
mod tests;

pub(crate) use docker::{Docker, DockerConfig};
