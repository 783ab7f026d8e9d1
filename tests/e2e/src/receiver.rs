//! A receiver of webhooks: an HTTP server that takes what it is sent, or says that it does not.

use serde_json::Value;
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    thread,
};

/// What was posted and taken: the header with the signature, and the body.
pub type Post = (String, Vec<u8>);

/// Listens until the test ends.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// What posts are answered.
    status: AtomicU16,
    refused: AtomicU64,
    taken: Mutex<Vec<Post>>,
}

impl Receiver {
    /// On a port of its own; answers this status.
    pub fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            status: AtomicU16::new(status),
            refused: AtomicU64::new(0),
            taken: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // One that is cut off was of an agent that was killed.
                thread::spawn(move || serve(stream, &state).ok());
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    pub fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// How many posts were not taken.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::SeqCst)
    }

    pub fn posts(&self) -> Vec<Post> {
        let taken = self.state.taken.lock();
        taken.expect("nobody panics while holding it").clone()
    }

    /// All events that were taken, repeats too, in order.
    pub fn events(&self) -> Vec<Value> {
        let events = self.posts().into_iter().flat_map(|(_, body)| {
            let array: Vec<Value> = serde_json::from_slice(&body).expect("an array of events");
            array
        });
        events.collect()
    }
}

fn serve(stream: TcpStream, state: &State) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut signature) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
                "holdfast-signature" => signature = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = state.status.load(Ordering::SeqCst);
        if status == 200 {
            let mut taken = state.taken.lock().expect("nobody panics while holding it");
            taken.push((signature, body));
        } else {
            state.refused.fetch_add(1, Ordering::SeqCst);
        }
        let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}

/// Whether the signature is what the documentation says, as OpenSSL finds it.
pub fn is_signed(secret: &str, (signature, body): &Post) -> Result<(), String> {
    let parts = signature.split_once(",v1=");
    let (seconds, code) = parts.ok_or_else(|| format!("no signature: {signature:?}"))?;
    let seconds = seconds.strip_prefix("t=").ok_or("no time")?;
    let openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret, "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut openssl = openssl.map_err(|err| format!("openssl: {err}"))?;
    let mut input = openssl.stdin.take().expect("it is piped");
    let written = input
        .write_all(format!("{seconds}.").as_bytes())
        .and_then(|()| input.write_all(body));
    written.map_err(|err| format!("openssl: {err}"))?;
    drop(input);
    let output = openssl
        .wait_with_output()
        .map_err(|err| format!("openssl: {err}"))?;
    let found = String::from_utf8_lossy(&output.stdout);
    let found = found.split_whitespace().next().unwrap_or_default();
    match found == code {
        true => Ok(()),
        false => Err(format!("openssl finds {found}, the header says {code}")),
    }
}
