//! What nobody should send: it costs little, and brings nothing down.

use super::*;
use crate::dns::answer::QUESTION_BYTES_MAX;

const ROUNDS: u32 = 20_000;

/// Whatever comes, what goes is short and can be read, and is no answer to an answer.
fn hold(zone: &Zone, question: &[u8], rng: &mut Rng) {
    for (carrier, bytes_max) in [(Carrier::Datagram, 8_192), (Carrier::Stream, 65_535)] {
        let Some(answer) = answer(Some(zone), question, carrier, rng) else {
            continue;
        };
        assert!(question[2] & 0x80 == 0, "{question:02x?}");
        assert!(answer.len() <= bytes_max, "{question:02x?}");
        assert_eq!(answer[..2], question[..2]);
        Message::from_vec(&answer).unwrap_or_else(|err| panic!("{err}: {question:02x?}"));
    }
}

#[test]
fn garbage_is_answered_shortly_or_not_at_all() {
    let zone = zone_of(two());
    let mut rng = Rng::new(7);
    for _ in 0..ROUNDS {
        let len = rng.below(96) as usize;
        let garbage: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        hold(&zone, &garbage, &mut rng);
    }
}

#[test]
fn half_good_questions_are_too() {
    let zone = zone_of(two());
    let mut rng = Rng::new(8);
    let questions = [
        question("web.service.holdfast.internal.", RecordType::SRV),
        with_edns(
            question("_http._tcp.web.service.holdfast.internal.", RecordType::ANY),
            4_096,
        ),
        with_edns(
            question(&format!("{A}.host.holdfast.internal."), RecordType::A),
            512,
        ),
    ];
    let questions = questions.map(|question| question.to_vec().unwrap());
    for round in 0..ROUNDS {
        let mut bytes = questions[round as usize % 3].clone();
        for _ in 0..=rng.below(4) {
            let at = rng.index(bytes.len()).unwrap();
            match rng.below(3) {
                0 => bytes[at] = rng.below(256) as u8,
                1 => bytes.insert(at, rng.below(256) as u8),
                _ => drop(bytes.remove(at)),
            }
        }
        hold(&zone, &bytes, &mut rng);
    }
}

/// Room is made for as many records as the header says before any is read.
#[test]
fn what_announces_much_and_has_little_is_not_read() {
    let zone = zone_of(two());
    let mut header = [0; 12];
    for at in [4, 6, 8, 10] {
        let mut announced = header;
        announced[at..at + 2].fill(0xff);
        let answer = answer(Some(&zone), &announced, Carrier::Datagram, &mut Rng::new(1));
        let answer = Message::from_vec(&answer.unwrap()).unwrap();
        assert_eq!(told(&answer), "FormErr\n");
    }
    header[2] = 0x28;
    let update = answer(Some(&zone), &header, Carrier::Datagram, &mut Rng::new(1));
    assert_eq!(update.unwrap()[2..4], [0xa8, 4], "not implemented");
}

#[test]
fn names_that_point_to_themselves_end() {
    let zone = zone_of(two());
    let mut bytes = question("a.", RecordType::A).to_vec().unwrap();
    bytes.truncate(12);
    bytes.extend([0xc0, 12, 0, 1, 0, 1]);
    hold(&zone, &bytes, &mut Rng::new(1));
    // And one that is as long as a question may be, all pointers.
    let mut long = bytes[..12].to_vec();
    while long.len() < QUESTION_BYTES_MAX {
        long.extend([1, b'a', 0xc0, 12]);
    }
    hold(&zone, &long, &mut Rng::new(1));
}

#[test]
fn a_newer_edns_is_told_what_we_speak() {
    let zone = zone_of(two());
    let mut newer = with_edns(
        question("web.service.holdfast.internal.", RecordType::A),
        1_232,
    );
    newer.edns.as_mut().unwrap().set_version(1);
    let answer = asked(&zone, &newer, Carrier::Datagram);
    assert_eq!(answer.edns.as_ref().unwrap().version(), 0);
    // BADVERS; signatures have another word for the same number.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert!(answer.answers.is_empty());
}
