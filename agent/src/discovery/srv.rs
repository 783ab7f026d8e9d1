//! Asks the resolvers of /etc/resolv.conf for SRV records (RFC 2782), which libc cannot do for us.

use super::source::Endpoint;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, rdata::RData};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// As libc has it: three resolvers at most.
const RESOLVERS_MAX: usize = 3;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// What fits without fragments (DNS flag day 2020); what is longer comes over TCP.
const DATAGRAM_BYTES_MAX: usize = 1_232;

/// Where the records of `name` say that the peers are. Priorities and weights are nothing to us:
/// each target is a peer.
pub(super) async fn look_up(name: &str) -> Result<Vec<Endpoint>, String> {
    let text = std::fs::read_to_string(Path::new(RESOLV_CONF));
    look_up_at(name, &resolvers(&text.unwrap_or_default())).await
}

pub(super) async fn look_up_at(
    name: &str,
    resolvers: &[SocketAddr],
) -> Result<Vec<Endpoint>, String> {
    let mut failure = format!("{RESOLV_CONF} names no resolver");
    for &resolver in resolvers {
        match timeout(ANSWER_WAIT_MAX, ask(name, resolver)).await {
            Ok(Ok(endpoints)) => return Ok(endpoints),
            Ok(Err(why)) => failure = format!("{resolver}: {why}"),
            Err(_) => {
                let seconds = ANSWER_WAIT_MAX.as_secs();
                failure = format!("{resolver} has not answered within {seconds} s");
            }
        }
    }
    Err(failure)
}

fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_resolver = words.next() == Some("nameserver");
        let ip: IpAddr = words.next().filter(|_| is_resolver)?.parse().ok()?;
        Some(SocketAddr::new(ip, DNS_PORT))
    });
    let named: Vec<_> = named.take(RESOLVERS_MAX).collect();
    match named.is_empty() {
        true => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))],
        false => named,
    }
}

async fn ask(name: &str, resolver: SocketAddr) -> Result<Vec<Endpoint>, String> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|err| format!("cannot draw random bytes: {err}"))?;
    let id = u16::from_be_bytes(id);
    let question = question(id, name)?;
    let answer = by_datagram(&question, resolver).await;
    let answer = answer.map_err(|err| err.to_string())?;
    match read(id, name, &answer)? {
        Some(endpoints) => Ok(endpoints),
        None => {
            let answer = by_stream(&question, resolver).await;
            let answer = answer.map_err(|err| err.to_string())?;
            read(id, name, &answer)?.ok_or_else(|| "the answer is cut".to_owned())
        }
    }
}

fn question(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(|err| err.to_string())?;
    let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
    packet
        .questions
        .push(Question::new(name, kind, class, false));
    packet.build_bytes_vec().map_err(|err| err.to_string())
}

async fn by_datagram(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any = match resolver {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that the kernel drops what others send.
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    let len = socket.recv(&mut answer).await?;
    answer.truncate(len);
    Ok(answer)
}

async fn by_stream(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let len = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// `None` where the answer was cut to fit into a datagram.
fn read(id: u16, name: &str, answer: &[u8]) -> Result<Option<Vec<Endpoint>>, String> {
    let packet = Packet::parse(answer).map_err(|err| format!("not a DNS answer: {err}"))?;
    let asked = packet
        .questions
        .first()
        .map(|question| question.qname.to_string());
    let same = asked.is_some_and(|asked| {
        asked
            .trim_end_matches('.')
            .eq_ignore_ascii_case(name.trim_end_matches('.'))
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !same {
        return Err("an answer to another question".to_owned());
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(None);
    }
    let endpoints: Vec<Endpoint> = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) if srv.port > 0 => Some(Endpoint::Name {
                host: srv.target.to_string(),
                port: srv.port,
            }),
            _ => None,
        })
        // RFC 2782: the root as target says that there is no such service.
        .filter(|endpoint| !matches!(endpoint, Endpoint::Name { host, .. } if host.is_empty()))
        .collect();
    match endpoints.is_empty() {
        true => Err(format!("no SRV records ({:?})", packet.rcode())),
        false => Ok(Some(endpoints)),
    }
}

#[cfg(test)]
mod tests;
