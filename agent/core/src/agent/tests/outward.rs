//! Who of several agents tells those outside, and of what.

use super::{NOW, address, config, host, tell_at};
use crate::{
    agent::{Agent, AgentConfig},
    cluster::{
        board::Board,
        body::{
            Body, HostReport, Key, ServiceCount, ServiceRevision, ServiceSettings, Slot, Standing,
            TaskReport, Verdict,
        },
        record::{Record, Stamp, Version},
    },
    effect::{Effect, Effects},
    event::{Event, EventId, Happening, LossFate, ServiceNews},
    ids::{Digest, HostId, ServiceId, TaskId},
    spec::options::{HandOver, ServiceOptions},
    task::{
        runtime::SlotLabel,
        status::{StopCode, TaskStatus},
    },
    time::{Now, Span, Wall},
};
use std::sync::Arc;

const WEB: ServiceId = ServiceId(5);

/// None of them is the one that says what they are told.
fn id(number: u128) -> HostId {
    HostId((10 + number) << 96)
}

const fn later(ms: u64) -> Now {
    let mut now = NOW;
    now.mono.0 += ms * 1_000;
    now.wall.0 += ms;
    now
}

fn record(key: Key, epoch: u64, (author, at): (HostId, Wall), body: Body) -> Arc<Record> {
    let stamp = Stamp {
        wall: at,
        counter: 0,
        author,
    };
    Record::new(key, Version { epoch, stamp }, Some(body))
}

fn task(last: TaskStatus) -> TaskReport {
    let revision = ServiceRevision {
        definition: Digest::default(),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    };
    let mut report = TaskReport::begin(revision, None, NOW.wall);
    report.last = last;
    report.ready = last == TaskStatus::Running;
    report
}

fn said(on: HostId, task: TaskId, epoch: u64, at: Now, report: TaskReport) -> Arc<Record> {
    record(
        Key::Task(on, task),
        epoch,
        (on, at.wall),
        Body::Task(report),
    )
}

/// As three observers agree who are there.
fn down(host: HostId, at: Now) -> Arc<Record> {
    let verdict = Verdict {
        standing: Standing::Down,
        votes: (1..=4).map(id).filter(|voter| *voter != host).collect(),
        silent_ms: 1_000,
    };
    let author = verdict.votes[0];
    record(
        Key::Verdict(host),
        1,
        (author, at.wall),
        Body::Verdict(verdict),
    )
}

/// Five agents that know each other.
fn agents() -> Vec<Agent> {
    let agent = |number| {
        let config = AgentConfig {
            host: id(number),
            address: address(id(number)),
            ..config()
        };
        let mut fx = Effects::new();
        let mut agent = Agent::resume(config, Board::default(), number as u64, NOW, &mut fx);
        fx.drain().for_each(drop);
        let others = (1..=5).filter(|other| *other != number);
        tell_at(
            NOW,
            &mut agent,
            others.map(|other| host(id(other))).collect(),
        );
        agent
    };
    (1..=5).map(agent).collect()
}

/// What one agent told, within the cluster and outside.
#[derive(Default)]
struct Heard {
    told: Vec<Event>,
    outside: Vec<Event>,
}

impl Heard {
    fn of(effects: Vec<Effect>) -> Self {
        let mut heard = Self::default();
        for effect in effects {
            match effect {
                Effect::Emit(event) => {
                    heard
                        .outside
                        .extend(Some(event.clone()).filter(|event| event.ours));
                    heard.told.push(event);
                }
                Effect::Retell(event) => heard.outside.push(event),
                _ => {}
            }
        }
        heard
    }

    fn lost(events: &[Event]) -> Vec<(TaskId, EventId)> {
        let lost = events.iter().filter_map(|event| match &event.what {
            Happening::Loss(loss) if loss.fate == LossFate::Lost => Some((loss.task, event.id)),
            _ => None,
        });
        lost.collect()
    }
}

fn all_hear(agents: &mut [Agent], now: Now, records: &[Arc<Record>]) -> Vec<Heard> {
    let hear = |agent: &mut Agent| Heard::of(tell_at(now, agent, records.to_vec()));
    agents.iter_mut().map(hear).collect()
}

#[test]
fn of_a_lost_host_one_survivor_tells_and_if_that_one_is_lost_another() {
    let mut agents = agents();
    let (gone, ran, ended) = (id(5), TaskId(1), TaskId(2));
    let mut stopped = task(TaskStatus::Stopped);
    stopped.stop_code = Some(StopCode::UserInitiated);
    stopped.stopped_reason = "by hand".into();
    stopped.stopped_at = Some(later(100).wall);
    agents.pop();
    let heard = all_hear(
        &mut agents,
        later(100),
        &[
            said(gone, ran, 1, NOW, task(TaskStatus::Running)),
            said(gone, ended, 1, later(100), stopped),
        ],
    );
    assert!(
        heard
            .iter()
            .all(|heard| heard.told.len() == 2 && heard.outside.is_empty())
    );

    let heard = all_hear(&mut agents, later(2_000), &[down(gone, later(2_000))]);
    let told: Vec<_> = heard.iter().map(|heard| Heard::lost(&heard.told)).collect();
    assert!(
        told.iter()
            .all(|told| *told == told[..1] && told[0].0 == ran),
        "{told:?}"
    );
    let mut tellers = heard
        .iter()
        .enumerate()
        .filter(|(_, heard)| !heard.outside.is_empty());
    let (teller, outside) = tellers.next().expect("somebody tells");
    assert!(tellers.next().is_none(), "and nobody else does");
    assert_eq!(
        Heard::lost(&outside.outside),
        told[0],
        "as all others know it"
    );
    let last_words = outside.outside.iter().filter(|event| match &event.what {
        Happening::Task(change) => change.task == ended && change.to == TaskStatus::Stopped,
        _ => false,
    });
    assert_eq!(
        last_words.count(),
        1,
        "whether it said so outside, nobody knows"
    );

    let teller = agents.remove(teller).config().host;
    let heard = all_hear(&mut agents, later(3_000), &[down(teller, later(3_000))]);
    let again: Vec<_> = heard
        .iter()
        .flat_map(|heard| Heard::lost(&heard.outside))
        .collect();
    assert_eq!(
        again, told[0],
        "one of those that are left tells the same again"
    );
    assert!(
        heard
            .iter()
            .all(|heard| Heard::lost(&heard.told).is_empty()),
        "it is no news"
    );
}

#[test]
fn a_task_whose_host_was_lost_is_found_when_the_host_says_so_again() {
    let mut agents = agents();
    let (gone, ran) = (id(5), TaskId(1));
    agents.pop();
    all_hear(
        &mut agents,
        NOW,
        &[said(gone, ran, 1, NOW, task(TaskStatus::Running))],
    );
    all_hear(&mut agents, later(2_000), &[down(gone, later(2_000))]);
    let Some(Body::Host(report)) = &host(gone).body else {
        unreachable!("it is a host's");
    };
    let back = HostReport { ..report.clone() };
    let at = later(4_000);
    let records = [
        record(Key::Host(gone), 2, (gone, at.wall), Body::Host(back)),
        said(gone, ran, 2, at, task(TaskStatus::Running)),
    ];
    for heard in all_hear(&mut agents, at, &records) {
        let found = heard.told.iter().filter(|event| match &event.what {
            Happening::Loss(loss) => loss.fate == LossFate::Found && loss.task == ran,
            _ => false,
        });
        assert_eq!(found.count(), 1);
        assert!(heard.outside.is_empty(), "its own host tells");
    }
}

fn service_records(host: HostId) -> Vec<Arc<Record>> {
    let by = (id(1), NOW.wall);
    let revision = ServiceRevision {
        definition: Digest::default(),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    };
    let settings = ServiceSettings {
        name: "web".to_owned(),
        created_at: NOW.wall,
        client_token: String::new(),
        options: ServiceOptions::default(),
    };
    let slot = Slot {
        host: Some(host),
        revision: revision.clone(),
        adopted: None,
        superseded: Vec::new(),
        order: HandOver::StartFirst,
        failures: 0,
        tried: 0,
        end: None,
        reason: "spread: fewest tasks".to_owned(),
    };
    let count = ServiceCount { desired: 1 };
    vec![
        record(
            Key::ServiceRevision(WEB),
            0,
            by,
            Body::ServiceRevision(revision),
        ),
        record(Key::ServiceCount(WEB), 0, by, Body::ServiceCount(count)),
        record(
            Key::ServiceSettings(WEB),
            0,
            by,
            Body::ServiceSettings(settings),
        ),
        record(Key::Slot(WEB, 0), 1, by, Body::Slot(slot)),
    ]
}

fn news(events: &[Event]) -> Vec<ServiceNews> {
    let news = events.iter().filter_map(|event| match &event.what {
        Happening::Service(change) => Some(change.news.clone()),
        _ => None,
    });
    news.filter(|news| *news != ServiceNews::Placed).collect()
}

#[test]
fn a_deployment_begins_and_ends_once_and_its_keeper_tells_that_outside() {
    let mut agents = agents();
    let on = id(2);
    let heard = all_hear(&mut agents, NOW, &service_records(on));
    let begins = |news: &ServiceNews| matches!(news, ServiceNews::Deploys(_));
    for heard in &heard {
        assert_eq!(
            news(&heard.told).iter().filter(|news| begins(news)).count(),
            1
        );
    }
    let outside: Vec<_> = heard
        .iter()
        .flat_map(|heard| news(&heard.outside))
        .collect();
    assert_eq!(
        outside.iter().filter(|news| begins(news)).count(),
        1,
        "{outside:?}"
    );

    let mut serving = task(TaskStatus::Running);
    serving.slot = Some(SlotLabel {
        service: WEB,
        service_name: "web".into(),
        index: 0,
        generation: 1,
    });
    let others: Vec<_> = agents.iter().map(|agent| agent.config().host).collect();
    // What its own host says of a task that it has not got is another story.
    agents.remove(
        others
            .iter()
            .position(|host| *host == on)
            .expect("it is one of them"),
    );
    let runs = said(on, TaskId(1), 1, later(500), serving.clone());
    let heard = all_hear(&mut agents, later(500), &[runs]);
    for heard in &heard {
        let news = news(&heard.told);
        assert!(
            matches!(news[..], [ServiceNews::Deployed(_), ServiceNews::Steady]),
            "{news:?}"
        );
    }
    let mut stopped = serving;
    stopped.last = TaskStatus::Stopped;
    stopped.stopped_at = Some(later(900).wall);
    let ends = said(on, TaskId(1), 1, later(900), stopped);
    let heard = all_hear(&mut agents, later(900), &[ends]);
    assert!(
        heard
            .iter()
            .all(|heard| !news(&heard.told).contains(&ServiceNews::Steady))
    );
}

#[test]
fn what_an_agent_finds_when_it_starts_is_no_news() {
    let on = id(2);
    let mut serving = task(TaskStatus::Running);
    serving.slot = Some(SlotLabel {
        service: WEB,
        service_name: "web".into(),
        index: 0,
        generation: 1,
    });
    let mut records = service_records(on);
    records.push(host(on));
    records.push(said(on, TaskId(1), 1, NOW, serving));
    let mut fx = Effects::new();
    let board = Board::from_records(records);
    let mut agent = Agent::resume(config(), board, 1, later(0), &mut fx);
    let mut told = Heard::of(fx.drain().collect()).told;
    // It asks the peer that it remembers, in vain, and goes on alone.
    for second in 1..=5 {
        let now = later(0);
        let mono = now.mono + Span::from_secs(second);
        agent.step(Now { mono, ..now }, crate::input::Input::Wake, &mut fx);
        told.extend(Heard::of(fx.drain().collect()).told);
    }
    assert!(agent.is_caught_up());
    assert_eq!(news(&told), []);
}
