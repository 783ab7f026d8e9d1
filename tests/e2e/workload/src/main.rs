//! The program inside the containers of the demo and the tests: it runs, serves, exits or defies.
//!
//! It is the only file of its image, so it is linked statically and asks for nothing: no shell, no
//! C library, no name service. What it does is told by its arguments or, for a task definition
//! that would rather not set a command, by the environment variable `WORKLOAD` in the same words.

mod voice;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

const USAGE: &str = "\
usage: workload [run]              run until SIGTERM or SIGINT, then exit 0 at once
       workload exit N [after MS]  exit with N, at once or after MS milliseconds
       workload fail               exit with 1 at once
       workload ignore-term        run, and do not stop for SIGTERM
       workload hoard              take memory until the kernel puts an end to it
       workload orphan             leave an orphan to process 1, exit 0 once that has reaped it
       workload show PATH          say what the file is and has, then run as `run` does
       workload check [PATH]       exit 0 if 127.0.0.1:$PORT answers 200, for health checks
       workload say N BYTES        say N lines of so many bytes, every tenth as an error, then run
       workload pour N BYTES       say N lines of so many bytes as fast as can be, then run
       workload talk MS            say a line each MS milliseconds, and run
       workload cat                repeat what comes in, exit 0
       workload tell               say where it runs and as whom, exit 0
       workload size               for each line that comes, say how large the terminal is
With PORT set, what runs also serves HTTP there: / says who answers, /health says 200,
and /metrics has a number for Prometheus.
Without arguments, the words are taken from $WORKLOAD.";

const REQUEST_BYTES_MAX: u64 = 8 * 1024;
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at a process that nobody here is the parent of.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    RunUntilTerm,
    RunForever,
    Hoard,
    Orphan,
    /// What `Orphan` does in a process of its own.
    Abandon,
    Exit {
        code: u8,
        after: Duration,
    },
    Check {
        path: String,
    },
    Say {
        lines: u64,
        bytes: usize,
    },
    Pour {
        lines: u64,
        bytes: usize,
    },
    Talk {
        each: Duration,
    },
    Cat,
    Tell,
    Size,
    Show {
        path: String,
    },
}

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    if words.is_empty() {
        let told = env::var("WORKLOAD").unwrap_or_default();
        words = told.split_whitespace().map(str::to_owned).collect();
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(plan) = parse(&words) else {
        eprintln!("workload: cannot understand {words:?}\n{USAGE}");
        return ExitCode::from(64);
    };
    match carry_out(plan) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            eprintln!("workload: {err}");
            ExitCode::from(70)
        }
    }
}

fn parse(words: &[&str]) -> Option<Plan> {
    match words {
        [] | ["run"] => Some(Plan::RunUntilTerm),
        ["ignore-term"] => Some(Plan::RunForever),
        ["hoard"] => Some(Plan::Hoard),
        ["orphan"] => Some(Plan::Orphan),
        ["abandon"] => Some(Plan::Abandon),
        ["fail"] => Some(Plan::Exit {
            code: 1,
            after: Duration::ZERO,
        }),
        ["exit", code] => Some(Plan::Exit {
            code: code.parse().ok()?,
            after: Duration::ZERO,
        }),
        ["exit", code, "after", millis] => Some(Plan::Exit {
            code: code.parse().ok()?,
            after: Duration::from_millis(millis.parse().ok()?),
        }),
        ["say", lines, bytes] => Some(Plan::Say {
            lines: lines.parse().ok()?,
            bytes: bytes.parse().ok()?,
        }),
        ["pour", lines, bytes] => Some(Plan::Pour {
            lines: lines.parse().ok()?,
            bytes: bytes.parse().ok()?,
        }),
        ["talk", millis] => Some(Plan::Talk {
            each: Duration::from_millis(millis.parse().ok()?),
        }),
        ["cat"] => Some(Plan::Cat),
        ["tell"] => Some(Plan::Tell),
        ["size"] => Some(Plan::Size),
        ["show", path] => Some(Plan::Show {
            path: (*path).to_owned(),
        }),
        ["check"] => Some(Plan::Check {
            path: "/health".to_owned(),
        }),
        ["check", path] => Some(Plan::Check {
            path: (*path).to_owned(),
        }),
        _ => None,
    }
}

fn carry_out(plan: Plan) -> io::Result<u8> {
    if let Plan::Exit {
        code,
        after: Duration::ZERO,
    } = plan
    {
        return Ok(code);
    }
    if let Plan::Check { path } = plan {
        return check(port()?.unwrap_or(80), &path).map(|well| if well { 0 } else { 1 });
    }
    match plan {
        Plan::Show { ref path } => show(path),
        Plan::Orphan => return orphan(),
        Plan::Abandon => return abandon(),
        Plan::Cat => return voice::cat().map(|()| 0),
        Plan::Tell => return voice::tell().map(|()| 0),
        Plan::Size => return voice::size().map(|()| 0),
        _ => {}
    }

    if plan == Plan::Hoard {
        let mut hoard = Vec::new();
        loop {
            // Written to, byte by byte: memory that is only promised counts for nothing.
            hoard.push(vec![1_u8; 1024 * 1024]);
        }
    }

    // 1. As process 1 of a container we get only the signals that we handle or block: the kernel
    //    drops the others. Blocked and waited for, they need no handler.
    // 2. Blocked before any thread starts: a thread inherits the mask, and one that did not would
    //    take the signal, and with it the default action.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    if let Some(port) = port()? {
        serve(port)?;
    }
    let (told, stop) = mpsc::channel();
    if plan != Plan::RunForever {
        thread::spawn(move || {
            if let Ok(signal) = signals.wait() {
                // Nobody left to tell means that the program is ending anyway.
                told.send(signal).ok();
            }
        });
        match plan {
            Plan::Say { lines, bytes } => voice::say(lines, bytes)?,
            Plan::Pour { lines, bytes } => voice::pour(lines, bytes)?,
            Plan::Talk { each } => voice::talk(each),
            _ => println!("workload: running"),
        }
        return Ok(wait(&plan, &stop));
    }
    println!("workload: running, and deaf to SIGTERM");
    loop {
        thread::park();
    }
}

fn wait(plan: &Plan, stop: &mpsc::Receiver<Signal>) -> u8 {
    let (code, signal) = match plan {
        Plan::Exit { code, after } => match stop.recv_timeout(*after) {
            Ok(signal) => (0, Some(signal)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (*code, None),
        },
        Plan::RunUntilTerm
        | Plan::RunForever
        | Plan::Hoard
        | Plan::Orphan
        | Plan::Abandon
        | Plan::Say { .. }
        | Plan::Pour { .. }
        | Plan::Talk { .. }
        | Plan::Cat
        | Plan::Tell
        | Plan::Size
        | Plan::Show { .. }
        | Plan::Check { .. } => (0, stop.recv().ok()),
    };
    match signal {
        Some(signal) => println!("workload: {signal}, exit {code}"),
        None => println!("workload: exit {code}"),
    }
    code
}

/// Whose the file is, what it has, and whether it can be written.
fn show(path: &str) {
    let text = fs::read_to_string(path).unwrap_or_else(|err| err.kind().to_string());
    let known = fs::metadata(path).map(|known| (known.mode() & 0o7777, known.uid()));
    let (mode, uid) = known.unwrap_or_default();
    let written = fs::OpenOptions::new().append(true).open(path).is_ok();
    println!(
        "workload: mode {mode:o} uid {uid} writable {written}: {}",
        text.trim_end()
    );
}

/// Returns when process 1 has taken note of the end of a process that lost its parent.
fn orphan() -> io::Result<u8> {
    let told = Command::new(env::current_exe()?).arg("abandon").output()?;
    let told = String::from_utf8_lossy(&told.stdout);
    let process: u32 = told.trim().parse().map_err(io::Error::other)?;
    println!("workload: process {process} is an orphan");
    // One that ended and was not reaped is still there.
    while Path::new(&format!("/proc/{process}")).exists() {
        thread::park_timeout(LOOK_INTERVAL);
    }
    println!("workload: it is gone");
    Ok(0)
}

/// Starts a process that soon ends, says which, and does not wait for it.
fn abandon() -> io::Result<u8> {
    let orphan = Command::new(env::current_exe()?)
        .args(["exit", "0", "after", "50"])
        // Else whoever reads our words would wait for its end, too.
        .stdout(Stdio::null())
        .spawn()?;
    println!("{}", orphan.id());
    Ok(0)
}

fn port() -> io::Result<Option<u16>> {
    match env::var("PORT") {
        Ok(text) => match text.parse() {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(io::Error::other(format!("PORT={text} is not a port"))),
        },
        Err(_) => Ok(None),
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|err| {
        io::Error::new(err.kind(), format!("cannot listen on port {port}: {err}"))
    })?;
    println!(
        "workload: serving on port {}",
        listener.local_addr()?.port()
    );
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A broken connection is its client's affair.
            thread::spawn(move || answer(stream).ok());
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match request.split_whitespace().nth(1) {
        Some("/") => ("200 OK", introduction()),
        Some("/health") => ("200 OK", "ok\n".to_owned()),
        Some("/metrics") => ("200 OK", "workload_running 1\n".to_owned()),
        Some(_) => ("404 Not Found", "no such path\n".to_owned()),
        None => ("400 Bad Request", "no request\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Who answers: the host name, then what the agent told this container about its task.
fn introduction() -> String {
    let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let mut text = format!("hostname: {}\n", name.trim());
    let told: BTreeMap<_, _> = env::vars()
        .filter(|(name, _)| {
            let ours = ["ECS_", "HOLDFAST_", "TASK_", "VERSION"];
            ours.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    for (name, value) in told {
        text += &format!("{name}: {value}\n");
    }
    text
}

fn check(port: u16, path: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    // To its end: hanging up early would break the server's write.
    let mut response = String::new();
    stream
        .take(REQUEST_BYTES_MAX)
        .read_to_string(&mut response)?;
    Ok(response.starts_with("HTTP/1.1 200 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        assert_eq!(parse(&[]), Some(Plan::RunUntilTerm));
        assert_eq!(parse(&["ignore-term"]), Some(Plan::RunForever));
        assert_eq!(parse(&["orphan"]), Some(Plan::Orphan));
        let exit = |code, millis| {
            let after = Duration::from_millis(millis);
            Some(Plan::Exit { code, after })
        };
        assert_eq!(parse(&["fail"]), exit(1, 0));
        assert_eq!(parse(&["exit", "3"]), exit(3, 0));
        assert_eq!(parse(&["exit", "3", "after", "250"]), exit(3, 250));
        assert_eq!(parse(&["exit", "300"]), None);
        assert_eq!(parse(&["exit"]), None);
        let (lines, bytes) = (3, 100);
        assert_eq!(
            parse(&["say", "3", "100"]),
            Some(Plan::Say { lines, bytes })
        );
        assert_eq!(parse(&["say", "3"]), None);
        let path = "/x".to_owned();
        assert_eq!(parse(&["show", "/x"]), Some(Plan::Show { path }));
        assert_eq!(parse(&["dance"]), None);
    }

    #[test]
    fn a_server_answers_its_own_check() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream).unwrap();
            }
        });
        assert!(check(port, "/health").unwrap());
        assert!(check(port, "/").unwrap());
        assert!(!check(port, "/elsewhere").unwrap());
    }
}
