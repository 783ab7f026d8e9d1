//! Numbers of a run: what was sent, started, stopped, and how long counts were short.

use holdfast_core::{cluster::body::Standing, ids::HostId};

#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    /// Different points of virtual time at which something happened.
    pub moments: u64,
    pub messages: u64,
    pub delivered: u64,
    pub bytes_sent: u64,
    /// Asked of machines whose agents did not answer.
    pub knocks: u64,
    /// Messages that spread or repair records, and the bytes of these.
    pub records_sent: u64,
    pub record_bytes_sent: u64,
    pub starts: u64,
    pub stops: u64,
    /// For each time a service was short of running copies: for how long, in microseconds.
    pub restored_us: Vec<u64>,
    pub converged_us: Option<u64>,
    /// The same, but for copies that were told to stop and have not ended.
    pub exact_us: Option<u64>,
    /// What agents wrote of others, in order.
    pub verdicts: Vec<Judgement>,
    sent_by: Vec<u64>,
    /// The virtual second that it is, and how many messages were sent in it.
    window: (u64, u64),
}

/// One verdict as its author wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub at: u64,
    pub by: usize,
    pub host: HostId,
    pub standing: Standing,
}

impl Stats {
    pub fn new(hosts: usize) -> Self {
        Self {
            sent_by: vec![0; hosts],
            ..Self::default()
        }
    }

    pub fn sent(&mut self, host: usize) {
        self.messages += 1;
        self.sent_by[host] += 1;
    }

    /// Counts a message in its virtual second; how many there were in it so far.
    pub const fn in_this_second(&mut self, now: u64) -> u64 {
        if self.window.0 != now / 1_000_000 {
            self.window = (now / 1_000_000, 0);
        }
        self.window.1 += 1;
        self.window.1
    }

    /// How often hosts were said to be in this standing.
    pub fn judged(&self, standing: Standing) -> usize {
        let all = self.verdicts.iter();
        all.filter(|judged| judged.standing == standing).count()
    }

    /// Verdicts that a host is down, in the order in which they were written.
    pub fn down(&self) -> impl Iterator<Item = &Judgement> {
        let all = self.verdicts.iter();
        all.filter(|judged| judged.standing == Standing::Down)
    }

    pub fn sent_by(&self) -> &[u64] {
        &self.sent_by
    }
}

/// The middle one of some numbers; zero where there is none.
pub fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}
