//! The other end of the servers: sends one request to an agent, over a connection of its own.

use super::address::Address;
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    fmt::Write as _,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// What is read of an answer ahead of whoever takes it.
const BUFFER_BYTES_MAX: usize = 128 * 1_024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("it does not accept connections")]
    Busy,
    #[error("{0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the request is not one: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Answers as soon as the head of the answer is there.
pub(crate) async fn send<B>(
    to: &Address,
    request: hyper::http::request::Builder,
    body: B,
) -> Result<Response<Incoming>, SendError>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let host = match to {
        Address::Unix(_) => "localhost".to_owned(),
        Address::Tcp(address) => address.to_string(),
    };
    let request = request.header(header::HOST, host).body(body)?;
    match to {
        Address::Unix(path) => through(UnixStream::connect(path), request).await,
        Address::Tcp(address) => through(TcpStream::connect(address), request).await,
    }
}

/// Whether anybody takes connections there: one is made, and closed again.
pub(crate) async fn knock(at: SocketAddr) -> io::Result<()> {
    TcpStream::connect(at).await.map(drop)
}

async fn through<S, B>(
    connecting: impl Future<Output = io::Result<S>>,
    request: Request<B>,
) -> Result<Response<Incoming>, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    let stream = connected
        .map_err(|_| SendError::Busy)?
        .map_err(SendError::Connect)?;
    Ok(exchange(stream, request).await?)
}

/// Sends one request over a connection that is for it alone, and may become something else after
/// it. Answers as soon as the head of the answer is there.
pub(crate) async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
) -> Result<Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = connected(stream).await?;
    // What goes wrong with the connection shows up in the answer.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

/// As [`exchange`], but whoever takes the answer moves its connection on: for answers in many small
/// pieces, each of which would wake one task more.
pub(crate) async fn exchange_here<S, B>(
    stream: S,
    request: Request<B>,
) -> Result<Response<Driven>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = connected(stream).await?;
    let mut connection: Connection = Box::pin(connection);
    let mut answering = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answering => answer?,
        // It has ended, well or not: so has the answer.
        _ = &mut connection => answering.await?,
    };
    Ok(answer.map(|body| Driven {
        body,
        connection: Some(connection),
    }))
}

async fn connected<S, B>(
    stream: S,
) -> Result<(SendRequest<B>, http1::Connection<TokioIo<S>, B>), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    let builder = builder.max_buf_size(BUFFER_BYTES_MAX);
    builder.handshake(TokioIo::new(stream)).await
}

type Connection = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// The body of an answer, with the connection over which it comes, unless another task has that.
pub(crate) struct Driven {
    body: Incoming,
    connection: Option<Connection>,
}

impl From<Incoming> for Driven {
    fn from(body: Incoming) -> Self {
        Self {
            body,
            connection: None,
        }
    }
}

impl Body for Driven {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let ready = Pin::new(&mut self.body).poll_frame(cx);
        let Some(connection) = self.connection.as_mut().filter(|_| ready.is_pending()) else {
            return ready;
        };
        if connection.as_mut().poll(cx).is_ready() {
            // What went wrong with it shows up in the body.
            self.connection = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// For one segment of a path or one value of a query.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("a string takes all"),
        }
        encoded
    })
}
