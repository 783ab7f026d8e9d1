//! Hands on what comes from Docker or from a peer, as slowly as it is taken.

use super::audit::Deed;
use crate::http::{
    client::Driven,
    frames::{Kind, Seam, frame, head},
};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::{
    io, thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

/// What is there already goes on together, up to this: Docker sends each line by itself.
const BATCH_BYTES: usize = 32 * 1_024;
/// What comes in pieces smaller than this, as lines do, costs more to hand on than to wait for.
const PIECE_BYTES_SMALL: usize = 4 * 1_024;
/// While small pieces come this soon one after another, they are gathered …
const SOON: Duration = Duration::from_millis(5);
/// … for this long. Waking for each line takes most of two cores, Docker's among them; and longer
/// than this, Docker would wait: a socket holds no more than some 280 lines of 100 bytes.
const GATHER: Duration = Duration::from_micros(250);

/// Whether what comes is framed, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Framed,
    Bare,
}

/// Why no more comes, though there was more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken<'a> {
    Source(&'a hyper::Error),
    /// This agent ends.
    Stopping,
}

/// What goes through as frames; where it breaks off between two, one more says why.
pub(super) struct Relay<W> {
    source: Source,
    form: Form,
    seam: Seam,
    why: W,
    closing: CancellationToken,
    /// What is done by reading it to its end, if that is on record.
    deed: Option<Deed>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

/// A body of which pieces are put together.
struct Source {
    body: Driven,
    /// The end, where it was seen while a batch was put together.
    end: Option<Result<(), hyper::Error>>,
    /// When the last batch was there.
    last: Option<Instant>,
}

/// As it comes.
pub(super) fn plain(body: Incoming, permit: OwnedSemaphorePermit) -> Body {
    let source = (Source::new(body.into()), permit);
    Body::from_stream(stream::unfold(source, async |(mut source, permit)| {
        let next = source.batch().await?;
        Some((next, (source, permit)))
    }))
}

impl<W> Relay<W>
where
    W: Fn(Broken<'_>) -> String + Send + 'static,
{
    pub(super) fn new(
        (body, form): (Driven, Form),
        why: W,
        permit: OwnedSemaphorePermit,
        closing: CancellationToken,
    ) -> Self {
        Self {
            source: Source::new(body),
            form,
            seam: Seam::default(),
            why,
            closing,
            deed: None,
            ended: false,
            _permit: permit,
        }
    }

    pub(super) fn recorded_as(mut self, deed: Deed) -> Self {
        self.deed = Some(deed);
        self
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut relay| {
            let next = relay.next().await?;
            Some((next, relay))
        }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        if self.ended {
            return None;
        }
        let closing = self.closing.clone();
        let Some(batch) = closing.run_until_cancelled(self.source.batch()).await else {
            self.ended = true;
            self.end_deed("cut off, as the agent ends");
            // Amid a frame nothing can be said.
            let word = self.seam.is_between().then(|| self.word(Broken::Stopping));
            return word.map(Ok);
        };
        match batch {
            None => {
                self.end_deed("handed out");
                None
            }
            Some(Ok(bytes)) if self.form == Form::Bare => {
                let framed = [&head(Kind::Stdout, bytes.len())[..], &bytes].concat();
                Some(Ok(framed.into()))
            }
            Some(Ok(bytes)) => {
                self.seam.pass(&bytes);
                Some(Ok(bytes))
            }
            Some(Err(err)) => {
                self.ended = true;
                self.end_deed("Docker broke it off");
                Some(match self.seam.is_between() {
                    true => Ok(self.word(Broken::Source(&err))),
                    false => Err(err),
                })
            }
        }
    }

    fn word(&self, broken: Broken<'_>) -> Bytes {
        frame(Kind::Fault, (self.why)(broken).as_bytes())
    }
}

impl<W> Relay<W> {
    fn end_deed(&mut self, outcome: &str) {
        if let Some(deed) = self.deed.take() {
            deed.end(outcome);
        }
    }
}

impl<W> Drop for Relay<W> {
    fn drop(&mut self) {
        self.end_deed("whoever read it hung up");
    }
}

impl Source {
    const fn new(body: Driven) -> Self {
        Self {
            body,
            end: None,
            last: None,
        }
    }

    /// What there is, once there is something.
    async fn batch(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let batch = self.gathered().await;
        self.last = Some(Instant::now());
        batch
    }

    async fn gathered(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        if let Some(end) = self.end.take() {
            self.end = Some(Ok(()));
            return end.err().map(Err);
        }
        let first = match self.piece().await {
            Ok(Some(first)) => first,
            Ok(None) => return None,
            Err(err) => return Some(Err(err)),
        };
        let is_soon = self.last.is_some_and(|last| last.elapsed() < SOON);
        if is_soon && first.len() < PIECE_BYTES_SMALL {
            // The runtime's own timer knows nothing below a millisecond.
            spawn_blocking(|| thread::sleep(GATHER)).await.ok();
        }
        let Some(mut next) = self.ready() else {
            return Some(Ok(first));
        };
        let mut batch = BytesMut::from(first);
        loop {
            batch.extend_from_slice(&next);
            if batch.len() >= BATCH_BYTES {
                break;
            }
            match self.ready() {
                Some(more) => next = more,
                None => break,
            }
        }
        Some(Ok(batch.freeze()))
    }

    /// The next piece, if it is there by now.
    fn ready(&mut self) -> Option<Bytes> {
        match self.piece().now_or_never()? {
            Ok(Some(piece)) => Some(piece),
            Ok(None) => {
                self.end = Some(Ok(()));
                None
            }
            Err(err) => {
                self.end = Some(Err(err));
                None
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(err)) => return Err(err),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// How a stream of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// After a frame that is the last one.
    Over,
    /// Between two frames.
    Whole,
    /// Amid one.
    Cut,
}

/// Copies frames until they end. An error is that of the side that takes them.
pub(super) async fn copy_frames(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Copied> {
    let (mut seam, mut bytes) = (Seam::default(), vec![0; BATCH_BYTES]);
    loop {
        let len = match from.read(&mut bytes).await {
            Ok(0) | Err(_) if seam.is_over() => return Ok(Copied::Over),
            Ok(0) | Err(_) if seam.is_between() => return Ok(Copied::Whole),
            Ok(0) | Err(_) => return Ok(Copied::Cut),
            Ok(len) => len,
        };
        seam.pass(&bytes[..len]);
        to.write_all(&bytes[..len]).await?;
    }
}
