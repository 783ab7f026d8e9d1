//! The real program on real Docker: what it promises, and what it says to bad input.

mod counts;
mod order;
mod pins;
mod values;
mod privilege;
mod again;
mod runs;
mod schedules;
mod gpus;
mod health;
mod together;
mod agents;
mod hosts;
mod docker;
mod refusals;
mod strangers;
mod disk;
mod images;
mod events;
mod ecs_clients;
mod introspection;
mod discovery;
mod metadata;
mod command_line;
mod reach;
