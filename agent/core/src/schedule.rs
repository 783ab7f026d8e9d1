//! Who runs what: the keeper's plan for a service, and the host's own rule for its copies.

pub mod copy;
pub mod lease;
pub mod load;
pub mod keepers;
pub mod index;
pub mod pins;
pub mod place;
mod pace;
mod view;
pub mod keeper;

#[cfg(test)]
mod tests;
