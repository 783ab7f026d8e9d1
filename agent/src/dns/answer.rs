//! From a question's bytes to those of its answer.

use super::{
    TTL_S,
    zone::{Held, Target, Zone, below},
};
use hickory_proto::{
    op::{Edns, Message, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, NS, SOA, SRV},
    },
};
use holdfast_core::rng::Rng;
use std::net::IpAddr;

/// Questions are shorter: a name has 255 bytes at most.
pub(super) const QUESTION_BYTES_MAX: usize = 4_096;
/// However much a client takes at once.
const DATAGRAM_BYTES_MAX: u16 = 8_192;
/// What a client takes that does not say.
const DATAGRAM_BYTES_DEFAULT: u16 = 512;
/// Addresses in one answer: others are in the next one.
const ADDRESSES_MAX: usize = 64;
/// Targets in one answer, each with its address beside it.
const TARGETS_MAX: usize = 256;
const HEADER_BYTES: usize = 12;
/// An empty OPT record (RFC 6891).
const OPT_BYTES: usize = 11;
/// A record's name as a pointer to the question's, type, class, TTL and length.
const RECORD_BYTES: usize = 12;
const SRV_BYTES: usize = 6;
const A_BYTES: usize = 4;
const AAAA_BYTES: usize = 16;

/// What an answer travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Datagram,
    Stream,
}

/// `None` where silence is the answer. Without a zone nothing is known yet, which is said.
pub(super) fn answer(
    zone: Option<&Zone>,
    question: &[u8],
    carrier: Carrier,
    rng: &mut Rng,
) -> Option<Vec<u8>> {
    // What is an answer itself is not answered, lest two servers talk for ever.
    if question.len() < HEADER_BYTES || question[2] & 0x80 != 0 {
        return None;
    }
    if question[2] & 0x78 != 0 {
        return Some(bare(question, ResponseCode::NotImp));
    }
    let Some(asked) = read(question) else {
        return Some(bare(question, ResponseCode::FormErr));
    };
    let [query] = &asked.queries[..] else {
        return Some(bare(question, ResponseCode::FormErr));
    };
    let mut reply = Reply::to(&asked, query, carrier);
    match zone {
        _ if asked.edns.as_ref().is_some_and(|edns| edns.version() > 0) => {
            reply.message.metadata.response_code = ResponseCode::BADVERS;
        }
        None => reply.message.metadata.response_code = ResponseCode::ServFail,
        Some(zone) => reply.fill(zone, query, rng),
    }
    let bytes = reply.message.to_vec();
    Some(bytes.unwrap_or_else(|_| bare(question, ResponseCode::ServFail)))
}

/// What its header announces is looked at first: room is made for all of it before it is read.
fn read(question: &[u8]) -> Option<Message> {
    let count = |at: usize| u16::from_be_bytes([question[at], question[at + 1]]);
    let (queries, answers, authorities, additional) = (count(4), count(6), count(8), count(10));
    // Beside EDNS a question may be signed.
    if queries != 1 || answers != 0 || authorities != 0 || additional > 2 {
        return None;
    }
    Message::from_vec(question).ok()
}

/// Without the question, which may be unreadable.
fn bare(question: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut answer = vec![0; HEADER_BYTES];
    answer[..2].copy_from_slice(&question[..2]);
    // An answer, of the same kind, with the wish for recursion as it came.
    answer[2] = 0x80 | question[2] & 0x79;
    answer[3] = code.low();
    answer
}

struct Reply {
    message: Message,
    /// How many bytes are left for records.
    room: usize,
    carrier: Carrier,
}

impl Reply {
    fn to(asked: &Message, query: &Query, carrier: Carrier) -> Self {
        let edns = asked.edns.as_ref();
        let bytes_max = match (carrier, edns) {
            (Carrier::Stream, _) => usize::from(u16::MAX),
            (Carrier::Datagram, None) => DATAGRAM_BYTES_DEFAULT.into(),
            (Carrier::Datagram, Some(edns)) => edns
                .max_payload()
                .clamp(DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX)
                .into(),
        };
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&asked.metadata);
        message.queries.push(query.clone());
        message.edns = edns.map(|_| {
            let mut own = Edns::new();
            own.set_max_payload(DATAGRAM_BYTES_MAX);
            own
        });
        let question_bytes = wire_bytes(query.name()) + 4;
        Self {
            message,
            room: bytes_max - HEADER_BYTES - question_bytes - OPT_BYTES,
            carrier,
        }
    }

    fn fill(&mut self, zone: &Zone, query: &Query, rng: &mut Rng) {
        let asked = match query.query_class() {
            DNSClass::IN | DNSClass::ANY => zone.read(query.name()),
            _ => None,
        };
        let Some(asked) = asked else {
            self.message.metadata.response_code = ResponseCode::Refused;
            return;
        };
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            self.message.metadata.response_code = ResponseCode::Refused;
            return;
        }
        self.message.metadata.authoritative = true;
        match zone.look_up(&asked) {
            Some(held) => self.fill_with(zone, query, &held, rng),
            None => self.message.metadata.response_code = ResponseCode::NXDomain,
        }
        if self.message.answers.is_empty() && !self.message.metadata.truncation {
            let soa = record(zone.apex.clone(), RData::SOA(soa(zone)));
            self.message.authorities.push(soa);
        }
    }

    fn fill_with(&mut self, zone: &Zone, query: &Query, held: &Held<'_>, rng: &mut Rng) {
        let name = query.name();
        match query.query_type() {
            RecordType::SRV => self.targets(name, held.targets, rng),
            RecordType::A => self.addresses(name, &held.addresses, IpAddr::is_ipv4, rng),
            RecordType::AAAA => self.addresses(name, &held.addresses, IpAddr::is_ipv6, rng),
            RecordType::SOA if held.is_apex => self.push(name, RData::SOA(soa(zone))),
            RecordType::NS if held.is_apex => self.push(name, RData::NS(NS(server(zone)))),
            // RFC 8482: not all that there is, but something.
            RecordType::ANY if held.is_apex => self.push(name, RData::SOA(soa(zone))),
            RecordType::ANY if held.addresses.is_empty() => {
                self.targets(name, held.targets, rng);
            }
            RecordType::ANY => self.addresses(name, &held.addresses, |_| true, rng),
            _ => {}
        }
    }

    fn push(&mut self, name: &Name, data: RData) {
        self.message.answers.push(record(name.clone(), data));
    }

    fn addresses(
        &mut self,
        name: &Name,
        all: &[IpAddr],
        wanted: impl Fn(&IpAddr) -> bool,
        rng: &mut Rng,
    ) {
        let all: Vec<IpAddr> = all.iter().filter(|one| wanted(one)).copied().collect();
        for address in drawn(&all, ADDRESSES_MAX, rng) {
            let (data, bytes) = data_of(*address);
            if !self.take(RECORD_BYTES + bytes) {
                return;
            }
            self.push(name, data);
        }
    }

    /// Each target's address goes along, as far as there is room: it can be asked for.
    fn targets(&mut self, name: &Name, all: &[Target], rng: &mut Rng) {
        let mut named = Vec::new();
        for target in drawn(all, TARGETS_MAX, rng) {
            let host = &*target.name;
            if !self.take(RECORD_BYTES + SRV_BYTES + wire_bytes(host)) {
                return;
            }
            self.push(name, RData::SRV(SRV::new(1, 1, target.port, host.clone())));
            named.push(target);
        }
        for target in named {
            let (data, bytes) = data_of(target.address);
            let bytes = wire_bytes(&target.name) + RECORD_BYTES + bytes;
            if bytes > self.room {
                return;
            }
            self.room -= bytes;
            let host = Name::clone(&target.name);
            self.message.additionals.push(record(host, data));
        }
    }

    /// Whether there is room for it. What lacks room in a datagram is to be asked for by stream.
    fn take(&mut self, bytes: usize) -> bool {
        match self.room.checked_sub(bytes) {
            Some(rest) => {
                self.room = rest;
                true
            }
            None => {
                self.message.metadata.truncation = self.carrier == Carrier::Datagram;
                false
            }
        }
    }
}

/// So many of them, each as likely as any other, in an order of chance.
fn drawn<'a, T>(all: &'a [T], max: usize, rng: &mut Rng) -> Vec<&'a T> {
    let from = rng.index(all.len()).unwrap_or_default();
    let mut some: Vec<&T> = all[from..].iter().chain(&all[..from]).take(max).collect();
    for last in (1..some.len()).rev() {
        some.swap(last, rng.index(last + 1).expect("there is one at least"));
    }
    some
}

fn data_of(address: IpAddr) -> (RData, usize) {
    match address {
        IpAddr::V4(address) => (RData::A(A(address)), A_BYTES),
        IpAddr::V6(address) => (RData::AAAA(AAAA(address)), AAAA_BYTES),
    }
}

fn record(name: Name, data: RData) -> Record {
    Record::from_rdata(name, TTL_S, data)
}

/// Not compressed.
fn wire_bytes(name: &Name) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

fn server(zone: &Zone) -> Name {
    below(&zone.apex, &["ns"])
}

/// Nobody is told for longer than [`TTL_S`] that something is not there.
fn soa(zone: &Zone) -> SOA {
    let contact = below(&zone.apex, &["hostmaster"]);
    let (refresh, expire) = (3_600, 86_400);
    SOA::new(
        server(zone),
        contact,
        zone.serial,
        refresh,
        600,
        expire,
        TTL_S,
    )
}
