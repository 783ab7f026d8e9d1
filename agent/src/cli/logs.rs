//! `holdfast task logs`: what one container says, or what several do, each line with its container.

use super::{
    args::LogsArgs,
    client::{Client, Frames, encode},
    failure::Failure,
    lines::{Line, Lines},
    output::{at, list_at, tail},
    tasks::{ID_SHOWN, find},
};
use crate::http::frames::Kind;
use serde_json::Value;
use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, Write},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

/// Each is a stream at the agent, which has so many for everybody.
const SOURCES_MAX: usize = 64;
/// How often it is looked for tasks that came, while those of a service are followed.
const LOOKED_EACH: Duration = Duration::from_secs(2);
/// Lines that were read and not printed yet.
const LINES_WAITING_MAX: usize = 256;

/// One container's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    label: String,
    path: String,
}

impl Source {
    /// The path to ask for it; with when each line was said, or without.
    fn asked(&self, timed: bool) -> String {
        match timed {
            true => format!("{}&timestamps=true", self.path),
            false => self.path.clone(),
        }
    }
}

pub(super) async fn run(client: &Client, args: LogsArgs) -> Result<(), Failure> {
    let sources = sources(client, &args).await?;
    match &sources[..] {
        [one] if args.service.is_none() => straight(client, &one.asked(args.timestamps)).await,
        several if args.follow => by_arrival(client, &args, several).await,
        several => by_time(client, &args, several).await,
    }
}

async fn sources(client: &Client, args: &LogsArgs) -> Result<Vec<Source>, Failure> {
    let tasks = match (&args.task, &args.service) {
        (Some(task), _) => vec![find(client, task).await?],
        (None, service) => {
            let name = service.as_deref().unwrap_or_default();
            let path = format!("/v1/cluster-tasks?service={}", encode(name));
            let tasks = client.list(&path, "tasks").await?;
            if tasks.is_empty() {
                return Err(Failure::Refused(format!(
                    "service {name} has no running task; `holdfast task ls --all --service {name}` \
                     lists those that ended, whose logs can be read by their ids"
                )));
            }
            tasks
        }
    };
    let sources: Vec<_> = tasks.iter().flat_map(|task| of_task(task, args)).collect();
    match (sources.len(), &args.container) {
        (0, Some(name)) => Err(Failure::Refused(format!(
            "there is no container {name:?}; `holdfast task show` lists a task's containers"
        ))),
        (0, None) => Err(Failure::Refused("no container was made yet".to_owned())),
        (1..=SOURCES_MAX, _) => Ok(sources),
        (many, _) => Err(Failure::Refused(format!(
            "these are the logs of {many} containers, and {SOURCES_MAX} can be read at once; name \
             a task, or a container with --container"
        ))),
    }
}

fn of_task(task: &Value, args: &LogsArgs) -> Vec<Source> {
    let id = at(task, "/holdfast/taskId");
    let group = match at(task, "/holdfast/serviceName") {
        none if none.is_empty() => {
            let definition = at(task, "/taskDefinitionArn");
            let family = tail(&definition).split(':').next();
            family.unwrap_or_default().to_owned()
        }
        service => service,
    };
    let short: String = id.chars().take(ID_SHOWN).collect();
    let containers = list_at(task, "/containers").iter();
    let made = containers.filter(|one| !at(one, "/runtimeId").is_empty());
    let names = made.map(|container| at(container, "/name"));
    let meant = names.filter(|name| args.container.as_ref().is_none_or(|meant| meant == name));
    let sources = meant.map(|name| Source {
        label: format!("{group}/{short} {name}"),
        path: path(&id, &name, args),
    });
    sources.collect()
}

fn path(task: &str, container: &str, args: &LogsArgs) -> String {
    let mut path = format!(
        "/v1/tasks/{task}/logs?container={}&follow={}&tail={}",
        encode(container),
        args.follow,
        encode(&args.tail)
    );
    for (name, value) in [("since", &args.since), ("until", &args.until)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    path
}

/// As it comes, bytes and all.
async fn straight(client: &Client, path: &str) -> Result<(), Failure> {
    let mut frames = client.frames(path).await?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(pieces) = frames.next().await? {
        for piece in pieces {
            // In turn, where both say something.
            let (mine, other, is_err) = match piece.kind {
                Kind::Stderr => (&mut err, &mut out, false),
                _ => (&mut out, &mut err, true),
            };
            flush(other, is_err)?;
            mine.extend_from_slice(&piece.bytes);
        }
        flush(&mut out, false)?;
        flush(&mut err, true)?;
    }
    Ok(())
}

fn flush(bytes: &mut Vec<u8>, is_stderr: bool) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = match is_stderr {
        true => io::stderr().write_all(bytes),
        false => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
    };
    bytes.clear();
    written.map_err(unwritten)
}

pub(super) fn unwritten(err: io::Error) -> Failure {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Refused(format!("cannot write the output: {err}")),
    }
}

/// How lines are shown.
struct Printer {
    width: usize,
    labels: bool,
    moments: bool,
    faults: Vec<String>,
}

impl Printer {
    fn new(args: &LogsArgs, sources: &[Source]) -> Self {
        let widths = sources.iter().map(|source| source.label.len());
        Self {
            width: widths.max().unwrap_or(0),
            labels: !args.no_log_prefix,
            moments: args.timestamps,
            faults: Vec::new(),
        }
    }

    fn print(&self, source: &Source, line: &Line) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(line.text.len() + 80);
        if self.labels {
            let (label, width) = (&source.label, self.width);
            bytes.extend_from_slice(format!("{label:width$} | ").as_bytes());
        }
        if self.moments {
            bytes.extend_from_slice(&line.moment);
            bytes.push(b' ');
        }
        bytes.extend_from_slice(&line.text);
        bytes.push(b'\n');
        flush(&mut bytes, line.is_stderr)
    }

    /// The others go on; in the end it is a failure all the same.
    fn fault(&mut self, source: &Source, failure: &Failure) {
        let text = format!("{}: {failure}", source.label);
        eprintln!("{text}");
        self.faults.push(text);
    }

    fn end(self) -> Result<(), Failure> {
        match self.faults.len() {
            0 => Ok(()),
            count => Err(Failure::Refused(format!(
                "{count} of the logs could not be read to their ends; why is above"
            ))),
        }
    }
}

/// A log of which the next line is at hand.
struct Reader<'a> {
    source: &'a Source,
    /// `None` after its end.
    frames: Option<(Frames, Lines)>,
    lines: VecDeque<Line>,
}

impl Reader<'_> {
    async fn fill(&mut self) -> Result<(), Failure> {
        while self.lines.is_empty()
            && let Some((frames, lines)) = &mut self.frames
        {
            match frames.next().await {
                Ok(Some(pieces)) => {
                    pieces
                        .iter()
                        .for_each(|piece| lines.feed(piece, &mut self.lines));
                }
                ended => {
                    if let Some((_, lines)) = self.frames.take() {
                        lines.rest(&mut self.lines);
                    }
                    ended?;
                }
            }
        }
        Ok(())
    }
}

/// What was said first, first. Each log is in order; they are merged.
async fn by_time(client: &Client, args: &LogsArgs, sources: &[Source]) -> Result<(), Failure> {
    let mut printer = Printer::new(args, sources);
    let mut readers = Vec::new();
    for source in sources {
        match client.frames(&source.asked(true)).await {
            Ok(frames) => {
                let lines = Lines::new(frames.is_terminal, true);
                readers.push(Reader {
                    source,
                    frames: Some((frames, lines)),
                    lines: VecDeque::new(),
                });
            }
            Err(failure) => printer.fault(source, &failure),
        }
    }
    loop {
        for reader in &mut readers {
            if let Err(failure) = reader.fill().await {
                printer.fault(reader.source, &failure);
            }
        }
        let next = readers.iter_mut().filter(|reader| !reader.lines.is_empty());
        let Some(next) = next.min_by_key(|reader| reader.lines[0].at) else {
            return printer.end();
        };
        if let Some(line) = next.lines.pop_front() {
            printer.print(next.source, &line)?;
        }
    }
}

/// What a reader tells of its log.
enum Told {
    Line(Arc<Source>, Line),
    Fault(Arc<Source>, Failure),
    Tasks(Result<Vec<Source>, Failure>),
}

async fn by_arrival(client: &Client, args: &LogsArgs, sources: &[Source]) -> Result<(), Failure> {
    let mut printer = Printer::new(args, sources);
    let client = Arc::new(client.clone());
    let (tell, mut told) = mpsc::channel(LINES_WAITING_MAX);
    let mut known = BTreeSet::new();
    let mut workers = JoinSet::new();
    let start = |source: &Source, workers: &mut JoinSet<()>| {
        let (source, timed) = (Arc::new(source.clone()), args.timestamps);
        workers.spawn(follow(Arc::clone(&client), source, timed, tell.clone()));
    };
    for source in sources {
        known.insert(source.label.clone());
        start(source, &mut workers);
    }
    let mut looking = JoinSet::new();
    if args.service.is_some() {
        looking.spawn(look(Arc::clone(&client), args.clone(), tell.clone()));
    }
    loop {
        let next = tokio::select! {
            Some(next) = told.recv() => next,
            // All have told what they had to tell, and nobody looks for more.
            Some(_) = workers.join_next() => {
                if workers.is_empty() && looking.is_empty() && told.is_empty() {
                    return printer.end();
                }
                continue;
            }
        };
        match next {
            Told::Line(source, line) => printer.print(&source, &line)?,
            Told::Fault(source, failure) => printer.fault(&source, &failure),
            Told::Tasks(Ok(found)) => {
                for source in found {
                    if workers.len() < SOURCES_MAX && known.insert(source.label.clone()) {
                        start(&source, &mut workers);
                    }
                }
            }
            Told::Tasks(Err(failure @ Failure::Unreachable { .. })) => return Err(failure),
            // None runs at the moment.
            Told::Tasks(Err(_)) => {}
        }
        if workers.is_empty() && looking.is_empty() && told.is_empty() {
            return printer.end();
        }
    }
}

/// Those of the service's tasks that came since have been followed from their beginning.
async fn look(client: Arc<Client>, args: LogsArgs, tell: mpsc::Sender<Told>) {
    let args = LogsArgs {
        tail: "all".to_owned(),
        since: None,
        ..args
    };
    loop {
        sleep(LOOKED_EACH).await;
        let found = sources(&client, &args).await;
        if tell.send(Told::Tasks(found)).await.is_err() {
            return;
        }
    }
}

async fn follow(
    client: Arc<Client>,
    source: Arc<Source>,
    timed_too: bool,
    tell: mpsc::Sender<Told>,
) {
    if let Err(failure) = read(&client, &source, timed_too, &tell).await {
        tell.send(Told::Fault(source, failure)).await.ok();
    }
}

async fn read(
    client: &Client,
    source: &Arc<Source>,
    timed_too: bool,
    tell: &mpsc::Sender<Told>,
) -> Result<(), Failure> {
    let mut frames = client.frames(&source.asked(timed_too)).await?;
    let mut lines = Lines::new(frames.is_terminal, timed_too);
    let mut ready = VecDeque::new();
    loop {
        let ended = match frames.next().await {
            Ok(Some(pieces)) => {
                pieces
                    .iter()
                    .for_each(|piece| lines.feed(piece, &mut ready));
                None
            }
            ended => {
                std::mem::take(&mut lines).rest(&mut ready);
                Some(ended.map(drop))
            }
        };
        for line in ready.drain(..) {
            // Nobody prints any more.
            if tell
                .send(Told::Line(Arc::clone(source), line))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}
