//! The container runtime in the daemon: carries out the core's commands with Docker.
//!
//! [`Docker`] takes commands and never blocks; one supervisor worker holds the connection, follows
//! Docker's events and compares in full now and then; one short-lived worker serves each command.

mod cgroups;
mod checks;
pub(crate) mod containers;
mod create;
mod docker;
mod events;
pub(crate) mod facts;
mod failure;
mod given;
mod gpus;
pub(crate) mod images;
mod labels;
mod ledger;
mod list;
mod metadata_file;
mod observe;
mod operations;
mod pause;
mod supervise;
mod tally;
pub(crate) mod timestamp;
mod translate;
mod turns;
mod volumes;
mod words;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use docker::{Docker, DockerConfig, LogDriver};
pub(crate) use given::GivenSettings;
#[cfg(test)]
pub(crate) use given::tests::folded;
pub(crate) use metadata_file::MetadataFileSettings;
