//! Recordings: replayed they do the same, and whatever is wrong with one is named.

use super::scenarios::SECOND;
use holdfast_core::{
    agent::Agent,
    cluster::body::Body,
    command::Command,
    effect::Effects,
    ids::{KeyId, Secret},
    input::Input,
    planted::{self, Bug},
    recording::{Bounds, Cause, Divergence, Part, ReadError, Recorder, Recording},
    time::{Mono, Now, Wall},
};
use sim::{
    cluster::Cluster,
    liveness::CONVERGE_MAX,
    options::Options,
    replay::{Failed, replay, replay_file},
    run::{run, watch},
    workload::definition,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const WALL: Wall = Wall(1_800_000_000_000);

fn recorded(seed: u64, agents: usize) -> Options {
    Options {
        recorded: true,
        ..Options::new(seed, agents)
    }
}

/// What three hosts do that hold a service, and what the first of them recorded of it.
fn recording(seconds: u64) -> (Vec<u8>, Agent, Recorder) {
    let options = Options {
        calm: true,
        ..recorded(7, 3)
    };
    let mut kept = None;
    let story = |cluster: &mut Cluster| {
        cluster.run_until(6 * SECOND)?;
        cluster.register(0, definition("web", 1));
        cluster.create(0, "s0", "web", 6);
        let secret = Secret(*b"this-is-the-secret-of-a-new-key!");
        let key = KeyId([2; 4]);
        cluster.ask(0, Command::InstallKey { key, secret });
        cluster.converge(CONVERGE_MAX)?;
        cluster.lose_host(2);
        cluster.run_for(seconds * SECOND)?;
        let agent = cluster.agent(0).expect("it runs").clone();
        let recorder = cluster.host(0).recorder.clone().expect("it records");
        kept = Some((recorder.save(&agent, Cause::Asked, WALL), agent, recorder));
        Ok(())
    };
    watch(Cluster::new(options), Vec::new(), story).unwrap_or_else(|failure| panic!("{failure}"));
    kept.expect("the story was told")
}

#[test]
fn whatever_happens_a_recording_leads_to_where_the_agent_is() {
    // Each replays all agents every ten seconds; they begin anew every few hundred steps.
    for seed in 0..6 {
        let report = run(recorded(seed, 4 + seed as usize));
        let report = report.unwrap_or_else(|failure| panic!("{failure}"));
        let plain = run(Options::new(seed, 4 + seed as usize));
        let plain = plain.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.hash, plain.hash, "recording changes what happens");
    }
}

#[test]
fn a_recording_says_what_it_is_and_ends_where_the_agent_is() {
    let (file, agent, recorder) = recording(90);
    let replayed = replay_file(&file).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(replayed.steps as usize, recorder.held().steps);
    assert!(replayed.steps > 100, "{} steps", replayed.steps);
    assert!(replayed.header.first > 0, "the ring has not turned yet");
    let line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let host = agent.config().host.to_string();
    assert!(
        line.contains(&host) && line.contains(r#""cause":"asked""#),
        "{line}"
    );
}

#[test]
fn no_secret_of_a_key_is_in_a_recording() {
    // Neither in the inputs, nor in the agent's state once they are forgotten.
    for seconds in [5, 90] {
        no_secret_after(seconds);
    }
}

fn no_secret_after(seconds: u64) {
    let (file, agent, _) = recording(seconds);
    let secret = b"this-is-the-secret-of-a-new-key!";
    let is_known = agent.board().records().any(|record| match &record.body {
        Some(Body::ClusterKey(key)) => key.secret.0 == *secret,
        _ => false,
    });
    assert!(is_known, "the agent has no such key");
    assert!(!file.windows(secret.len()).any(|part| part == secret));
}

#[test]
fn what_is_damaged_is_named() {
    let (file, ..) = recording(5);
    let header = file.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let read = |bytes: &[u8]| Recording::read(bytes).expect_err("it is damaged");
    let with = |at: usize| {
        let mut bytes = file.clone();
        bytes[at] ^= 1;
        bytes
    };
    let agent = u32::from_le_bytes(file[header..header + 4].try_into().expect("four bytes"));
    let first = Recording::read(&file).expect("it is whole").steps[0].number;
    let steps = header + 12 + agent as usize;
    let damaged = [
        (header + 500, Part::Agent, header),
        (steps + 20, Part::Step { number: first }, steps),
    ];
    for (at, part, begin) in damaged {
        match read(&with(at)) {
            ReadError::Damaged { part: found, at } => assert_eq!((found, at), (part, begin)),
            other => panic!("{other}"),
        }
    }
    let cut = read(&file[..file.len() - 1]);
    assert!(
        matches!(
            cut,
            ReadError::CutShort {
                part: Part::Step { .. },
                ..
            }
        ),
        "{cut}"
    );
    let cut = read(&file[..header + 5]);
    assert!(
        matches!(
            cut,
            ReadError::CutShort {
                part: Part::Agent,
                ..
            }
        ),
        "{cut}"
    );
    let more = read(&[&file[..], b"more"].concat());
    assert!(matches!(more, ReadError::TooMuch { bytes: 4 }), "{more}");
    // Steps that changed places are as bad as others.
    let length = u32::from_le_bytes(file[steps..steps + 4].try_into().expect("four bytes"));
    let second = steps + 12 + length as usize;
    let swapped = [&file[..steps], &file[second..]].concat();
    assert!(matches!(read(&swapped), ReadError::Damaged { .. }));
    assert!(matches!(read(b"a text"), ReadError::NotOne));
}

#[test]
fn what_another_core_or_format_recorded_is_refused_by_name() {
    let (file, ..) = recording(5);
    let line = file.iter().position(|byte| *byte == b'\n').expect("a line");
    let text = String::from_utf8(file[..line].to_vec()).expect("text");
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        [text.replacen(from, to, 1).as_bytes(), &file[line..]].concat()
    };
    let other = with(holdfast_core::recording::CORE, "0123456789abcdef");
    let refused = Recording::read(&other).expect_err("it is another core's");
    assert!(
        refused.to_string().contains("with core 0123456789abcdef"),
        "{refused}"
    );
    Recording::read_of_any_core(&other).expect("it can be read all the same");
    let refused = Recording::read(&with(r#""format":1"#, r#""format":2"#));
    assert!(matches!(refused, Err(ReadError::Format { got: 2 })));
}

#[test]
fn the_first_step_that_differs_is_named() {
    let (file, ..) = recording(5);
    let planted = || planted::with(Some(Bug::NeverRepairs), || replay_file(&file));
    let Err(Failed::Diverged(Divergence::Effects { number })) = planted() else {
        panic!("a core that never repairs does as one that does");
    };
    let recording = Recording::read(&file).expect("it is whole");
    let step = recording.steps.iter().find(|step| step.number == number);
    assert!(matches!(step.expect("it is there").input, Input::Wake));
    // The steps agree, the state does not: an input was changed that asks for nothing.
    let mut other = Recording::read(&file).expect("it is whole");
    other.agent = recording.agent;
    other.header.state = other.header.state.map(|state| state ^ 1);
    let failed = replay(other, |_, _| {}).expect_err("it differs");
    assert!(
        matches!(failed, Failed::Diverged(Divergence::State)),
        "{failed}"
    );
}

#[test]
fn a_panic_is_the_last_thing_on_the_record_and_comes_again() {
    let (_, mut agent, mut recorder) = recording(5);
    let now = Now {
        mono: Mono(u64::MAX / 2),
        wall: WALL,
    };
    let mut shut_down = || {
        catch_unwind(AssertUnwindSafe(|| {
            recorder.step(&mut agent, now, Input::Shutdown, &mut Effects::new());
        }))
    };
    let bug = Some(Bug::PanicsAtTheEnd);
    let panic = planted::with(bug, &mut shut_down).expect_err("it panics");
    let cause = Cause::Panicked(Cause::said(&*panic));
    let file = recorder.save(&agent, cause.clone(), WALL);
    let last = Recording::read(&file).expect("it is whole").steps.pop();
    assert!(matches!(
        last.expect("there are steps").input,
        Input::Shutdown
    ));
    let replayed = planted::with(bug, || replay_file(&file));
    let replayed = replayed.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(replayed.panicked.as_deref(), Some("a planted bug"));
    assert_eq!(replayed.header.cause, cause);
    // A core that does not panic there is another one.
    let mended = replay_file(&file).expect_err("it does not panic");
    assert!(
        matches!(mended, Failed::Diverged(Divergence::NoPanic { .. })),
        "{mended}"
    );
}

#[test]
fn a_recorder_keeps_within_its_bounds() {
    let (_, mut agent, _) = recording(5);
    let bounds = Bounds {
        bytes: 4_096,
        steps: 100,
    };
    let mut recorder = Recorder::new(&agent, bounds);
    let (mut most, mut least) = (Bounds { bytes: 0, steps: 0 }, usize::MAX);
    for turn in 0..2_000_u64 {
        let mono = Mono(60 * SECOND + turn * 1_000);
        let mut fx = Effects::new();
        // A large input among small ones, now and then.
        let input = match turn % 50 {
            0 => Input::Seeds(vec![([10, 0, 0, 1], 7_946).into(); 200]),
            _ => Input::Wake,
        };
        recorder.step(&mut agent, Now { mono, wall: WALL }, input, &mut fx);
        fx.drain().for_each(drop);
        let held = recorder.held();
        most.bytes = most.bytes.max(held.bytes);
        most.steps = most.steps.max(held.steps);
        if turn > 200 {
            least = least.min(held.steps);
        }
    }
    assert!(
        most.bytes <= bounds.bytes && most.steps <= bounds.steps,
        "{most:?}"
    );
    assert!(least >= 20, "only {least} steps are kept at times");
    let file = recorder.save(&agent, Cause::Asked, WALL);
    let replayed = replay_file(&file).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(replayed.header.first + replayed.steps, 2_000);
    // One that is larger than all there is has a segment to itself, and is not lost.
    let huge = Input::Seeds(vec![([10, 0, 0, 2], 7_946).into(); 2_000]);
    let now = Now {
        mono: Mono(100 * SECOND),
        wall: WALL,
    };
    recorder.step(&mut agent, now, huge, &mut Effects::new());
    let file = recorder.save(&agent, Cause::Asked, WALL);
    replay_file(&file).unwrap_or_else(|failed| panic!("{failed}"));
}
