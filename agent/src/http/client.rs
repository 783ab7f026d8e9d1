//! The other end of the servers: sends one request to an agent, over a connection of its own.

use super::address::Address;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

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
pub(crate) async fn send(
    to: &Address,
    request: hyper::http::request::Builder,
    body: Full<Bytes>,
) -> Result<Response<Incoming>, SendError> {
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

async fn through<S>(
    connecting: impl Future<Output = io::Result<S>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    let stream = connected
        .map_err(|_| SendError::Busy)?
        .map_err(SendError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong with the connection shows up in the answer.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
