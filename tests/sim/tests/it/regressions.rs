//! Seeds that once failed, each with one sentence on what went wrong.

use sim::{options::Options, run::run};

/// A host that was falsely judged down said nothing of its tasks in its new incarnation, so that
/// the keeper never chose between its copies and their replacements.
#[test]
fn copies_on_a_host_that_was_falsely_judged_are_reconciled() {
    check(16, 5);
}

/// Two hosts that held each other for down answered each other's answers, two for one.
#[test]
fn two_sides_that_meet_again_do_not_shout_at_each_other() {
    check(59, 16);
}

/// More than eight live copies of a slot made the keeper reconcile for ever within one step.
#[test]
fn a_slot_with_many_copies_is_reconciled_once() {
    check(34, 7);
}

/// A testimony that was itself hearsay answered the next alarm, round and round: a lost host stayed
/// up for ever.
#[test]
fn hearsay_of_hearsay_keeps_no_lost_host_alive() {
    check(512, 5);
}

/// A start that had failed and was due again was made although its task was to stop.
#[test]
fn a_start_that_is_due_again_is_not_made_for_a_deleted_service() {
    check(42, 17);
}

/// An agent that had lost what it wrote of a task took it for whole with the one container of two
/// that it found, and the other copy gave way.
#[test]
fn a_task_that_lacks_a_container_is_not_whole() {
    check(201, 14);
}

/// A comparison from before a start was made again counted as the first of two that missed it, so
/// that it was made twice at once: one failed and ended the task, the other one ran on.
#[test]
fn a_start_is_not_made_again_while_it_is_under_way() {
    let mut options = Options::new(25, 10);
    options.seconds = 1_800;
    options.codec = false;
    options.only_faults = Some(vec![1, 2, 3, 4]);
    options.only_orders = Some(vec![0, 1, 2, 3, 4]);
    run(options).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A host that had refuted a verdict lost power before that was on its disk, and began the same
/// incarnation again: what it had said in it before won over what it said now.
#[test]
fn an_incarnation_is_on_the_disk_before_anybody_hears_of_it() {
    let mut options = Options::new(13, 10);
    options.seconds = 1_800;
    options.codec = false;
    options.only_faults = Some(vec![246, 249, 251, 252, 253, 254, 255, 256]);
    options.only_orders = Some(vec![149, 151]);
    run(options).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Hosts that came to count under `majority` had answered nobody yet, and so everything stopped.
#[test]
fn a_change_of_who_counts_stops_nothing() {
    let mut options = Options::new(154, 5);
    options.choices = true;
    run(options).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Hosts sent far more messages within one second than there was anything to say.
#[test]
fn two_storms_do_not_come_back() {
    check(111, 11);
    check(127, 11);
}

/// A start that Docker had not answered in time was done after the task had ended, and the agent
/// took the late word of it for one that its exit had overtaken: the container ran on.
#[test]
fn a_container_that_starts_after_its_end_is_stopped() {
    long(1440);
}

/// An agent that came back with a task on its disk of which nothing had been made yet made it
/// before it remembered that its service was deleted.
#[test]
fn nothing_is_made_for_a_service_that_was_deleted_before_the_restart() {
    long(1455);
}

/// A host that came back stopped the only copy of a slot for a successor on a host that was lost,
/// and that to the one that had just come back was suspect only.
#[test]
fn no_copy_gives_way_to_one_whose_host_may_be_down() {
    long(130);
}

/// An agent that lost the last words of its disk began a run's task again that it had reported to
/// have ended, and that its keeper had written off by then.
#[test]
fn nothing_is_begun_again_of_a_run_that_ended_before_the_restart() {
    long(4);
}

/// An agent that was given a slot of a run while it was frozen woke when the run had ended
/// elsewhere, on a host that was suspect by then: it waited for that heir, and began its copy.
#[test]
fn what_has_ended_on_a_suspect_host_is_not_begun() {
    long(116);
}

/// Half an hour of ten hosts, as in the proof by virtual hours.
fn long(seed: u64) {
    let mut options = Options::new(seed, 10);
    options.seconds = 1_800;
    options.codec = false;
    run(options).unwrap_or_else(|failure| panic!("{failure}"));
}

fn check(seed: u64, agents: usize) {
    if let Err(failure) = run(Options::new(seed, agents)) {
        panic!("{failure}");
    }
}
