//! foca itself (crates.io, by Caio; Fly's Corrosion runs it): SWIM with suspicion, sans I/O.
//!
//! Driven as its documentation asks for: `Config::new_lan`, its postcard codec, an identity that
//! renews itself, and the delivery of every timer. Its bytes are the ones that it hands out. It has
//! no encryption, so that of memberlist is added, as whoever runs it in earnest would add some.

use crate::rivals::{Detector, Finding, Out, RECORD_BYTES, Size, Via};
use ::foca::{
    BroadcastHandler, Config, Foca, Identity, Invalidates, Member, Notification, PostcardCodec,
    Runtime, Timer,
};
use holdfast_core::rng::Rng;
use serde::{Deserialize, Serialize};
use std::{
    cell::Cell,
    cmp::Ordering,
    collections::BinaryHeap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddrV4},
    num::NonZeroU32,
    rc::Rc,
    time::Duration,
};

/// AES-GCM with version, nonce and tag, as memberlist's.
const SEAL_BYTES: usize = 1 + 12 + 16;
const PORT: u16 = 7946;

/// One member.
pub struct FocaHost {
    foca: Foca<Id, PostcardCodec, Dice, Told>,
    timers: BinaryHeap<Due>,
    pushed: u64,
    /// What foca asked for while it was called.
    asked: Asked,
    /// Shared with the handler of broadcasts, which foca does not give back.
    told: Rc<Cell<bool>>,
}

/// Where it is, and how often it had to come back under a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    address: SocketAddrV4,
    bump: u16,
}

/// A timer of foca's, due at a time; the earliest is the greatest.
struct Due {
    at: u64,
    timer: Timer<Id>,
    number: u64,
}

#[derive(Default)]
struct Asked {
    sends: Vec<(Id, Rc<[u8]>)>,
    timers: Vec<(Timer<Id>, Duration)>,
    findings: Vec<Finding>,
}

/// The one custom broadcast whose spreading is measured.
struct Told(Rc<Cell<bool>>);
struct ToldKey;

/// Our generator under the trait that foca wants.
struct Dice(Rng);

impl FocaHost {
    /// A member that knows all the others, of a cluster of so many.
    pub fn new(me: usize, hosts: usize, seed: u64) -> Self {
        let size = NonZeroU32::new(hosts as u32).expect("a cluster has at least one host");
        let config = Config::new_lan(size);
        let told = Rc::new(Cell::new(false));
        let foca = Foca::with_custom_broadcast(
            Id::new(me),
            config,
            Dice(Rng::new(seed)),
            PostcardCodec,
            Told(Rc::clone(&told)),
        );
        let mut host = Self {
            foca,
            timers: BinaryHeap::new(),
            pushed: 0,
            asked: Asked::default(),
            told,
        };
        let others = (0..hosts).filter(|other| *other != me);
        let others = others.map(|other| Member::alive(Id::new(other)));
        let applied = host.foca.apply_many(others, false, &mut host.asked);
        applied.expect("members that are all different are taken");
        host.asked.findings.clear();
        // They do not all start at one moment.
        let mut rng = Rng::new(seed ^ 0xF0CA);
        host.take_timers(rng.below(1_000_000));
        host
    }

    fn take_timers(&mut self, now: u64) {
        for (timer, after) in self.asked.timers.drain(..) {
            self.pushed += 1;
            self.timers.push(Due {
                at: now + after.as_micros() as u64,
                timer,
                number: self.pushed,
            });
        }
    }

    fn drain(&mut self, now: u64, out: &mut Out<Rc<[u8]>>) {
        self.take_timers(now);
        for (to, bytes) in self.asked.sends.drain(..) {
            let size = Size {
                bare: bytes.len(),
                seal: SEAL_BYTES,
            };
            out.send(to.place(), Via::Datagram, size, bytes);
        }
        out.findings.append(&mut self.asked.findings);
    }
}

impl Detector for FocaHost {
    type Message = Rc<[u8]>;

    fn on_message(&mut self, now: u64, _: usize, message: Rc<[u8]>, out: &mut Out<Rc<[u8]>>) {
        // It refuses what comes from an earlier name of its own, for one.
        let handled = self.foca.handle_data(&message, &mut self.asked);
        debug_assert!(
            !matches!(handled, Err(::foca::Error::Decode(_))),
            "{handled:?}"
        );
        self.drain(now, out);
    }

    fn on_wake(&mut self, now: u64, out: &mut Out<Rc<[u8]>>) {
        while self.timers.peek().is_some_and(|due| due.at <= now) {
            let Some(due) = self.timers.pop() else {
                return;
            };
            // A late timer makes it say that a probe was incomplete; it goes on by itself.
            let handled = self.foca.handle_timer(due.timer, &mut self.asked);
            debug_assert!(
                matches!(handled, Ok(()) | Err(::foca::Error::IncompleteProbeCycle)),
                "{handled:?}"
            );
            self.drain(now, out);
        }
    }

    fn deadline(&self) -> Option<u64> {
        self.timers.peek().map(|due| due.at)
    }

    fn tell(&mut self, now: u64, out: &mut Out<Rc<[u8]>>) {
        let record = [7; RECORD_BYTES];
        let told = self.foca.add_broadcast(&record);
        told.expect("a short broadcast is taken");
        let gossiped = self.foca.gossip(&mut self.asked);
        gossiped.expect("gossiping to known members works");
        self.drain(now, out);
    }

    fn knows(&self) -> bool {
        self.told.get()
    }
}

impl std::fmt::Debug for FocaHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = self.foca.identity();
        f.debug_struct("FocaHost")
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

impl Id {
    fn new(place: usize) -> Self {
        let [_, a, b, c] = (place as u32).to_be_bytes();
        Self {
            address: SocketAddrV4::new(Ipv4Addr::new(10, a, b, c), PORT),
            bump: 0,
        }
    }

    fn place(&self) -> usize {
        let [_, a, b, c] = self.address.ip().octets();
        u32::from_be_bytes([0, a, b, c]) as usize
    }
}

impl Identity for Id {
    type Addr = SocketAddrV4;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            bump: self.bump.wrapping_add(1),
            ..*self
        })
    }

    fn addr(&self) -> SocketAddrV4 {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

impl Runtime<Id> for Asked {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberDown(id) => self.findings.push(Finding::Down(id.place())),
            Notification::MemberUp(id) => self.findings.push(Finding::Up(id.place())),
            _ => {}
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.sends.push((to, data.into()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((event, after));
    }
}

impl BroadcastHandler<Id> for Told {
    type Key = ToldKey;
    type Error = Infallible;

    fn receive_item(&mut self, _: &[u8], _: Option<&Id>) -> Result<Option<ToldKey>, Infallible> {
        let is_news = !self.0.replace(true);
        Ok(is_news.then_some(ToldKey))
    }
}

impl Invalidates for ToldKey {
    fn invalidates(&self, _: &Self) -> bool {
        true
    }
}

impl rand::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.0.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

// The earliest first; of one instant in foca's own order, as its documentation asks for, then in
// that of their coming.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let ours = (self.at, &self.timer, self.number);
        (other.at, &other.timer, other.number).cmp(&ours)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
