//! Names of services, tasks and hosts by DNS: a server that has the answer for one zone, and for
//! nothing else.
//!
//! `answer` is a function from bytes to bytes; `serve` has the sockets.

mod name;
mod zone;
mod answer;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use serve::serve;
pub(crate) use zone::Zone;

use std::net::{IpAddr, SocketAddr};

/// What is known to be right for as long: an answer is not to outlive what it says by more.
const TTL_S: u32 = 1;

#[derive(Clone, Debug)]
pub(crate) struct DnsSettings {
    pub(crate) bind: SocketAddr,
    /// In lower case, without a dot at its end.
    pub(crate) domain: String,
    /// What the zone's name server is said to be where `bind` is every address.
    pub(crate) own: IpAddr,
}

impl DnsSettings {
    /// What `ns` in the zone stands for.
    fn server(&self) -> IpAddr {
        match self.bind.ip() {
            any if any.is_unspecified() => self.own,
            one => one,
        }
    }
}
