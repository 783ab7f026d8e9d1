//! memberlist's messages and how many bytes they are: the fields of net.go as msgpack writes them.
//!
//! go-msgpack writes a struct as a map with the names of its fields as keys. Names of hosts are
//! taken to be 12 bytes, as `ip-10-0-3-41` is; addresses are IPv4. State that is pushed and pulled
//! is always compressed (LZW, as compress/lzw of Go does it): its size is that of a sample.

use super::Standing;
use crate::rivals::{RECORD_BYTES, Size};
use std::{collections::BTreeMap, rc::Rc};

/// config.go, `UDPBufferSize`.
const PACKET_BYTES_MAX: usize = 1_400;
/// net.go: kind and count; then the length of each part.
const COMPOUND_BYTES: usize = 2;
pub(crate) const COMPOUND_PART_BYTES: usize = 2;
/// security.go: version, nonce and tag of AES-GCM without padding.
pub(crate) const SEAL_BYTES: usize = 1 + 12 + 16;
/// net.go: a checksum, where the receiver's protocol version is known.
pub(crate) const CRC_BYTES: usize = 5;
/// net.go, `encryptLocalState`: kind and length before the sealed stream.
const STREAM_SEAL_BYTES: usize = 5 + SEAL_BYTES;
const NAME: usize = 12;

/// A datagram: at most one message of its own, and the rumours that ride along.
#[derive(Clone, Debug)]
pub struct Packet {
    pub(crate) part: Option<Part>,
    pub(crate) rumours: Rc<[Rumour]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Ping {
        sequence: u32,
    },
    /// "Ping that one for me."
    IndirectPing {
        sequence: u32,
        target: u32,
    },
    Ack {
        sequence: u32,
    },
    Nack {
        sequence: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rumour {
    Alive {
        host: u32,
        incarnation: u32,
    },
    Suspect {
        host: u32,
        incarnation: u32,
        from: u32,
    },
    Dead {
        host: u32,
        incarnation: u32,
    },
    /// The user's message whose spreading is measured.
    Told,
}

/// One host in a state that is pushed or pulled.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub(crate) host: u32,
    pub(crate) incarnation: u32,
    pub(crate) standing: Standing,
}

impl Packet {
    pub(crate) fn new(part: Option<Part>, rumours: Vec<Rumour>) -> Self {
        let rumours = rumours.into();
        Self { part, rumours }
    }

    pub(crate) fn bytes(&self) -> usize {
        let parts = self.part.iter().map(Part::bytes);
        let all = parts.chain(self.rumours.iter().map(Rumour::bytes));
        let (count, bytes) = all.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        match count {
            0 | 1 => bytes,
            _ => COMPOUND_BYTES + count * COMPOUND_PART_BYTES + bytes,
        }
    }
}

/// What of a packet is left for rumours beside a message of so many bytes.
pub(crate) const fn room_beside(bytes: usize) -> usize {
    PACKET_BYTES_MAX - COMPOUND_BYTES - SEAL_BYTES - bytes
}

impl Part {
    pub(crate) fn bytes(&self) -> usize {
        let source = key("SourceAddr") + raw(4) + key("SourcePort") + 3 + key("SourceNode");
        let source = source + raw(NAME);
        match self {
            Self::Ping { sequence } => {
                2 + key("SeqNo") + uint(*sequence) + key("Node") + raw(NAME) + source
            }
            Self::IndirectPing { sequence, .. } => {
                let target = key("Target") + raw(4) + key("Port") + 3 + key("Node") + raw(NAME);
                2 + key("SeqNo") + uint(*sequence) + target + key("Nack") + 1 + source
            }
            Self::Ack { sequence } => ack_bytes(*sequence),
            Self::Nack { sequence } => 2 + key("SeqNo") + uint(*sequence),
        }
    }
}

pub(crate) fn ack_bytes(sequence: u32) -> usize {
    2 + key("SeqNo") + uint(sequence) + key("Payload") + 1
}

pub(crate) fn ping_bytes(sequence: u32) -> usize {
    Part::Ping { sequence }.bytes()
}

impl Rumour {
    pub(crate) fn bytes(&self) -> usize {
        let incarnation = |number: u32| 2 + key("Incarnation") + uint(number);
        match self {
            Self::Alive { incarnation: i, .. } => {
                let address = key("Addr") + raw(4) + key("Port") + 3;
                let rest = key("Meta") + 1 + key("Vsn") + raw(6);
                incarnation(*i) + key("Node") + raw(NAME) + address + rest
            }
            Self::Suspect { incarnation: i, .. } | Self::Dead { incarnation: i, .. } => {
                incarnation(*i) + key("Node") + raw(NAME) + key("From") + raw(NAME)
            }
            Self::Told => 1 + RECORD_BYTES,
        }
    }
}

/// A message on a stream: compressed in any case, which does not pay where it is so short.
pub(crate) const fn stream_size(bytes: usize) -> Size {
    Size {
        bare: bytes,
        seal: STREAM_SEAL_BYTES,
    }
}

/// msgpack's sizes: of a key or text, of bytes, of a number.
const fn key(name: &str) -> usize {
    raw(name.len())
}

const fn raw(bytes: usize) -> usize {
    bytes + if bytes < 32 { 1 } else { 3 }
}

const fn uint(number: u32) -> usize {
    match number {
        0..128 => 1,
        128..256 => 2,
        256..65_536 => 3,
        _ => 5,
    }
}

/// How many bytes a state is that is pushed or pulled.
#[derive(Debug)]
pub struct StateSize {
    sample_hosts: usize,
    sample_bytes: usize,
}

impl StateSize {
    /// Encodes and compresses the state of a cluster of this size once, in random order.
    pub fn sample(hosts: usize) -> Self {
        let mut order: Vec<u32> = (0..hosts as u32).collect();
        super::shuffle(&mut holdfast_core::rng::Rng::new(1), &mut order);
        let mut bytes = Vec::new();
        for host in order {
            write_state(&mut bytes, host);
        }
        Self {
            sample_hosts: hosts,
            sample_bytes: lzw_bytes(&bytes),
        }
    }

    pub(crate) fn of(&self, hosts: usize) -> Size {
        // Before the hosts: the kind, `pushPullHeader`, and the frame of what is compressed.
        let header = 1 + 1 + key("Nodes") + 3 + key("UserStateLen") + 1 + key("Join") + 1;
        let frame = 2 + key("Algo") + 1 + key("Buf") + 5;
        Size {
            bare: header + frame + self.sample_bytes * hosts / self.sample_hosts.max(1),
            seal: STREAM_SEAL_BYTES,
        }
    }
}

/// net.go, `pushNodeState`, of a host that is alive.
fn write_state(bytes: &mut Vec<u8>, host: u32) {
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.push(0xa0 | text.len() as u8);
        bytes.extend_from_slice(text);
    };
    let [_, a, b, c] = host.to_be_bytes();
    let name = format!("ip-10-{a}-{b}-{c}");
    bytes.push(0x87);
    text(bytes, b"Name");
    text(bytes, name.as_bytes());
    text(bytes, b"Addr");
    text(bytes, &[10, a, b, c]);
    text(bytes, b"Port");
    bytes.extend_from_slice(&[0xcd, 0x1f, 0x0a]);
    text(bytes, b"Meta");
    bytes.push(0xc0);
    text(bytes, b"Incarnation");
    bytes.push(1);
    text(bytes, b"State");
    bytes.push(0);
    text(bytes, b"Vsn");
    text(bytes, &[1, 5, 2, 2, 5, 4]);
}

/// How long compress/lzw makes it: codes of 9 to 12 bits, and a fresh table when they are used up.
fn lzw_bytes(bytes: &[u8]) -> usize {
    const FIRST: u16 = 258;
    const LAST: u16 = (1 << 12) - 1;
    let mut table: BTreeMap<(u16, u8), u16> = BTreeMap::new();
    let (mut next, mut width, mut bits) = (FIRST - 1, 9_usize, 9_usize);
    let mut bytes = bytes.iter();
    let Some(&first) = bytes.next() else {
        return 0;
    };
    let mut code = u16::from(first);
    for &byte in bytes {
        if let Some(&longer) = table.get(&(code, byte)) {
            code = longer;
            continue;
        }
        bits += width;
        next += 1;
        if next == 1 << width {
            width += 1;
        }
        if next == LAST {
            bits += width;
            table.clear();
            (next, width) = (FIRST - 1, 9);
        } else {
            table.insert((code, byte), next);
        }
        code = u16::from(byte);
    }
    // The last code, and the one that ends it.
    (bits + 2 * width).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_encoded_messages() {
        // {"SeqNo":1,"Node":12,"SourceAddr":4,"SourcePort":2,"SourceNode":12} behind its kind.
        assert_eq!(
            ping_bytes(1),
            1 + 1 + 7 + 5 + 13 + 11 + 5 + 11 + 3 + 11 + 13
        );
        assert_eq!(ack_bytes(1), 1 + 1 + 7 + 8 + 1);
        let mut state = Vec::new();
        write_state(&mut state, 7);
        let fields = [5 + 12, 5 + 5, 5 + 3, 5 + 1, 12 + 1, 6 + 1, 4 + 7];
        assert_eq!(state.len(), 1 + fields.iter().sum::<usize>());
    }

    #[test]
    fn compressing_shortens_states_and_counts_what_the_codes_take() {
        assert_eq!(lzw_bytes(b"a"), 4, "clear, one code, end");
        // An independent one made 8,387 bytes of these hosts in another order, of 74,560.
        let packed = StateSize::sample(1_000).sample_bytes;
        assert!((8_000..9_000).contains(&packed), "{packed}");
    }
}
