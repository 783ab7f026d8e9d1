//! Transcripts of tasks whose containers wait for one another.

use super::story::{Origin, transcript};
use crate::task::status::TaskStatus;
use expect_test::{Expect, expect};

fn check(names: &[&str], script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, names, script));
}

const PAIR: &[&str] = &["web<side", "side"];
const INIT: &[&str] = &["web<migrate+", "migrate"];

#[test]
fn who_waits_is_made_at_once_and_started_when_the_other_runs() {
    check(
        PAIR,
        "created web; created side; started side; started web; stop; exited web 0; exited side 0",
        expect![[r#"
            New                      PENDING create web, create side
            created web              PENDING
            created side             ACTIVATING start side (id-side)
            started side             ACTIVATING start web (id-web)
            started web              RUNNING
            stop                     STOPPING stop web in 30 s
            exited web 0             STOPPING stop side in 30 s
            exited side 0            STOPPED
            UserInitiated
              by hand
            web Stopped 0
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn who_is_needed_is_stopped_last_however_the_task_ends() {
    let three = &["web<side", "side<base", "base"];
    check(
        three,
        "created base; created side; created web; started base; started side; started web; \
         exited web 1; exited side 0; exited base 0",
        expect![[r#"
            New                      PENDING create web, create side, create base
            created base             ACTIVATING start base (id-base)
            created side             ACTIVATING
            created web              ACTIVATING
            started base             ACTIVATING start side (id-side)
            started side             ACTIVATING start web (id-web)
            started web              RUNNING
            exited web 1             STOPPING read the log of web, stop side in 30 s
            exited side 0            STOPPING stop base in 30 s
            exited base 0            STOPPED
            EssentialContainerExited
              Essential container in task exited: web exited with 1
            web Stopped 1
            side Stopped 0
            base Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check(
        PAIR,
        "created side; created web; started side; stop; started web; exited web 0; exited side 0",
        expect![[r#"
            New                      PENDING create web, create side
            created side             ACTIVATING start side (id-side)
            created web              ACTIVATING
            started side             ACTIVATING start web (id-web)
            stop                     STOPPING
            started web              STOPPING stop web in 30 s
            exited web 0             STOPPING stop side in 30 s
            exited side 0            STOPPED
            UserInitiated
              by hand
            web Stopped 0
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check(
        PAIR,
        "created side; started side; stop; created web; exited side 0",
        expect![[r#"
            New                      PENDING create web, create side
            created side             ACTIVATING start side (id-side)
            started side             ACTIVATING
            stop                     STOPPING stop side in 30 s
            created web              STOPPING
            exited side 0            STOPPED
            UserInitiated
              by hand
            web Stopped -
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn what_comes_first_must_end_well() {
    check(
        INIT,
        "created migrate; created web; started migrate; exited migrate 0; started web",
        expect![[r#"
            New                      PENDING create web, create migrate
            created migrate          ACTIVATING start migrate (id-migrate)
            created web              ACTIVATING
            started migrate          ACTIVATING
            exited migrate 0         ACTIVATING start web (id-web)
            started web              RUNNING
            web Running -
            migrate Stopped 0
        "#]],
    );
    check(
        INIT,
        "created migrate; created web; started migrate; exited migrate 3",
        expect![[r#"
            New                      PENDING create web, create migrate
            created migrate          ACTIVATING start migrate (id-migrate)
            created web              ACTIVATING
            started migrate          ACTIVATING
            exited migrate 3         STOPPED read the log of migrate
            TaskFailedToStart
              TaskDependencyError: web waits for migrate to succeed, which exited with 3
            web Stopped - TaskDependencyError: web waits for migrate to succeed, which exited with 3
            migrate Stopped 3
            wakes in 600.000 s
        "#]],
    );
    check(
        &["web<migrate!", "migrate"],
        "created migrate; created web; started migrate; exited migrate 3; started web",
        expect![[r#"
            New                      PENDING create web, create migrate
            created migrate          ACTIVATING start migrate (id-migrate)
            created web              ACTIVATING
            started migrate          ACTIVATING
            exited migrate 3         ACTIVATING read the log of migrate, start web (id-web)
            started web              RUNNING
            web Running -
            migrate Stopped 3
        "#]],
    );
}

#[test]
fn what_takes_too_long_ends_the_task() {
    check(
        INIT,
        "created migrate; started migrate; created web; wake; exited migrate 137",
        expect![[r#"
            New                      PENDING create web, create migrate
            created migrate          ACTIVATING start migrate (id-migrate)
            started migrate          ACTIVATING
            created web              ACTIVATING
            wake                     STOPPING stop migrate in 30 s
            exited migrate 137       STOPPED
            TaskFailedToStart
              TaskDependencyError: web waits for migrate, but its startTimeout of 10 s is over
            web Stopped -
            migrate Stopped 137
            wakes in 600.000 s
        "#]],
    );
    // Nobody waits for its end.
    check(
        &["web<migrate", "migrate"],
        "created migrate; created web; started migrate; started web",
        expect![[r#"
            New                      PENDING create web, create migrate
            created migrate          ACTIVATING start migrate (id-migrate)
            created web              ACTIVATING
            started migrate          ACTIVATING start web (id-web)
            started web              RUNNING
            web Running -
            migrate Running -
        "#]],
    );
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    let found = |script| transcript(Origin::Disk(TaskStatus::Activating), INIT, script);
    expect![[r#"
        Disk(Activating)         ACTIVATING
        compare web=created migrate=running ACTIVATING
        exited migrate 0         ACTIVATING start web (id-web)
        web Pending -
        migrate Stopped 0
    "#]]
    .assert_eq(&found(
        "compare web=created migrate=running; exited migrate 0",
    ));
    expect![[r#"
        Disk(Activating)         ACTIVATING
        compare web=created migrate=0 ACTIVATING start web (id-web)
        web Pending -
        migrate Stopped 0
    "#]]
    .assert_eq(&found("compare web=created migrate=0"));
    expect![[r#"
        Disk(Activating)         ACTIVATING
        compare web=created migrate=1 STOPPED read the log of migrate
        TaskFailedToStart
          TaskDependencyError: web waits for migrate to succeed, which exited with 1
        web Stopped - TaskDependencyError: web waits for migrate to succeed, which exited with 1
        migrate Stopped 1
        wakes in 600.000 s
    "#]]
    .assert_eq(&found("compare web=created migrate=1"));
}

#[test]
fn what_ended_before_a_restart_is_not_run_again_though_it_is_gone() {
    let script = "compare web=running; exited web 0";
    let told = transcript(Origin::Disk(TaskStatus::Activating), INIT, script);
    expect![[r#"
        Disk(Activating)         ACTIVATING
        compare web=running      RUNNING
        exited web 0             STOPPED
        EssentialContainerExited
          Essential container in task exited: web exited with 0
        web Stopped 0
        migrate Stopped -
        wakes in 600.000 s
    "#]]
    .assert_eq(&told);
}

#[test]
fn what_was_made_and_waits_ends_its_task_when_somebody_removes_it() {
    check(
        PAIR,
        "created web; created side; removed web; started side; exited side 0",
        expect![[r#"
            New                      PENDING create web, create side
            created web              PENDING
            created side             ACTIVATING start side (id-side)
            removed web              STOPPING
            started side             STOPPING stop side in 30 s
            exited side 0            STOPPED
            TaskFailedToStart
              web was removed before it was started
            web Stopped -
            side Stopped 0
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn an_adopted_task_gets_the_containers_that_nobody_had_made() {
    let script = "compare web=created; definition web<side side; compare web=created; \
                  created side; started side";
    let told = transcript(Origin::Labels, &["web"], script);
    expect![[r#"
        Labels                   PROVISIONING
        compare web=created      PENDING
        definition web<side side PENDING
        compare web=created      PENDING create side
        created side             ACTIVATING start side (id-side)
        started side             ACTIVATING start web (id-web)
        web Pending -
        side Running -
    "#]]
    .assert_eq(&told);
}
