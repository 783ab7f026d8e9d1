//! The wire and disk format: whole, bounded, the same for ever, and of no use to an attacker.

use super::{generated_body, host_id, host_report, with_seeds};
use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
        hash_tree::{FAN, Prefix},
        message::{Alarm, Message, PullStage, WIRE_VERSION},
        record::{Record, RecordError, Stamp, Version},
        run::Run,
        tag::Subject,
    },
    ids::{Digest, ServiceId, TaskId},
    limits,
    rng::Rng,
    spec::image::ImageRef,
    task::runtime::PulledImage,
    time::{Mono, Wall},
};
use expect_test::{expect, expect_file};
use std::{fmt::Write, sync::Arc};

const VERSION: Version = Version {
    epoch: 3,
    stamp: Stamp {
        wall: Wall(1_700_000_000_000),
        counter: 1,
        author: crate::ids::HostId(0xa << 96),
    },
};

/// One of each kind, in the order of the kinds' numbers, and a tombstone.
fn records() -> Vec<Arc<Record>> {
    let (service, host, task) = (ServiceId(0x5e), host_id(0), TaskId(0x7a));
    let (family, revision) = ("web".to_owned(), 7);
    let keys = [
        Key::Definition(Digest([0xd; 32])),
        Key::Label { family, revision },
        Key::ServiceCount(service),
        Key::ServiceRevision(service),
        Key::ServiceSettings(service),
        Key::Host(host),
        Key::Task(host, task),
        Key::StopOrder(task),
        Key::Verdict(host),
        Key::Slot(service, 2),
        Key::Pins(service),
        Key::Cluster("staging".to_owned()),
        Key::Tag(Subject::Service(service), "team".to_owned()),
    ];
    let live = keys.map(|key| {
        let body = generated_body(&key, &mut Rng::new(1));
        Record::new(key, VERSION, Some(body))
    });
    let gone = Record::new(Key::Slot(service, 2), VERSION, None);
    live.into_iter().chain([gone]).collect()
}

fn messages() -> Vec<Message> {
    let (subject, incarnation) = (host_id(1), 300);
    let prefix = Prefix::ROOT.kid(15).expect("there are fifteen digits");
    vec![
        Message::Probe { sequence: 1 },
        Message::Ack { sequence: u32::MAX },
        Message::Alarm(Alarm {
            subject,
            incarnation,
            silent_ms: 600,
            patience_ms: 0,
            kernel_answers: true,
        }),
        Message::Alive {
            subject,
            incarnation,
        },
        Message::Records(records()),
        Message::Summary {
            root: 0x1234_5678_9abc_def0,
        },
        Message::Branches(vec![(Prefix::ROOT, [7; FAN]), (prefix, [u64::MAX; FAN])]),
        Message::Holdings {
            prefixes: vec![prefix],
            held: vec![(9, VERSION), (10, VERSION)],
        },
        Message::Fetch(vec![0, 1, u64::MAX]),
        Message::CatchUp { after: None },
        Message::CatchUp {
            after: Some(Key::StopOrder(TaskId(7))),
        },
        Message::Blank,
        Message::Behind,
        Message::Clock {
            wall: Wall(3_600_000),
        },
        Message::Call { at: Mono(7) },
        Message::Present { at: Mono(7) },
        Message::Page {
            records: records(),
            last: true,
        },
        Message::Pull {
            number: u64::MAX,
            image: ImageRef::try_from("localhost:5000/web:2".to_owned()).expect("it is one"),
        },
        Message::Pulling {
            number: 7,
            stage: PullStage::UnderWay {
                progress: "34 of 120 MiB".to_owned(),
            },
        },
        Message::Pulling {
            number: 7,
            stage: PullStage::Pulled {
                image: PulledImage {
                    digest: "sha256:00".to_owned(),
                    was_here: true,
                },
                took_ms: 1_200,
            },
        },
        Message::Pulling {
            number: 7,
            stage: PullStage::Failed {
                reason: "no".to_owned(),
            },
        },
    ]
}

/// A new kind of message belongs into [`messages`], too.
fn name(message: &Message) -> &'static str {
    match message {
        Message::Probe { .. } => "probe",
        Message::Ack { .. } => "ack",
        Message::Alarm(_) => "alarm",
        Message::Alive { .. } => "alive",
        Message::Records(_) => "records",
        Message::Summary { .. } => "summary",
        Message::Branches(_) => "branches",
        Message::Holdings { .. } => "holdings",
        Message::Fetch(_) => "fetch",
        Message::CatchUp { .. } => "catch up",
        Message::Blank => "blank",
        Message::Behind => "behind",
        Message::Clock { .. } => "clock",
        Message::Call { .. } => "call",
        Message::Present { .. } => "present",
        Message::Page { .. } => "page",
        Message::Pull { .. } => "pull",
        Message::Pulling { .. } => "pulling",
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    });
    let lines = digits.as_bytes().chunks(96).map(|line| {
        let line = std::str::from_utf8(line).expect("digits are ASCII");
        format!("    {line}\n")
    });
    lines.collect()
}

#[test]
fn what_was_said_is_what_is_heard() {
    for message in messages() {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
    for record in records() {
        let bytes = record.encode();
        assert_eq!(bytes.len(), record.bytes as usize);
        assert_eq!(Record::decode(&bytes), Ok(record));
    }
}

/// A change here is a change of what older agents and disks understand.
#[test]
fn the_formats_have_not_changed() {
    let mut golden = String::new();
    for record in records() {
        let (kind, _) = record.key.to_wire();
        let gone = if record.body.is_none() {
            ", deleted"
        } else {
            ""
        };
        writeln!(golden, "record of kind {kind}{gone}").expect("a string takes it");
        golden += &hex(&record.encode());
    }
    for mut message in messages() {
        if let Message::Records(records) | Message::Page { records, .. } = &mut message {
            records.truncate(1);
        }
        writeln!(golden, "message {}", name(&message)).expect("a string takes it");
        golden += &hex(&message.encode());
    }
    expect_file!["golden.txt"].assert_eq(&golden);
}

/// A run as it was written before its tasks' hosts could be chosen, and as it is still written.
#[test]
fn a_field_that_came_later_is_left_out_while_it_says_nothing() {
    let key = Key::Run(ServiceId(0x5e));
    let Body::Run(run) = generated_body(&key, &mut Rng::new(1)) else {
        panic!("a run is a run");
    };
    let record = |hosts| {
        let body = Body::Run(Run {
            hosts,
            ..run.clone()
        });
        Record::new(key.clone(), VERSION, Some(body))
    };
    let (without, with) = (record(Vec::new()), record(vec![host_id(1)]));
    let bytes = |record: &Record| record.body.as_ref().map(Body::to_wire).unwrap_or_default();
    assert_eq!(bytes(&with)[..bytes(&without).len()], bytes(&without));
    for record in [without, with] {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
}

/// Whatever is taken for a message can be said again, and means the same.
fn must_not_panic(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(
            Message::decode(&message.encode()).as_ref(),
            Ok(&message),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn no_bytes_at_all_make_a_reader_panic() {
    for message in messages() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            let cut = Message::decode(&bytes[..end]);
            assert!(cut.is_err(), "{} cut at {end}: {cut:?}", name(&message));
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                must_not_panic(&bytes);
            }
        }
    }
    with_seeds(|rng| {
        for _ in 0..200 {
            let mut bytes: Vec<u8> = (0..rng.below(80)).map(|_| rng.below(256) as u8).collect();
            must_not_panic(&bytes);
            bytes.splice(0..0, [WIRE_VERSION, rng.below(18) as u8]);
            must_not_panic(&bytes);
        }
    });
}

#[test]
fn a_refusal_says_what_was_too_much() {
    let small = Record::new(Key::StopOrder(TaskId(1)), VERSION, None);
    let many = vec![small; limits::RECORDS_PER_MESSAGE_MAX + 1];
    let branches = vec![(Prefix::ROOT, [0; FAN]); limits::BRANCHES_MAX + 1];
    let prefixes = vec![Prefix::ROOT; limits::BRANCHES_MAX * FAN + 1];
    let mut other_version = Message::CatchUp { after: None }.encode();
    other_version[0] = 99;
    let refused = [
        Message::Branches(branches).encode(),
        Message::Holdings {
            prefixes,
            held: vec![],
        }
        .encode(),
        Message::Records(many.clone()).encode(),
        Message::Page {
            records: many,
            last: false,
        }
        .encode(),
        Message::Pulling {
            number: 7,
            stage: PullStage::Failed {
                reason: "x".repeat(limits::REASON_BYTES_MAX + 1),
            },
        }
        .encode(),
        other_version,
        vec![],
        vec![WIRE_VERSION, 77],
    ];
    let said = refused.map(|bytes| match Message::decode(&bytes) {
        Ok(message) => format!("taken: {message:?}"),
        Err(err) => err.to_string(),
    });
    expect![[r#"
        a message with 257 entries is over the limit of 256
        a message with 4097 entries is over the limit of 4096
        a message with 4097 entries is over the limit of 4096
        a message with 4097 entries is over the limit of 4096
        a message with a text of 1025 bytes is over the limit of 1024
        a message of wire version 99; this agent speaks 1
        an empty message
        not a message"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn a_record_over_its_limit_is_refused_and_one_at_it_is_not() {
    let mut report = host_report("a");
    let bytes = |report: &crate::cluster::body::HostReport| {
        let body = Some(Body::Host(report.clone()));
        Record::new(Key::Host(host_id(0)), VERSION, body).encode()
    };
    let mut length = limits::RECORD_BYTES_MAX - 200;
    report.agent_version = "x".repeat(length).into();
    length += limits::RECORD_BYTES_MAX - bytes(&report).len();
    report.agent_version = "x".repeat(length).into();
    assert_eq!(bytes(&report).len(), limits::RECORD_BYTES_MAX);
    assert!(Record::decode(&bytes(&report)).is_ok());
    report.agent_version = "x".repeat(length + 1).into();
    let got = limits::RECORD_BYTES_MAX + 1;
    assert_eq!(
        Record::decode(&bytes(&report)),
        Err(RecordError::TooLong { got })
    );
}

#[test]
fn a_record_of_a_later_kind_is_kept_as_it_came() {
    let (key, body) = (vec![1_u8, 2, 3], Some(vec![0xff_u8; 40]));
    let signature = vec![0xaa_u8; 64];
    let wire = (200_u8, &key, VERSION, &body, &signature);
    let bytes = postcard::to_allocvec(&wire).expect("it encodes");
    let record = Record::decode(&bytes).expect("it is a record");
    assert_eq!(record.key, Key::Unknown { kind: 200, key });
    let mut board = Board::default();
    board.merge(&record);
    let kept = board.by_key_hash(record.key_hash).expect("it is kept");
    assert_eq!(kept.encode(), bytes, "signature and all");
}
