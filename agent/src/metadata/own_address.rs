//! Gives this machine a link-local address of its own, on its loopback device.
//!
//! Containers behind a bridge send what is for it to their gateway, which is this machine: no rule
//! of a firewall is needed, and no other machine is ever asked.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeader, AddressMessage, AddressScope},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{errno::Errno, net::if_::if_nametoindex};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

const LOOPBACK: &str = "lo";

/// This machine does not have the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error(
        "cannot add the address {address} to this machine, which needs CAP_NET_ADMIN; give the \
         agent that, or add it with `ip address add {address}/32 dev lo scope host`"
    )]
    Add {
        address: Ipv4Addr,
        #[source]
        err: io::Error,
    },
}

/// Adds a link-local address that this machine does not have yet; others are not ours to add. It
/// stays when the agent ends, whose tasks go on.
pub(crate) fn have(address: IpAddr) -> Result<(), AddressError> {
    match address {
        IpAddr::V4(address) if address.is_link_local() => {
            add(address).map_err(|err| AddressError::Add { address, err })
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
    }
}

fn add(address: Ipv4Addr) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let message = request(address, if_nametoindex(LOOPBACK)?);
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    // The kernel answers before `send` returns.
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
    match answer.map_err(io::Error::other)?.payload {
        NetlinkPayload::Error(told) if told.raw_code() == -(Errno::EEXIST as i32) => Ok(()),
        NetlinkPayload::Error(told) if told.code.is_some() => Err(told.to_io()),
        NetlinkPayload::Error(_) => Ok(()),
        other => Err(io::Error::other(format!(
            "the kernel's answer is {other:?}"
        ))),
    }
}

/// Of the machine alone: the kernel never chooses it for what goes to others.
fn request(address: Ipv4Addr, device: u32) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut body = AddressMessage::default();
    body.header = AddressHeader {
        family: AddressFamily::Inet,
        prefix_len: 32,
        scope: AddressScope::Host,
        index: device,
        ..AddressHeader::default()
    };
    let address = IpAddr::V4(address);
    body.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    let payload = NetlinkPayload::from(RouteNetlinkMessage::NewAddress(body));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    message
}
