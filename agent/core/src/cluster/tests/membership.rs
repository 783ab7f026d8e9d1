//! Stories of silence: who is suspected, who is judged, and who takes a vote back.

use super::{host_id, host_report};
use crate::{
    cluster::{
        board::Board,
        body::{Body, HostStatus, Key, Standing, Verdict},
        membership::{Finding, Membership, Turn},
        message::{Alarm, Message, Via},
        record::{Record, Stamp, Version},
    },
    effect::{Effect, Effects},
    ids::HostId,
    rng::Rng,
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use expect_test::{Expect, expect};
use std::sync::Arc;

const ME: u64 = 0;
/// The accused, who never answers.
const SILENT: u64 = 9;
/// A seed that sets the first round of probes to 0.885 s, so that silence is noticed early.
const EARLY_TICK: u64 = 275;
const MINUTE: Span = Span::from_secs(60);

/// How a peer behaves when it is probed, and when it hears an alarm about the silent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Answers; has no answer from the silent one either, and says so whenever we do.
    Agrees,
    /// Answers; the silent one answers it.
    HearsIt,
    /// Answers, and says nothing of others.
    Mute,
    /// Answers nothing, as the accused.
    Gone,
}

struct Story {
    membership: Membership,
    board: Board,
    peers: Vec<Peer>,
    now: Mono,
    /// Until when the machine of the silent one answers knocks.
    kernel_until: Mono,
    told: Vec<String>,
    sent: Vec<(HostId, Message)>,
}

impl Story {
    /// We are host 0, the peers follow, and host 9 is silent from the start.
    fn new(peers: &[Peer], status: HostStatus) -> Self {
        Self::seeded(EARLY_TICK, peers, status)
    }

    fn seeded(seed: u64, peers: &[Peer], status: HostStatus) -> Self {
        let start = at(Mono(0));
        let timings = Timings::default();
        let membership = Membership::new(host_id(ME), None, timings, vec![], Rng::new(seed), start);
        let mut story = Self {
            membership,
            board: Board::default(),
            peers: peers.to_vec(),
            now: Mono(0),
            kernel_until: Mono(0),
            told: Vec::new(),
            sent: Vec::new(),
        };
        for number in (0..=peers.len() as u64).chain([SILENT]) {
            let mut report = host_report("host");
            if number == SILENT {
                report.status = status;
            }
            story.put(Key::Host(host_id(number)), 1, Body::Host(report));
        }
        story
    }

    fn put(&mut self, key: Key, epoch: u64, body: Body) {
        let stamp = Stamp {
            wall: at(self.now).wall,
            counter: self.told.len() as u32 + 1,
            author: host_id(ME),
        };
        let (Key::Host(host) | Key::Verdict(host)) = key else {
            panic!("{key:?}")
        };
        self.board
            .merge(&Record::new(key, Version { epoch, stamp }, Some(body)));
        self.membership.on_board(at(self.now), &self.board, host);
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
        self.membership.on_time(at(self.now));
        self.turn(Membership::on_wake);
    }

    fn turn<T>(&mut self, act: impl FnOnce(&mut Membership, &mut Turn<'_>) -> T) -> T {
        let (mut fx, mut findings) = (Effects::new(), Vec::new());
        let mut turn = Turn {
            now: at(self.now),
            board: &self.board,
            fx: &mut fx,
            findings: &mut findings,
        };
        let result = act(&mut self.membership, &mut turn);
        self.note(findings);
        for effect in fx.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Send(send) => {
                    let host = send.host.expect("we have no seeds");
                    self.sent.push((host, send.message.clone()));
                    self.answer(host, &send.message);
                }
                Effect::Knock { host, .. } => {
                    let answered = host == host_id(SILENT) && self.now < self.kernel_until;
                    self.knocked(host, answered);
                }
                other => panic!("{other:?}"),
            }
        }
        result
    }

    fn answer(&mut self, host: HostId, message: &Message) {
        let place = (number(host) as usize).checked_sub(1);
        let peer = place.and_then(|place| self.peers.get(place).copied());
        let peer = peer.unwrap_or(Peer::Gone);
        if peer == Peer::Gone {
            return;
        }
        self.membership.on_heard(at(self.now), host);
        match (peer, message) {
            (_, Message::Probe { sequence }) => self.ack(host, *sequence),
            (Peer::Agrees, Message::Alarm(alarm)) if number(alarm.subject) == SILENT => {
                let alarm = *alarm;
                self.turn(|membership, turn| membership.on_alarm(turn, host, &alarm));
            }
            (Peer::HearsIt, Message::Alarm(alarm)) => {
                let (subject, incarnation) = (alarm.subject, alarm.incarnation);
                self.membership.on_alive(subject, incarnation);
            }
            (_, Message::Alarm(_) | Message::Alive { .. } | Message::Records(_)) => {}
            (_, other) => panic!("{other:?} was not expected"),
        }
    }

    fn knocked(&mut self, host: HostId, answered: bool) {
        self.turn(|membership, turn| membership.on_knocked(turn, host, answered));
    }

    fn ack(&mut self, from: HostId, sequence: u32) {
        self.turn(|membership, turn| membership.on_ack(turn, from, Via::Datagram, sequence));
    }

    /// The silent one answers a probe that was sent just now.
    fn recover(&mut self) {
        self.ack(host_id(SILENT), (self.now.0 >> 6) as u32);
    }

    fn note(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let Finding::Judged {
                host,
                incarnation,
                standing,
                votes,
                silent,
            } = finding
            else {
                self.tell("believed");
                continue;
            };
            let mut by: Vec<u64> = votes.iter().copied().map(number).collect();
            by.sort_unstable();
            let who = number(host);
            self.tell(&format!(
                "{standing:?} {who}, silent for {silent}, say {by:?}"
            ));
            let verdict = Verdict {
                standing,
                votes,
                silent_ms: silent.as_ms(),
            };
            self.put(Key::Verdict(host), incarnation, Body::Verdict(verdict));
        }
    }

    fn check(self, expected: Expect) {
        let lines: String = self.told.iter().map(|line| format!("{line}\n")).collect();
        expected.assert_eq(&lines);
    }
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

fn accuse(silent_ms: u32) -> Alarm {
    Alarm {
        subject: host_id(SILENT),
        incarnation: 1,
        silent_ms,
        patience_ms: 0,
        kernel_answers: false,
    }
}

fn verdict(standing: Standing, epoch: u64, votes: &[u64], wall: Wall) -> Arc<Record> {
    let stamp = Stamp {
        wall,
        counter: 0,
        author: host_id(1),
    };
    let body = Body::Verdict(Verdict {
        standing,
        votes: votes.iter().copied().map(host_id).collect(),
        silent_ms: 2_000,
    });
    let key = Key::Verdict(host_id(SILENT));
    Record::new(key, Version { epoch, stamp }, Some(body))
}

#[test]
fn the_silent_is_suspected_and_then_judged_by_a_quorum() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.741 s Suspect 9, silent for 0.856 s, say [0, 1, 2]
        1.988 s Down 9, silent for 1.102 s, say [0, 1, 2]
    "#]]);
}

#[test]
fn one_observer_alone_judges_nobody_while_others_could_agree() {
    let mut story = Story::new(&[Peer::Mute, Peer::Mute], HostStatus::Active);
    story.pass(MINUTE);
    story.check(expect![[""]]);
}

#[test]
fn two_of_three_observers_are_enough() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.741 s Suspect 9, silent for 0.856 s, say [0, 1]
        1.988 s Down 9, silent for 1.102 s, say [0, 1]
    "#]]);
}

#[test]
fn whoever_has_answers_from_the_accused_takes_the_votes_back() {
    let mut story = Story::new(&[Peer::Agrees, Peer::HearsIt], HostStatus::Active);
    story.pass(MINUTE);
    story.check(expect![[""]]);
}

/// With some first ticks the alarm came so late that it and the verdict fell into one step, before
/// anybody could say that the accused is there.
#[test]
fn no_first_tick_makes_an_alarm_so_late_that_nobody_can_answer_it() {
    for seed in 0..50 {
        let peers = [Peer::Agrees, Peer::HearsIt];
        let mut story = Story::seeded(seed, &peers, HostStatus::Active);
        story.pass(MINUTE);
        assert_eq!(story.told, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn observers_that_are_cut_off_themselves_need_not_agree() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Gone, Peer::Gone], HostStatus::Active);
    story.pass(Span::from_secs(6));
    story.check(expect![[r#"
        2.435 s Down 9, silent for 1.550 s, say [0, 1]
    "#]]);
}

#[test]
fn the_last_host_judges_alone() {
    let mut story = Story::new(&[], HostStatus::Active);
    story.pass(Span::from_secs(5));
    story.check(expect![[r#"
        1.741 s Suspect 9, silent for 0.856 s, say [0]
        1.988 s Down 9, silent for 1.102 s, say [0]
    "#]]);
}

#[test]
fn one_that_said_it_restarts_is_given_its_grace() {
    let mut story = Story::new(&[Peer::Agrees], HostStatus::Restarting);
    story.pass(MINUTE);
    story.check(expect![[r#"
        31.439 s Down 9, silent for 30.554 s, say [0, 1]
    "#]]);
}

#[test]
fn an_agent_whose_machine_answers_is_impaired_and_is_given_a_minute() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.kernel_until = Mono(u64::MAX);
    story.pass(Span::from_secs(90));
    story.check(expect![[r#"
        1.741 s Impaired 9, silent for 0.856 s, say [0, 1, 2]
        60.948 s Down 9, silent for 60.062 s, say [0, 1, 2]
    "#]]);
}

#[test]
fn when_the_machine_falls_silent_too_the_short_time_counts_again() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.kernel_until = Mono(20_000_000);
    story.pass(Span::from_secs(90));
    story.check(expect![[r#"
        1.741 s Impaired 9, silent for 0.856 s, say [0, 1, 2]
        22.953 s Down 9, silent for 22.067 s, say [0, 1, 2]
    "#]]);
}

#[test]
fn an_answer_tells_who_voted_against_it_and_clears_the_suspect() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_ms(1_800));
    story.sent.clear();
    story.recover();
    let (subject, incarnation) = (host_id(SILENT), 1);
    let alive = Message::Alive {
        subject,
        incarnation,
    };
    assert_eq!(story.sent, [(host_id(1), alive)]);
    story.pass(Span::from_ms(400));
    story.check(expect![[r#"
        1.741 s Suspect 9, silent for 0.856 s, say [0, 1]
        2.014 s Cleared 9, silent for 0.128 s, say []
    "#]]);
}

#[test]
fn an_alarm_about_one_that_just_answered_is_contradicted() {
    let mut story = Story::new(&[Peer::Mute], HostStatus::Active);
    story.pass(Span::from_secs(1));
    story.recover();
    story.sent.clear();
    story.turn(|membership, turn| membership.on_alarm(turn, host_id(1), &accuse(900)));
    let (subject, incarnation) = (host_id(SILENT), 1);
    let alive = Message::Alive {
        subject,
        incarnation,
    };
    assert_eq!(story.sent, [(host_id(1), alive)]);
}

/// To hear a host is not enough: one that sends and does not hear cannot be given anything to do.
#[test]
fn one_that_is_heard_and_does_not_answer_is_judged() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    for _ in 0..50 {
        story.pass(Span::from_ms(100));
        story.membership.on_heard(at(story.now), host_id(SILENT));
    }
    let down = story.told.iter().any(|told| told.contains("Down 9"));
    assert!(down, "{:?}", story.told);
}

#[test]
fn an_observer_that_stood_still_has_no_vote_before_a_whole_round_of_probes() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    story.pass(Span::from_ms(1_200));
    story.told.clear();
    story.now = story.now + MINUTE;
    story.sent.clear();
    story.wake();
    story.pass(Span::from_ms(900));
    let alarms = |story: &Story| {
        let mut sent = story.sent.iter();
        sent.any(|(_, message)| matches!(message, Message::Alarm(_)))
    };
    assert!(!alarms(&story) && story.told.is_empty(), "{:?}", story.told);
    // What is silent still is judged in its own time.
    story.pass(Span::from_secs(5));
    assert!(alarms(&story) && !story.told.is_empty());
}

#[test]
fn a_host_that_pauses_often_is_borne_with() {
    let mut story = Story::new(&[Peer::Agrees, Peer::Agrees], HostStatus::Active);
    for _ in 0..2 {
        while story.told.is_empty() {
            story.pass(Span::from_ms(10));
        }
        story.recover();
        story.pass(Span::from_ms(500));
        story.recover();
        story.told.clear();
    }
    story.pass(Span::from_secs(8));
    story.check(expect![[r#"
        6.774 s Suspect 9, silent for 1.889 s, say [0, 1, 2]
        6.826 s Down 9, silent for 1.941 s, say [0, 1, 2]
    "#]]);
}

#[test]
fn a_verdict_of_one_voter_is_put_to_the_accused_and_dropped_when_it_answers() {
    let mut story = Story::new(&[Peer::Mute, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_ms(500));
    let record = verdict(Standing::Down, 1, &[1], at(story.now).wall);
    let taken = story.turn(|membership, turn| membership.weigh(turn, &record));
    assert!(!taken);
    let told = Message::Records(vec![Arc::clone(&record)]);
    assert!(story.sent.contains(&(host_id(SILENT), told)));
    story.recover();
    story.pass(Span::from_secs(1));
    assert!(!story.told.iter().any(|told| told.contains("believed")));
}

#[test]
fn a_doubted_verdict_is_believed_when_the_accused_says_nothing() {
    let mut story = Story::new(&[Peer::Mute, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_ms(100));
    let record = verdict(Standing::Down, 1, &[1], at(story.now).wall);
    story.turn(|membership, turn| membership.weigh(turn, &record));
    story.pass(Span::from_ms(400));
    story.check(expect![[r#"
        0.400 s believed
    "#]]);
}

#[test]
fn a_verdict_that_does_no_harm_or_that_we_agree_with_is_taken_at_once() {
    let mut story = Story::new(&[Peer::Mute, Peer::Mute], HostStatus::Active);
    story.pass(Span::from_ms(500));
    let weigh = |story: &mut Story, standing, epoch| {
        let record = verdict(standing, epoch, &[1], at(story.now).wall);
        story.turn(|membership, turn| membership.weigh(turn, &record))
    };
    assert!(weigh(&mut story, Standing::Cleared, 1));
    assert!(weigh(&mut story, Standing::Down, 0), "it is moot");
    assert!(!weigh(&mut story, Standing::Suspect, 1));
    story.pass(Span::from_secs(2));
    assert!(weigh(&mut story, Standing::Down, 1), "our alarm is out");
}
