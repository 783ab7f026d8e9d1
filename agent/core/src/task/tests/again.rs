//! Transcripts of tasks whose containers are run again, and of those made of one another.

use super::story::{Origin, transcript};
use crate::task::status::TaskStatus;
use expect_test::{Expect, expect};

fn check(names: &[&str], script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, names, script));
}

const PAIR: &[&str] = &["web", "again"];
const RUNNING: &str = "created web; created again; started web; started again";

#[test]
fn who_is_to_run_again_does_so_while_its_task_goes_on() {
    check(
        PAIR,
        &format!(
            "{RUNNING}; pass 10; exited again 1 4000; wake; started again; exited again 1 4000; \
             pass 10; exited again 1 5000; wake; started again; stop"
        ),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 10                  RUNNING
            exited again 1 4000      RUNNING
            wake                     RUNNING start again (id-again) again
            started again            RUNNING
            exited again 1 4000      RUNNING
            pass 10                  RUNNING
            exited again 1 5000      RUNNING
            wake                     RUNNING start again (id-again) again
            started again            RUNNING
            stop                     STOPPING stop web in 30 s, stop again in 30 s
            UserInitiated
              by hand
            web Running -
            again Running -
        "#]],
    );
}

#[test]
fn who_ends_too_soon_or_with_an_ignored_code_has_ended() {
    check(
        PAIR,
        &format!("{RUNNING}; pass 9; exited again 1"),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 9                   RUNNING
            exited again 1           RUNNING read the log of again
            web Running -
            again Stopped 1
        "#]],
    );
    check(
        PAIR,
        &format!("{RUNNING}; pass 10; exited again 3"),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 10                  RUNNING
            exited again 3           RUNNING read the log of again
            web Running -
            again Stopped 3
        "#]],
    );
}

#[test]
fn who_waits_to_run_again_is_not_run_when_its_task_stops() {
    check(
        PAIR,
        &format!("{RUNNING}; pass 10; exited again 1 4000; stop; exited again 1; exited web 0"),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 10                  RUNNING
            exited again 1 4000      RUNNING
            stop                     STOPPING stop again in 30 s, stop web in 30 s
            exited again 1           STOPPING
            exited web 0             STOPPED
            UserInitiated
              by hand
            web Stopped 0
            again Stopped 1 is run again, since it exited with 1
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn who_ended_while_the_agent_was_away_is_run_again() {
    let story = transcript(
        Origin::Disk(TaskStatus::Running),
        PAIR,
        "compare web=running again=1; wake; started again",
    );
    expect![[r#"
        Disk(Running)            RUNNING
        compare web=running again=1 RUNNING
        wake                     RUNNING start again (id-again) again
        started again            RUNNING
        web Running -
        again Running -
    "#]]
    .assert_eq(&story);
}

#[test]
fn who_has_a_link_is_made_after_the_other() {
    check(
        &["linked", "db"],
        "created db; created linked; started db; started linked",
        expect![[r#"
            New                      PENDING create db
            created db               ACTIVATING create linked, start db (id-db)
            created linked           ACTIVATING
            started db               ACTIVATING start linked (id-linked)
            started linked           RUNNING
            linked Running -
            db Running -
        "#]],
    );
    check(
        &["linked", "db"],
        "failed db permanent",
        expect![[r#"
        New                      PENDING create db
        failed db permanent      STOPPED
        TaskFailedToStart
          CannotPullContainerError: no such image
        linked Stopped -
        db Stopped - CannotPullContainerError: no such image
        gone
    "#]],
    );
}

#[test]
fn who_ends_badly_has_its_last_words_in_the_reason() {
    check(
        &["web"],
        "created web; started web; exited web 3; words web panicked; words web panicked; \
         exited web oom",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            exited web 3             STOPPED read the log of web
            words web panicked       STOPPED
            words web panicked       STOPPED
            exited web oom           STOPPED
            EssentialContainerExited
              Essential container in task exited: web was killed for its memory usage;
              it wrote last: panicked
            web Stopped 3 OutOfMemoryError: Container killed due to memory usage
            wakes in 600.000 s
        "#]],
    );
    check(
        &["web"],
        "created web; started web; stop; exited web 3; words web terminated",
        expect![[r#"
            New                      PENDING create web
            created web              ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            exited web 3             STOPPED
            words web terminated     STOPPED
            UserInitiated
              by hand
            web Stopped 3 it wrote last: terminated
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn a_late_start_and_a_lost_one_of_who_runs_again_change_nothing() {
    check(
        PAIR,
        &format!(
            "{RUNNING}; pass 10; exited again 1 4000; started again; wake; compare web=running \
             again=1@4000; compare web=running again=1@4000; started again"
        ),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 10                  RUNNING
            exited again 1 4000      RUNNING
            started again            RUNNING
            wake                     RUNNING start again (id-again) again
            compare web=running again=1@4000 RUNNING
            compare web=running again=1@4000 RUNNING start again (id-again) again
            started again            RUNNING
            web Running -
            again Running -
        "#]],
    );
    check(
        PAIR,
        &format!(
            "{RUNNING}; pass 10; exited again 1 4000; wake; started again; \
             compare web=running again=1@3000; compare web=running again=1@3000"
        ),
        expect![[r#"
            New                      PENDING create web, create again
            created web              ACTIVATING start web (id-web)
            created again            ACTIVATING start again (id-again)
            started web              ACTIVATING
            started again            RUNNING
            pass 10                  RUNNING
            exited again 1 4000      RUNNING
            wake                     RUNNING start again (id-again) again
            started again            RUNNING
            compare web=running again=1@3000 RUNNING
            compare web=running again=1@3000 RUNNING
            web Running -
            again Pending 1 is run again, since it exited with 1
            wakes in 1.000 s
        "#]],
    );
}
