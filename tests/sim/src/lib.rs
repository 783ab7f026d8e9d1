//! Simulates whole clusters of the core in virtual time: one seed, one run, one trace hash.
//!
//! Reading order is the order of the modules below. Everything is drawn from the seed; there is no
//! clock, thread or unordered collection in a run, so that a failing seed fails for ever.

pub mod queue;
pub mod disk;
pub mod network;
pub mod silence;
pub mod manners;
pub mod container;
pub mod runtime;
pub mod contract;
pub mod host;
pub mod options;
pub mod faults;
pub mod workload;
pub mod planted;
pub mod cluster;
pub mod apply;
pub mod inject;
pub mod orders;
pub mod enemy;
pub mod checks;
pub mod safety;
pub mod majority;
pub mod values;
pub mod ticks;
pub mod liveness;
pub mod explain;
pub mod stats;
pub mod trace;
pub mod replay;
pub mod run;
pub mod shrink;
pub mod work;
pub mod hours;
pub mod cases;
pub mod table;
pub mod model;
pub mod rivals;
pub mod bench;
pub mod floods;
