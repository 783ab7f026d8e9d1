//! The real program on real Docker: what it promises, and what it says to bad input.

mod counts;
mod order;
mod agents;
mod hosts;
mod docker;
mod refusals;
mod strangers;
mod disk;
mod introspection;
mod command_line;
