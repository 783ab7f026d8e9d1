//! What is lost is out of use within a second, before it is replaced.

use crate::COUNT;
use e2e::{
    dns::{self, RecordType},
    lab::fleet::LabFleet,
    network,
    wait::{secs, until, wall_nanos},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const DNS_PORT: u16 = 8_600;
const PATIENCE: Duration = secs(30);
/// The design promises a second from the first probe that is not answered, which comes within a
/// second; the rest is for a machine that has other work.
const LEFT_OUT_WITHIN: Duration = secs(3);

fn found_by(fleet: &LabFleet, asked: usize) -> Result<Vec<IpAddr>, String> {
    let server = SocketAddr::new(fleet.hosts[asked].address.ip(), DNS_PORT);
    // From its own network: that of whoever runs the tests does not reach the lab's.
    let answer = network::within(fleet.hosts[asked].pid(), || {
        dns::ask(server, "web.service", RecordType::A)
    });
    let answer = answer.map_err(|err| err.to_string())?;
    Ok(dns::addresses(&answer).into_iter().collect())
}

/// How long after `since` the DNS of each other agent has left the host out.
#[track_caller]
fn left_out(fleet: &LabFleet, lost: usize, since: u64) -> Duration {
    let address = fleet.hosts[lost].address.ip();
    let others = (0..fleet.hosts.len()).filter(|other| *other != lost);
    let mut others: Vec<_> = others.collect();
    until("the host is left out", PATIENCE, || {
        let mut still = Vec::new();
        for other in &others {
            if found_by(fleet, *other)?.contains(&address) {
                still.push(*other);
            }
        }
        others = still;
        match others.is_empty() {
            true => Ok(Duration::from_nanos(wall_nanos() - since)),
            false => Err(format!("{others:?} have it")),
        }
    })
}

#[test]
fn a_host_that_freezes_is_left_out_of_dns_everywhere() {
    let Some(mut fleet) = LabFleet::up(5, &[]) else {
        return;
    };
    for host in &mut fleet.hosts {
        let dns = SocketAddr::new(host.address.ip(), DNS_PORT);
        host.set("dns", &dns.to_string());
    }
    fleet.start_all();
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    let mut all = Vec::new();
    for lost in [1, 2, 3, 4] {
        let address = fleet.hosts[lost].address.ip();
        until("DNS has the host", PATIENCE, || {
            match found_by(&fleet, 0)? {
                found if found.contains(&address) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        });
        let since = wall_nanos();
        fleet.pause(lost);
        all.push(left_out(&fleet, lost, since));
        fleet.resume(lost);
        fleet.await_all();
        fleet.await_agreed("web", COUNT);
    }
    println!("from freezing to being left out by all: {all:?}");
    assert!(all.iter().all(|took| *took <= LEFT_OUT_WITHIN), "{all:?}");
}
