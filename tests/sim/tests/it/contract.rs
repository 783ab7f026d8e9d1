//! The contract suite on the fake runtime; the same scripts run against real Docker in `e2e`.

use holdfast_core::ids::TaskId;
use sim::contract::{FakeDriver, play, scripts};

#[test]
fn the_fake_keeps_the_contract() {
    for (number, script) in scripts().iter().enumerate() {
        for seed in 0..20 {
            let task = TaskId(number as u128 + 1);
            let played = play(script, task, &mut FakeDriver::new(seed));
            assert_eq!(played, Ok(()), "seed {seed}");
        }
    }
}

#[test]
fn a_runtime_that_lies_is_caught() {
    // Nothing fails at all where a missing image must.
    let script = scripts()
        .into_iter()
        .find(|script| script.name.contains("missing image"))
        .expect("there is one about missing images");
    let mut liar = FakeDriver::new(1);
    liar.runtime.has_all_images();
    assert!(play(&script, TaskId(1), &mut liar).is_err());
}
