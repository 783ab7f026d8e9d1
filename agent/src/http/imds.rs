//! What an EC2 instance was given, as its metadata service (IMDSv2) tells it; the paths are those
//! of Amazon's user guide.

use super::{
    address::Address,
    client::{encode, send},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, http::request::Builder};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// EC2's own.
pub(crate) const IMDS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// The network may take a while to come. Who waits for us waits as long.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// EC2's limit for user-data is 16 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// What the instance was given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) instance: String,
    pub(crate) zone: String,
    pub(crate) kind: String,
    pub(crate) tags: Vec<(String, String)>,
    /// Of whatever kind.
    pub(crate) user_data: String,
}

/// Asks until it has answered, for a minute at the most.
pub(crate) async fn ask(at: SocketAddr) -> Result<Given, String> {
    let begun = Instant::now();
    loop {
        match Imds::ask(Address::Tcp(at)).await {
            Ok(given) => return Ok(given),
            Err(why) if begun.elapsed() > PATIENCE => {
                return Err(format!(
                    "the metadata service at {at} has not told within {} s what this machine was \
                     given: {why}. Is it switched on for the EC2 instance?",
                    PATIENCE.as_secs()
                ));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A session with the metadata service.
struct Imds {
    at: Address,
    token: String,
}

impl Imds {
    async fn ask(at: Address) -> Result<Given, String> {
        let put = Request::put("/latest/api/token");
        let put = put.header("X-aws-ec2-metadata-token-ttl-seconds", "300");
        let token = answered(&at, put).await?.ok_or("it gives no tokens")?;
        let imds = Self { at, token };
        let names = imds.get("meta-data/tags/instance").await?;
        let mut tags = Vec::new();
        for name in names.unwrap_or_default().lines() {
            let path = format!("meta-data/tags/instance/{}", encode(name));
            if let Some(value) = imds.get(&path).await? {
                tags.push((name.to_owned(), value));
            }
        }
        Ok(Given {
            instance: imds.must("meta-data/instance-id").await?,
            zone: imds.must("meta-data/placement/availability-zone").await?,
            kind: imds.must("meta-data/instance-type").await?,
            tags,
            user_data: imds.get("user-data").await?.unwrap_or_default(),
        })
    }

    async fn must(&self, path: &str) -> Result<String, String> {
        let told = self.get(path).await?;
        told.ok_or_else(|| format!("it has no {path}"))
    }

    /// `None` where there is no such thing.
    async fn get(&self, path: &str) -> Result<Option<String>, String> {
        let get = Request::get(format!("/latest/{path}"));
        let get = get.header("X-aws-ec2-metadata-token", &self.token);
        answered(&self.at, get).await
    }
}

async fn answered(at: &Address, request: Builder) -> Result<Option<String>, String> {
    let answer = async {
        let body = Full::new(Bytes::new());
        let answer = send(at, request, body)
            .await
            .map_err(|err| err.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|err| err.to_string())?.to_bytes();
        match status {
            StatusCode::OK => Ok(Some(String::from_utf8_lossy(&body).into_owned())),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(format!("it answers {other}")),
        }
    };
    let answered = timeout(ANSWER_TIMEOUT, answer).await;
    answered.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use axum::{
        Router,
        extract::State,
        http::HeaderMap,
        routing::{get, put},
    };
    use std::{collections::BTreeMap, sync::Arc};
    use tokio::net::TcpListener;

    const TOKEN: &str = "AQAEAF6";

    type Paths = Arc<BTreeMap<&'static str, &'static str>>;

    /// Answers as EC2 does: nothing without a token, and 404 for what there is not.
    pub(crate) async fn ec2(paths: &[(&'static str, &'static str)]) -> SocketAddr {
        let token = |headers: HeaderMap| async move {
            match headers.contains_key("x-aws-ec2-metadata-token-ttl-seconds") {
                true => Ok(TOKEN),
                false => Err(StatusCode::BAD_REQUEST),
            }
        };
        let told = |State(paths): State<Paths>, uri: hyper::Uri, headers: HeaderMap| async move {
            let given = headers.get("x-aws-ec2-metadata-token");
            if given.is_none_or(|token| token != TOKEN) {
                return Err(StatusCode::UNAUTHORIZED);
            }
            let path = uri.path().trim_start_matches("/latest/").to_owned();
            paths.get(&*path).copied().ok_or(StatusCode::NOT_FOUND)
        };
        let router = Router::new()
            .route("/latest/api/token", put(token))
            .fallback(get(told))
            .with_state(Arc::new(paths.iter().copied().collect()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        at
    }

    pub(crate) const INSTANCE_PATHS: [(&str, &str); 6] = [
        ("meta-data/instance-id", "i-0123"),
        ("meta-data/placement/availability-zone", "eu-west-1b"),
        ("meta-data/instance-type", "m7g.large"),
        ("meta-data/tags/instance", "Name\nteam\nodd one"),
        ("meta-data/tags/instance/Name", "web 1"),
        ("meta-data/tags/instance/team", "blue"),
    ];

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = Address::Tcp(listener.local_addr().unwrap());
        drop(listener);
        let why = Imds::ask(at).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
        let at = Address::Tcp(ec2(&INSTANCE_PATHS[1..]).await);
        let why = Imds::ask(at).await.unwrap_err();
        assert_eq!(why, "it has no meta-data/instance-id");
    }
}
