//! A proxy on an engine's socket: it does to chosen requests what an engine in trouble does.
//!
//! The agent asks the proxy, the test asks the engine itself and so sees the truth. One request
//! goes over each connection. The engine is spoken to in HTTP/1.0, as that ends each answer, and
//! the stream of events, by closing: there are no chunks to be taken apart.

use std::{
    env, fmt, fs, io,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// What is to arrive in the place of an event.
type Alteration = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// What is done to the requests that are meant.
pub(super) enum Fault {
    /// Kept from the engine until the fault is lifted; then carried out, whoever still waits.
    Hold,
    /// The engine does what is asked, and its answer is lost.
    LoseReply,
    /// Answered with this status and these words, and kept from the engine.
    Refuse(u16, &'static str),
    /// The engine does what is asked; the body of its answer is changed.
    Alter(fn(&str) -> String),
    /// Of a stream of events: each is changed, those of a stream that flows already, too.
    Events(Alteration),
}

/// A fault in force; the test's end of it.
#[derive(Debug)]
pub(super) struct Armed(Arc<Rule>);

#[derive(Debug)]
struct Rule {
    /// All of these are in the first line of a request that is meant.
    parts: Vec<String>,
    fault: Fault,
    /// Requests, or events, that it has met, and those of the requests that are over.
    met: watch::Sender<usize>,
    over: watch::Sender<usize>,
    lifted: watch::Sender<bool>,
}

/// Ends with this value, as does every connection through it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) socket: PathBuf,
    shared: Arc<Shared>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    rules: Mutex<Vec<Arc<Rule>>>,
    /// How often all streams of events were cut.
    cuts: watch::Sender<usize>,
}

impl Proxy {
    pub(super) fn start(engine: PathBuf) -> Self {
        static PROXIES: AtomicU64 = AtomicU64::new(0);
        let number = PROXIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdfast-proxy-{}-{number}.sock", process::id());
        let engine = engine.display().to_string();
        let shared = Shared {
            engine: PathBuf::from(engine.strip_prefix("unix://").unwrap_or(&engine)),
            rules: Mutex::default(),
            cuts: watch::Sender::default(),
        };
        let mut proxy = Self {
            socket: env::temp_dir().join(name),
            shared: Arc::new(shared),
            serving: None,
        };
        proxy.come_back();
        proxy
    }

    /// From now on, for every request whose first line (`POST /v1.41/containers/x/start HTTP/1.1`)
    /// has all of these parts.
    pub(super) fn arm(&self, parts: &[&str], fault: Fault) -> Armed {
        let rule = Arc::new(Rule {
            parts: parts.iter().map(|&part| part.to_owned()).collect(),
            fault,
            met: watch::Sender::default(),
            over: watch::Sender::default(),
            lifted: watch::Sender::default(),
        });
        self.shared.rules().push(Arc::clone(&rule));
        Armed(rule)
    }

    /// Ends all streams of events; new ones may be opened.
    pub(super) fn cut_events(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// As an engine that ends: all connections break, new ones are refused.
    pub(super) async fn go_away(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // With it end its listener and its connections.
            serving.await.unwrap_or_default();
        }
    }

    pub(super) fn come_back(&mut self) {
        fs::remove_file(&self.socket).unwrap_or_default();
        let listener = UnixListener::bind(&self.socket).expect("the path is free");
        let shared = Arc::clone(&self.shared);
        self.serving = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(Arc::clone(&shared), client));
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
        fs::remove_file(&self.socket).unwrap_or_default();
    }
}

impl Armed {
    /// Waits until the fault has met so many requests, or events.
    pub(super) async fn met(&self, count: usize) {
        reached(&self.0.met, count).await;
    }

    /// Waits until so many of the requests that it met are over.
    pub(super) async fn over(&self, count: usize) {
        reached(&self.0.over, count).await;
    }

    /// What was held is carried out, and what comes later is none of its business.
    pub(super) fn lift(&self) {
        self.0.lifted.send_replace(true);
    }
}

async fn reached(counter: &watch::Sender<usize>, count: usize) {
    let mut counted = counter.subscribe();
    let waiting = timeout(super::PATIENCE, counted.wait_for(|now| *now >= count)).await;
    let there = waiting.unwrap_or_else(|_| panic!("{} of {count}", *counter.borrow()));
    there.expect("the counter lives");
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Vec<Arc<Rule>>> {
        self.rules.lock().expect("nobody panics with it")
    }

    /// The first fault in force that is meant for this line.
    fn rule(&self, line: &str, of_events: bool) -> Option<Arc<Rule>> {
        let rules = self.rules();
        let found = rules.iter().find(|rule| {
            matches!(rule.fault, Fault::Events(_)) == of_events
                && !*rule.lifted.borrow()
                && rule.parts.iter().all(|part| line.contains(part))
        });
        found.cloned()
    }
}

/// Whoever hangs up in the middle is nobody's failure.
async fn serve(shared: Arc<Shared>, mut client: UnixStream) -> io::Result<()> {
    let (line, request) = read_request(&mut client).await?;
    let Some(rule) = shared.rule(&line, false) else {
        return forward(&shared, &line, &request, client).await;
    };
    rule.met.send_modify(|met| *met += 1);
    let outcome = match rule.fault {
        Fault::Hold => {
            let mut lifted = rule.lifted.subscribe();
            lifted.wait_for(|lifted| *lifted).await.ok();
            forward(&shared, &line, &request, client).await
        }
        Fault::LoseReply => ask(&shared, &request).await.map(drop),
        Fault::Refuse(status, message) => {
            let body = serde_json::json!({ "message": message }).to_string();
            reply(&mut client, status, &body).await
        }
        Fault::Alter(change) => {
            let (status, body) = ask(&shared, &request).await?;
            reply(&mut client, status, &change(&body)).await
        }
        Fault::Events(_) => unreachable!("not asked for"),
    };
    rule.over.send_modify(|over| *over += 1);
    outcome
}

async fn forward(
    shared: &Shared,
    line: &str,
    request: &[u8],
    mut client: UnixStream,
) -> io::Result<()> {
    let mut engine = UnixStream::connect(&shared.engine).await?;
    engine.write_all(request).await?;
    if line.contains("/events?") {
        return forward_events(shared, line, engine, client).await;
    }
    // To its end, whether or not the client still listens: it is to be carried out.
    let mut answer = Vec::new();
    engine.read_to_end(&mut answer).await?;
    client.write_all(&answer).await
}

/// The engine writes each event as one line.
async fn forward_events(
    shared: &Shared,
    line: &str,
    engine: UnixStream,
    client: UnixStream,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let mut cuts = shared.cuts.subscribe();
    let relay = async {
        let mut engine = BufReader::new(engine);
        let head = read_head(&mut engine).await?;
        to_client.write_all(head.as_bytes()).await?;
        let mut events = engine.lines();
        while let Some(event) = events.next_line().await? {
            for event in altered(shared, line, event) {
                to_client.write_all(event.as_bytes()).await?;
                to_client.write_all(b"\n").await?;
            }
        }
        Ok(())
    };
    let mut ignored = [0];
    tokio::select! {
        outcome = relay => outcome,
        // Nothing more is asked over this connection: it says only that the client is gone.
        _ = from_client.read(&mut ignored) => Ok(()),
        _ = cuts.changed() => Ok(()),
    }
}

fn altered(shared: &Shared, line: &str, event: String) -> Vec<String> {
    let rule = shared.rule(line, true);
    let Some((rule, Fault::Events(change))) = rule.as_ref().map(|rule| (rule, &rule.fault)) else {
        return vec![event];
    };
    let events = change(&event);
    if events != [event] {
        rule.met.send_modify(|met| *met += 1);
    }
    events
}

/// The status and body of the engine's answer.
async fn ask(shared: &Shared, request: &[u8]) -> io::Result<(u16, String)> {
    let mut engine = UnixStream::connect(&shared.engine).await?;
    engine.write_all(request).await?;
    let mut engine = BufReader::new(engine);
    let head = read_head(&mut engine).await?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut body = String::new();
    engine.read_to_string(&mut body).await?;
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
}

async fn reply(client: &mut UnixStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes()).await
}

/// The first line as it came, and all of the request as the engine is to get it.
async fn read_request(client: &mut UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut client = BufReader::new(client);
    let head = read_head(&mut client).await?;
    let (line, headers) = head.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let length = headers.lines().find_map(|header| {
        let (name, value) = header.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse().ok()).flatten()
    });
    let first = line.replace("HTTP/1.1", "HTTP/1.0");
    let mut request = format!("{first}\r\n{headers}").into_bytes();
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).await?;
    request.extend(body);
    Ok((line.to_owned(), request))
}

/// All up to the empty line, with it.
async fn read_head(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "Hold",
            Self::LoseReply => "LoseReply",
            Self::Refuse(..) => "Refuse",
            Self::Alter(_) => "Alter",
            Self::Events(_) => "Events",
        })
    }
}
