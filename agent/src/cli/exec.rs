//! `holdfast task exec`: runs a command in a container, as if it ran here.

use super::{
    args::ExecArgs,
    client::{Client, encode, fault},
    failure::Failure,
    logs::unwritten,
    terminal::{self, Raw},
};
use crate::http::frames::{Decoder, Kind, Piece, frame};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::{
    io::{self, Read as _, Write as _},
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

const READ_BYTES: usize = 32 * 1_024;
/// Reads of standard input that wait to be sent.
const READS_WAITING_MAX: usize = 4;
/// Pieces of what the command says that wait to be printed.
const PIECES_WAITING_MAX: usize = 16;

pub(super) async fn run(client: &Client, args: ExecArgs) -> Result<(), Failure> {
    let size = terminal::size().filter(|_| args.tty);
    let raw = match args.tty && args.interactive {
        true => Some(Raw::begin()?),
        false => None,
    };
    let mut path = format!("/v1/tasks/{}/exec", encode(&args.task));
    if let Some(container) = &args.container {
        path.push_str(&format!("?container={}", encode(container)));
    }
    let body = json!({
        "command": args.command,
        "interactive": args.interactive,
        "terminal": args.tty,
        "user": args.user,
        "workingDirectory": args.workdir,
        "environment": args.environment,
        "size": size,
    });
    let upgraded = client.upgrade(&path, &body).await?;
    let (from_agent, to_agent) = split(TokioIo::new(upgraded));
    let signals = Signals::new(args.tty)?;
    let ended = tokio::select! {
        ended = show(from_agent) => ended,
        told = tell(to_agent, args.interactive, signals) => Err(told),
    };
    // Before anything is printed.
    drop(raw);
    match ended? {
        0 => Ok(()),
        code => Err(Failure::Exit(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// Prints what the command says until it has ended; its exit code. Whoever reads it slowly holds up
/// the command, and nothing else here.
async fn show(from_agent: impl AsyncRead + Unpin) -> Result<i32, Failure> {
    let (said, to_print) = mpsc::channel(PIECES_WAITING_MAX);
    let (tell, mut printed) = oneshot::channel();
    // A thread of its own, since nothing ends a write that waits but the end of the process.
    thread::spawn(move || {
        // Who was to hear of it has ended.
        tell.send(print(to_print)).ok();
    });
    let broken = tokio::select! {
        broken = hear(from_agent, said) => broken,
        ended = &mut printed => return ended_or(ended, "its printer died"),
    };
    // What was said before that is printed, and may be how it ended.
    ended_or(printed.await, &broken)
}

fn ended_or(
    printed: Result<Result<Option<i32>, Failure>, oneshot::error::RecvError>,
    broken: &str,
) -> Result<i32, Failure> {
    let code = printed.unwrap_or(Ok(None))?;
    code.ok_or_else(|| Failure::Refused(format!("the agent broke it off: {broken}")))
}

/// Passes on what the command says until there is no more of it; why.
async fn hear(mut from_agent: impl AsyncRead + Unpin, said: mpsc::Sender<Piece>) -> String {
    let (mut decoder, mut bytes) = (Decoder::default(), vec![0; READ_BYTES]);
    loop {
        match from_agent.read(&mut bytes).await {
            Ok(0) => return "the command may run on".to_owned(),
            Ok(len) => decoder.feed(&bytes[..len]),
            Err(err) => return err.to_string(),
        }
        loop {
            match decoder.next() {
                Ok(Some(piece)) => {
                    // The printer has what it needs.
                    if said.send(piece).await.is_err() {
                        return String::new();
                    }
                }
                Ok(None) => break,
                Err(err) => return err.to_string(),
            }
        }
    }
}

/// Until the exit code has come, or nothing more comes.
fn print(mut said: mpsc::Receiver<Piece>) -> Result<Option<i32>, Failure> {
    loop {
        let piece = match said.try_recv() {
            Ok(piece) => piece,
            Err(_) => {
                io::stdout().flush().map_err(unwritten)?;
                match said.blocking_recv() {
                    Some(piece) => piece,
                    None => return Ok(None),
                }
            }
        };
        if let Some(code) = show_piece(&piece)? {
            return Ok(Some(code));
        }
    }
}

fn show_piece(piece: &Piece) -> Result<Option<i32>, Failure> {
    match piece.kind {
        Kind::Stdout => io::stdout().write_all(&piece.bytes).map_err(unwritten)?,
        Kind::Stderr => {
            // In the order in which it was said.
            io::stdout().flush().map_err(unwritten)?;
            io::stderr().write_all(&piece.bytes).map_err(unwritten)?;
        }
        Kind::Fault => return Err(fault(piece)),
        Kind::Exit => {
            io::stdout().flush().map_err(unwritten)?;
            let code = piece.bytes.first_chunk::<4>();
            return Ok(Some(code.map_or(-1, |code| i32::from_be_bytes(*code))));
        }
        Kind::Stdin | Kind::Size | Kind::StdinEnd => {}
    }
    Ok(None)
}

/// What happens to this process.
struct Signals {
    window: Option<Signal>,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new(has_terminal: bool) -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|err| Failure::Refused(format!("cannot listen to signals: {err}")))
        };
        let window = has_terminal.then(|| listen(SignalKind::window_change()));
        Ok(Self {
            window: window.transpose()?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

/// Sends what is typed and how large the terminal is; ends only where it must.
async fn tell(
    mut to_agent: impl AsyncWrite + Unpin,
    is_interactive: bool,
    mut signals: Signals,
) -> Failure {
    let (typed, mut read) = mpsc::channel(READS_WAITING_MAX);
    if is_interactive {
        // A thread of its own, since nothing ends a read that waits but the end of the process.
        thread::spawn(move || read_stdin(&typed));
    } else {
        drop(typed);
    }
    let mut is_open = is_interactive;
    loop {
        let resized = async {
            match &mut signals.window {
                Some(window) => window.recv().await,
                None => std::future::pending().await,
            }
        };
        let word = tokio::select! {
            typed = read.recv(), if is_open => match typed {
                Some(bytes) => frame(Kind::Stdin, &bytes),
                None => {
                    is_open = false;
                    frame(Kind::StdinEnd, &[])
                }
            },
            _ = resized => match terminal::size() {
                Some([rows, columns]) => {
                    let [a, b] = rows.to_be_bytes();
                    let [c, d] = columns.to_be_bytes();
                    frame(Kind::Size, &[a, b, c, d])
                }
                None => continue,
            },
            _ = signals.terminate.recv() => return ended_by(SignalKind::terminate()),
            _ = signals.hangup.recv() => return ended_by(SignalKind::hangup()),
        };
        if to_agent.write_all(&word).await.is_err() {
            // Why is said on the other half, if anything is.
            std::future::pending::<()>().await;
        }
    }
}

/// As a shell tells of it.
fn ended_by(signal: SignalKind) -> Failure {
    Failure::Exit(u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX))
}

fn read_stdin(typed: &mpsc::Sender<Vec<u8>>) {
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match io::stdin().read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                if typed.blocking_send(bytes[..len].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
