//! A starting agent takes the board page by page, and goes on elsewhere when a peer falls silent.

use super::*;

fn joiner(saved: Board) -> (Agent, Vec<Effect>) {
    let config = AgentConfig {
        seeds: vec![address(PEER), address(OTHER)],
        ..config()
    };
    let mut fx = Effects::new();
    let agent = Agent::resume(config, saved, 1, NOW, &mut fx);
    (agent, fx.drain().collect())
}

fn say(agent: &mut Agent, from: HostId, message: Message) -> Vec<Effect> {
    let mut fx = Effects::new();
    let address = address(from);
    let input = Input::Message {
        from,
        address,
        via: Via::Datagram,
        message,
    };
    agent.step(NOW, input, &mut fx);
    fx.drain().collect()
}

/// Who was asked for the board, and after which key.
fn asked(effects: &[Effect]) -> Vec<(SocketAddr, Option<Key>)> {
    let mut asked: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(send) => match &send.message {
                Message::CatchUp { after } => Some((send.to, after.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    asked.sort();
    asked
}

fn page(records: Vec<Arc<Record>>, last: bool) -> Message {
    Message::Page { records, last }
}

#[test]
fn pages_are_asked_for_one_by_one_and_from_another_peer_when_one_falls_silent() {
    let (mut agent, effects) = joiner(Board::default());
    let both = [address(PEER), address(OTHER)];
    assert_eq!(asked(&effects), both.map(|to| (to, None)));
    let effects = say(&mut agent, PEER, page(vec![host(PEER)], false));
    let after = Some(host(PEER).key.clone());
    assert_eq!(asked(&effects), [(address(PEER), after.clone())]);
    // The other's first page is taken, but not followed.
    let effects = say(&mut agent, OTHER, page(vec![host(OTHER)], true));
    assert_eq!(asked(&effects), []);
    assert!(agent.board().host(OTHER).is_some() && !agent.is_caught_up());
    // The first one falls silent: both are asked to go on from there, and one of them ends it.
    let effects = wait(&mut agent, Span::from_secs(2));
    assert_eq!(asked(&effects), both.map(|to| (to, after.clone())));
    say(&mut agent, OTHER, page(vec![order(NOW.wall)], true));
    assert!(agent.is_caught_up());
    assert!(agent.board().record(&order(NOW.wall).key).is_some());
}

#[test]
fn what_a_joiner_is_brought_it_does_not_pass_on() {
    let (mut agent, _) = joiner(Board::default());
    let record = order(NOW.wall);
    let effects = say(
        &mut agent,
        PEER,
        page(vec![host(PEER), host(OTHER), record.clone()], false),
    );
    assert_eq!(passed_on(&effects, &record), (vec![], true));
}

fn long_ago() -> Wall {
    Wall(NOW.wall.0 - limits::TOMBSTONE_MS)
}

fn written(record: &Record, wall: Wall) -> Arc<Record> {
    let version = Version {
        epoch: record.version.epoch,
        ..version(wall)
    };
    Record::new(record.key.clone(), version, record.body.clone())
}

/// A disk from before tombstones were buried: two peers, and an order that only it still has.
fn old_disk() -> Board {
    Board::from_records([host(PEER), host(OTHER), order(NOW.wall)].map(|r| written(&r, long_ago())))
}

#[test]
fn a_host_that_was_away_too_long_waits_for_a_peer_and_shares_nothing_until_then() {
    let (mut agent, _) = joiner(old_disk());
    let mut fx = Effects::new();
    for seconds in 1..100 {
        let mono = NOW.mono + Span::from_secs(seconds);
        agent.step(Now { mono, ..NOW }, Input::Wake, &mut fx);
        assert!(fx.drain().all(|effect| match effect {
            Effect::Send(send) => !matches!(send.message, Message::Summary { .. }),
            _ => true,
        }));
    }
    assert!(!agent.is_caught_up());
    let effects = say(&mut agent, PEER, Message::Summary { root: 1 });
    assert!(!effects.iter().any(|effect| match effect {
        Effect::Send(send) => matches!(
            send.message,
            Message::Branches(_) | Message::Holdings { .. }
        ),
        _ => false,
    }));
    // Another one that is behind is a peer, too: together they are all that is left.
    say(&mut agent, PEER, Message::Behind);
    wait(&mut agent, Span::from_secs(200));
    assert!(agent.is_caught_up());
    assert!(agent.board().record(&order(NOW.wall).key).is_some());
}

#[test]
fn what_only_a_host_that_was_away_too_long_still_has_is_let_go() {
    let (mut agent, _) = joiner(old_disk());
    let effects = say(&mut agent, PEER, page(vec![host(PEER)], true));
    assert!(agent.is_caught_up());
    let forgotten: Vec<Key> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Forget(records) => Some(records.iter().map(|r| r.key.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    let gone = [Key::Host(OTHER), order(NOW.wall).key.clone()];
    assert_eq!(forgotten, gone);
    assert!(gone.iter().all(|key| agent.board().record(key).is_none()));
    assert!(agent.board().host(ME).is_some() && agent.board().host(PEER).is_some());
}

#[test]
fn an_old_tombstone_still_ends_what_it_buries() {
    let mut agent = agent();
    let live = order(NOW.wall);
    let live = written(&live, Wall(long_ago().0 - 9));
    tell(&mut agent, vec![live.clone()]);
    assert!(agent.board().record(&live.key).is_some());
    let version = Version {
        epoch: 0,
        ..version(Wall(long_ago().0 - 5))
    };
    let tombstone = Record::new(live.key.clone(), version, None);
    tell(&mut agent, vec![tombstone.clone()]);
    assert_eq!(agent.board().record(&live.key), Some(&tombstone));
}
