//! Questions as clients ask them, and as nobody should; and the sockets.

mod strangers;
mod sockets;

use super::{
    DnsSettings,
    answer::{Carrier, answer},
    name::{Asked, Domain},
    zone::Zone,
};
use crate::{
    api::tests::board::{A, B, board, host, put, task, task_id},
    directory::Directory,
};
use expect_test::{Expect, expect};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RecordType},
};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
    },
    rng::Rng,
    spec::parse_task_definition,
    task::{runtime::PortBinding, status::TaskStatus},
};
use serde_json::json;
use std::sync::Arc;

fn settings() -> DnsSettings {
    DnsSettings {
        bind: ([127, 0, 0, 1], 0).into(),
        domain: "holdfast.internal".to_owned(),
        own: [10, 0, 0, 1].into(),
    }
}

fn zone_of(board: Board) -> Zone {
    let directory = Directory::of(board, &Directory::default());
    Zone::of(Arc::new(directory), &settings(), 7)
}

/// The service `web` with a task on each of two hosts, of which one has an address of IPv6.
fn two() -> Board {
    let mut board = board();
    let definition = json!({
        "family": "web",
        "containerDefinitions": [{
            "name": "Nginx",
            "image": "nginx:1.27",
            "memory": 128,
            "portMappings": [
                {"containerPort": 80, "name": "http"},
                {"containerPort": 9113, "name": "metrics"},
                {"containerPort": 53, "protocol": "udp", "name": "dns"},
            ],
        }],
    });
    let definition = parse_task_definition(&definition).unwrap();
    let digest = definition.digest();
    let mappings = definition.containers[0].ports.clone();
    put(
        &mut board,
        Key::Definition(digest),
        0,
        Body::Definition(definition),
    );
    let mut beta = host("Beta.rack7", 2);
    beta.address = "[fd00::2]:7946".parse().unwrap();
    put(&mut board, Key::Host(B), 2, Body::Host(beta));
    for (number, host) in [(1, A), (2, B)] {
        let mut report = task(number, TaskStatus::Running);
        report.definition = digest;
        report.containers[0].name = "Nginx".into();
        let bound = mappings
            .iter()
            .zip(32_000..)
            .map(|(port, host_port)| PortBinding {
                container_port: port.container_port,
                host_port,
                protocol: port.protocol,
            });
        report.containers[0].ports = bound.collect();
        let key = Key::Task(host, task_id(number.into()));
        put(&mut board, key, 2, Body::Task(report));
    }
    board
}

/// One host with so many tasks.
fn many(count: u32) -> Board {
    let mut board = board();
    for number in 1..=count {
        let mut report = task(number, TaskStatus::Running);
        report.containers[0].ports[0].host_port = 30_000 + u16::try_from(number).unwrap();
        let key = Key::Task(A, task_id(number.into()));
        put(&mut board, key, 2, Body::Task(report));
    }
    board
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message
        .queries
        .push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes);
    message.edns = Some(edns);
    message
}

fn bytes_of(zone: &Zone, question: &Message, carrier: Carrier) -> Vec<u8> {
    let question = question.to_vec().unwrap();
    answer(Some(zone), &question, carrier, &mut Rng::new(1)).expect("it is answered")
}

fn asked(zone: &Zone, question: &Message, carrier: Carrier) -> Message {
    Message::from_vec(&bytes_of(zone, question, carrier)).unwrap()
}

/// Code and records, each section in order, since their own order is chance.
fn told(answer: &Message) -> String {
    let flags = [
        (answer.metadata.authoritative, " aa"),
        (answer.metadata.truncation, " tc"),
        (answer.metadata.recursion_available, " ra"),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word));
    let mut text = format!(
        "{:?}{}\n",
        answer.metadata.response_code,
        flags.collect::<String>()
    );
    for (section, records) in [
        ("", &answer.answers),
        ("of ", &answer.authorities),
        ("and ", &answer.additionals),
    ] {
        let mut lines: Vec<_> = records
            .iter()
            .map(|one| format!("{section}{one}\n"))
            .collect();
        lines.sort();
        text.extend(lines);
    }
    text
}

/// Each question, and what it is answered. `holdfast.internal` is left out of the names.
fn check(questions: &[(&str, RecordType)], expected: Expect) {
    let zone = zone_of(two());
    let mut transcript = String::new();
    for (name, kind) in questions {
        let name = match *name {
            "" => "holdfast.internal.".to_owned(),
            name => format!("{name}.holdfast.internal."),
        };
        let answer = asked(&zone, &question(&name, *kind), Carrier::Datagram);
        transcript += &format!("? {name} {kind}\n{}", told(&answer));
    }
    expected.assert_eq(&transcript.replace("holdfast.internal.", "~"));
}

#[test]
fn a_service_has_the_addresses_of_its_tasks_hosts() {
    let name = "web.service";
    check(
        &[
            (name, RecordType::A),
            (name, RecordType::AAAA),
            (name, RecordType::SRV),
            (name, RecordType::ANY),
        ],
        expect![[r#"
            ? web.service.~ A
            NoError aa
            web.service.~ 1 IN A 10.0.0.1
            ? web.service.~ AAAA
            NoError aa
            web.service.~ 1 IN AAAA fd00::2
            ? web.service.~ SRV
            NoError aa
            web.service.~ 1 IN SRV 1 1 32000 aaaaaaaa000000000000000000000001.task.~
            web.service.~ 1 IN SRV 1 1 32000 aaaaaaaa000000000000000000000002.task.~
            and aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            and aaaaaaaa000000000000000000000002.task.~ 1 IN AAAA fd00::2
            ? web.service.~ ANY
            NoError aa
            web.service.~ 1 IN A 10.0.0.1
            web.service.~ 1 IN AAAA fd00::2
        "#]],
    );
}

#[test]
fn a_port_is_asked_for_by_its_name_its_container_or_its_number() {
    check(
        &[
            ("_metrics._tcp.web.service", RecordType::SRV),
            ("_nginx._tcp.web.service", RecordType::SRV),
            ("_nginx._udp.web.service", RecordType::SRV),
            ("_9113._tcp.web.service", RecordType::SRV),
        ],
        expect![[r#"
            ? _metrics._tcp.web.service.~ SRV
            NoError aa
            _metrics._tcp.web.service.~ 1 IN SRV 1 1 32001 aaaaaaaa000000000000000000000001.task.~
            _metrics._tcp.web.service.~ 1 IN SRV 1 1 32001 aaaaaaaa000000000000000000000002.task.~
            and aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            and aaaaaaaa000000000000000000000002.task.~ 1 IN AAAA fd00::2
            ? _nginx._tcp.web.service.~ SRV
            NoError aa
            _nginx._tcp.web.service.~ 1 IN SRV 1 1 32000 aaaaaaaa000000000000000000000001.task.~
            _nginx._tcp.web.service.~ 1 IN SRV 1 1 32000 aaaaaaaa000000000000000000000002.task.~
            and aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            and aaaaaaaa000000000000000000000002.task.~ 1 IN AAAA fd00::2
            ? _nginx._udp.web.service.~ SRV
            NoError aa
            _nginx._udp.web.service.~ 1 IN SRV 1 1 32002 aaaaaaaa000000000000000000000001.task.~
            _nginx._udp.web.service.~ 1 IN SRV 1 1 32002 aaaaaaaa000000000000000000000002.task.~
            and aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            and aaaaaaaa000000000000000000000002.task.~ 1 IN AAAA fd00::2
            ? _9113._tcp.web.service.~ SRV
            NoError aa
            _9113._tcp.web.service.~ 1 IN SRV 1 1 32001 aaaaaaaa000000000000000000000001.task.~
            _9113._tcp.web.service.~ 1 IN SRV 1 1 32001 aaaaaaaa000000000000000000000002.task.~
            and aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            and aaaaaaaa000000000000000000000002.task.~ 1 IN AAAA fd00::2
        "#]],
    );
}

#[test]
fn tasks_and_hosts_have_names_of_their_own() {
    check(
        &[
            (&format!("{}.task", task_id(1)), RecordType::A),
            ("beta.RACK7.host", RecordType::AAAA),
            (&format!("{B}.host"), RecordType::AAAA),
            ("ns", RecordType::A),
            ("", RecordType::NS),
            ("", RecordType::SOA),
        ],
        expect![[r#"
            ? aaaaaaaa000000000000000000000001.task.~ A
            NoError aa
            aaaaaaaa000000000000000000000001.task.~ 1 IN A 10.0.0.1
            ? beta.RACK7.host.~ AAAA
            NoError aa
            beta.RACK7.host.~ 1 IN AAAA fd00::2
            ? bbbbbbbb000000000000000000000000.host.~ AAAA
            NoError aa
            bbbbbbbb000000000000000000000000.host.~ 1 IN AAAA fd00::2
            ? ns.~ A
            NoError aa
            ns.~ 1 IN A 127.0.0.1
            ? ~ NS
            NoError aa
            ~ 1 IN NS ns.~
            ? ~ SOA
            NoError aa
            ~ 1 IN SOA ns.~ hostmaster.~ 7 3600 600 86400 1
        "#]],
    );
}

/// The name may be there and have nothing of the kind (NODATA), or not be there (NXDOMAIN), which
/// says the same of all below it.
#[test]
fn what_is_not_there_is_told_from_what_holds_nothing() {
    let zone = zone_of(two());
    let code = |name: &str, kind| {
        let name = match name {
            "" => "holdfast.internal.".to_owned(),
            name => format!("{name}.holdfast.internal."),
        };
        let answer = asked(&zone, &question(&name, kind), Carrier::Datagram);
        let soa = answer
            .authorities
            .iter()
            .any(|one| one.record_type() == RecordType::SOA);
        let empty = answer.answers.is_empty();
        assert_eq!(empty, soa, "{name}: {answer}");
        format!("{:?}", answer.metadata.response_code)
    };
    let idle = format!("{}.task", task_id(9));
    for there in [
        "",
        "ns",
        "service",
        "task",
        "host",
        "web.service",
        "_tcp.web.service",
        "_http._tcp.web.service",
        "rack7.host",
        "beta.rack7.host",
        "alpha.host",
    ] {
        assert_eq!(code(there, RecordType::TXT), "NoError", "{there}");
    }
    for absent in [
        "x",
        "api.service",
        "_tcp.api.service",
        "_x._tcp.web.service",
        "_http._udp.web.service",
        "_http._sctp.web.service",
        "http._tcp.web.service",
        "x.web.service",
        "x.task",
        &idle,
        "gamma.host",
        "x.ns",
        "web.service.x",
    ] {
        assert_eq!(code(absent, RecordType::A), "NXDomain", "{absent}");
    }
}

#[test]
fn what_is_outside_the_zone_is_refused() {
    let refused = "Refused\n";
    for name in [
        "example.com.",
        "internal.",
        ".",
        "1.0.0.10.in-addr.arpa.",
        "xholdfast.internal.",
    ] {
        let zone = zone_of(two());
        let answer = asked(&zone, &question(name, RecordType::A), Carrier::Datagram);
        assert_eq!(told(&answer), refused, "{name}");
    }
    let zone = zone_of(two());
    let transfer = question("holdfast.internal.", RecordType::AXFR);
    assert_eq!(told(&asked(&zone, &transfer, Carrier::Stream)), refused);
    let mut chaos = question("web.service.holdfast.internal.", RecordType::A);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(told(&asked(&zone, &chaos, Carrier::Datagram)), refused);
}

/// Resolvers vary the case to make forging harder (draft-vixie-dnsext-dns0x20): it comes back.
#[test]
fn names_are_found_in_any_case_and_come_back_as_they_were_asked() {
    let zone = zone_of(two());
    let name = "wEb.SerVice.HoldFast.INTERNAL.";
    let answer = asked(&zone, &question(name, RecordType::A), Carrier::Datagram);
    assert_eq!(answer.queries[0].name().to_string(), name);
    assert_eq!(answer.answers[0].name.to_string(), name);
    assert_eq!(answer.metadata.id, 0x1234);
    assert!(answer.metadata.recursion_desired);
}

#[test]
fn what_lacks_room_in_a_datagram_is_cut_and_whole_by_stream() {
    let zone = zone_of(many(100));
    let name = "web.service.holdfast.internal.";
    let plain = question(name, RecordType::SRV);
    let sizes = |question: &Message, carrier, bytes_max| {
        let bytes = bytes_of(&zone, question, carrier);
        assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        let answer = Message::from_vec(&bytes).unwrap();
        let edns = answer.edns.is_some();
        assert_eq!(edns, question.edns.is_some());
        let cut = answer.metadata.truncation;
        (answer.answers.len(), answer.additionals.len(), cut)
    };
    assert_eq!(sizes(&plain, Carrier::Datagram, 512), (6, 0, true));
    let edns = with_edns(plain.clone(), 1_232);
    assert_eq!(sizes(&edns, Carrier::Datagram, 1_232), (15, 0, true));
    // Less than what everybody takes is as much as that; more than we send is what we send.
    let small = with_edns(plain.clone(), 1);
    assert_eq!(sizes(&small, Carrier::Datagram, 512), (6, 0, true));
    let large = with_edns(plain.clone(), 65_535);
    assert!(!sizes(&large, Carrier::Datagram, 8_192).2);
    assert_eq!(sizes(&plain, Carrier::Stream, 65_535), (100, 100, false));
    // What does not fit of the addresses is no reason to ask again.
    let zone_of_five = zone_of(many(6));
    let answer = asked(&zone_of_five, &plain, Carrier::Datagram);
    assert_eq!(
        (answer.answers.len(), answer.metadata.truncation),
        (6, false)
    );
}

#[test]
fn of_very_many_each_answer_has_others() {
    let zone = zone_of(many(300));
    let name = "web.service.holdfast.internal.";
    let question = question(name, RecordType::SRV).to_vec().unwrap();
    let mut rng = Rng::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = answer(Some(&zone), &question, Carrier::Stream, &mut rng).unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.answers.len(), 256);
        seen.extend(answer.answers.iter().map(|one| one.data.to_string()));
    }
    assert_eq!(seen.len(), 300);
}

#[test]
fn an_agent_that_knows_nothing_yet_says_so() {
    let question = question("web.service.holdfast.internal.", RecordType::A);
    let question = question.to_vec().unwrap();
    let answer = answer(None, &question, Carrier::Datagram, &mut Rng::new(1)).unwrap();
    assert_eq!(told(&Message::from_vec(&answer).unwrap()), "ServFail\n");
}

#[test]
fn names_are_read() {
    let domain = Domain::new("holdfast.internal");
    let read = |name: &str| domain.read(&Name::from_ascii(name).unwrap());
    assert_eq!(read("web.service.holdfast.example."), None);
    let web = "web".to_owned();
    assert_eq!(
        read("Web.Service.Holdfast.Internal."),
        Some(Asked::Service(web.clone()))
    );
    assert_eq!(
        read("_TCP.web.service.holdfast.internal."),
        Some(Asked::ProtocolOf(web))
    );
    let port = Asked::Port("http.udp.web".to_owned());
    assert_eq!(
        read("_http._udp.web.service.holdfast.internal."),
        Some(port)
    );
    let host = Asked::Host("a.b.c".to_owned());
    assert_eq!(read("a.b.c.host.holdfast.internal."), Some(host));
    // A dot within a label is no boundary, and nothing here has other bytes.
    for odd in [&b"a.b"[..], b"a@", b"\0", b"\xff"] {
        let labels = [odd, b"host", b"holdfast", b"internal"];
        let name = Name::from_labels(labels).unwrap();
        assert_eq!(domain.read(&name), Some(Asked::Nowhere));
    }
}
