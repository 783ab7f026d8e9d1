//! Transcripts of one task: each step of the script, the status after it, and what was asked for.

use super::story::{Origin, Story, transcript};
use crate::{
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use expect_test::{Expect, expect};

fn check_one(script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, &["web"], script));
}

fn check_two(script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, &["web", "side"], script));
}

#[test]
fn how_far_an_image_has_come_is_told_until_the_container_is_made_or_given_up() {
    check_one(
        "pulls web 1 of 2 MiB; pulls web 2 of 2 MiB",
        expect![[r#"
            New                      PENDING create web
            pulls web 1 of 2 MiB     PENDING
            pulls web 2 of 2 MiB     PENDING
            web Pending - pulls web:1: 2 of 2 MiB
        "#]],
    );
    check_one(
        "pulls web 1 of 2 MiB; created web; pulls web 2 of 2 MiB",
        expect![[r#"
            New                      PENDING create web
            pulls web 1 of 2 MiB     PENDING
            created web              ACTIVATING start web (id-web)
            pulls web 2 of 2 MiB     ACTIVATING
            web Pending -
        "#]],
    );
    check_one(
        "pulls web 1 of 2 MiB; failed web transient",
        expect![[r#"
            New                      PENDING create web
            pulls web 1 of 2 MiB     PENDING
            failed web transient     PENDING
            web Pending -
            wakes in 0.200 s
        "#]],
    );
    check_one(
        "pulls web 1 of 2 MiB; failed web permanent",
        expect![[r#"
            New                      PENDING create web
            pulls web 1 of 2 MiB     PENDING
            failed web permanent     STOPPED
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped - CannotPullContainerError: no such image
            gone
        "#]],
    );
    check_one(
        "pulls web 1 of 2 MiB; stop; pulls web 2 of 2 MiB; created web",
        expect![[r#"
            New                      PENDING create web
            pulls web 1 of 2 MiB     PENDING
            stop                     STOPPING
            pulls web 2 of 2 MiB     STOPPING
            created web              STOPPED
            UserInitiated
              by hand
            web Stopped -
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_life_from_beginning_to_end() {
    check_one(
        "created web; started web; exited web 1; wake; removed web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            exited web 1             STOPPED read the log of web
            wake                     STOPPED remove web
            removed web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            gone
        "#]],
    );
    check_one(
        "created web; started web; exited web oom",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            exited web oom           STOPPED read the log of web
            EssentialContainerExited
              Essential container in task exited: web was killed for its memory usage
            web Stopped 137 OutOfMemoryError: Container killed due to memory usage
            wakes in 600.000 s
        "#]],
    );
    check_one(
        "created web; started web; stop; stop; exited web 0",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            stop                     STOPPING
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn what_is_told_twice_or_too_late_changes_nothing() {
    check_one(
        "created web; created web; started web; started web; created web; exited web 1; \
         exited web 0; started web; failed web permanent; wake; removed web; removed web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            created web              ACTIVATING
            started web              RUNNING
            started web              RUNNING
            created web              RUNNING
            exited web 1             STOPPED read the log of web
            exited web 0             STOPPED
            started web              STOPPED
            failed web permanent     STOPPED
            wake                     STOPPED remove web
            removed web              STOPPED
            removed web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            gone
        "#]],
    );
    check_one(
        "exited side 1; created side; removed side",
        expect![[r#"
        New                      PENDING create web
        exited side 1            PENDING
        created side             PENDING
        removed side             PENDING
        web Pending -
    "#]],
    );
}

#[test]
fn an_exit_may_overtake_the_word_of_the_start() {
    check_one(
        "created web; exited web 1; started web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            exited web 1             STOPPED read the log of web
            started web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_create_that_fails_is_tried_again_five_times_or_never() {
    check_one(
        "failed web transient; wake; created web; started web",
        expect![[r#"
            New                      PENDING create web
            failed web transient     PENDING
            wake                     PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            web Running -
        "#]],
    );
    check_one(
        "failed web transient; wake; failed web transient; wake; failed web transient; wake; \
         failed web transient; wake; failed web transient",
        expect![[r#"
            New                      PENDING create web
            failed web transient     PENDING
            wake                     PENDING create web
            failed web transient     PENDING
            wake                     PENDING create web
            failed web transient     PENDING
            wake                     PENDING create web
            failed web transient     PENDING
            wake                     PENDING create web
            failed web transient     STOPPED
            TaskFailedToStart
              DockerTimeoutError: no answer
            web Stopped - DockerTimeoutError: no answer
            gone
        "#]],
    );
    check_one(
        "failed web permanent",
        expect![[r#"
            New                      PENDING create web
            failed web permanent     STOPPED
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped - CannotPullContainerError: no such image
            gone
        "#]],
    );
}

#[test]
fn a_start_that_fails_for_good_ends_the_task() {
    check_one(
        "created web; failed web permanent; wake; removed web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            failed web permanent     STOPPED
            wake                     STOPPED remove web
            removed web              STOPPED
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped - CannotPullContainerError: no such image
            gone
        "#]],
    );
}

#[test]
fn a_start_that_may_have_happened_is_stopped_not_forgotten() {
    check_one(
        "created web; failed web transient; wake; failed web transient; wake; \
         failed web transient; wake; failed web transient; wake; failed web transient; \
         exited web 137",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            failed web transient     ACTIVATING
            wake                     ACTIVATING start web (id-web)
            failed web transient     ACTIVATING
            wake                     ACTIVATING start web (id-web)
            failed web transient     ACTIVATING
            wake                     ACTIVATING start web (id-web)
            failed web transient     ACTIVATING
            wake                     ACTIVATING start web (id-web)
            failed web transient     STOPPING stop web in 30 s
            exited web 137           STOPPED
            TaskFailedToStart
              DockerTimeoutError: no answer
            web Stopped 137 DockerTimeoutError: no answer
            wakes in 600.000 s
        "#]],
    );
    check_one(
        "created web; stop; failed web transient; exited web 0",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            stop                     STOPPING
            failed web transient     STOPPING stop web in 30 s
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_stop_while_it_is_made_or_started_waits_for_the_answer() {
    check_one(
        "stop; created web; wake; removed web",
        expect![[r#"
            New                      PENDING create web
            stop                     STOPPING
            created web              STOPPED
            wake                     STOPPED remove web
            removed web              STOPPED
            UserInitiated
              by hand
            web Stopped -
            gone
        "#]],
    );
    check_one(
        "stop; failed web transient",
        expect![[r#"
            New                      PENDING create web
            stop                     STOPPING
            failed web transient     STOPPED
            UserInitiated
              by hand
            web Stopped -
            gone
        "#]],
    );
    check_one(
        "failed web transient; stop",
        expect![[r#"
            New                      PENDING create web
            failed web transient     PENDING
            stop                     STOPPED
            UserInitiated
              by hand
            web Stopped -
            gone
        "#]],
    );
    check_one(
        "created web; stop; started web; exited web 0",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            stop                     STOPPING
            started web              STOPPING stop web in 30 s
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check_one(
        "created web; failed web transient; stop; exited web 0",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            failed web transient     ACTIVATING
            stop                     STOPPING stop web in 30 s
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_stop_that_fails_is_asked_for_until_it_is_done() {
    check_one(
        "created web; started web; stop; stop-failed web; wake; stop-failed web; wake; \
         exited web 137",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            stop-failed web          STOPPING
            wake                     STOPPING stop web in 30 s
            stop-failed web          STOPPING
            wake                     STOPPING stop web in 30 s
            exited web 137           STOPPED
            UserInitiated
              by hand
            web Stopped 137
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_removal_that_fails_is_asked_for_again() {
    check_one(
        "created web; started web; exited web 0; wake; remove-failed web; wake; removed web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            exited web 0             STOPPED
            wake                     STOPPED remove web
            remove-failed web        STOPPED
            wake                     STOPPED remove web
            removed web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 0
            web Stopped 0
            gone
        "#]],
    );
}

/// Of two starts that were under way at once.
#[test]
fn what_starts_after_its_start_has_failed_is_stopped() {
    check_one(
        "created web; failed web permanent; started web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            failed web permanent     STOPPED
            started web              STOPPED stop web in 30 s
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped - CannotPullContainerError: no such image
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_container_removed_behind_our_back_has_ended() {
    check_one(
        "created web; started web; removed web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            removed web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web is gone
            web Stopped -
            wakes in 600.000 s
            gone
        "#]],
    );
    check_one(
        "created web; removed web; started web",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            removed web              STOPPED
            started web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web is gone
            web Stopped -
            wakes in 600.000 s
            gone
        "#]],
    );
}

#[test]
fn two_containers_run_together_and_the_essential_one_ends_both() {
    check_two(
        "created side; started side; created web; started web; exited web 3; exited side 0",
        expect![[r#"
            New                      PENDING create web, create side
            created side             ACTIVATING start side (id-side)
            started side             ACTIVATING
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            exited web 3             STOPPING read the log of web, stop side in 30 s
            exited side 0            STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 3
            web Stopped 3
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check_two(
        "created web; created side; started web; exited web 1; started side; \
         exited side 143",
        expect![[r#"
            New                      PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            created side             ACTIVATING start side (id-side)
            started web              ACTIVATING
            exited web 1             STOPPING read the log of web
            started side             STOPPING stop side in 30 s
            exited side 143          STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            side Stopped 143
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_container_that_is_not_essential_ends_alone() {
    check_two(
        "created web; created side; started web; started side; exited side 1",
        expect![[r#"
            New                      PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            created side             ACTIVATING start side (id-side)
            started web              ACTIVATING
            started side             RUNNING
            exited side 1            RUNNING read the log of side
            web Running -
            side Stopped 1
        "#]],
    );
    check_two(
        "created web; created side; exited side 1; started web",
        expect![[r#"
            New                      PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            created side             ACTIVATING start side (id-side)
            exited side 1            ACTIVATING read the log of side
            started web              RUNNING
            web Running -
            side Stopped 1
        "#]],
    );
    check_two(
        "created web; created side; started web; started side; removed side; exited web 0",
        expect![[r#"
            New                      PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            created side             ACTIVATING start side (id-side)
            started web              ACTIVATING
            started side             RUNNING
            removed side             RUNNING
            exited web 0             STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 0
            web Stopped 0
            side Stopped -
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn one_that_cannot_be_made_stops_the_other() {
    check_two(
        "created web; started web; failed side permanent; exited web 0",
        expect![[r#"
            New                      PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            started web              ACTIVATING
            failed side permanent    STOPPING stop web in 30 s
            exited web 0             STOPPED
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped 0
            side Stopped - CannotPullContainerError: no such image
            wakes in 600.000 s
        "#]],
    );
    check_two(
        "failed web permanent; created side",
        expect![[r#"
            New                      PENDING create web, create side
            failed web permanent     STOPPING
            created side             STOPPED
            TaskFailedToStart
              CannotPullContainerError: no such image
            web Stopped - CannotPullContainerError: no such image
            side Stopped -
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn the_retention_is_kept_whatever_wakes_it_before() {
    let mut story = Story::new(Origin::New, &["web"]);
    for step in ["created web", "started web", "exited web 0"] {
        story.step(step);
    }
    let retention = Timings::default().container_retention;
    let before = Now {
        mono: Mono(retention.0 - 1),
        wall: Wall(0),
    };
    story.task.on_wake(before, &mut story.fx);
    assert!(story.fx.is_empty());
    assert_eq!(story.task.deadline(), Some(Mono::default() + retention));
    assert_eq!(retention, Span::from_secs(600));
}
