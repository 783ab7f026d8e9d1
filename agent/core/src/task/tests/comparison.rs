//! Transcripts of tasks that full comparisons put right: lost commands, restarts, adoption.

use super::story::{Origin, transcript};
use crate::task::status::TaskStatus;
use expect_test::{Expect, expect};

fn check_one(script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, &["web"], script));
}

fn check_disk(last: TaskStatus, script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::Disk(last), &["web", "side"], script));
}

#[test]
fn a_lost_start_is_repeated_after_two_comparisons() {
    check_one(
        "created web; compare web=created; compare web=created; compare web=created; \
         compare web=running",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            compare web=created      ACTIVATING
            compare web=created      ACTIVATING start web (id-web)
            compare web=created      ACTIVATING
            compare web=running      RUNNING
            web Running -
        "#]],
    );
    check_one(
        "compare; compare; created web; compare web=created",
        expect![[r#"
            New                      PENDING create web
            compare                  PENDING
            compare                  PENDING create web
            created web              ACTIVATING start web (id-web)
            compare web=created      ACTIVATING
            web Pending -
        "#]],
    );
}

/// Both may come from before the start was done, and a second start is made at once with the first.
#[test]
fn two_comparisons_in_quick_succession_are_one() {
    check_one(
        "created web; compare web=created; again web=created; compare web=created",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            compare web=created      ACTIVATING
            again web=created        ACTIVATING
            compare web=created      ACTIVATING start web (id-web)
            web Pending -
        "#]],
    );
}

#[test]
fn a_lost_stop_and_a_lost_removal_are_repeated_too() {
    check_one(
        "created web; started web; stop; compare web=running; compare web=running; compare web=0; \
         wake; compare web=0; compare web=0; compare; compare",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            compare web=running      STOPPING
            compare web=running      STOPPING stop web in 30 s
            compare web=0            STOPPED
            wake                     STOPPED remove web
            compare web=0            STOPPED
            compare web=0            STOPPED remove web
            compare                  STOPPED
            compare                  STOPPED
            UserInitiated
              by hand
            web Stopped 0
            gone
        "#]],
    );
}

#[test]
fn what_two_comparisons_miss_is_gone() {
    check_one(
        "created web; started web; compare; compare",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            compare                  RUNNING
            compare                  STOPPED
            EssentialContainerExited
              Essential container in task exited: web is gone
            web Stopped -
            wakes in 600.000 s
            gone
        "#]],
    );
    check_one(
        "created web; started web; compare; compare web=running; compare",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            compare                  RUNNING
            compare web=running      RUNNING
            compare                  RUNNING
            web Running -
        "#]],
    );
}

/// The first comparison that missed it was made before it was there, and so was perhaps the second.
#[test]
fn what_was_missed_before_it_was_made_is_not_missed_twice() {
    check_one(
        "compare; created web; started web; compare; compare web=running",
        expect![[r#"
            New                      PENDING create web
            compare                  PENDING
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            compare                  RUNNING
            compare web=running      RUNNING
            web Running -
        "#]],
    );
}

#[test]
fn a_restarted_agent_finds_its_task_as_it_is() {
    check_disk(
        TaskStatus::Running,
        "compare web=running side=running",
        expect![[r#"
            Disk(Running)            RUNNING
            compare web=running side=running RUNNING
            web Running -
            side Running -
        "#]],
    );
    check_disk(
        TaskStatus::Running,
        "compare web=1 side=running; exited side 0",
        expect![[r#"
            Disk(Running)            RUNNING
            compare web=1 side=running STOPPING read the log of web, stop side in 30 s
            exited side 0            STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check_disk(
        TaskStatus::Running,
        "compare side=running; exited side 0",
        expect![[r#"
            Disk(Running)            RUNNING
            compare side=running     STOPPING stop side in 30 s
            exited side 0            STOPPED
            EssentialContainerExited
              Essential container in task exited: web is gone
            web Stopped -
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check_disk(
        TaskStatus::Running,
        "compare web=running",
        expect![[r#"
        Disk(Running)            RUNNING
        compare web=running      RUNNING
        web Running -
        side Stopped -
    "#]],
    );
}

#[test]
fn a_restarted_agent_goes_on_with_what_it_had_begun() {
    check_disk(
        TaskStatus::Provisioning,
        "compare; created web; created side",
        expect![[r#"
            Disk(Provisioning)       PROVISIONING
            compare                  PENDING create web, create side
            created web              ACTIVATING start web (id-web)
            created side             ACTIVATING start side (id-side)
            web Pending -
            side Pending -
        "#]],
    );
    check_disk(
        TaskStatus::Activating,
        "compare web=created side=running; started web",
        expect![[r#"
            Disk(Activating)         ACTIVATING
            compare web=created side=running ACTIVATING start web (id-web)
            started web              RUNNING
            web Running -
            side Running -
        "#]],
    );
    check_disk(
        TaskStatus::Stopping,
        "compare web=running side=0; exited web 0",
        expect![[r#"
            Disk(Stopping)           STOPPING
            compare web=running side=0 STOPPING stop web in 30 s
            exited web 0             STOPPED
            web Stopped 0
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check_disk(
        TaskStatus::Stopped,
        "compare web=0; wake; removed web",
        expect![[r#"
            Disk(Stopped)            STOPPED
            compare web=0            STOPPED
            wake                     STOPPED remove web
            removed web              STOPPED
            web Stopped 0
            side Stopped -
            gone
        "#]],
    );
    check_disk(
        TaskStatus::Running,
        "stop; compare web=running side=created",
        expect![[r#"
            Disk(Running)            RUNNING
            stop                     STOPPING
            compare web=running side=created STOPPING stop web in 30 s
            UserInitiated
              by hand
            web Running -
            side Stopped -
        "#]],
    );
}

#[test]
fn labels_alone_are_enough_to_adopt_a_task() {
    let check = |script, expected: Expect| {
        expected.assert_eq(&transcript(Origin::Labels, &["web"], script));
    };
    check(
        "compare web=running; definition; exited web 1",
        expect![[r#"
            Labels                   PROVISIONING
            compare web=running      RUNNING
            definition               RUNNING
            exited web 1             STOPPED read the log of web
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            wakes in 600.000 s
        "#]],
    );
    check(
        "compare web=created; definition; started web; stop; exited web 0",
        expect![[r#"
            Labels                   PROVISIONING
            compare web=created      PENDING
            definition               ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check(
        "compare web=1; wake; removed web",
        expect![[r#"
            Labels                   PROVISIONING
            compare web=1            STOPPED read the log of web
            wake                     STOPPED remove web
            removed web              STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            gone
        "#]],
    );
}

/// Its end may be told before anybody said how the runtime calls it.
#[test]
fn what_has_no_id_yet_is_removed_when_a_comparison_has_found_it() {
    let script = "exited web 1; wake; compare web=1; compare web=1; removed web";
    let told = transcript(Origin::Disk(TaskStatus::Activating), &["web"], script);
    expect![[r#"
        Disk(Activating)         ACTIVATING
        exited web 1             STOPPED
        wake                     STOPPED
        compare web=1            STOPPED
        compare web=1            STOPPED remove web
        removed web              STOPPED
        EssentialContainerExited
          Essential container in task exited: web exited with 1
        web Stopped 1
        gone
    "#]]
    .assert_eq(&told);
}
