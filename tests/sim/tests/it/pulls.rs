//! Stories of images that hosts have one another pull: each question has one answer, whatever
//! happens meanwhile, and a host that is gone holds nobody up.

use super::scenarios::{SECOND, expect};
use sim::{
    cluster::Cluster,
    liveness::PULL_MAX,
    network::Weather,
    options::Options,
    run::{drawn, watch},
};

/// So long a pull takes here, on every host.
const PULL_TAKES: u64 = 4 * SECOND;

fn story(then: impl FnOnce(&mut Cluster) -> Result<(), String>) {
    let mut options = Options::calm(7, 5);
    options.recorded = true;
    let told = watch(Cluster::new(options), Vec::new(), |cluster| {
        cluster.run_until(6 * SECOND)?;
        cluster.set_pull_time(PULL_TAKES);
        then(cluster)
    });
    if let Err(failure) = told {
        panic!("{failure}");
    }
}

fn ask_all(cluster: &mut Cluster, image: &str) -> Vec<u64> {
    let hosts = 0..cluster.hosts();
    hosts.map(|host| cluster.pull(0, host, image)).collect()
}

/// What each of them has said: pulled, why not, or nothing yet.
fn said(cluster: &Cluster, asked: &[u64]) -> Vec<String> {
    let word = |id: &u64| match cluster.answer(*id) {
        None => "…".to_owned(),
        Some(Ok(_)) => "pulled".to_owned(),
        Some(Err(refusal)) => refusal.to_string(),
    };
    asked.iter().map(word).collect()
}

fn all_pulled(cluster: &Cluster, asked: &[u64]) -> Result<(), String> {
    let said = said(cluster, asked);
    expect(said.iter().all(|word| word == "pulled"), &said.join("; "))
}

#[test]
fn every_host_pulls_and_says_so_also_where_most_datagrams_are_lost() {
    story(|cluster| {
        let asked = ask_all(cluster, "web:2");
        cluster.run_for(3 * SECOND)?;
        let early = said(cluster, &asked);
        expect(early.iter().all(|word| word == "…"), &early.join("; "))?;
        cluster.run_for(2 * SECOND)?;
        all_pulled(cluster, &asked)?;
        cluster.network().weather = Weather {
            loss_ppm: 300_000,
            duplicate_ppm: 100_000,
            ..Weather::FAIR
        };
        let asked = ask_all(cluster, "db:7");
        cluster.run_for(12 * SECOND)?;
        all_pulled(cluster, &asked)?;
        let missing = ask_all(cluster, "missing:1");
        cluster.run_for(12 * SECOND)?;
        let said = said(cluster, &missing);
        let why = "CannotPullContainerError: no such image: missing:1";
        expect(said.iter().all(|word| word == why), &said.join("; "))
    });
}

#[test]
fn a_host_that_is_lost_in_the_middle_has_failed_as_soon_as_it_is_down() {
    story(|cluster| {
        let asked = ask_all(cluster, "web:2");
        cluster.run_for(SECOND)?;
        cluster.lose_host(3);
        cluster.run_for(3 * SECOND)?;
        let early = said(cluster, &asked);
        expect(early[3].starts_with("it is down"), &early.join("; "))?;
        cluster.run_for(2 * SECOND)?;
        let said = said(cluster, &asked);
        let others = [0, 1, 2, 4].map(|host| &said[host] == "pulled");
        expect(others == [true; 4], &said.join("; "))
    });
}

#[test]
fn an_agent_that_is_started_again_in_the_middle_is_asked_again() {
    story(|cluster| {
        let asked = ask_all(cluster, "web:2");
        cluster.run_for(3 * SECOND)?;
        cluster.shut_down(2);
        cluster.run_for(2 * SECOND)?;
        cluster.restart(2);
        cluster.run_for(8 * SECOND)?;
        all_pulled(cluster, &asked)
    });
}

/// Everything that can go wrong does; the recordings of all of it are replayed meanwhile.
#[test]
fn under_all_faults_each_question_is_answered_once() {
    for seed in 900..906 {
        let mut options = Options::new(seed, 5);
        options.recorded = true;
        let (faults, orders) = drawn(&options);
        let seconds = options.seconds;
        let mut cluster = Cluster::new(options);
        cluster.schedule(faults, orders);
        let told = watch(cluster, Vec::new(), |cluster| {
            for round in 2..seconds / 3 {
                cluster.run_until(round * 3 * SECOND)?;
                let hosts = cluster.hosts() as u64;
                let place = (round % hosts) as usize;
                if cluster.host(place).is_acting() {
                    let image = ["web:2", "missing:1"][(round % 2) as usize];
                    ask_each_of(cluster, place, image);
                }
            }
            cluster.heal();
            cluster.run_for(PULL_MAX)?;
            cluster.pending_answers().map_or(Ok(()), Err)
        });
        told.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

fn ask_each_of(cluster: &mut Cluster, place: usize, image: &str) {
    for host in 0..cluster.hosts() {
        // It may end in the middle.
        if cluster.host(place).is_acting() {
            cluster.pull(place, host, image);
        }
    }
}
