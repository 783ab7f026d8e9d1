//! What the program says, repeats and tells, for tests of logs and of commands in containers.

use rustix::termios::{isatty, tcgetwinsize};
use std::{
    env,
    io::{self, BufRead as _, BufWriter, IsTerminal as _, Write},
    thread,
    time::Duration,
};

/// So many numbered lines, each of so many bytes with its end, and every tenth on standard error.
pub(crate) fn say(lines: u64, bytes: usize) -> io::Result<()> {
    let (mut out, mut err) = (BufWriter::new(io::stdout()), io::stderr());
    for number in 0..lines {
        let line = line(number, bytes);
        if number % 10 == 9 {
            // In the order in which it is said.
            out.flush()?;
            err.write_all(line.as_bytes())?;
        } else {
            out.write_all(line.as_bytes())?;
        }
    }
    out.flush()
}

/// As fast as they are taken, all of them on standard output.
pub(crate) fn pour(lines: u64, bytes: usize) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(256 * 1024, io::stdout());
    for number in 0..lines {
        out.write_all(line(number, bytes).as_bytes())?;
    }
    out.flush()
}

fn line(number: u64, bytes: usize) -> String {
    let width = bytes.saturating_sub(10);
    format!("{number:08} {:.<width$}\n", "")
}

/// A line each so many milliseconds, from a thread of its own.
pub(crate) fn talk(each: Duration) {
    thread::spawn(move || {
        for number in 0_u64.. {
            println!("line {number}");
            thread::park_timeout(each);
        }
    });
}

/// What comes in goes out.
pub(crate) fn cat() -> io::Result<()> {
    let mut out = io::stdout().lock();
    io::copy(&mut io::stdin().lock(), &mut out)?;
    out.flush()
}

/// Where it runs and as whom.
pub(crate) fn tell() -> io::Result<()> {
    let directory = env::current_dir()?;
    println!("directory: {}", directory.display());
    println!("user: {}", nix::unistd::getuid());
    println!("terminal: {}", io::stdout().is_terminal());
    println!("word: {}", env::var("WORD").unwrap_or_default());
    eprintln!("told");
    Ok(())
}

/// How large the terminal is, for each line that comes.
pub(crate) fn size() -> io::Result<()> {
    let out = rustix::stdio::stdout();
    for line in io::stdin().lock().lines() {
        line?;
        if isatty(out) {
            let size = tcgetwinsize(out)?;
            println!("size: {} x {}", size.ws_row, size.ws_col);
        }
    }
    Ok(())
}
