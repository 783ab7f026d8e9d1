//! The simulator's own tests: seeds, stories, the contract on the fake, and planted bugs.

mod contract;
mod floods;
mod planted;
mod regressions;
mod hosts;
mod scenarios;
mod seeds;
