//! The deciding half of Holdfast: sans-IO, deterministic, told everything, asks for everything.
//!
//! Reading order is the order of the modules below. Nothing here reads a clock, an environment, a
//! file, a socket or a random device; nothing uses a float or an unordered collection, so that two
//! hosts of different architectures decide alike and one seed replays one run.
#![deny(
    clippy::float_arithmetic,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

#[macro_use]
pub mod planted;
pub mod time;
pub mod ids;
pub mod rng;
pub mod limits;
pub mod timings;
pub mod spec;
pub mod task;
pub mod host;
pub mod cluster;
pub mod command;
pub mod event;
pub mod input;
pub mod effect;
pub mod schedule;
pub mod agent;
pub mod recording;
