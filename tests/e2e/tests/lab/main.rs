//! Real hosts with a Docker each, and the faults that machines have: `make lab-test`, as root.

mod ground;
mod losses;
mod splits;
mod agents;
mod dockers;
mod meddling;

/// More than there are hosts, so that one of them runs two.
const COUNT: u32 = 6;
/// For so long nothing may move when all is well again.
const CALM: std::time::Duration = e2e::wait::secs(3);
