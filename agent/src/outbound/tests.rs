//! A webhook that is down for long, with an agent that is killed meanwhile: nothing is lost.

use super::{
    sink::{BATCH_MAX, Sink, Target},
    spool::{Entry, Spool},
    webhook::{Webhook, WebhookUrl},
};
use crate::{api::tests::board::context, test_dir::TestDir};
use axum::{Router, extract::State, http::StatusCode, routing::post};
use holdfast_core::{ids::HostId, time::Wall};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

const EVENTS: u64 = 20_000;
const SPOOL_BYTES: u64 = 64 * 1_024 * 1_024;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Received {
    is_up: bool,
    numbers: Vec<u64>,
    refused: u64,
}

type Shared = Arc<Mutex<Received>>;

async fn take(State(received): State<Shared>, body: String) -> StatusCode {
    let mut received = received.lock().unwrap();
    if !received.is_up {
        received.refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    received
        .numbers
        .extend(serde_json::from_str::<Vec<u64>>(&body).unwrap());
    StatusCode::NO_CONTENT
}

async fn receiver() -> (String, Shared) {
    let received = Shared::default();
    let router = Router::new()
        .route("/", post(take))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/"), received)
}

/// An agent's spool and its webhook, as long as it lives.
struct Life {
    spool: Spool,
    worker: JoinHandle<()>,
}

impl Life {
    fn begin(directory: &Path, url: &str) -> Self {
        let path = directory.join("events.redb");
        let ours = (Arc::new(context()), HostId(7));
        let spool = Spool::open(&path, vec!["webhook"], SPOOL_BYTES, ours, Wall(0)).unwrap();
        let webhook = Webhook::new(WebhookUrl::parse(url).unwrap(), None).unwrap();
        let sink = Arc::new(Sink::new(0, Target::Webhook(Box::new(webhook))));
        let worker = tokio::spawn(sink.run(spool.reader()));
        Self { spool, worker }
    }

    async fn tell(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        let numbers: Vec<u64> = numbers.collect();
        for chunk in numbers.chunks(50) {
            let entry = |number: &u64| Entry {
                at: Wall(*number),
                json: number.to_string().into_bytes(),
            };
            self.spool.append(chunk.iter().map(entry).collect());
            self.spool.pass().await;
        }
    }

    /// What is on the disk stays as it is at this moment, in a directory of its own. A copy takes
    /// its time, unlike a kill: nothing is written meanwhile.
    async fn kill(self, directory: &Path) -> TestDir {
        self.worker.abort();
        self.spool.reader().done(0, 0).await;
        let left = TestDir::new("spool");
        let name = "events.redb";
        fs::copy(directory.join(name), left.join(name)).unwrap();
        left
    }
}

async fn until(received: &Shared, is_so: impl Fn(&Received) -> bool) {
    let seen = async {
        while !is_so(&received.lock().unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("it takes that long");
}

#[tokio::test]
async fn all_that_waits_is_delivered_in_order_however_often_the_agent_is_killed() {
    let (url, received) = receiver().await;
    let first = TestDir::new("spool");
    let mut life = Life::begin(&first, &url);
    life.tell(1..=EVENTS / 2).await;
    until(&received, |received| received.refused > 0).await;
    let second = life.kill(&first).await;
    let mut life = Life::begin(&second, &url);
    life.tell(EVENTS / 2 + 1..=EVENTS).await;
    received.lock().unwrap().is_up = true;
    until(&received, |received| {
        received.numbers.len() as u64 > EVENTS / 4
    })
    .await;
    let third = life.kill(&second).await;
    let life = Life::begin(&third, &url);
    until(&received, |received| {
        received.numbers.last() == Some(&EVENTS)
    })
    .await;
    drop(life);

    let numbers = received.lock().unwrap().numbers.clone();
    let mut next = 1;
    let mut repeats = 0;
    for number in numbers {
        match number.cmp(&next) {
            std::cmp::Ordering::Equal => next += 1,
            std::cmp::Ordering::Less => repeats += 1,
            std::cmp::Ordering::Greater => panic!("{next} is missing before {number}"),
        }
    }
    assert_eq!(next, EVENTS + 1);
    assert!(repeats <= BATCH_MAX, "{repeats} repeats at one seam");
}
