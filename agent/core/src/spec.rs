//! What people ask for, parsed: whatever has one of these types is valid.

mod deployment;
mod describe;
pub mod ecs_fields;
pub mod error;
pub mod given;
pub mod health;
pub mod image;
pub mod linux;
mod parse;
pub mod options;
pub mod own;
pub mod privilege;
pub mod read;
pub mod refuse;
pub mod run;
pub mod service;
pub mod tags;
pub mod task_definition;
pub mod timetable;
pub mod volume;

#[cfg(test)]
mod tests;

pub use error::{SpecError, SpecErrors};
pub use parse::parse_task_definition;
pub use service::{parse_create_service, parse_update_service};
