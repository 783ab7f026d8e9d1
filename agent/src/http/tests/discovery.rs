//! What Prometheus and Traefik are answered, before and after the board was read.

use super::*;
use crate::directory::{Directory, Refresher};
use std::{sync::Arc, time::Duration};
use tokio::time::{interval, timeout};

const PATHS: [&str; 2] = ["/v1/discovery/prometheus", "/v1/discovery/traefik"];

#[tokio::test]
async fn before_the_board_was_read_nobody_is_told_what_may_be_used() {
    let served = Served::start(refuse).await;
    for path in PATHS {
        assert_eq!(get(&served.loopback, path).await.0.as_u16(), 503, "{path}");
    }
    let board = Board::from_records(records());
    let directory = Directory::of(board, &Directory::default());
    served.handle.set_directory(Some(Arc::new(directory)));
    for to in [&served.socket, &served.loopback] {
        let (status, targets) = get(to, PATHS[0]).await;
        assert_eq!(
            (status.as_u16(), targets[0]["targets"][0].as_str()),
            (200, Some("10.0.0.1:8080"))
        );
        let (_, none) = get(to, "/v1/discovery/prometheus?service=none").await;
        assert_eq!(none, json!([]));
        let (status, told) = get(to, PATHS[1]).await;
        let server = &told["http"]["services"]["web-nginx-80"]["loadBalancer"]["servers"][0];
        assert_eq!(
            (status.as_u16(), &server["url"]),
            (200, &json!("http://10.0.0.1:8080"))
        );
        for path in PATHS {
            assert_eq!(
                get(to, &format!("{path}?servise=web")).await.0.as_u16(),
                400,
                "{path}"
            );
        }
    }
}

/// It takes the board from the driver as soon as that has one to show.
#[tokio::test]
async fn the_directory_follows_the_board() {
    let served = Served::start(refuse).await;
    let _refresher = Refresher::start(&served.handle, None).unwrap();
    served.handle.note_board(1, false);
    assert!(served.handle.directory().is_none(), "it has not caught up");
    served.handle.note_board(1, true);
    let mut look = interval(Duration::from_millis(10));
    let made = async {
        loop {
            if let Some(directory) = served.handle.directory() {
                return directory;
            }
            look.tick().await;
        }
    };
    let first = timeout(Duration::from_secs(20), made).await.unwrap();
    // The agent has just begun a new life, and has not confirmed any task.
    assert_eq!(first.tasks().count(), 0);
    assert!(first.board.host(A).is_some());
    served.handle.note_board(2, true);
    let next = async {
        while served
            .handle
            .directory()
            .is_none_or(|now| Arc::ptr_eq(&now, &first))
        {
            look.tick().await;
        }
    };
    timeout(Duration::from_secs(20), next).await.unwrap();
}
