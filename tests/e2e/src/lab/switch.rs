//! The lab's network: a switch in a namespace of its own, and a cable from it to each host.
//!
//! All faults are made in the switch, where the hosts cannot see or undo them and where they do not
//! mix with the rules that Docker makes on a host.

use super::{Lab, Outcome, tool};
use std::{net::Ipv4Addr, path::PathBuf};

/// The network of every lab: no way leads out of it, so that labs side by side may have the same.
const NETWORK: [u8; 3] = [10, 77, 0];
/// The observer's number among the hosts: a network namespace and nothing more.
pub(super) const OBSERVER: u8 = 0;

pub(super) fn address(number: u8) -> Ipv4Addr {
    let last = if number == OBSERVER { 250 } else { 10 + number };
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, last)
}

/// The host's name, which is also that of its port on the switch.
pub(super) fn name(number: u8) -> String {
    if number == OBSERVER {
        "observer".to_owned()
    } else {
        format!("h{number}")
    }
}

pub(super) fn namespace(lab: &Lab, number: u8) -> String {
    format!("{}-{}", lab.name, name(number))
}

fn of_switch(lab: &Lab) -> String {
    format!("{}-switch", lab.name)
}

pub(super) fn path(namespace: &str) -> PathBuf {
    PathBuf::from(format!("/run/netns/{namespace}"))
}

/// Makes the switch and the observer's cable, unless they are there.
pub(super) fn up(lab: &Lab) -> Outcome<()> {
    let switch = of_switch(lab);
    if !path(&switch).exists() {
        tool::run("ip", &["netns", "add", &switch])?;
        let commands = "link set lo up\n\
            link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
            link set bridge up\n";
        tool::feed("ip", &["-n", &switch, "-batch", "-"], commands)?;
    }
    plug(lab, OBSERVER)
}

/// The host's network namespace with its cable; what is there already stays.
pub(super) fn plug(lab: &Lab, number: u8) -> Outcome<()> {
    let (switch, own) = (of_switch(lab), namespace(lab, number));
    let (port, address) = (name(number), address(number));
    if !path(&own).exists() {
        tool::run("ip", &["netns", "add", &own])?;
    }
    if !has_link(&switch, &port)? {
        let commands = format!(
            "link add {port} type veth peer name eth0 netns {own}\n\
             link set {port} master bridge\nlink set {port} up\n"
        );
        tool::feed("ip", &["-n", &switch, "-batch", "-"], &commands)?;
    }
    // Addresses of version 6 would come by themselves, and take a second to be ready.
    let quiet = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    tool::run("ip", &["netns", "exec", &own, "sh", "-c", quiet])?;
    let commands =
        format!("link set lo up\naddr replace {address}/24 dev eth0\nlink set eth0 up\n");
    tool::feed("ip", &["-n", &own, "-batch", "-"], &commands)?;
    Ok(())
}

fn has_link(namespace: &str, link: &str) -> Outcome<bool> {
    let listed = tool::run("ip", &["-n", namespace, "-brief", "link"])?;
    let mut names = listed
        .lines()
        .filter_map(|line| line.split(['@', ' ']).next());
    Ok(names.any(|name| name == link))
}

/// The cable goes dead: from now on nothing that the host says is heard, not even its last words.
pub(super) fn pull(lab: &Lab, number: u8) -> Outcome<()> {
    let (switch, port) = (of_switch(lab), name(number));
    if path(&switch).exists() && has_link(&switch, &port)? {
        tool::run("ip", &["-n", &switch, "link", "set", &port, "down"])?;
    }
    Ok(())
}

/// Removes the cable and the host's network namespace.
pub(super) fn unplug(lab: &Lab, number: u8) -> Outcome<()> {
    let (switch, port, own) = (of_switch(lab), name(number), namespace(lab, number));
    if path(&switch).exists() && has_link(&switch, &port)? {
        tool::run("ip", &["-n", &switch, "link", "delete", &port])?;
    }
    remove(&own)
}

/// Removes what is left when no host is.
pub(super) fn down(lab: &Lab) -> Outcome<()> {
    unplug(lab, OBSERVER)?;
    remove(&of_switch(lab))
}

fn remove(namespace: &str) -> Outcome<()> {
    if path(namespace).exists() {
        tool::run("ip", &["netns", "delete", namespace])?;
    }
    Ok(())
}

/// Hosts whose network namespace is there, whether or not they have files: rests of a crash.
pub(super) fn found(lab: &Lab) -> Vec<u8> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let prefix = format!("{}-h", lab.name);
    names
        .filter_map(|name| name.to_str()?.strip_prefix(&prefix)?.parse().ok())
        .collect()
}

/// Gives the switch this table of rules.
pub(super) fn apply(lab: &Lab, table: &str) -> Outcome<()> {
    let switch = of_switch(lab);
    tool::feed("ip", &["netns", "exec", &switch, "nft", "-f", "-"], table)?;
    Ok(())
}
