//! Records of services and tasks as they go over the wire, put there byte by byte: an answer has
//! twenty of them, and to write them takes most of its time.

use super::TTL_S;
use hickory_proto::rr::{DNSClass, RecordType};
use std::net::IpAddr;

/// Where the question's name begins.
const QUESTION_AT: u16 = 12;
/// A pointer to a name before (RFC 1035 §4.1.4) has so many bits.
const POINTER_MAX: u16 = 0x3fff;
/// Type, class, TTL and length.
const FIXED_BYTES: usize = 10;
const POINTER_BYTES: usize = 2;
/// A record whose name is a pointer, but for its data.
const RECORD_BYTES: usize = POINTER_BYTES + FIXED_BYTES;
/// Priority, weight and port, before the target.
const SRV_FIXED_BYTES: usize = 6;

/// What goes behind the question: answers, and what is told beside them.
#[derive(Debug)]
pub(super) struct Records {
    bytes: Vec<u8>,
    /// Of the first record, in the message.
    begin: usize,
    pub(super) answers: u16,
    pub(super) additionals: u16,
}

/// A name that was written, and where, as far as a pointer reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'n> {
    name: &'n [u8],
    at: Option<u16>,
}

impl Records {
    /// Behind so many bytes.
    pub(super) const fn behind(begin: usize) -> Self {
        Self {
            bytes: Vec::new(),
            begin,
            answers: 0,
            additionals: 0,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.answers == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// An address of the name that was asked for.
    pub(super) fn address(&mut self, address: IpAddr) {
        self.answers += 1;
        self.pointer(QUESTION_AT);
        self.address_data(address);
    }

    /// Another task that serves what was asked for. A target's name is not compressed (RFC 2782).
    pub(super) fn target<'n>(&mut self, name: &'n [u8], port: u16) -> Written<'n> {
        self.answers += 1;
        self.pointer(QUESTION_AT);
        self.fixed(RecordType::SRV, SRV_FIXED_BYTES + name.len());
        let (priority, weight) = (1, 1);
        self.put([priority, weight, port]);
        let at = self.begin + self.bytes.len();
        self.bytes.extend_from_slice(name);
        let at = u16::try_from(at).ok().filter(|at| *at <= POINTER_MAX);
        Written { name, at }
    }

    /// The address of a target, beside the answers.
    pub(super) fn address_of(&mut self, target: Written<'_>, address: IpAddr) {
        self.additionals += 1;
        match target.at {
            Some(at) => self.pointer(at),
            None => self.bytes.extend_from_slice(target.name),
        }
        self.address_data(address);
    }

    fn address_data(&mut self, address: IpAddr) {
        let kind = match address {
            IpAddr::V4(_) => RecordType::A,
            IpAddr::V6(_) => RecordType::AAAA,
        };
        self.fixed(kind, data_bytes(address));
        match address {
            IpAddr::V4(address) => self.bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => self.bytes.extend_from_slice(&address.octets()),
        }
    }

    fn pointer(&mut self, to: u16) {
        self.put([0xc000 | to]);
    }

    fn fixed(&mut self, kind: RecordType, data_bytes: usize) {
        self.put([kind.into(), DNSClass::IN.into()]);
        self.bytes.extend_from_slice(&TTL_S.to_be_bytes());
        let data_bytes = u16::try_from(data_bytes).expect("a name has 255 bytes at most");
        self.put([data_bytes]);
    }

    fn put<const N: usize>(&mut self, words: [u16; N]) {
        let bytes = words.into_iter().flat_map(u16::to_be_bytes);
        self.bytes.extend(bytes);
    }
}

/// Of the answer that names this target.
pub(super) const fn target_bytes(name: &[u8]) -> usize {
    RECORD_BYTES + SRV_FIXED_BYTES + name.len()
}

/// Of an address of the name that was asked for.
pub(super) const fn address_bytes(address: IpAddr) -> usize {
    RECORD_BYTES + data_bytes(address)
}

/// Of the address of a target.
pub(super) fn address_of_bytes(target: Written<'_>, address: IpAddr) -> usize {
    let name = target.at.map_or(target.name.len(), |_| POINTER_BYTES);
    name + FIXED_BYTES + data_bytes(address)
}

const fn data_bytes(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 16,
    }
}
