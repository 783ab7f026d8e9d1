//! The server on real sockets, with a zone that changes.

use super::*;
use crate::{
    dns::serve,
    handle::{DaemonStatus, Handle},
};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    handle: Handle,
    zones: watch::Sender<Option<Arc<Zone>>>,
    _worker: JoinSet<()>,
}

impl Served {
    fn start(bind: SocketAddr) -> Self {
        let (handle, _) = Handle::new(DaemonStatus::default());
        let (zones, zone) = watch::channel(Some(Arc::new(zone_of(many(100)))));
        let (settings, own) = (DnsSettings { bind, ..settings() }, handle.clone());
        let mut worker = JoinSet::new();
        worker.spawn(async move { serve(Some(settings), zone, &own).await });
        Self {
            handle,
            zones,
            _worker: worker,
        }
    }

    async fn status(&self, is_meant: impl Fn(&Value) -> bool) -> Value {
        let mut look = interval(Duration::from_millis(10));
        let found = async {
            loop {
                let status = self.handle.status().dns;
                if is_meant(&status) {
                    return status;
                }
                look.tick().await;
            }
        };
        timeout(PATIENCE, found).await.expect("it comes to that")
    }

    async fn address(&self) -> SocketAddr {
        let status = self.status(|status| status["trouble"] == Value::Null && !status.is_null());
        status.await["address"].as_str().unwrap().parse().unwrap()
    }
}

async fn by_datagram(at: SocketAddr, question: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(at).await.unwrap();
    socket.send(&question.to_vec().unwrap()).await.unwrap();
    let mut bytes = vec![0; 65_535];
    let received = timeout(PATIENCE, socket.recv(&mut bytes)).await;
    let len = received.expect("it answers").unwrap();
    Message::from_vec(&bytes[..len]).unwrap()
}

async fn send(stream: &mut TcpStream, question: &Message) {
    let bytes = question.to_vec().unwrap();
    let len = u16::try_from(bytes.len()).unwrap();
    stream.write_u16(len).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> Message {
    let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

#[tokio::test]
async fn a_cut_answer_is_whole_by_stream_and_a_stream_takes_several_questions() {
    let served = Served::start(([127, 0, 0, 1], 0).into());
    let at = served.address().await;
    let question = question("web.service.holdfast.internal.", RecordType::SRV);
    assert!(by_datagram(at, &question).await.metadata.truncation);
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..2 {
        send(&mut stream, &question).await;
    }
    for _ in 0..2 {
        let answer = timeout(PATIENCE, receive(&mut stream)).await.unwrap();
        assert_eq!(
            (answer.answers.len(), answer.metadata.truncation),
            (100, false)
        );
    }
    // Too long a question ends the stream.
    stream.write_u16(u16::MAX).await.unwrap();
    let ended = timeout(PATIENCE, stream.read_u16()).await.unwrap();
    assert!(ended.is_err());
}

#[tokio::test]
async fn the_next_answer_is_from_the_next_zone() {
    let served = Served::start(([127, 0, 0, 1], 0).into());
    let at = served.address().await;
    let question = question("web.service.holdfast.internal.", RecordType::A);
    assert_eq!(by_datagram(at, &question).await.answers.len(), 1);
    served.zones.send_replace(None);
    let answer = by_datagram(at, &question).await;
    assert_eq!(told(&answer), "ServFail\n");
}

#[tokio::test]
async fn a_port_that_is_taken_is_awaited() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = taken.local_addr().unwrap();
    let served = Served::start(at);
    let status = served.status(|status| status["trouble"].is_string()).await;
    let trouble = status["trouble"].as_str().unwrap();
    assert!(
        trouble.starts_with(&format!("cannot serve DNS on {at}: ")),
        "{trouble}"
    );
    drop(taken);
    assert_eq!(served.address().await, at);
    let question = question("web.service.holdfast.internal.", RecordType::A);
    assert_eq!(by_datagram(at, &question).await.answers.len(), 1);
}
