//! Where first peers are: each source is asked again and again, and its last good answer is kept.
//!
//! A source is an entry of `peers`. Names are resolved, files read and commands run anew every
//! `peers_refresh_s`, a file also when it changes, and all of them at once when this agent finds
//! itself alone. What goes wrong with a source is told when it changes, not each time.

mod source;
mod srv;
#[cfg(test)]
mod tests;

pub(crate) use source::PeerSource;

use crate::command;
use holdfast_core::{limits::SEEDS_MAX, rng::Rng, time::Span};
use source::{Endpoint, read_lines};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};
use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{info, warn};

/// A starting agent waits so long for all sources; what comes later is taken when it comes.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(5);
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between looks whether a file has changed. A look is one `stat`, which also sees what is renamed
/// into place or changes behind a link, and what another machine wrote.
const FILE_LOOK: Duration = Duration::from_secs(1);
/// An agent that is alone asks again after this, then after twice as long, and so on.
const ALONE_RETRY_MIN: Duration = Duration::from_secs(1);
const FILE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) struct DiscoverySettings {
    /// A tenth more or less is drawn each time, so that a cluster does not ask in step.
    pub(crate) refresh: Span,
    pub(crate) command_wait_max: Span,
    /// Of peers that are given without one.
    pub(crate) port: u16,
}

/// Asks until it is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    answers: mpsc::Receiver<(usize, Vec<SocketAddr>)>,
    /// The last good answer of each source; `None` before the first.
    latest: Vec<Option<Vec<SocketAddr>>>,
    told: Vec<SocketAddr>,
    alone: watch::Sender<bool>,
    _workers: JoinSet<()>,
}

impl Discovery {
    /// Must be called within tokio's runtime.
    pub(crate) fn start(
        sources: Vec<PeerSource>,
        settings: DiscoverySettings,
    ) -> Result<Self, getrandom::Error> {
        let (tell, answers) = mpsc::channel(sources.len().max(1));
        let (alone, is_alone) = watch::channel(true);
        let mut workers = JoinSet::new();
        let latest = vec![None; sources.len()];
        for (number, source) in sources.into_iter().enumerate() {
            let asked = Asked {
                source,
                settings,
                endpoints: Vec::new(),
                names: BTreeMap::new(),
                troubles: BTreeSet::new(),
                rng: Rng::new(getrandom::u64()?),
                alone: is_alone.clone(),
                alone_retry: ALONE_RETRY_MIN,
            };
            workers.spawn(asked.run(number, tell.clone()));
        }
        Ok(Self {
            answers,
            latest,
            told: Vec::new(),
            alone,
            _workers: workers,
        })
    }

    /// What is known when all sources have answered, or when waiting longer makes no sense.
    pub(crate) async fn first(&mut self) -> Vec<SocketAddr> {
        let until = Instant::now() + FIRST_WAIT_MAX;
        while self.latest.iter().any(Option::is_none) {
            match timeout_at(until, self.answers.recv()).await {
                Ok(Some(answer)) => self.take(answer),
                Ok(None) | Err(_) => break,
            }
        }
        self.told = self.union();
        self.told.clone()
    }

    /// Waits until the first peers are other ones than before. May be dropped at any await.
    pub(crate) async fn changed(&mut self) -> Vec<SocketAddr> {
        while let Some(answer) = self.answers.recv().await {
            self.take(answer);
            let union = self.union();
            if union != self.told {
                info!(peers = union.len(), "First peers have changed.");
                self.told.clone_from(&union);
                return union;
            }
        }
        // Only addresses that never change were given.
        std::future::pending().await
    }

    /// Whether any other host is up; while none is, the sources are asked more often.
    pub(crate) fn note_alone(&self, alone: bool) {
        self.alone
            .send_if_modified(|was| std::mem::replace(was, alone) != alone);
    }

    fn take(&mut self, (number, addresses): (usize, Vec<SocketAddr>)) {
        self.latest[number] = Some(addresses);
    }

    /// In the order of the sources, as a person would try them.
    fn union(&self) -> Vec<SocketAddr> {
        let mut seen = BTreeSet::new();
        let all = self.latest.iter().flatten().flatten().copied();
        let all = all.filter(|address| seen.insert(*address));
        all.take(SEEDS_MAX).collect()
    }
}

/// One source, with what it said last.
struct Asked {
    source: PeerSource,
    settings: DiscoverySettings,
    endpoints: Vec<Endpoint>,
    /// The addresses that each name had when it was last resolved.
    names: BTreeMap<Endpoint, Vec<SocketAddr>>,
    troubles: BTreeSet<String>,
    rng: Rng,
    alone: watch::Receiver<bool>,
    alone_retry: Duration,
}

/// Tells one version of a file from another.
type FileMark = Option<(u64, u64, u64, i64, i64)>;

impl Asked {
    async fn run(mut self, number: usize, tell: mpsc::Sender<(usize, Vec<SocketAddr>)>) {
        let mut told = None;
        loop {
            let mark = self.file_mark();
            let addresses = self.ask().await;
            if told.as_ref() != Some(&addresses) {
                told = Some(addresses.clone());
                if tell.send((number, addresses)).await.is_err() {
                    return;
                }
            }
            if matches!(self.source, PeerSource::At(Endpoint::Address(_))) {
                return;
            }
            self.pause(mark).await;
        }
    }

    /// Asks once; what cannot be had anew stays as it was.
    async fn ask(&mut self) -> Vec<SocketAddr> {
        let mut troubles = BTreeSet::new();
        match self.list().await {
            Ok((endpoints, wrong)) => {
                self.endpoints = endpoints;
                troubles.extend(wrong);
            }
            Err(why) => {
                troubles.insert(format!("{}: {why}", self.source));
            }
        }
        self.names.retain(|name, _| self.endpoints.contains(name));
        let mut addresses = Vec::new();
        for endpoint in &self.endpoints {
            match endpoint {
                Endpoint::Address(address) => addresses.push(*address),
                Endpoint::Name { host, port } => match resolve(host, *port).await {
                    Ok(found) => {
                        addresses.extend(&found);
                        self.names.insert(endpoint.clone(), found);
                    }
                    Err(why) => {
                        addresses.extend(self.names.get(endpoint).into_iter().flatten());
                        troubles.insert(format!("cannot resolve {endpoint}: {why}"));
                    }
                },
            }
        }
        self.tell_troubles(troubles, addresses.len());
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The endpoints, and what is wrong with other lines.
    async fn list(&self) -> Result<(Vec<Endpoint>, Vec<String>), String> {
        let port = self.settings.port;
        match &self.source {
            PeerSource::At(endpoint) => Ok((vec![endpoint.clone()], Vec::new())),
            PeerSource::Service(name) => Ok((srv::look_up(name).await?, Vec::new())),
            PeerSource::File(path) => {
                let text = read_file(path).map_err(|err| err.to_string())?;
                Ok(read_lines(&path.display().to_string(), &text, port))
            }
            PeerSource::Command(words) => {
                let wait_max = Duration::from_micros(self.settings.command_wait_max.0);
                let output = command::run(words, wait_max).await?;
                Ok(read_lines(&self.source.to_string(), &output, port))
            }
        }
    }

    fn tell_troubles(&mut self, troubles: BTreeSet<String>, known: usize) {
        for trouble in troubles.difference(&self.troubles) {
            warn!(
                known,
                "First peers: {trouble}. What was known before still counts."
            );
        }
        if troubles.is_empty() && !self.troubles.is_empty() {
            info!(known, "First peers: {} answers again.", self.source);
        }
        self.troubles = troubles;
    }

    /// Until it is time to ask again: by the clock, because the file is another one, or because
    /// this agent has just found itself alone.
    async fn pause(&mut self, mark: FileMark) {
        let started = Instant::now();
        let refresh = self.settings.refresh.0;
        let jitter = self.rng.below(refresh / 5 + 1);
        let due = started + Duration::from_micros(refresh - refresh / 10 + jitter);
        loop {
            let alone = *self.alone.borrow_and_update();
            let until = if alone {
                due.min(started + self.alone_retry)
            } else {
                due
            };
            let is_file = matches!(self.source, PeerSource::File(_));
            let look = if is_file {
                Instant::now() + FILE_LOOK
            } else {
                until
            };
            tokio::select! {
                () = sleep_until(until.min(look)) => {
                    if Instant::now() >= until || self.file_mark() != mark {
                        let longer = (self.alone_retry * 2).min(Duration::from_micros(refresh));
                        self.alone_retry = if alone { longer } else { ALONE_RETRY_MIN };
                        return;
                    }
                }
                Ok(()) = self.alone.changed() => {
                    if *self.alone.borrow_and_update() {
                        self.alone_retry = ALONE_RETRY_MIN;
                        return;
                    }
                }
            }
        }
    }

    fn file_mark(&self) -> FileMark {
        let PeerSource::File(path) = &self.source else {
            return None;
        };
        let found = fs::metadata(path).ok()?;
        let (size, changed) = (found.size(), found.ctime());
        Some((found.dev(), found.ino(), size, changed, found.ctime_nsec()))
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = timeout(LOOKUP_WAIT_MAX, lookup_host((host, port))).await;
    let found = found.map_err(|_| {
        let seconds = LOOKUP_WAIT_MAX.as_secs();
        format!("no answer within {seconds} s")
    })?;
    let found: Vec<_> = found.map_err(|err| err.to_string())?.collect();
    match found.is_empty() {
        true => Err("it has no address".to_owned()),
        false => Ok(found),
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let found = fs::metadata(path)?;
    // Opening a pipe would wait for its writer for ever.
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        let what = format!("it is not a file of at most {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(what));
    }
    fs::read_to_string(path)
}
