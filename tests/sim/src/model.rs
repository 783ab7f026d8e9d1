//! A small cluster explored exhaustively: whatever happens next, up to a depth, over the real core.
//!
//! Three hosts hold a service of two. Time is abstract: what is under way takes no time unless it
//! is late, and when nothing is under way the next timer fires. From each state every event that
//! can come next is tried, faults among them while some are left; states that are alike are
//! explored once. In each state safety must hold, and from each state at the last depth a fair run
//! must come to rest with exactly two.

mod world;
mod rest;

use crate::work::work;
use std::collections::BTreeSet;
use world::{Fault, World};

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events from the root.
    pub depth: u32,
    /// Faults among them.
    pub faults: u32,
    /// A level with more states ends the exploration, and says so.
    pub states_max: usize,
}

/// Where the exploration begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A service of two was just created on one host; nobody else has heard of it.
    Created,
    /// The two copies run, and all is quiet.
    AtRest,
    /// As `AtRest`, and the service was just scaled to one.
    Scaled,
}

impl Root {
    pub const ALL: [Self; 3] = [Self::Created, Self::AtRest, Self::Scaled];
}

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: u64,
    /// Events tried.
    pub events: u64,
    /// States from which a fair run came to rest.
    pub rested: u64,
    /// The longest of these, in virtual milliseconds.
    pub rest_ms_max: u64,
    pub depth: u32,
}

/// Every state within the bounds; the first violation with the events that lead to it.
pub fn explore(root: Root, bounds: Bounds) -> Result<Explored, String> {
    let mut explored = Explored::default();
    let first = World::at(root, bounds.faults)?;
    let mut seen = BTreeSet::from([first.fingerprint()]);
    let mut level = vec![first];
    explored.states = 1;
    while explored.depth < bounds.depth && level.len() <= bounds.states_max {
        let next = work(&level, successors);
        let mut following = Vec::new();
        for (_, found) in next {
            for (fingerprint, world) in found? {
                explored.events += 1;
                if seen.insert(fingerprint) {
                    following.push(world);
                }
            }
        }
        explored.states += following.len() as u64;
        explored.depth += 1;
        if following.is_empty() {
            break;
        }
        level = following;
    }
    for (_, took) in work(&level, |world| world.clone().rests()) {
        explored.rested += 1;
        explored.rest_ms_max = explored.rest_ms_max.max(took? / 1_000);
    }
    Ok(explored)
}

/// The states that can come next.
fn successors(world: &World) -> Result<Vec<(u64, World)>, String> {
    let mut found = Vec::new();
    for event in world.enabled() {
        let mut next = world.clone();
        next.act(event)?;
        found.push((next.fingerprint(), next));
    }
    Ok(found)
}

/// All faults there are, for the report.
pub fn faults() -> Vec<String> {
    Fault::ALL
        .iter()
        .map(|fault| format!("{fault:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::planted::{Bug, with};

    const SMALL: Bounds = Bounds {
        depth: 5,
        faults: 1,
        states_max: 2_000,
    };

    #[test]
    fn a_few_events_and_one_fault_leave_exactly_two() {
        for root in Root::ALL {
            let explored = explore(root, SMALL).unwrap_or_else(|what| panic!("{root:?}: {what}"));
            assert!(explored.states > 20, "{root:?}: {explored:?}");
            assert!(explored.rested > 0, "{root:?}: {explored:?}");
        }
    }

    #[test]
    fn a_planted_bug_is_found() {
        // On one thread: a bug is planted for the thread that runs the core.
        let found = with(Some(Bug::ForgetsItsTasks), || {
            let first = World::at(Root::AtRest, 1).expect("nothing has gone wrong yet");
            (0..world::HOSTS).try_for_each(|host| {
                let mut crashed = first.clone();
                crashed.act(world::Event::Fault(Fault::Crash, host))?;
                crashed.rests().map(drop)
            })
        });
        assert!(found.is_err(), "{found:?}");
    }
}
