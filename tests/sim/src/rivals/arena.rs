//! Plays one detector on all hosts in virtual time, and keeps the books: who holds whom for down.

use crate::{
    queue::{Deadlines, Queue},
    rivals::{Detector, Finding, Out, Sending, Via, air::Air},
};

/// What the socket of a host that stands still holds before it drops: about what two megabytes
/// hold, which memberlist asks its kernel for.
const INBOX_MAX: usize = 2_000;
/// How long Holdfast's driver waits for an answer to a knock.
const KNOCK_WAIT: u64 = 400_000;

/// All hosts of one run.
#[derive(Debug)]
pub struct Arena<D: Detector> {
    pub now: u64,
    pub air: Air,
    hosts: Vec<Host<D>>,
    queue: Queue<Event<D::Message>>,
    deadlines: Deadlines,
    out: Out<D::Message>,
    pub books: Books,
}

#[derive(Debug)]
struct Host<D: Detector> {
    detector: D,
    standing: Standing<D::Message>,
}

#[derive(Debug)]
enum Standing<M> {
    Running,
    /// The process does nothing; what comes waits in its socket.
    Frozen {
        inbox: Vec<(usize, M)>,
        what: Frozen,
    },
    Crashed,
}

/// What of a host stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Its kernel still answers who connects.
    Process,
    Machine,
}

#[derive(Debug)]
enum Event<M> {
    Arrival {
        from: usize,
        to: usize,
        message: M,
    },
    Knocked {
        host: usize,
        knocked: usize,
        answered: bool,
    },
}

/// What was sent and what is believed, by everybody together.
#[derive(Debug)]
pub struct Books {
    hosts: usize,
    pub messages: u64,
    pub bytes_bare: u64,
    pub bytes_sealed: u64,
    /// Bit `observer * hosts + subject`: the one holds the other for down.
    beliefs: Vec<u64>,
    believers: Vec<u32>,
    crashed: Vec<bool>,
    /// Each time that somebody was the first to hold a host for down: whom, when.
    pub verdicts: Vec<Verdict>,
    /// The first time the host was held for down by anybody.
    pub first_down: Vec<Option<u64>>,
    /// When 99 % of the others held it for down.
    pub known_down: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub at: u64,
    pub subject: usize,
    pub observer: usize,
    /// The host had not crashed.
    pub is_false: bool,
}

impl<D: Detector> Arena<D> {
    pub fn new(detectors: Vec<D>, air: Air) -> Self {
        let count = detectors.len();
        let hosts = detectors.into_iter().map(|detector| Host {
            detector,
            standing: Standing::Running,
        });
        let mut arena = Self {
            now: 0,
            air,
            hosts: hosts.collect(),
            queue: Queue::default(),
            deadlines: Deadlines::new(count),
            out: Out::default(),
            books: Books::new(count),
        };
        for host in 0..count {
            arena.pull_deadline(host);
        }
        arena
    }

    pub fn run_until(&mut self, until: u64) {
        self.run_while(until, |_| true);
    }

    /// Goes on until then, or until `goes_on` says no; says whether it never did.
    pub fn run_while(&mut self, until: u64, goes_on: impl Fn(&Books) -> bool) -> bool {
        loop {
            let arrival = self.queue.next_at().unwrap_or(u64::MAX);
            let wake = self.deadlines.earliest().unwrap_or((u64::MAX, 0));
            let at = arrival.min(wake.0);
            if at > until {
                self.now = until;
                return true;
            }
            self.now = self.now.max(at);
            if wake.0 < arrival {
                self.wake(wake.1);
            } else {
                match self.queue.pop() {
                    Some((_, Event::Arrival { from, to, message })) => {
                        self.deliver(from, to, message);
                    }
                    Some((
                        _,
                        Event::Knocked {
                            host,
                            knocked,
                            answered,
                        },
                    )) => {
                        self.answer_knock(host, knocked, answered);
                    }
                    None => {}
                }
            }
            if !goes_on(&self.books) {
                return false;
            }
        }
    }

    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    pub fn detector(&self, host: usize) -> &D {
        &self.hosts[host].detector
    }

    pub fn is_running(&self, host: usize) -> bool {
        matches!(self.hosts[host].standing, Standing::Running)
    }

    /// The machine is gone.
    pub fn crash(&mut self, host: usize) {
        self.hosts[host].standing = Standing::Crashed;
        self.books.crashed[host] = true;
        self.pull_deadline(host);
    }

    /// It stops; its socket fills.
    pub fn freeze(&mut self, host: usize, what: Frozen) {
        if self.is_running(host) {
            let inbox = Vec::new();
            self.hosts[host].standing = Standing::Frozen { inbox, what };
            self.pull_deadline(host);
        }
    }

    /// It goes on: first with what is in the socket, then with the timers that are overdue. That
    /// order is the kinder one to a detector which does not notice that it stood still.
    pub fn thaw(&mut self, host: usize) {
        let standing = std::mem::replace(&mut self.hosts[host].standing, Standing::Running);
        let Standing::Frozen { inbox, .. } = standing else {
            self.hosts[host].standing = standing;
            return;
        };
        for (from, message) in inbox {
            let now = self.now;
            self.hosts[host]
                .detector
                .on_message(now, from, message, &mut self.out);
            self.drain(host);
        }
        self.pull_deadline(host);
    }

    /// Has a host change a record.
    pub fn tell(&mut self, host: usize) {
        self.with(host, |detector, now, out| detector.tell(now, out));
    }

    /// Has a running host do this.
    pub fn with(&mut self, host: usize, act: impl FnOnce(&mut D, u64, &mut Out<D::Message>)) {
        act(&mut self.hosts[host].detector, self.now, &mut self.out);
        self.drain(host);
        self.pull_deadline(host);
    }

    /// How many running hosts know the record that was told.
    pub fn knowing(&self) -> usize {
        let hosts = self.hosts.iter();
        hosts.filter(|host| host.detector.knows()).count()
    }

    fn wake(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].detector.on_wake(now, &mut self.out);
        self.drain(host);
        self.pull_deadline(host);
    }

    /// An answer from the kernel to a host that stands still meanwhile comes to nothing.
    fn answer_knock(&mut self, host: usize, knocked: usize, answered: bool) {
        if self.is_running(host) {
            let now = self.now;
            let detector = &mut self.hosts[host].detector;
            detector.on_knocked(now, knocked, answered, &mut self.out);
            self.drain(host);
            self.pull_deadline(host);
        }
    }

    fn knock(&mut self, host: usize, knocked: usize) {
        let is_there = match self.hosts[knocked].standing {
            Standing::Running => true,
            Standing::Frozen { what, .. } => what == Frozen::Process,
            Standing::Crashed => false,
        };
        let way = self.air.datagram(host, knocked).filter(|_| is_there);
        let back = way.and_then(|way| Some(way + self.air.datagram(knocked, host)?));
        let answer = back.filter(|took| *took < KNOCK_WAIT);
        let event = Event::Knocked {
            host,
            knocked,
            answered: answer.is_some(),
        };
        self.queue
            .push(self.now + answer.unwrap_or(KNOCK_WAIT), event);
    }

    fn deliver(&mut self, from: usize, to: usize, message: D::Message) {
        let now = self.now;
        let host = &mut self.hosts[to];
        match &mut host.standing {
            Standing::Running => {
                host.detector.on_message(now, from, message, &mut self.out);
                self.drain(to);
                self.pull_deadline(to);
            }
            Standing::Frozen { inbox, .. } if inbox.len() < INBOX_MAX => {
                inbox.push((from, message));
            }
            Standing::Frozen { .. } | Standing::Crashed => {}
        }
    }

    fn drain(&mut self, from: usize) {
        let mut out = std::mem::take(&mut self.out);
        for sending in out.sends.drain(..) {
            let Sending {
                to,
                via,
                size,
                message,
            } = sending;
            self.books.messages += 1;
            self.books.bytes_bare += size.bare as u64;
            self.books.bytes_sealed += (size.bare + size.seal) as u64;
            let took = match via {
                Via::Datagram => self.air.datagram(from, to),
                Via::Dial => self.air.dial(from, to),
                Via::Answer => self.air.answer(from, to),
            };
            if let Some(took) = took {
                let arrival = Event::Arrival { from, to, message };
                self.queue.push(self.now + took, arrival);
            }
        }
        for knocked in out.knocks.drain(..) {
            self.knock(from, knocked);
        }
        for finding in out.findings.drain(..) {
            self.books.on_finding(self.now, from, finding);
        }
        self.out = out;
    }

    fn pull_deadline(&mut self, host: usize) {
        let at = match self.hosts[host].standing {
            Standing::Running => self.hosts[host].detector.deadline(),
            Standing::Frozen { .. } | Standing::Crashed => None,
        };
        self.deadlines.set(host, at.map(|at| at.max(self.now)));
    }
}

impl Books {
    fn new(hosts: usize) -> Self {
        Self {
            hosts,
            messages: 0,
            bytes_bare: 0,
            bytes_sealed: 0,
            beliefs: vec![0; (hosts * hosts).div_ceil(64)],
            believers: vec![0; hosts],
            crashed: vec![false; hosts],
            verdicts: Vec::new(),
            first_down: vec![None; hosts],
            known_down: vec![None; hosts],
        }
    }

    /// Begins to count what is sent anew, and forgets the verdicts so far.
    pub fn start(&mut self) {
        (self.messages, self.bytes_bare, self.bytes_sealed) = (0, 0, 0);
        self.verdicts.clear();
    }

    fn on_finding(&mut self, now: u64, observer: usize, finding: Finding) {
        let (subject, down) = match finding {
            Finding::Down(subject) => (subject, true),
            Finding::Up(subject) => (subject, false),
        };
        let place = observer * self.hosts + subject;
        let (word, bit) = (&mut self.beliefs[place / 64], 1 << (place % 64));
        if (*word & bit != 0) == down {
            return;
        }
        *word ^= bit;
        if !down {
            self.believers[subject] -= 1;
            return;
        }
        self.believers[subject] += 1;
        let is_false = !self.crashed[subject];
        if self.believers[subject] == 1 {
            self.verdicts.push(Verdict {
                at: now,
                subject,
                observer,
                is_false,
            });
        }
        if is_false {
            return;
        }
        self.first_down[subject].get_or_insert(now);
        let crashed = self.crashed.iter().filter(|crashed| **crashed).count();
        let others = self.hosts - crashed;
        if self.believers[subject] as usize >= (others * 99).div_ceil(100) {
            self.known_down[subject].get_or_insert(now);
        }
    }
}
