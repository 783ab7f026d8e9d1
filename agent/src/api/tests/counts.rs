//! How many tasks of a service run.

use super::board::{A, B, WEB, begin_anew, board, condemn, with_view};
use crate::api::services;
use holdfast_core::{
    cluster::{board::Board, body::Key},
    task::status::TaskStatus,
};
use serde_json::json;

/// Each host is looked up once for all of its tasks.
#[test]
fn tasks_count_as_they_are_confirmed_one_by_one() {
    let changes: [fn(&mut Board); 5] = [
        |_| {},
        |board| condemn(board, A),
        |board| condemn(board, B),
        |board| begin_anew(board, A),
        |board| begin_anew(board, B),
    ];
    for change in changes {
        let mut board = board();
        change(&mut board);
        with_view(&board, |view| {
            let mut running = 0;
            for (host, task, report) in board.tasks_of(WEB) {
                let said = board.record(&Key::Task(host, task)).unwrap();
                let confirmed = !view.is_down(host) && board.is_fresh(host, task);
                assert_eq!(view.is_confirmed(host, task), confirmed, "{host}");
                let life = said.version.epoch;
                assert_eq!(view.is_confirmed_of(host, life), confirmed, "{host}");
                running += u32::from(confirmed && report.last == TaskStatus::Running);
            }
            let counted = services::counts(view, WEB).running;
            let described = services::service_json(view, &board.service(WEB).unwrap());
            assert_eq!(
                (counted, &described["runningCount"]),
                (running, &json!(running))
            );
        });
    }
}
