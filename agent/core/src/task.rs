//! Tasks on this host: statuses that only move forward, and the boundary to the container runtime.

pub mod status;
pub mod runtime;
pub mod container;
pub mod order;
pub mod machine;
pub mod roster;

#[cfg(test)]
mod tests;
