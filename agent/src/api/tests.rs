//! The answers against a board made by hand: what clients are told, to the letter.

pub(crate) mod board;
mod clusters;
mod counts;
mod definitions;
mod garbage;
mod discovery;
mod ecs;
pub(crate) mod events;
mod kept;
mod keys;
mod values;
mod metadata;
mod options;
mod ours;
mod remembered;
mod runs;
pub(crate) mod schedules;
mod service_events;
mod service_deployments;
mod settings;
