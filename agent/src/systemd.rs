//! Tells systemd how the agent fares: ready, a line of status, stopping, still alive.
//!
//! Everything here does nothing where systemd did not start us, so callers need not ask.

use ::systemd::{daemon, journal};
use listenfd::ListenFd;
use std::{io, os::unix::net::UnixListener, time::Duration};

/// The agent serves: systemd lets what waits for us go on.
pub(crate) fn ready(status: &str) {
    notify(&[
        (daemon::STATE_READY, "1"),
        (daemon::STATE_STATUS, &one_line(status)),
    ]);
}

/// The line that `systemctl status` shows.
pub(crate) fn status(status: &str) {
    notify(&[(daemon::STATE_STATUS, &one_line(status))]);
}

/// The agent was asked to end and does so; a restart is then no crash.
pub(crate) fn stopping(status: &str) {
    notify(&[
        (daemon::STATE_STOPPING, "1"),
        (daemon::STATE_STATUS, &one_line(status)),
    ]);
}

/// One entry of the journal, of fields as in `NAME=value`. Says nothing where nobody listens.
pub(crate) fn note(fields: &[&str]) -> ::systemd::Result<()> {
    journal::send(fields)
}

/// The agent's loop still turns. To be sent from that very loop, at each `watchdog_interval`:
/// sent from a worker of its own it would hide that the loop hangs.
pub(crate) fn alive() {
    notify(&[(daemon::STATE_WATCHDOG, "1")]);
}

/// The listening unix socket that systemd hands over, if it does. To be asked for once, before any
/// thread is started: it is taken out of the environment, so that no child takes it for its own.
pub(crate) fn unix_listener() -> io::Result<Option<UnixListener>> {
    let listener = ListenFd::from_env().take_unix_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// Half of the time after which systemd kills a silent agent; `None` where nobody watches.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    match daemon::watchdog_enabled() {
        Ok(0) => None,
        Ok(micros) => Some(Duration::from_micros(micros) / 2),
        Err(err) => {
            tracing::warn!(%err, "Cannot understand WATCHDOG_USEC; systemd gets no sign of life.");
            None
        }
    }
}

fn notify(state: &[(&str, &str)]) {
    // A lost line of status is no reason to stop, and a lost sign of life is systemd's to judge.
    if let Err(err) = daemon::notify(state.iter()) {
        tracing::debug!(%err, ?state, "Cannot notify systemd.");
    }
}

/// A line break would start another assignment, and the status may hold words of other hosts.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::{
        env,
        os::{fd::OwnedFd, unix::net::UnixDatagram},
        process::{Command, Stdio},
    };

    /// Run by the tests below in a process of its own, since the environment is the process's.
    #[test]
    fn child() {
        if env::var_os("HOLDFAST_TEST_CHILD").is_none() {
            return;
        }
        println!("interval {:?}", watchdog_interval());
        let listener = unix_listener().unwrap();
        let path = listener.map(|listener| listener.local_addr().unwrap());
        println!("listens {path:?}");
        assert!(unix_listener().unwrap().is_none());
        ready("serving\nWATCHDOG=trigger");
        alive();
        stopping("bye");
    }

    fn child_says(environment: &[(&str, &str)]) -> String {
        let mut child = Command::new(env::current_exe().unwrap());
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            child.env_remove(name);
        }
        child.envs(environment.iter().copied()).stdin(Stdio::null());
        said("interval ", child)
    }

    /// What the child says after this word, on its line.
    fn said(word: &str, mut child: Command) -> String {
        let output = child
            .args(["--exact", "systemd::tests::child", "--nocapture"])
            .env("HOLDFAST_TEST_CHILD", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let at = text.find(word).expect(&text) + word.len();
        text[at..].lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_socket_that_systemd_holds_is_taken_once() {
        let dir = TestDir::new("listen");
        let path = dir.join("socket");
        let held = UnixListener::bind(&path).unwrap();
        // As systemd does it: the process that is meant has it as its third file.
        let mut child = Command::new("sh");
        let hand_over = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 0</dev/null";
        child.args(["-c", hand_over, "sh"]);
        child.arg(env::current_exe().unwrap());
        child.stdin(OwnedFd::from(held));
        let expected = format!("Some({:?} (pathname))", path);
        assert_eq!(said("listens ", child), expected);
        let mut alone = Command::new(env::current_exe().unwrap());
        alone.stdin(Stdio::null());
        assert_eq!(said("listens ", alone), "None");
    }

    #[test]
    fn systemd_hears_each_word_in_order() {
        let dir = TestDir::new("notify");
        let path = dir.join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let interval = child_says(&[
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "10000000"),
        ]);
        assert_eq!(interval, "Some(5s)");
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            heard.push(text.trim_end().to_owned());
        }
        assert_eq!(
            heard,
            [
                "READY=1\nSTATUS=serving WATCHDOG=trigger",
                "WATCHDOG=1",
                "STOPPING=1\nSTATUS=bye"
            ]
        );
    }

    #[test]
    fn without_systemd_nothing_happens() {
        assert_eq!(child_says(&[]), "None");
        assert_eq!(child_says(&[("WATCHDOG_USEC", "soon")]), "None");
        assert_eq!(
            child_says(&[("NOTIFY_SOCKET", "/nonexistent/socket")]),
            "None"
        );
    }
}
