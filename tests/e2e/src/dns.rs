//! A client of an agent's DNS: one question, one answer.

pub use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};

use crate::wait;
use hickory_proto::{
    op::{Edns, MessageType, OpCode, Query},
    rr::{Name, RData},
};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

/// What the agents' names end with where nothing else is set.
pub const DOMAIN: &str = "holdfast.internal";
/// An agent on a busy machine is not asked twice at once.
const ANSWER_WITHIN: Duration = wait::secs(2);
/// What we say that we take at once.
const DATAGRAM_BYTES_MAX: u16 = 4_096;

/// The bytes of a question with EDNS; `name` is without the domain.
pub fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("{name}.{DOMAIN}.")).expect("the test's names are good");
    message.queries.push(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_BYTES_MAX);
    message.edns = Some(edns);
    message.to_vec().expect("a question encodes")
}

/// Asks by datagram, once.
pub fn ask(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    socket.connect(server)?;
    socket.send(&question(name, kind))?;
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX.into()];
    let len = socket.recv(&mut bytes)?;
    Message::from_vec(&bytes[..len]).map_err(io::Error::other)
}

/// The addresses in an answer.
pub fn addresses(answer: &Message) -> BTreeSet<IpAddr> {
    let records = answer.answers.iter();
    let found = records.filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    found.collect()
}

/// The tasks in an answer, with their ports.
pub fn targets(answer: &Message) -> BTreeSet<(String, u16)> {
    let records = answer.answers.iter();
    let found = records.filter_map(|record| match &record.data {
        RData::SRV(srv) => {
            let target = srv.target.to_string();
            let task = target.split('.').next().unwrap_or_default();
            Some((task.to_owned(), srv.port))
        }
        _ => None,
    });
    found.collect()
}
