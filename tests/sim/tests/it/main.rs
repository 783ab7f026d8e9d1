//! The simulator's own tests: seeds, stories, the contract on the fake, and planted bugs.

mod absence;
mod clocks;
mod contract;
mod floods;
mod planted;
mod pulls;
mod recordings;
mod regressions;
mod hosts;
mod keeping;
mod keys;
mod majority;
mod membership;
mod scenarios;
mod seeds;
