//! A proxy on Docker's socket that meddles: hangs, fails, drops answers, loses or doubles events.
//!
//! An agent whose setting names the proxy's socket sees a Docker with these faults, while whoever
//! asks the engine itself sees the truth. One request goes over each connection.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is done to the requests that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    /// They wait until the meddling ends, and are then carried out.
    Hang,
    /// They are answered with status 500, and Docker never sees them.
    Fail,
    /// Docker carries them out, and its answer is lost.
    LoseAnswer,
    /// Of `GET /events`: none arrives any more. Streams that are open already are meant, too.
    LoseEvents,
    /// Of `GET /events`: each arrives twice.
    DoubleEvents,
}

/// The meddling, the requests it is meant for, and how many of them.
#[derive(Clone, Debug)]
pub struct Rule {
    pub meddling: Meddling,
    /// Part of the first line, as in `POST /v1.41/containers/create?name=x HTTP/1.1`.
    pub line_has: &'static str,
    pub times: usize,
}

/// A proxy in front of one engine; ends with this value.
#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rule: Option<Rule>,
    /// How many requests the rule has met.
    met: usize,
    /// Counts the rules: whoever hangs for an earlier one goes on.
    rules: usize,
    ended: bool,
}

impl Proxy {
    /// Listens on `socket` for whoever wants to talk to the engine of the other one.
    pub fn start(socket: &Path, engine: &Path) -> io::Result<Self> {
        match fs::remove_file(socket) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                if shared.state().ended {
                    break;
                }
                thread::spawn(move || {
                    // Whoever hangs up in the middle is nobody's failure.
                    shared.serve(client).ok();
                });
            }
        });
        let socket = socket.to_owned();
        Ok(Self { socket, shared })
    }

    /// From now on this rule holds, in the place of an earlier one.
    pub fn meddle(&self, rule: Rule) {
        self.change(Some(rule));
    }

    /// Ends the meddling; how many requests or events it met.
    pub fn behave(&self) -> usize {
        self.change(None)
    }

    /// How many requests or events the present rule has met.
    pub fn met(&self) -> usize {
        self.shared.state().met
    }

    fn change(&self, rule: Option<Rule>) -> usize {
        let mut state = self.shared.state();
        state.rule = rule;
        state.rules += 1;
        self.shared.changed.notify_all();
        std::mem::take(&mut state.met)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.behave();
        // Wakes whoever waits for a client.
        UnixStream::connect(&self.socket).ok();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// What is to be done to this request or event, which is counted.
    fn met_by(&self, line: &str, meant: impl Fn(Meddling) -> bool) -> Option<Meddling> {
        let mut state = self.state();
        let rule = state.rule.as_ref()?;
        let meets = meant(rule.meddling) && line.contains(rule.line_has) && state.met < rule.times;
        let meddling = meets.then_some(rule.meddling)?;
        state.met += 1;
        Some(meddling)
    }

    fn serve(&self, mut client: UnixStream) -> io::Result<()> {
        let (line, request) = read_request(&client)?;
        let of_requests = |meddling| {
            let requests = [Meddling::Hang, Meddling::Fail, Meddling::LoseAnswer];
            requests.contains(&meddling)
        };
        let meddling = self.met_by(&line, of_requests);
        match meddling {
            Some(Meddling::Fail) => {
                let body = r#"{"message":"the proxy meddles"}"#;
                let length = body.len();
                return write!(
                    client,
                    "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n\
                     content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
            Some(Meddling::Hang) => self.wait_for_another_rule(),
            _ => {}
        }
        let mut engine = UnixStream::connect(&self.engine)?;
        engine.write_all(&request)?;
        if meddling == Some(Meddling::LoseAnswer) {
            // To its end: it is carried out.
            io::copy(&mut engine, &mut io::sink())?;
            return Ok(());
        }
        if line.contains("/events") {
            return self.relay_events(engine, client, &line);
        }
        io::copy(&mut engine, &mut client)?;
        client.shutdown(Shutdown::Both)
    }

    fn wait_for_another_rule(&self) {
        let state = self.state();
        let now = state.rules;
        let waited = self.changed.wait_while(state, |state| state.rules == now);
        drop(waited.expect("nobody panics with it"));
    }

    /// Docker writes each event as one chunk.
    fn relay_events(
        &self,
        engine: UnixStream,
        mut client: UnixStream,
        line: &str,
    ) -> io::Result<()> {
        // Whoever hangs up is told to Docker, which may have nothing to say for long.
        let (engine_end, mut client_end) = (engine.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            io::copy(&mut client_end, &mut io::sink()).ok();
            engine_end.shutdown(Shutdown::Both).ok();
        });
        let mut engine = BufReader::new(engine);
        let head = read_head(&mut engine)?;
        client.write_all(head.as_bytes())?;
        let of_events =
            |meddling| [Meddling::LoseEvents, Meddling::DoubleEvents].contains(&meddling);
        loop {
            let mut chunk = Vec::new();
            engine.read_until(b'\n', &mut chunk)?;
            let size = String::from_utf8_lossy(&chunk).trim().to_owned();
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let begins = chunk.len();
            chunk.resize(begins + size + 2, 0);
            engine.read_exact(&mut chunk[begins..])?;
            let meddling = if size == 0 {
                None
            } else {
                self.met_by(line, of_events)
            };
            let times = match meddling {
                Some(Meddling::LoseEvents) => 0,
                Some(Meddling::DoubleEvents) => 2,
                _ => 1,
            };
            for _ in 0..times {
                client.write_all(&chunk)?;
            }
            if size == 0 {
                return client.shutdown(Shutdown::Both);
            }
        }
    }
}

/// The first line, and all of the request as Docker is to get it: it closes after the answer.
fn read_request(client: &UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut client = BufReader::new(client.take(REQUEST_BYTES_MAX));
    let head = read_head(&mut client)?;
    let (line, headers) = head.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut request = format!("{line}\r\nconnection: close\r\n");
    let mut length = 0;
    for header in headers.lines().filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "transfer-encoding" => return Err(io::ErrorKind::Unsupported.into()),
            _ => {}
        }
        request += &format!("{header}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    request.extend(body);
    Ok((line.to_owned(), request))
}

/// All up to the empty line, with it.
fn read_head(from: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
