//! The least HTTP client that can ask Docker and the agents: one request for each connection.
//!
//! It speaks HTTP/1.0, so that no server answers in chunks and a stream is what comes until its
//! end.

use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(90);
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Server {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// A connection of either kind.
#[derive(Debug)]
pub enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Server {
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Connection::Unix(stream)
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Connection::Tcp(stream)
            }
        })
    }

    pub fn call(&self, request: &Request<'_>) -> io::Result<Answer> {
        self.call_within(request, TIMEOUT)
    }

    /// As `call`, of a server that may hang.
    pub fn call_within(&self, request: &Request<'_>, within: Duration) -> io::Result<Answer> {
        let mut connection = self.connect()?;
        connection.set_read_timeout(Some(within))?;
        // A server that refuses a body by its size need not read it: the answer counts.
        let sent = connection.send(request);
        match connection.answer() {
            Err(err) => Err(sent.err().unwrap_or(err)),
            answered => answered,
        }
    }

    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.get_within(path, TIMEOUT)
    }

    /// As `get`, from a server that may hang.
    pub fn get_within(&self, path: &str, within: Duration) -> io::Result<Answer> {
        let mut connection = self.connect()?;
        connection.set_read_timeout(Some(within))?;
        connection.send(&Request {
            method: "GET",
            path,
            ..Request::default()
        })?;
        connection.answer()
    }
}

impl Connection {
    /// Sends the request; a `Host` of our own is added where the headers have none.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request { method, path, .. } = request;
        let mut head = format!("{method} {path} HTTP/1.0\r\n");
        let named = |wanted: &str| {
            let mut names = request.headers.iter().map(|(name, _)| name);
            names.any(|name| name.eq_ignore_ascii_case(wanted))
        };
        if !named("host") {
            head += "host: localhost\r\n";
        }
        if !request.body.is_empty() && !named("content-length") {
            let length = request.body.len();
            write!(head, "content-length: {length}\r\n").expect("a string takes it");
        }
        for (name, value) in request.headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes it");
        }
        head += "\r\n";
        self.write_all(head.as_bytes())?;
        self.write_all(request.body)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let (status, head, mut body) = self.head()?;
        let length = header(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
        let mut buffer = [0; 16 * 1024];
        while length.is_none_or(|length| body.len() < length) {
            match self.read(&mut buffer)? {
                0 => break,
                count => body.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(Answer { status, head, body })
    }

    /// The status, the head, and what of the body came along with it.
    pub fn head(&mut self) -> io::Result<(u16, String, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let count = self.read(&mut buffer)?;
            if count == 0 || bytes.len() > HEAD_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("no answer but {} bytes", bytes.len()),
                ));
            }
            bytes.extend_from_slice(&buffer[..count]);
        };
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {head:?}")))?;
        Ok((status, head, body))
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    /// Ends what waits on a clone of this connection.
    pub fn shut_down(&self) {
        let both = std::net::Shutdown::Both;
        // One that the server has closed already is as shut as can be.
        match self {
            Self::Unix(stream) => stream.shutdown(both).ok(),
            Self::Tcp(stream) => stream.shutdown(both).ok(),
        };
    }

    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(timeout),
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    Some(found.1.trim())
}

/// Text as it may stand in a query.
pub fn query_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            other => write!(escaped, "%{other:02X}").expect("a string takes it"),
        }
    }
    escaped
}
