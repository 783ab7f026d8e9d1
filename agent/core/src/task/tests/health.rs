//! Transcripts of tasks whose containers are checked, and of those that are out of use for a while.

use super::story::{Origin, transcript};
use crate::task::status::TaskStatus;
use expect_test::{Expect, expect};

fn check(names: &[&str], script: &str, expected: Expect) {
    expected.assert_eq(&transcript(Origin::New, names, script));
}

#[test]
fn who_waits_for_health_is_started_when_the_other_is_healthy() {
    check(
        &["web<db*", "db"],
        "created web; created db; started db; health db healthy; started web",
        expect![[r#"
            New                      PENDING create web, create db
            created web              PENDING
            created db               ACTIVATING start db (id-db)
            started db               ACTIVATING
            health db healthy        ACTIVATING start web (id-web)
            started web              RUNNING
            web Running -
            db Running - ill
        "#]],
    );
}

#[test]
fn who_waits_for_the_health_of_what_is_not_ends_its_task_and_says_so() {
    check(
        &["web<db*", "db"],
        "created web; created db; started db; health db unhealthy; exited db 137",
        expect![[r#"
            New                      PENDING create web, create db
            created web              PENDING
            created db               ACTIVATING start db (id-db)
            started db               ACTIVATING
            health db unhealthy      STOPPING stop db in 30 s
            exited db 137            STOPPED
            TaskFailedToStart
              TaskDependencyError: web waits for db to be healthy, which is not: ill
            web Stopped - TaskDependencyError: web waits for db to be healthy, which is not: ill
            db Stopped 137
            wakes in 600.000 s
        "#]],
    );
    check(
        &["web<db*", "db"],
        "created web; created db; started db; exited db 1",
        expect![[r#"
            New                      PENDING create web, create db
            created web              PENDING
            created db               ACTIVATING start db (id-db)
            started db               ACTIVATING
            exited db 1              STOPPED read the log of db
            TaskFailedToStart
              TaskDependencyError: web waits for db to be healthy, which exited with 1
            web Stopped - TaskDependencyError: web waits for db to be healthy, which exited with 1
            db Stopped 1
            wakes in 600.000 s
        "#]],
    );
}

#[test]
fn what_the_agent_checks_itself_is_asked_again_and_again() {
    check(
        &["api"],
        "created api; started api; wake; lives api no; ready api no; wake; lives api yes; \
         ready api yes; wake; lives api no; wake; ready api no",
        expect![[r#"
            New                      PENDING create api
            created api              ACTIVATING start api (id-api)
            started api              RUNNING
            wake                     RUNNING ask api Liveness, ask api Readiness
            lives api no             RUNNING
            ready api no             RUNNING
            wake                     RUNNING ask api Liveness, ask api Readiness
            lives api yes            RUNNING (healthy, not ready)
            ready api yes            RUNNING (healthy)
            wake                     RUNNING (healthy) ask api Liveness
            lives api no             RUNNING (unhealthy)
            wake                     RUNNING (unhealthy) ask api Liveness, ask api Readiness
            ready api no             RUNNING (unhealthy)
            api Running - connection refused
            wakes in 2.000 s
        "#]],
    );
}

#[test]
fn an_agent_that_comes_back_takes_health_for_what_it_was_until_it_has_asked() {
    let story = transcript(
        Origin::Disk(TaskStatus::Running),
        &["api"],
        "compare api=running; wake; lives api yes; ready api yes",
    );
    expect![[r#"
        Disk(Running)            RUNNING
        compare api=running      RUNNING
        wake                     RUNNING ask api Liveness, ask api Readiness
        lives api yes            RUNNING (healthy, not ready)
        ready api yes            RUNNING (healthy)
        api Running -
        wakes in 1.000 s
    "#]]
    .assert_eq(&story);
}

#[test]
fn what_is_out_of_use_is_stopped_after_a_while() {
    check(
        &["late"],
        "created late; started late; stop; wake; exited late 0",
        expect![[r#"
            New                      PENDING create late
            created late             ACTIVATING start late (id-late)
            started late             RUNNING
            stop                     DEACTIVATING
            wake                     STOPPING stop late in 30 s
            exited late 0            STOPPED
            UserInitiated
              by hand
            late Stopped 0
            wakes in 600.000 s
        "#]],
    );
    check(
        &["late", "side"],
        "created late; created side; started late; started side; stop; exited late 0",
        expect![[r#"
            New                      PENDING create late, create side
            created late             ACTIVATING start late (id-late)
            created side             ACTIVATING start side (id-side)
            started late             ACTIVATING
            started side             RUNNING
            stop                     DEACTIVATING
            exited late 0            STOPPING stop side in 30 s
            UserInitiated
              by hand
            late Stopped 0
            side Running -
        "#]],
    );
    check(
        &["late"],
        "created late; stop",
        expect![[r#"
        New                      PENDING create late
        created late             ACTIVATING start late (id-late)
        stop                     STOPPING
        UserInitiated
          by hand
        late Pending -
    "#]],
    );
}
