//! The answers against a board made by hand: what clients are told, to the letter.

pub(crate) mod board;
mod ecs;
mod keys;
mod options;
mod ours;
