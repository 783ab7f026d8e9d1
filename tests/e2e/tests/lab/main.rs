//! Real hosts with a Docker each, and the faults that machines have: `make lab-test`, as root.

mod ground;
mod losses;
