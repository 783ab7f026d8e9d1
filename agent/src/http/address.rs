//! Where an agent is: a unix socket, or read-only over TCP.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// Where the agent serves if nothing else is configured.
pub(crate) const SOCKET_DEFAULT: &str = "/run/holdfast/holdfast.sock";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an agent's address is the path of its socket or tcp://127.0.0.1:51678, not {0:?}")]
pub(crate) struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(text.to_owned());
        if let Some(tcp) = text.strip_prefix("tcp://") {
            let tcp = tcp
                .strip_prefix("localhost:")
                .map_or_else(|| tcp.to_owned(), |port| format!("127.0.0.1:{port}"));
            return tcp.parse().map(Self::Tcp).map_err(|_| bad());
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err(bad());
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}
