//! Runs commands that people name in the settings: no shell, little output, and not for long.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, copy, sink},
    process::{Child, Command},
    time::timeout,
};

const OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// What a command complains about is shown up to here.
const COMPLAINT_BYTES_MAX: u64 = 512;

/// A command that came to its end by itself.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) complaint: String,
}

/// What a command without input prints, or in one sentence why there is nothing that counts.
pub(crate) async fn run(words: &[String], wait_max: Duration) -> Result<String, String> {
    let output = output_of(words, wait_max).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// As [`run`], of one that may print anything.
pub(crate) async fn output_of(words: &[String], wait_max: Duration) -> Result<Vec<u8>, String> {
    let ended = run_to_end(words, b"", wait_max).await?;
    if ended.status.success() {
        return Ok(ended.output);
    }
    Err(ended.failure(&ended.complaint))
}

/// Whatever status it ends with.
pub(crate) async fn run_to_end(
    words: &[String],
    input: &[u8],
    wait_max: Duration,
) -> Result<Ended, String> {
    let (program, arguments) = words.split_first().ok_or("there is no command")?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // So that what it has started itself ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|err| format!("cannot run it: {err}"))?;
    let group = child.id();
    let ended = timeout(wait_max, finish(&mut child, input)).await;
    let done = ended.unwrap_or_else(|_| {
        let seconds = wait_max.as_secs();
        Err(format!(
            "it had not ended after {seconds} s, and was killed"
        ))
    });
    // While it has not been waited for, or a child of its is left, the group is still its own.
    if !matches!(&done, Ok(ended) if ended.status.success())
        && let Some(group) = group.and_then(|id| i32::try_from(id).ok())
    {
        match killpg(Pid::from_raw(group), Signal::SIGKILL) {
            Ok(()) | Err(_) => {}
        }
    }
    done
}

impl Ended {
    pub(crate) fn failure(&self, complaint: &str) -> String {
        let (status, complaint) = (self.status, complaint.trim().replace('\n', "; "));
        match complaint.is_empty() {
            true => format!("it failed ({status})"),
            false => format!("it failed ({status}): {complaint}"),
        }
    }
}

async fn finish(child: &mut Child, input: &[u8]) -> Result<Ended, String> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let given = async {
        if let Some(mut stdin) = stdin {
            // Not everyone reads what they are given.
            stdin.write_all(input).await.ok();
        }
    };
    let ((), output, complaint) =
        tokio::join!(given, read(stdout, OUTPUT_BYTES_MAX), complaint(stderr));
    let output = output?;
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(format!("it prints more than {OUTPUT_BYTES_MAX} bytes"));
    }
    let status = child.wait().await;
    let status = status.map_err(|err| format!("cannot wait for it: {err}"))?;
    Ok(Ended {
        status,
        output,
        complaint: complaint.unwrap_or_default(),
    })
}

/// The rest is read and dropped: who complains at length and finds nobody who reads is ended by
/// that, or waits for ever.
async fn complaint(mut from: Option<impl AsyncRead + Unpin>) -> Result<String, String> {
    let told = read(from.as_mut(), COMPLAINT_BYTES_MAX).await?;
    let told = String::from_utf8_lossy(&told).into_owned();
    if let Some(mut rest) = from {
        let drained = copy(&mut rest, &mut sink()).await;
        drained.map_err(|err| format!("cannot read what it complains about: {err}"))?;
    }
    Ok(told)
}

async fn read(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let read = from.take(bytes_max + 1).read_to_end(&mut bytes).await;
        read.map_err(|err| format!("cannot read its output: {err}"))?;
    }
    Ok(bytes)
}
