//! What people have the cluster keep for tasks, as one agent carries it out.

use super::{PEER, agent, config, host};
use crate::{
    agent::Agent,
    cluster::{
        board::Board,
        keys::KeyReport,
        message::{Message, Via},
        values::{Content, Opaque, Reseal, Sealed},
    },
    command::{Command, CommandId, NewValue, Outcome, Refusal},
    effect::{Effect, Effects},
    ids::{KeyId, Secret},
    input::Input,
    limits,
    spec::given::ValueName,
    time::{Mono, Now, Span},
};
use expect_test::{Expect, expect};

/// Long enough after the start for an agent that hears nobody to go on alone.
const NOW: Now = Now {
    mono: Mono(super::NOW.mono.0 + 10_000_000),
    wall: super::NOW.wall,
};

const OLD: KeyId = KeyId([1; 4]);
const NEW: KeyId = KeyId([2; 4]);

/// Nobody else is there.
fn alone() -> Agent {
    let mut fx = Effects::new();
    let mut agent = Agent::resume(config(), Board::default(), 1, super::NOW, &mut fx);
    fx.drain().for_each(drop);
    step(&mut agent, NOW, Input::Wake);
    assert!(agent.is_caught_up());
    agent
}

fn step(agent: &mut Agent, at: Now, input: Input) -> Vec<Effect> {
    let mut fx = Effects::new();
    agent.step(at, input, &mut fx);
    fx.drain().collect()
}

fn order(agent: &mut Agent, command: Command) -> Result<Outcome, Refusal> {
    let id = CommandId(1);
    let effects = step(agent, NOW, Input::Command { id, command });
    let told = effects.into_iter().find_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(result),
        _ => None,
    });
    told.expect("it is answered")
}

fn sealed(key: KeyId, byte: u8) -> Sealed {
    Sealed {
        key,
        bytes: Opaque::from(vec![byte; 48]),
    }
}

fn name() -> ValueName {
    ValueName::Secret("db".to_owned())
}

fn set(agent: &mut Agent, byte: u8, restart: bool) -> Result<Outcome, Refusal> {
    let value = NewValue::Secret {
        name: "db".to_owned(),
        sealed: sealed(OLD, byte),
        size: 8,
    };
    let by = "ann".to_owned();
    order(agent, Command::SetValue { value, by, restart })
}

fn remove(agent: &mut Agent) -> Result<Outcome, Refusal> {
    let (name, force) = (name(), false);
    order(agent, Command::RemoveValue { name, force })
}

fn with_keys(agent: &mut Agent, held: &[KeyId]) {
    let report = KeyReport {
        held: held.to_vec(),
        in_use: held.first().copied(),
    };
    step(agent, NOW, Input::Keys(report));
}

/// What its driver is asked to seal anew when it looks around the house next.
fn asked(agent: &mut Agent, seconds: u64) -> Vec<Reseal> {
    let mono = Mono(NOW.mono.0) + Span::from_secs(seconds);
    let effects = step(agent, Now { mono, ..NOW }, Input::Wake);
    let asked = effects.into_iter().find_map(|effect| match effect {
        Effect::Reseal(orders) => Some(orders),
        _ => None,
    });
    asked.unwrap_or_default()
}

fn refused(result: Result<Outcome, Refusal>, expected: Expect) {
    expected.assert_eq(&result.expect_err("it is refused").to_string());
}

#[test]
fn each_setting_is_later_than_what_was_there_and_says_if_tasks_are_to_take_it_up() {
    let mut agent = agent();
    let numbers = [true, false, true].map(|restart| {
        set(&mut agent, 1, restart).expect("it is set");
        let board = agent.board();
        let set = board.setting(&name()).expect("it is there");
        (set.number, board.value_set_at(&name()), set.valid_since)
    });
    let at = NOW.wall.0;
    // In one moment of the clock.
    let expected = [(1, at, at), (2, at + 1, at), (3, at + 2, at + 2)];
    assert_eq!(numbers, expected);
    assert_eq!(remove(&mut agent), Ok(Outcome::ValueRemoved(name())));
    assert_eq!(agent.board().value(&name()), Content::Removed);
    assert_eq!(agent.board().value_set_at(&name()), at + 3);
    refused(
        remove(&mut agent),
        expect![[r#"there is no secret "db"; `holdfast secret ls` lists them"#]],
    );
    set(&mut agent, 1, true).expect("it is set");
    assert_eq!(agent.board().value_set_at(&name()), at + 4);
}

#[test]
fn a_secret_is_never_printed_and_travels_sealed_alone() {
    let mut agent = agent();
    set(&mut agent, b'x', true).expect("it is set");
    let shown = format!("{:?}", agent.board());
    assert!(shown.contains("Opaque(48 bytes)"), "{shown}");
    assert!(!shown.contains("120, 120"), "{shown}");
}

#[test]
fn a_key_that_seals_a_secret_is_not_removed_and_another_one_takes_its_place() {
    let mut agent = alone();
    with_keys(&mut agent, &[OLD, NEW]);
    set(&mut agent, 1, true).expect("it is set");
    assert_eq!(asked(&mut agent, 11), [], "its key is in use");
    let secret = Secret([2; 32]);
    order(&mut agent, Command::InstallKey { key: NEW, secret }).expect("it is installed");
    let force = true;
    order(&mut agent, Command::UseKey { key: NEW, force }).expect("it is put to use");
    with_keys(&mut agent, &[NEW, OLD]);
    let command = || Command::RemoveKey { key: OLD, force };
    refused(
        order(&mut agent, command()),
        expect![
            "the key 01010101 still seals secrets (db); once another key is in use, they are \
             sealed with that one within some seconds: put one to use, or wait and try again"
        ],
    );
    let mut orders = asked(&mut agent, 22);
    assert_eq!(orders.len(), 1);
    let set_at = orders[0].set_at;
    orders[0].sealed = sealed(NEW, 2);
    step(&mut agent, NOW, Input::Resealed(orders.clone()));
    let now = Content::Sealed {
        sealed: sealed(NEW, 2),
        set_at,
    };
    assert_eq!(agent.board().value(&name()), now, "it is the same setting");
    assert_eq!(asked(&mut agent, 33), []);
    assert!(order(&mut agent, command()).is_ok());
    // What was set meanwhile is not undone, nor what was removed.
    set(&mut agent, 3, true).expect("it is set");
    step(&mut agent, NOW, Input::Resealed(orders.clone()));
    let board = agent.board();
    let Content::Sealed { sealed: now, .. } = board.value(&name()) else {
        panic!("it is there")
    };
    assert_eq!(now, sealed(OLD, 3));
    remove(&mut agent).expect("it is removed");
    step(&mut agent, NOW, Input::Resealed(orders));
    assert_eq!(agent.board().value(&name()), Content::Removed);
}

#[test]
fn nothing_is_sealed_with_a_key_that_somebody_lacks() {
    let mut agent = alone();
    with_keys(&mut agent, &[OLD, NEW]);
    set(&mut agent, 1, true).expect("it is set");
    let message = Message::Records(vec![host(PEER)]);
    let input = Input::Message {
        from: PEER,
        address: super::address(PEER),
        via: Via::Stream,
        message,
    };
    step(&mut agent, NOW, input);
    with_keys(&mut agent, &[NEW, OLD]);
    assert_eq!(asked(&mut agent, 11), []);
}

#[test]
fn what_the_cluster_keeps_is_limited() {
    let mut agent = agent();
    let mut config = |name: String, bytes: usize| {
        let text = Opaque::from(vec![0; bytes]);
        let value = NewValue::Config { name, text };
        let (by, restart) = ("ann".to_owned(), true);
        order(&mut agent, Command::SetValue { value, by, restart })
    };
    refused(
        config("a".to_owned(), limits::VALUE_BYTES_MAX + 1),
        expect!["the size of a secret or config is at its limit of 65536"],
    );
    let whole = limits::VALUES_BYTES_MAX / (limits::VALUE_BYTES_MAX + 128);
    for number in 0..whole {
        config(number.to_string(), limits::VALUE_BYTES_MAX).expect("there is room");
    }
    refused(
        config("more".to_owned(), limits::VALUE_BYTES_MAX),
        expect!["the size of all secrets and configs together is at its limit of 16777216"],
    );
    config("0".to_owned(), limits::VALUE_BYTES_MAX).expect("it takes its own place");
}
