//! Tasks on this host: statuses that only move forward, and the boundary to the container runtime.

pub mod status;
pub mod checkup;
pub mod runtime;
pub mod container;
pub mod pause;
pub mod order;
pub mod machine;
pub mod roster;

#[cfg(test)]
mod tests;
