//! Stories of silence: who is suspected, who is judged, and who takes a vote back.

use super::{host_id, host_report};
use crate::{
    cluster::{
        board::Board,
        body::{Body, HostStatus, Key},
        membership::{Finding, Membership},
        message::Message,
        record::{Record, Version},
    },
    effect::{Effect, Effects},
    ids::HostId,
    rng::Rng,
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use expect_test::{Expect, expect};
use std::net::SocketAddr;

const ME: u64 = 0;
/// The accused, who never answers.
const SILENT: u64 = 9;
/// A seed that sets the first round of probes to 0.883 s, so that silence is noticed early.
const EARLY_TICK: u64 = 0;

/// How a peer behaves when it is probed, and when it hears an alarm about the silent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Answers; hears nothing from the silent one either, and says so whenever we do.
    Agrees,
    /// Answers; does hear the silent one.
    HearsIt,
    /// Answers, and says nothing of others.
    Mute,
    /// Answers nothing, as the accused.
    Gone,
}

struct Story {
    membership: Membership,
    peers: Vec<Peer>,
    now: Mono,
    told: Vec<String>,
}

impl Story {
    /// We are host 0, the peers follow, and host 9 is silent from the start.
    fn new(peers: &[Peer], status: HostStatus) -> Self {
        Self::seeded(EARLY_TICK, peers, status)
    }

    fn seeded(seed: u64, peers: &[Peer], status: HostStatus) -> Self {
        let start = at(Mono(0));
        let mut membership = Membership::new(
            host_id(ME),
            Timings::default(),
            vec![],
            Rng::new(seed),
            start,
        );
        let mut board = Board::default();
        let numbers: Vec<u64> = (0..=peers.len() as u64).chain([SILENT]).collect();
        for &number in &numbers {
            let mut report = host_report("host");
            if number == SILENT {
                report.status = status;
            }
            let version = Version {
                epoch: 1,
                ..Version::default()
            };
            let body = Some(Body::Host(report));
            board.merge(&Record::new(Key::Host(host_id(number)), version, body));
        }
        for number in numbers {
            membership.on_board(start, &board, host_id(number));
        }
        let (peers, told) = (peers.to_vec(), Vec::new());
        Self {
            membership,
            peers,
            now: Mono(0),
            told,
        }
    }

    fn tell(&mut self, what: &str) {
        self.told.push(format!("{} {what}", Span(self.now.0)));
    }

    /// Wakes it whenever it wants to be woken, for as long as this.
    fn pass(&mut self, span: Span) {
        let until = self.now + span;
        while self.membership.deadline() <= until {
            self.now = self.membership.deadline();
            self.wake();
        }
        self.now = until;
    }

    fn wake(&mut self) {
        let (mut fx, mut findings) = (Effects::new(), Vec::new());
        self.membership.on_time(at(self.now));
        self.membership
            .on_wake(at(self.now), &mut fx, &mut findings);
        self.note(findings);
        for effect in fx.drain().collect::<Vec<_>>() {
            let Effect::Send(send) = effect else {
                panic!("{effect:?}")
            };
            let host = send.host.expect("we have no seeds");
            let number = (1..=SILENT).find(|number| host_id(*number) == host);
            let peer = self
                .peers
                .get(number.expect("it is one of us") as usize - 1)
                .copied();
            self.answer(host, peer.unwrap_or(Peer::Gone), &send.message);
        }
    }

    fn answer(&mut self, host: HostId, peer: Peer, message: &Message) {
        match (peer, message) {
            (Peer::Gone, _) => {}
            (_, Message::Probe { sequence }) => {
                self.hear(host);
                self.membership.on_ack(at(self.now), host, *sequence);
            }
            (Peer::Agrees, Message::Alarm { .. }) => self.alarm(host),
            (
                Peer::HearsIt,
                Message::Alarm {
                    subject,
                    incarnation,
                },
            ) => {
                self.hear(host);
                self.membership
                    .on_alive(at(self.now), *subject, *incarnation);
            }
            (Peer::Mute, Message::Alarm { .. }) => {}
            (_, other) => panic!("{other:?} was not expected"),
        }
    }

    fn hear(&mut self, host: HostId) -> Vec<Message> {
        let (mut fx, mut findings) = (Effects::new(), Vec::new());
        self.membership
            .on_heard(at(self.now), host, &mut fx, &mut findings);
        self.note(findings);
        sent(fx)
    }

    fn alarm(&mut self, from: HostId) {
        self.hear(from);
        let (mut fx, mut findings) = (Effects::new(), Vec::new());
        let accused = (host_id(SILENT), 1);
        self.membership
            .on_alarm(at(self.now), from, accused, &mut fx, &mut findings);
        self.note(findings);
    }

    fn note(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            match finding {
                Finding::Suspected(host) => self.tell(&format!("suspected {}", number(host))),
                Finding::Cleared(host) => self.tell(&format!("cleared {}", number(host))),
                Finding::Down {
                    host,
                    votes,
                    silent,
                    ..
                } => {
                    let mut votes: Vec<u64> = votes.into_iter().map(number).collect();
                    votes.sort_unstable();
                    let host = number(host);
                    self.tell(&format!("down {host}, silent for {silent}, say {votes:?}"));
                }
            }
        }
    }

    /// What was told, each kind of finding about a host once.
    fn check(self, expected: Expect) {
        let mut seen = Vec::new();
        let mut lines = String::new();
        for line in self.told {
            let what: String = line
                .split(' ')
                .skip(2)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ");
            if !seen.contains(&what) {
                lines += &format!("{line}\n");
                seen.push(what);
            }
        }
        expected.assert_eq(&lines);
    }
}

fn sent(mut fx: Effects) -> Vec<Message> {
    let message = |effect| match effect {
        Effect::Send(send) => send.message,
        other => panic!("{other:?}"),
    };
    fx.drain().map(message).collect()
}

fn number(host: HostId) -> u64 {
    (host.0 >> 96) as u64 - 1
}

fn at(mono: Mono) -> Now {
    Now {
        mono,
        wall: Wall(mono.0 / 1_000),
    }
}

const MINUTE: Span = Span::from_secs(60);

#[test]
fn the_silent_is_suspected_and_then_judged_by_a_quorum() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.333 s suspected 9
        2.233 s down 9, silent for 2.233 s, say [0, 1, 2]
    "#]]);
}

#[test]
fn one_observer_alone_judges_nobody_while_others_could_agree() {
    let mut story = Story::new(&[Peer::Mute, Peer::Mute], HostStatus::Active);
    story.pass(MINUTE);
    story.check(expect![[r#"
        1.333 s suspected 9
    "#]]);
}

#[test]
fn two_of_three_observers_are_enough_and_one_is_not() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.333 s suspected 9
        2.233 s down 9, silent for 2.233 s, say [0, 1]
    "#]]);
}

#[test]
fn whoever_hears_the_accused_takes_the_votes_back() {
    let mut story = Story::new(&[Peer::Agrees, Peer::HearsIt], HostStatus::Active);
    story.pass(MINUTE);
    story.check(expect![[r#"
        1.333 s suspected 9
    "#]]);
}

/// With some first ticks the alarm came so late that it and the verdict fell into one step, before
/// anybody could say that the accused is there.
#[test]
fn no_first_tick_makes_an_alarm_so_late_that_nobody_can_answer_it() {
    for seed in 0..50 {
        let peers = [Peer::Agrees, Peer::HearsIt];
        let mut story = Story::seeded(seed, &peers, HostStatus::Active);
        story.pass(MINUTE);
        let down = story.told.iter().find(|told| told.contains("down"));
        assert_eq!(down, None, "seed {seed}");
    }
}

#[test]
fn observers_that_are_cut_off_themselves_need_not_agree() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Gone, Peer::Gone], HostStatus::Active);
    story.pass(Span::from_secs(6));
    story.check(expect![[r#"
        1.333 s suspected 2
        1.333 s suspected 3
        1.333 s suspected 9
        2.233 s down 9, silent for 2.233 s, say [0, 1]
    "#]]);
}

#[test]
fn the_last_host_judges_alone() {
    let mut story = Story::new(&[], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.333 s suspected 9
        2.233 s down 9, silent for 2.233 s, say [0]
    "#]]);
}

#[test]
fn one_that_said_it_restarts_is_given_its_grace() {
    let mut story = Story::new(&[Peer::Agrees], HostStatus::Restarting);
    story.pass(MINUTE);
    story.check(expect![[r#"
        1.333 s suspected 9
        30.133 s down 9, silent for 30.133 s, say [0, 1]
    "#]]);
}

#[test]
fn an_answer_clears_the_suspect_and_tells_who_voted_against_it() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_ms(1_600));
    let told = story.hear(host_id(SILENT));
    let (subject, incarnation) = (host_id(SILENT), 1);
    assert_eq!(
        told,
        [Message::Alive {
            subject,
            incarnation
        }]
    );
    story.check(expect![[r#"
        1.333 s suspected 9
        1.600 s cleared 9
    "#]]);
}

#[test]
fn an_alarm_about_whom_we_just_heard_is_contradicted() {
    let mut story = Story::new(&[Peer::Mute], HostStatus::Active);
    story.pass(Span::from_secs(1));
    story.hear(host_id(SILENT));
    let (mut fx, mut findings) = (Effects::new(), Vec::new());
    let accused = (host_id(SILENT), 1);
    story
        .membership
        .on_alarm(at(story.now), host_id(1), accused, &mut fx, &mut findings);
    let (subject, incarnation) = accused;
    assert_eq!(
        sent(fx),
        [Message::Alive {
            subject,
            incarnation
        }]
    );
}

#[test]
fn an_observer_that_stood_still_does_not_judge_by_its_own_absence() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.pass(Span::from_ms(1_500));
    let before = story.told.len();
    story.now = story.now + MINUTE;
    story.wake();
    story.pass(Span::from_ms(500));
    assert_eq!(story.told.len(), before, "{:?}", story.told);
    // What is silent still is judged in its own time.
    story.pass(Span::from_secs(5));
    assert!(story.told.len() > before);
    let address: SocketAddr = "10.0.0.1:7400".parse().expect("it is an address");
    assert_eq!(story.membership.address(host_id(SILENT)), Some(address));
}
