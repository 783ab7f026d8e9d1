//! Every bug that can be planted belongs to a case; `sim planted` shows that it is caught.

use holdfast_core::planted::Bug;
use sim::{cases::cases, planted::Planted};

#[test]
fn every_bug_of_the_core_is_planted_by_some_case() {
    let planted: Vec<_> = cases().into_iter().map(|case| case.bug).collect();
    // But for the one that recordings are tested with.
    for bug in Bug::ALL.iter().filter(|bug| **bug != Bug::PanicsAtTheEnd) {
        let belongs = planted.contains(&Planted::Core(*bug));
        assert!(belongs, "no case plants the bug that {}", bug.says());
    }
}
