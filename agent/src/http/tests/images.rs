//! Images over the socket: who may pull, what is refused, and how a pull is told.

use super::{Served, check, get, refuse, told};
use crate::{api::tests::board::B, http::client::send};
use bytes::Bytes;
use expect_test::expect_file;
use holdfast_core::{
    command::{Command, Outcome, Refusal},
    time::Span,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, http::request::Builder};
use serde_json::{Value, json};

fn pull() -> Builder {
    Request::post("/v1/images/pull")
}

fn body(value: &Value) -> Full<Bytes> {
    Full::from(value.to_string())
}

#[tokio::test]
async fn images_are_listed_on_both_servers_and_pulled_over_the_socket_alone() {
    let served = Served::start(refuse).await;
    for to in [&served.socket, &served.loopback] {
        check(
            &get(to, "/v1/images").await,
            expect_file!["images_without_docker.txt"],
        );
    }
    let web = json!({"images": ["web:1"]});
    let (status, _) = told(&served.loopback, pull(), body(&web)).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let none = told(&served.socket, pull(), Full::default()).await;
    check(&none, expect_file!["images_none.txt"]);
    let odd = json!({"images": ["web:1", "web?"]});
    let odd = told(&served.socket, pull(), body(&odd)).await;
    check(&odd, expect_file!["images_odd.txt"]);
}

/// What the hosts have to say of it; beta has trouble.
fn pulls(command: Command) -> Result<Outcome, Refusal> {
    let Command::PullImage { host, image } = command else {
        panic!("nothing else is asked for: {command:?}")
    };
    if host == B {
        let reason = format!("CannotPullContainerError: no such image: {image}");
        return Err(Refusal::NotPulled { reason });
    }
    Ok(Outcome::ImagePulled {
        digest: "sha256:00".to_owned(),
        was_here: image.as_str() == "db",
        took: Span::from_ms(1_250),
    })
}

async fn lines(served: &Served, wanted: &Value) -> String {
    let response = send(&served.socket, pull(), body(wanted)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let mut lines: Vec<_> = std::str::from_utf8(&bytes).unwrap().split("\n\n").collect();
    lines.sort_unstable();
    lines.join("\n").trim().to_owned()
}

#[tokio::test]
async fn a_pull_is_a_stream_that_ends_when_all_of_it_has() {
    let served = Served::start(pulls).await;
    let here = json!({"images": ["web:1", "db", "web:1"]});
    let there = json!({"images": ["web:1"], "hosts": ["beta", "alpha", "beta"]});
    let everywhere = json!({"images": ["web:1"], "allHosts": true});
    let told = [
        lines(&served, &here).await,
        lines(&served, &there).await,
        lines(&served, &everywhere).await,
    ];
    expect_file!["images_pulled.txt"].assert_eq(&told.join("\n\n"));
    let unknown = json!({"images": ["web:1"], "hosts": ["alpha", "omega"]});
    let unknown = told_of(&served, &unknown).await;
    let both = json!({"images": ["web:1"], "hosts": ["alpha"], "allHosts": true});
    let both = told_of(&served, &both).await;
    expect_file!["images_where.txt"].assert_eq(&[unknown, both].join("\n"));
}

async fn told_of(served: &Served, wanted: &Value) -> String {
    let (status, value) = told(&served.socket, pull(), body(wanted)).await;
    format!("{status}: {value:#}")
}
