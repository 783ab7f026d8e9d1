//! Images that people want on several hosts: who is asked how often, what is told, and when it is
//! given up.

use super::{ME, NOW, OTHER, PEER, address, agent, tell, version};
use crate::{
    agent::Agent,
    cluster::{
        body::{Body, HostStatus, Key, Standing, Verdict},
        message::{Message, PullStage, Via},
        record::{Record, Version},
    },
    command::{Command, CommandId},
    effect::{Effect, Effects},
    ids::HostId,
    input::Input,
    limits,
    spec::image::ImageRef,
    task::runtime::{FailureKind, PulledImage, RuntimeCommand, RuntimeEvent, RuntimeFailure},
    time::{Now, Span, Wall},
};
use expect_test::expect;

fn image(name: &str) -> ImageRef {
    ImageRef::try_from(name.to_owned()).expect("it is one")
}

fn after(span: Span) -> Now {
    Now {
        mono: NOW.mono + span,
        wall: Wall(NOW.wall.0 + span.as_ms()),
    }
}

/// What the agent does of it that is about pulls, one line for each.
fn step(agent: &mut Agent, now: Now, input: Input) -> Vec<Effect> {
    let mut fx = Effects::new();
    agent.step(now, input, &mut fx);
    let about = |effect: &Effect| match effect {
        Effect::Send(send) => {
            matches!(send.message, Message::Pull { .. } | Message::Pulling { .. })
        }
        Effect::Runtime(command) => matches!(command, RuntimeCommand::Pull { .. }),
        effect => matches!(effect, Effect::Reply { .. }),
    };
    fx.drain().filter(about).collect()
}

fn words(effects: &[Effect]) -> String {
    let word = |effect: &Effect| match effect {
        Effect::Reply { id, result } => match result {
            Ok(outcome) => format!("answers {}: {outcome:?}", id.0),
            Err(refusal) => format!("answers {}: {refusal}", id.0),
        },
        Effect::Send(send) => {
            let to = send.host.map_or(0, |host| host.0 >> 96);
            match &send.message {
                Message::Pull { image, .. } => format!("asks {to} for {image}"),
                Message::Pulling { stage, .. } => format!("tells {to}: {}", told(stage)),
                other => format!("{other:?}"),
            }
        }
        Effect::Runtime(RuntimeCommand::Pull { image }) => format!("pulls {image}"),
        other => format!("{other:?}"),
    };
    effects.iter().map(word).collect::<Vec<_>>().join("\n")
}

fn told(stage: &PullStage) -> String {
    match stage {
        PullStage::UnderWay { progress } => format!("under way {progress:?}"),
        PullStage::Pulled { image, took_ms } => {
            let here = if image.was_here { "was here" } else { "new" };
            format!("{} ({here}, {took_ms} ms)", image.digest)
        }
        PullStage::Failed { reason } => format!("failed: {reason}"),
    }
}

/// People want it of a host.
fn order(agent: &mut Agent, id: u64, host: HostId, name: &str) -> Vec<Effect> {
    let image = image(name);
    let (id, command) = (CommandId(id), Command::PullImage { host, image });
    step(agent, NOW, Input::Command { id, command })
}

/// The number that a question has.
fn number(effects: &[Effect]) -> u64 {
    let mut numbers = effects.iter().filter_map(|effect| match effect {
        Effect::Send(send) => match &send.message {
            Message::Pull { number, .. } => Some(*number),
            _ => None,
        },
        _ => None,
    });
    numbers.next().expect("somebody is asked")
}

fn hear(agent: &mut Agent, now: Now, from: HostId, message: Message) -> Vec<Effect> {
    let address = address(from);
    let via = Via::Datagram;
    let input = Input::Message {
        from,
        address,
        via,
        message,
    };
    step(agent, now, input)
}

fn ask(agent: &mut Agent, from: HostId, number: u64, name: &str) -> Vec<Effect> {
    let image = image(name);
    hear(agent, NOW, from, Message::Pull { number, image })
}

fn ended(agent: &mut Agent, now: Now, name: &str) -> Vec<Effect> {
    let outcome = Ok(PulledImage {
        digest: "sha256:00".to_owned(),
        was_here: false,
    });
    let image = image(name);
    let event = RuntimeEvent::ImagePulled { image, outcome };
    step(agent, now, Input::Runtime(event))
}

fn wake(agent: &mut Agent, span: Span) -> String {
    words(&step(agent, after(span), Input::Wake))
}

#[test]
fn a_host_is_asked_each_second_until_it_says_what_became_of_it() {
    let mut agent = agent();
    let asked = order(&mut agent, 1, PEER, "web:2");
    expect!["asks 2 for web:2"].assert_eq(&words(&asked));
    let number = number(&asked);
    assert_eq!(
        words(&order(&mut agent, 2, PEER, "web:2")),
        "",
        "it is asked already"
    );
    expect!["asks 2 for web:2"].assert_eq(&wake(&mut agent, Span::from_secs(1)));
    let progress = "34 of 120 MiB".to_owned();
    let stage = PullStage::UnderWay { progress };
    let told = Message::Pulling { number, stage };
    hear(&mut agent, after(Span::from_secs(1)), PEER, told);
    let shown = agent.pull_progress(PEER, &image("web:2"));
    assert_eq!(shown, Some("34 of 120 MiB"));
    let stage = PullStage::Pulled {
        image: PulledImage {
            digest: "sha256:00".to_owned(),
            was_here: true,
        },
        took_ms: 1_500,
    };
    let told = Message::Pulling { number, stage };
    // Of somebody else, it is nobody's word.
    assert_eq!(words(&hear(&mut agent, NOW, OTHER, told.clone())), "");
    let over = hear(&mut agent, after(Span::from_secs(2)), PEER, told.clone());
    expect![[r#"
        answers 1: ImagePulled { digest: "sha256:00", was_here: true, took: Span(1500000) }
        answers 2: ImagePulled { digest: "sha256:00", was_here: true, took: Span(1500000) }"#]]
    .assert_eq(&words(&over));
    assert_eq!(words(&hear(&mut agent, NOW, PEER, told)), "", "said twice");
    assert_eq!(wake(&mut agent, Span::from_secs(3)), "");
    assert_eq!(agent.pull_progress(PEER, &image("web:2")), None);
}

/// A host that has judged it.
fn down(host: HostId) -> std::sync::Arc<Record> {
    let body = Body::Verdict(Verdict {
        standing: Standing::Down,
        votes: vec![PEER, OTHER, ME],
        silent_ms: 1_000,
    });
    Record::new(Key::Verdict(host), version(NOW.wall), Some(body))
}

#[test]
fn who_is_silent_goes_down_or_has_left_is_given_up_with_the_reason() {
    let mut agent = agent();
    order(&mut agent, 1, PEER, "web:2");
    for second in 1..10 {
        assert_eq!(
            wake(&mut agent, Span::from_secs(second)),
            "asks 2 for web:2"
        );
    }
    let given_up = wake(&mut agent, Span::from_secs(10));
    assert!(
        given_up.starts_with("answers 1: it has not answered for 10 s: "),
        "{given_up}"
    );

    order(&mut agent, 2, OTHER, "web:2");
    agent.board.merge(&down(OTHER));
    expect!["answers 2: it is down; ask again when it is back"]
        .assert_eq(&wake(&mut agent, Span::from_secs(11)));
    let late = order(&mut agent, 3, OTHER, "web:2");
    expect!["answers 3: it is down; ask again when it is back"].assert_eq(&words(&late));

    let said = super::host(PEER);
    let mut body = said.body.clone();
    if let Some(Body::Host(report)) = &mut body {
        report.status = HostStatus::Left;
    }
    let later = Version {
        epoch: 1,
        ..version(Wall(NOW.wall.0 + 1))
    };
    tell(&mut agent, vec![Record::new(said.key.clone(), later, body)]);
    let gone = order(&mut agent, 4, PEER, "web:2");
    expect!["answers 4: it has left the cluster"].assert_eq(&words(&gone));
    let unknown = order(&mut agent, 5, HostId(9 << 96), "web:2");
    expect!["answers 5: there is no such host (any more)"].assert_eq(&words(&unknown));
}

#[test]
fn what_several_ask_for_is_pulled_once_and_told_to_each_of_them() {
    let mut agent = agent();
    let told: Vec<_> = [(PEER, 1), (OTHER, 1), (PEER, 1)]
        .into_iter()
        .flat_map(|(from, number)| ask(&mut agent, from, number, "web:2"))
        .collect();
    expect![[r#"
        pulls web:2
        tells 2: under way ""
        tells 3: under way ""
        tells 2: under way """#]]
    .assert_eq(&words(&told));
    let event = RuntimeEvent::ImagePulling {
        image: image("web:2"),
        progress: "x".repeat(limits::PULL_PROGRESS_BYTES_MAX + 9),
    };
    assert_eq!(words(&step(&mut agent, NOW, Input::Runtime(event))), "");
    let asked = words(&ask(&mut agent, PEER, 1, "web:2"));
    let longest = "x".repeat(limits::PULL_PROGRESS_BYTES_MAX);
    assert!(asked.contains(&format!("{longest:?}")), "{asked}");
    let over = ended(&mut agent, after(Span::from_ms(1_500)), "web:2");
    expect![[r#"
        tells 2: sha256:00 (new, 1500 ms)
        tells 3: sha256:00 (new, 1500 ms)"#]]
    .assert_eq(&words(&over));
    let again = ask(&mut agent, OTHER, 1, "web:2");
    expect!["tells 3: sha256:00 (new, 1500 ms)"].assert_eq(&words(&again));
    let anew = ask(&mut agent, OTHER, 2, "web:2");
    expect![[r#"
        pulls web:2
        tells 3: under way """#]]
    .assert_eq(&words(&anew));
}

#[test]
fn an_agent_asks_itself_as_it_asks_others_also_before_it_knows_any() {
    let mut agent = agent();
    expect!["pulls web:2"].assert_eq(&words(&order(&mut agent, 1, ME, "web:2")));
    assert_eq!(
        wake(&mut agent, Span::from_secs(30)),
        "",
        "it takes its time"
    );
    // It stood still for so long.
    assert_eq!(wake(&mut agent, Span::from_secs(90)), "");
    let failure = RuntimeFailure {
        kind: FailureKind::Permanent,
        reason: "CannotPullContainerError: no such image: web:2".to_owned(),
    };
    let event = RuntimeEvent::ImagePulled {
        image: image("web:2"),
        outcome: Err(failure),
    };
    let over = step(
        &mut agent,
        after(Span::from_secs(30)),
        Input::Runtime(event),
    );
    expect!["answers 1: CannotPullContainerError: no such image: web:2"].assert_eq(&words(&over));
}

#[test]
fn nobody_can_fill_a_host_with_questions() {
    let mut agent = agent();
    for number in 0..limits::PULLS_TAKEN_MAX as u64 {
        ask(&mut agent, PEER, number, "web:2");
    }
    let refused = words(&ask(&mut agent, PEER, u64::MAX, "web:2"));
    expect!["tells 2: failed: it is asked for 1024 pulls already; try again in a minute"]
        .assert_eq(&refused);
    // What has ended makes room, after a while.
    ended(&mut agent, NOW, "web:2");
    let (number, image) = (u64::MAX, image("web:2"));
    let message = Message::Pull { number, image };
    let taken = hear(&mut agent, after(Span::from_secs(60)), PEER, message);
    assert!(
        words(&taken).starts_with("pulls web:2"),
        "{}",
        words(&taken)
    );
    for id in 0..=limits::PULL_CALLERS_MAX as u64 {
        let last = words(&order(&mut agent, id, PEER, "db:7"));
        assert_eq!(
            last.contains("limit"),
            id == limits::PULL_CALLERS_MAX as u64,
            "{last}"
        );
    }
}
