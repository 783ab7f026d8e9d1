//! Who makes an answer does not hold up the agent, whatever becomes of that answer.

use super::{Served, answer, get, refuse};
use crate::api::error::ApiError;
use std::sync::mpsc;

#[tokio::test]
async fn the_agent_goes_on_while_an_answer_takes_long_and_a_short_one_overtakes_it() {
    let served = Served::start(refuse).await;
    let (go_on, told) = mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let app = served.app.clone();
    let long = tokio::spawn(async move {
        answer::look(&app, move |view, _| {
            begin.send(()).unwrap();
            told.recv().unwrap();
            view.board.len()
        })
        .await
    });
    begun.await.unwrap();
    for path in ["/healthz", "/v1/status"] {
        assert_eq!(get(&served.socket, path).await.0.as_u16(), 200, "{path}");
    }
    assert!(!long.is_finished());
    go_on.send(()).unwrap();
    assert!(long.await.unwrap().unwrap() > 0);
}

#[tokio::test]
async fn an_answer_that_is_a_bug_is_refused_and_gives_back_its_turn() {
    let served = Served::start(refuse).await;
    for _ in 0..5 {
        let answered = answer::look(&served.app, |_, _| panic!("a bug"));
        let refused: Result<(), ApiError> = answered.await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("has a bug"), "{text}");
    }
    assert_eq!(get(&served.socket, "/v1/status").await.0.as_u16(), 200);
}
