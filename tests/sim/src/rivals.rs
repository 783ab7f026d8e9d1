//! Holdfast beside the failure detectors that people use today, on one network and one fault plan.
//!
//! Whoever detects here is real where it can be: Holdfast's own `Agent`, foca's own crate; of
//! memberlist, which is written in Go, a model that follows its source. The network, its delays,
//! its losses, the hosts that freeze and that die are the same for all three, from the same seed.

pub mod air;
pub mod arena;
pub mod memberlist;
pub mod foca;
pub mod holdfast;
pub mod trials;

/// Bytes of the record whose spreading is measured: about those of a small task report.
pub const RECORD_BYTES: usize = 200;

/// One host's half of a detector, driven by virtual time in microseconds. Hosts are numbers.
pub trait Detector {
    type Message: Clone;

    fn on_message(
        &mut self,
        now: u64,
        from: usize,
        message: Self::Message,
        out: &mut Out<Self::Message>,
    );

    fn on_wake(&mut self, now: u64, out: &mut Out<Self::Message>);

    /// When the host wants to be woken.
    fn deadline(&self) -> Option<u64>;

    /// What came of a question to the kernel of another host; for who asks such.
    fn on_knocked(&mut self, _: u64, _: usize, _: bool, _: &mut Out<Self::Message>) {}

    /// Changes a record of about [`RECORD_BYTES`] and spreads it, as this detector spreads things.
    fn tell(&mut self, now: u64, out: &mut Out<Self::Message>);

    /// Whether the record that somebody told has come here.
    fn knows(&self) -> bool;
}

/// What a host wants done after it was told something.
#[derive(Debug)]
pub struct Out<M> {
    pub sends: Vec<Sending<M>>,
    pub findings: Vec<Finding>,
    /// Hosts whose kernels are asked to open a connection: an answer shows that the machine is
    /// there, whatever its processes do.
    pub knocks: Vec<usize>,
}

#[derive(Debug)]
pub struct Sending<M> {
    pub to: usize,
    pub via: Via,
    pub size: Size,
    pub message: M,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Datagram,
    /// By a connection that is made for it.
    Dial,
    /// The answer on a connection that the other side has made.
    Answer,
}

/// How many bytes leave the host, without the headers of IP, UDP and TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The encoded message alone.
    pub bare: usize,
    /// What authenticates and encrypts it.
    pub seal: usize,
}

/// What a host has come to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Down(usize),
    Up(usize),
}

impl<M> Default for Out<M> {
    fn default() -> Self {
        Self {
            sends: Vec::new(),
            findings: Vec::new(),
            knocks: Vec::new(),
        }
    }
}

impl<M> Out<M> {
    pub fn send(&mut self, to: usize, via: Via, size: Size, message: M) {
        self.sends.push(Sending {
            to,
            via,
            size,
            message,
        });
    }
}
