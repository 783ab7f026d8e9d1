//! What changed records cost and how fast they are known: one among many hosts, many at once.

use crate::{
    cluster::{Cluster, SECOND},
    options::Options,
    trace::TraceMode,
};
use holdfast_core::{
    cluster::{
        body::{Body, Key},
        message::{Message, Via},
        record::{Record, Stamp, Version},
    },
    ids::HostId,
    input::Input,
};
use std::sync::Arc;

const MS: u64 = 1_000;

/// How one changed record spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Until 99 of 100 hosts had it, in microseconds.
    pub known_us: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// A cluster in which nothing happens but what is injected.
pub fn quiet_cluster(seed: u64, agents: usize, loss_ppm: u64) -> Result<Cluster, String> {
    let mut options = Options::calm(seed, agents);
    options.codec = false;
    options.trace = TraceMode::Off;
    let mut cluster = Cluster::new(options);
    cluster.run_until(20 * SECOND)?;
    cluster.network.weather.loss_ppm = loss_ppm;
    Ok(cluster)
}

/// Records of a kind that nobody acts on, changed at one host at once, as others tell it.
pub fn inject(cluster: &mut Cluster, place: usize, first: u64, count: u64) -> Vec<Arc<Record>> {
    let stamp = Stamp {
        wall: cluster.host(place).wall(cluster.now()),
        counter: 0,
        author: HostId(7),
    };
    let records: Vec<_> = (first..first + count)
        .map(|number| {
            let key = number.to_be_bytes().to_vec();
            let body = Some(Body::Unknown(vec![0xab; 120]));
            Record::new(
                Key::Unknown { kind: 200, key },
                Version { epoch: 0, stamp },
                body,
            )
        })
        .collect();
    let teller = (place + 1) % cluster.hosts();
    let input = Input::Message {
        from: cluster.host(teller).id,
        address: crate::network::Network::first_address(teller),
        via: Via::Datagram,
        message: Message::Records(records.clone()),
    };
    cluster.step(place, input);
    records
}

impl Cluster {
    /// How many agents have the record.
    pub fn holders(&self, key: &Key) -> usize {
        (0..self.hosts())
            .filter_map(|place| self.agent(place))
            .filter(|agent| agent.board().record(key).is_some())
            .count()
    }
}

/// One record in a cluster of so many.
pub fn spread_one(
    seed: u64,
    agents: usize,
    loss_ppm: u64,
    runs: u64,
) -> Result<Vec<Spread>, String> {
    let mut cluster = quiet_cluster(seed, agents, loss_ppm)?;
    (0..runs)
        .map(|number| {
            let (began, before) = (cluster.now(), cluster.stats.clone());
            let place = (number as usize * 37) % agents;
            let records = inject(&mut cluster, place, number, 1);
            while cluster.holders(&records[0].key) * 100 < agents * 99 {
                cluster.run_for(MS)?;
                if cluster.now() > began + 10 * SECOND {
                    return Err("not known to 99 of 100 hosts after 10 s".to_owned());
                }
            }
            let known_us = cluster.now() - began;
            cluster.run_until(began + SECOND)?;
            Ok(Spread {
                known_us,
                messages: cluster.stats.records_sent - before.records_sent,
                bytes: cluster.stats.record_bytes_sent - before.record_bytes_sent,
            })
        })
        .collect()
}

/// The report in columns.
pub fn print(agents: usize, loss_ppm: u64, spreads: &[Spread]) {
    let loss = loss_ppm / 10_000;
    println!("one record, {agents} hosts, {loss} % loss: known to 99 % after, messages, bytes");
    for spread in spreads {
        let Spread {
            known_us,
            messages,
            bytes,
        } = spread;
        println!("{:>8} ms  {messages:>8}  {bytes:>10}", known_us / MS);
    }
}
