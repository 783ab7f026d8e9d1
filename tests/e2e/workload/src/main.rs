//! The program inside the containers of the demo and the tests: it runs, serves, exits or defies.
//!
//! It is the only file of its image, so it is linked statically and asks for nothing: no shell, no
//! C library, no name service. What it does is told by its arguments or, for a task definition
//! that would rather not set a command, by the environment variable `WORKLOAD` in the same words.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
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
       workload check [PATH]       exit 0 if 127.0.0.1:$PORT answers 200, for health checks
With PORT set, what runs also serves HTTP there: / says who answers, /health says 200.
Without arguments, the words are taken from $WORKLOAD.";

const REQUEST_BYTES_MAX: u64 = 8 * 1024;
const IO_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    RunUntilTerm,
    RunForever,
    Hoard,
    Exit { code: u8, after: Duration },
    Check { path: String },
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
        println!("workload: running");
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
        Plan::RunUntilTerm | Plan::RunForever | Plan::Hoard | Plan::Check { .. } => {
            (0, stop.recv().ok())
        }
    };
    match signal {
        Some(signal) => println!("workload: {signal}, exit {code}"),
        None => println!("workload: exit {code}"),
    }
    code
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
        let exit = |code, millis| {
            let after = Duration::from_millis(millis);
            Some(Plan::Exit { code, after })
        };
        assert_eq!(parse(&["fail"]), exit(1, 0));
        assert_eq!(parse(&["exit", "3"]), exit(3, 0));
        assert_eq!(parse(&["exit", "3", "after", "250"]), exit(3, 250));
        assert_eq!(parse(&["exit", "300"]), None);
        assert_eq!(parse(&["exit"]), None);
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
