//! What may stand in `peers`, and in what files and commands list: parsed, or refused by reason.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// Of all lines of one source; what comes after these is left out, and said to be.
const ENDPOINTS_MAX: usize = 1_024;
/// RFC 1035 §2.3.4, without the closing dot.
const NAME_BYTES_MAX: usize = 253;

/// One entry of `peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerSource {
    At(Endpoint),
    /// A DNS name whose SRV records name the peers.
    Service(String),
    /// Peers a line each.
    File(PathBuf),
    /// A program and its arguments; its output has peers a line each.
    Command(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

impl PeerSource {
    /// `port` is the one of an endpoint that has none.
    pub(crate) fn parse(text: &str, port: u16) -> Result<Self, String> {
        let absolute = |path: &str| match Path::new(path).is_absolute() {
            true => Ok(PathBuf::from(path)),
            false => Err(format!("{text:?} needs an absolute path")),
        };
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(absolute(path)?));
        }
        if let Some(command) = text.strip_prefix("exec:") {
            let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
            absolute(words.first().map_or("", String::as_str))?;
            return Ok(Self::Command(words));
        }
        if let Some(name) = text.strip_prefix("srv:") {
            return match is_host_name(name) {
                true => Ok(Self::Service(name.to_owned())),
                false => Err(format!("{name:?} is not a DNS name")),
            };
        }
        Endpoint::parse(text, port).map(Self::At)
    }
}

impl fmt::Display for PeerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Service(name) => write!(f, "srv:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            // Not its arguments: they may be nobody's business.
            Self::Command(words) => write!(f, "exec:{}", words.first().map_or("", String::as_str)),
        }
    }
}

impl Endpoint {
    pub(crate) fn parse(text: &str, port: u16) -> Result<Self, String> {
        let bad = |why| Err(format!("{text:?} {why}"));
        let address = text.parse::<SocketAddr>();
        let address = address.or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)));
        if let Ok(address) = address {
            return match address.port() == 0 || address.ip().is_unspecified() {
                true => bad("is nobody's address"),
                false => Ok(Self::Address(address)),
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, port),
            Some((host, port)) => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, port),
                _ => return bad("has no port from 1 to 65535 behind its colon"),
            },
        };
        match is_host_name(host) {
            true => Ok(Self::Name {
                host: host.to_owned(),
                port,
            }),
            false => bad("is no IP address and no DNS name, port or not"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What ends in a number is a mistyped address: no top-level domain does.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= NAME_BYTES_MAX
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a file or a command lists: the endpoints, and what is wrong with the rest, line by line.
///
/// Several may stand on one line, since tools of clouds print them so. `#` begins a comment.
pub(super) fn read_lines(from: &str, text: &str, port: u16) -> (Vec<Endpoint>, Vec<String>) {
    let (mut endpoints, mut wrong) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split_whitespace() {
            match Endpoint::parse(word, port) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(why) => wrong.push(format!("{from}:{}: {why}", index + 1)),
            }
        }
    }
    if endpoints.len() > ENDPOINTS_MAX {
        let count = endpoints.len();
        wrong.push(format!(
            "{from} lists {count} peers; the first {ENDPOINTS_MAX} are used"
        ));
        endpoints.truncate(ENDPOINTS_MAX);
    }
    (endpoints, wrong)
}
