//! Whatever an engine answers, nothing panics, and no foreign container is taken for ours.
//!
//! The answers are Docker 20.10's own, recorded; each case spoils some of them in other ways.

use super::config;
use crate::runtime::{
    docker::Shared,
    events::{self, Cursor},
    list, operations,
};
use bollard::Docker as Client;
use holdfast_core::{
    ids::{RuntimeId, TaskId},
    rng::Rng,
    task::runtime::{RuntimeCommand, RuntimeEvent},
    time::Span,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    env, fs, process,
    sync::{Arc, Mutex},
    thread,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::mpsc,
};

const CASES: u64 = 300;
/// Stands for a number that no Rust integer holds, until the answer is a text.
const HUGE: &str = "@huge@";

/// What an engine answers: the list, each inspection by its container, and the stream of events.
struct Answers {
    list: String,
    inspected: Vec<(String, String)>,
    events: String,
}

/// As recorded: containers of this agent, which `ours` names, and of others.
fn recorded() -> Value {
    serde_json::from_str(include_str!("garbled/recorded.json")).expect("it was JSON when recorded")
}

fn all<'a>(recorded: &'a Value, name: &str) -> &'a Vec<Value> {
    recorded[name].as_array().expect("it is a list")
}

impl Answers {
    fn spoilt(recorded: &Value, rng: &mut Rng) -> Self {
        let inspected = all(recorded, "inspected").iter().map(|one| {
            let id = one["Id"].as_str().expect("Docker says it").to_owned();
            (id, spoilt(one, rng))
        });
        let inspected = inspected.collect();
        let events: Vec<_> = all(recorded, "events")
            .iter()
            .map(|one| spoilt(one, rng))
            .collect();
        Self {
            list: spoilt(&recorded["list"], rng),
            inspected,
            events: events.join("\n"),
        }
    }

    fn to(&self, line: &str) -> &str {
        let inspected = self.inspected.iter().find(|(id, _)| line.contains(id));
        match inspected {
            Some((_, answer)) => answer,
            None if line.contains("/containers/json") => &self.list,
            None => &self.events,
        }
    }
}

/// Mostly whole; else with some of its values in the place of others, or cut off.
fn spoilt(value: &Value, rng: &mut Rng) -> String {
    let mut value = value.clone();
    for _ in 0..rng.below(4) {
        let depth = 1 + rng.below(6);
        spoil(&mut value, depth, rng);
    }
    let mut text = value.to_string();
    text = text.replace(&format!("{HUGE:?}"), "1e999");
    if rng.below(12) == 0 {
        let cut = rng.index(text.len()).unwrap_or(0);
        let whole = (0..=cut).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(whole.unwrap_or(0));
    }
    text
}

fn spoil(value: &mut Value, depth: u64, rng: &mut Rng) {
    let inner = match value {
        Value::Array(values) => rng.index(values.len()).and_then(|at| values.get_mut(at)),
        Value::Object(map) => {
            let key = rng.index(map.len()).and_then(|at| map.keys().nth(at));
            let key = key.cloned().unwrap_or_default();
            if rng.below(8) == 0 {
                map.remove(&key);
                return;
            }
            map.get_mut(&key)
        }
        _ => None,
    };
    match inner {
        Some(inner) if depth > 0 => spoil(inner, depth - 1, rng),
        _ => *value = junk(rng),
    }
}

fn junk(rng: &mut Rng) -> Value {
    match rng.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1.5),
        6 => json!(HUGE),
        7 => json!(""),
        8 => json!([]),
        9 => json!({}),
        10 => json!([[{}], null, "x"]),
        11 => json!("\u{fffd}\u{0}\u{10ffff}".repeat(1_000)),
        12 => (0..200).fold(Value::Null, |inner, _| json!([inner])),
        _ => json!("9999-99-99T99:99:99.999999999+99:99"),
    }
}

/// Answers everything, one connection after the other; notes the first line of each request.
async fn serve(listener: UnixListener, answers: Answers, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut question = vec![0; 8_192];
        let read = stream.read(&mut question).await.unwrap_or(0);
        let question = String::from_utf8_lossy(&question[..read]).into_owned();
        let line = question.lines().next().unwrap_or_default().to_owned();
        let body = answers.to(&line);
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        asked.lock().expect("nobody panics with it").push(line);
        stream
            .write_all(answer.as_bytes())
            .await
            .unwrap_or_default();
    }
}

fn task_of(event: &RuntimeEvent) -> Option<TaskId> {
    match event {
        RuntimeEvent::Started { task, .. }
        | RuntimeEvent::Exited { task, .. }
        | RuntimeEvent::Removed { task, .. } => Some(*task),
        _ => None,
    }
}

/// Says which case it was, if it fails.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("it was case {}", self.0);
        }
    }
}

#[tokio::test]
async fn no_answer_makes_it_panic_or_take_a_foreign_container_for_ours() {
    let recorded = recorded();
    let ids = |of: &Value| of.as_str().and_then(|id| id.parse().ok());
    let ours: BTreeSet<RuntimeId> = all(&recorded, "ours").iter().filter_map(ids).collect();
    let foreign = all(&recorded, "list").iter().map(|one| &one["Id"]);
    let foreign: Vec<RuntimeId> = foreign
        .filter_map(ids)
        .filter(|id| !ours.contains(id))
        .collect();
    assert_eq!((ours.len(), foreign.len()), (4, 4));
    let base = config().host.0;
    let tasks: BTreeSet<TaskId> = (1..=4).map(|number| TaskId(base | number)).collect();
    let (mut found, mut told) = (0, 0);
    for number in 0..CASES {
        let _case = Case(number);
        let answers = Answers::spoilt(&recorded, &mut Rng::new(number));
        let socket = env::temp_dir().join(format!("holdfast-garbled-{}.sock", process::id()));
        fs::remove_file(&socket).unwrap_or_default();
        let listener = UnixListener::bind(&socket).expect("the path is free");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let engine = tokio::spawn(serve(listener, answers, Arc::clone(&asked)));

        let (sender, mut events) = mpsc::channel(64);
        let shared = Arc::new(Shared::new(config(), sender));
        let path = socket.display().to_string();
        let client = Client::connect_with_unix(&path, 60, bollard::API_DEFAULT_VERSION);
        let client = client.expect("the socket is there");
        shared.set_client(Some(client.clone()));
        let listed = list::list(&shared, &client).await.unwrap_or_default();
        for one in &listed {
            assert!(ours.contains(&one.runtime_id), "{one:?}");
            assert!(tasks.contains(&one.labels.task), "{one:?}");
        }
        found += listed.len();
        shared.ledger().end_comparison(listed);
        events::follow(&shared, &client, &mut Cursor::now()).await;
        for (at, &runtime_id) in foreign.iter().enumerate() {
            let (task, container) = (TaskId(base | (11 + at as u128)), "web".to_owned());
            let grace = Span::ZERO;
            let stop = RuntimeCommand::Stop {
                task,
                container,
                runtime_id,
                grace,
            };
            operations::carry_out(Arc::clone(&shared), stop).await;
        }
        engine.abort();
        while let Ok(event) = events.try_recv() {
            let task = task_of(&event);
            assert!(task.is_none_or(|task| tasks.contains(&task)), "{event:?}");
            told += usize::from(task.is_some());
        }
        let asked = asked.lock().expect("nobody panics with it");
        let only_asked = asked.iter().all(|line| line.starts_with("GET "));
        assert!(only_asked, "a foreign container was touched: {asked:?}");
        fs::remove_file(&socket).unwrap_or_default();
    }
    // Not because nothing was read at all.
    assert!(found > 100 && told > 100, "{found} found, {told} told");
}
