//! The sockets of the DNS server: taken as soon as they can be had, and given back never.

use super::{
    DnsSettings, Zone,
    answer::{Carrier, QUESTION_BYTES_MAX, answer},
};
use crate::handle::Handle;
use holdfast_core::rng::Rng;
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// Between two attempts to have the port, doubled each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// After a failure to accept or to receive, which is mostly a lack of something.
const PAUSE: Duration = Duration::from_millis(100);
/// Streams at the same time; the kernel's queue holds whoever comes next.
const STREAMS_MAX: usize = 64;
/// From the connection, or the last answer, to the end of the next question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

type Zones = watch::Receiver<Option<Arc<Zone>>>;

/// Serves for ever, or not at all where DNS is switched off. A port that cannot be had is no reason
/// for the agent not to run: it is tried again.
pub(crate) async fn serve(settings: Option<DnsSettings>, zones: Zones, handle: &Handle) {
    let Some(settings) = settings else {
        return;
    };
    let address = settings.bind;
    let mut pause = RETRY_MIN;
    let mut told = None;
    loop {
        match bind(address).await {
            Ok((datagrams, streams)) => {
                let address = streams.local_addr().unwrap_or(address);
                info!(%address, domain = settings.domain, "DNS is served.");
                tell(handle, &settings, address, None);
                (pause, told) = (RETRY_MIN, None);
                tokio::join!(
                    serve_datagrams(datagrams, zones.clone()),
                    serve_streams(streams, zones.clone())
                );
            }
            Err(err) => {
                let reason = format!("cannot serve DNS on {address}: {err}");
                if told.as_ref() != Some(&reason) {
                    warn!(%reason, "There is no DNS; trying again.");
                }
                tell(handle, &settings, address, Some(&reason));
                told = Some(reason);
            }
        }
        sleep(pause).await;
        pause = RETRY_MAX.min(pause * 2);
    }
}

fn tell(handle: &Handle, settings: &DnsSettings, address: SocketAddr, trouble: Option<&str>) {
    let state: Value = json!({
        "address": address.to_string(),
        "domain": settings.domain,
        "trouble": trouble,
    });
    handle.update_status(|status| status.dns = state);
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind(address).await?;
    let streams = TcpListener::bind(datagrams.local_addr()?).await?;
    Ok((datagrams, streams))
}

fn seeded() -> Rng {
    // Without random bytes answers begin in the same order after each start, and no more.
    Rng::new(getrandom::u64().unwrap_or_default())
}

async fn serve_datagrams(socket: UdpSocket, zones: Zones) {
    let mut rng = seeded();
    // One byte more shows that a question was longer.
    let mut question = vec![0; QUESTION_BYTES_MAX + 1];
    loop {
        let (len, from) = match socket.recv_from(&mut question).await {
            Ok(received) => received,
            Err(err) => {
                debug!(%err, "A question could not be received.");
                sleep(PAUSE).await;
                continue;
            }
        };
        if len > QUESTION_BYTES_MAX {
            continue;
        }
        if let Some(answer) = answered(&zones, &question[..len], Carrier::Datagram, &mut rng)
            && let Err(err) = socket.send_to(&answer, from).await
        {
            debug!(%from, %err, "An answer could not be sent.");
        }
    }
}

async fn serve_streams(listener: TcpListener, zones: Zones) {
    let permits = Arc::new(Semaphore::new(STREAMS_MAX));
    let mut workers = JoinSet::new();
    loop {
        while workers.try_join_next().is_some() {}
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("these permits are never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let zones = zones.clone();
                workers.spawn(async move {
                    if let Err(err) = converse(stream, &zones).await {
                        debug!(%from, %err, "A stream of questions has ended.");
                    }
                    drop(permit);
                });
            }
            Err(err) => {
                debug!(%err, "A stream could not be accepted.");
                sleep(PAUSE).await;
            }
        }
    }
}

/// RFC 7766: one question after the other, each behind its length.
async fn converse(mut stream: TcpStream, zones: &Zones) -> io::Result<()> {
    let mut rng = seeded();
    loop {
        let question = timeout(QUESTION_TIMEOUT, question(&mut stream)).await??;
        let Some(answer) = answered(zones, &question, Carrier::Stream, &mut rng) else {
            return Ok(());
        };
        let len = u16::try_from(answer.len()).expect("an answer is cut to fit");
        let framed = [&len.to_be_bytes()[..], &answer].concat();
        timeout(ANSWER_TIMEOUT, stream.write_all(&framed)).await??;
    }
}

async fn question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = usize::from(stream.read_u16().await?);
    if len > QUESTION_BYTES_MAX {
        return Err(io::Error::other(format!("a question of {len} bytes")));
    }
    let mut question = vec![0; len];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

/// What reads strangers' bytes is a library. If it has a bug, that question has no answer.
fn answered(zones: &Zones, question: &[u8], carrier: Carrier, rng: &mut Rng) -> Option<Vec<u8>> {
    let zone = zones.borrow();
    let answer = AssertUnwindSafe(|| answer(zone.as_deref(), question, carrier, rng));
    catch_unwind(answer).unwrap_or_default()
}
