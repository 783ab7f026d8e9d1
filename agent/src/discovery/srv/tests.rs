//! SRV look-ups against a resolver on loopback.

use super::*;
use simple_dns::{ResourceRecord, rdata::SRV};
use tokio::net::TcpListener;

const NAME: &str = "_holdfast._tcp.example.com";

/// What the resolver has to say to one question, in full or cut.
fn answer(question: &[u8], cut: bool) -> Vec<u8> {
    let asked = Packet::parse(question).unwrap();
    let mut answer = Packet::new_reply(asked.id());
    answer.questions = asked.questions.clone();
    if cut {
        answer.set_flags(PacketFlag::TRUNCATION);
        return answer.build_bytes_vec().unwrap();
    }
    for (target, port) in [("a.example.com", 7946), ("b.example.com", 7947), ("", 7946)] {
        let data = RData::SRV(SRV {
            priority: 0,
            weight: 0,
            port,
            target: Name::new_unchecked(target),
        });
        let record = ResourceRecord::new(Name::new_unchecked(NAME), CLASS::IN, 60, data);
        answer.answers.push(record);
    }
    answer.build_bytes_vec().unwrap()
}

/// Answers by datagram as told, and by stream in full.
async fn resolver(by_datagram: fn(&[u8]) -> Vec<u8>) -> SocketAddr {
    let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = stream.local_addr().unwrap();
    let datagram = UdpSocket::bind(at).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = datagram.recv_from(&mut buffer).await {
            let reply = by_datagram(&buffer[..len]);
            datagram.send_to(&reply, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = stream.accept().await {
            let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut question).await.unwrap();
            let reply = answer(&question, false);
            let len = u16::try_from(reply.len()).unwrap();
            stream.write_all(&len.to_be_bytes()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    at
}

fn expected() -> Vec<Endpoint> {
    let name = |host: &str, port| Endpoint::Name {
        host: host.to_owned(),
        port,
    };
    vec![name("a.example.com", 7946), name("b.example.com", 7947)]
}

#[tokio::test]
async fn each_target_of_the_records_is_a_peer() {
    let at = resolver(|question| answer(question, false)).await;
    assert_eq!(look_up_at(NAME, &[at]).await, Ok(expected()));
}

#[tokio::test]
async fn an_answer_that_was_cut_is_asked_for_again_over_a_stream() {
    let at = resolver(|question| answer(question, true)).await;
    assert_eq!(look_up_at(NAME, &[at]).await, Ok(expected()));
}

#[tokio::test]
async fn what_answers_no_question_of_ours_is_refused_and_the_next_resolver_asked() {
    let garbage = resolver(|_| b"what?".to_vec()).await;
    let other = resolver(|question| {
        let mut reply = answer(question, false);
        reply[0] ^= 1;
        reply
    })
    .await;
    let why = look_up_at(NAME, &[garbage, other]).await.unwrap_err();
    assert_eq!(why, format!("{other}: an answer to another question"));
    let good = resolver(|question| answer(question, false)).await;
    assert_eq!(look_up_at(NAME, &[garbage, good]).await, Ok(expected()));
}

#[test]
fn resolvers_are_read_as_libc_reads_them() {
    let text = "# made by hand\nsearch example.com\nnameserver 10.0.0.2\nnameserver fd00::1\n";
    assert_eq!(
        resolvers(text),
        [
            "10.0.0.2:53".parse().unwrap(),
            "[fd00::1]:53".parse().unwrap()
        ]
    );
    assert_eq!(resolvers(""), ["127.0.0.1:53".parse().unwrap()]);
}
