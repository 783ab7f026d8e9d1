//! Stories of tasks: what the runtime says in, statuses and commands out, and the table of moves.

mod story;
mod machine;
mod order;
mod health;
mod again;
mod comparison;
mod every_order;
mod gpus;
mod images;

use super::status::TaskStatus;
use expect_test::expect;

const ALL: [TaskStatus; 8] = [
    TaskStatus::Provisioning,
    TaskStatus::Pending,
    TaskStatus::Activating,
    TaskStatus::Running,
    TaskStatus::Deactivating,
    TaskStatus::Stopping,
    TaskStatus::Deprovisioning,
    TaskStatus::Stopped,
];

#[test]
fn the_table_of_legal_moves() {
    let row = |from: TaskStatus| {
        let moves = ALL.map(|to| if from.can_become(to) { 'x' } else { '.' });
        format!(
            "{:<14}{}\n",
            from.as_str(),
            moves.iter().collect::<String>()
        )
    };
    expect![[r#"
        PROVISIONING  .xxxxxxx
        PENDING       ..xxxxxx
        ACTIVATING    ...xxxxx
        RUNNING       ....xxxx
        DEACTIVATING  .....xxx
        STOPPING      ......xx
        DEPROVISIONING.......x
        STOPPED       ........
    "#]]
    .assert_eq(&ALL.map(row).concat());
}

#[test]
fn a_status_only_moves_forward_and_stopped_is_final() {
    for from in ALL {
        for to in ALL {
            assert!(!from.can_become(to) || from < to, "{from} to {to}");
        }
        assert_eq!(
            from.can_become(TaskStatus::Stopped),
            from != TaskStatus::Stopped
        );
        assert_eq!(from.is_live(), from != TaskStatus::Stopped);
    }
}
