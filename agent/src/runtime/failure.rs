//! Why a call to Docker failed, what to do about it, and how ECS calls it.

use bollard::errors::Error as DockerError;
use holdfast_core::{
    ids::RuntimeIdError,
    limits::REASON_BYTES_MAX,
    task::runtime::{FailureKind, RuntimeFailure},
};
use std::{error::Error, io, time::Duration};

/// What was being done; it decides ECS's name for the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Pull,
    Volume,
    Initialize,
    Create,
    Start,
    Inspect,
    Stop,
    Remove,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("Docker is unavailable")]
    Unavailable,
    #[error("no answer from Docker within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("Docker refused")]
    Docker(#[from] DockerError),
    #[error("Docker answered what cannot be understood")]
    Id(#[from] RuntimeIdError),
}

/// Docker answers these with a server error, yet trying again changes nothing.
const PERMANENT_TEXTS: [&str; 7] = [
    "port is already allocated",
    "address already in use",
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "not a directory",
    "could not select device driver",
];

/// What Docker's words leave open: what to do.
const ADVICE: [(&str, &str); 4] = [
    ("no space left on device", DISK_ADVICE),
    ("port is already allocated", PORT_ADVICE),
    ("address already in use", PORT_ADVICE),
    ("could not select device driver", GPU_ADVICE),
];
const DISK_ADVICE: &str = "free some where Docker keeps its data (see `docker system df`)";
const GPU_ADVICE: &str = "install NVIDIA's container toolkit on this host and restart Docker, or \
                          set `gpus` of its agent to \"off\"";
const PORT_ADVICE: &str =
    "take another host port, or end what has it (see `docker ps` and `ss -lnp`)";

impl Operation {
    const fn error_name(self) -> &'static str {
        match self {
            Self::Pull => "CannotPullContainerError",
            Self::Volume => "CannotCreateVolumeError",
            Self::Initialize => "ResourceInitializationError",
            Self::Create => "CannotCreateContainerError",
            Self::Start => "CannotStartContainerError",
            Self::Inspect => "CannotInspectContainerError",
            Self::Stop => "CannotStopContainerError",
            Self::Remove => "CannotRemoveContainerError",
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Pull => "pull the image",
            Self::Volume => "make a volume",
            Self::Initialize => "gather what the container is given",
            Self::Create => "create the container",
            Self::Start => "start the container",
            Self::Inspect => "inspect the container",
            Self::Stop => "stop the container",
            Self::Remove => "remove the container",
        }
    }

    pub(crate) fn permanent(self, text: &str) -> RuntimeFailure {
        self.failure(FailureKind::Permanent, text)
    }

    pub(crate) fn transient(self, text: &str) -> RuntimeFailure {
        self.failure(FailureKind::Transient, text)
    }

    /// Sorts the failure of a call by what to do about it.
    pub(crate) fn failed(self, err: &CallError) -> RuntimeFailure {
        match err {
            CallError::TimedOut(_) => RuntimeFailure {
                kind: FailureKind::Transient,
                reason: format!("DockerTimeoutError: could not {}: {err}", self.verb()),
            },
            CallError::Unavailable => self.transient(&err.to_string()),
            CallError::Id(_) => self.permanent(&err.text()),
            CallError::Docker(cause) => self.failure(kind(cause), &text(cause)),
        }
    }

    fn failure(self, kind: FailureKind, text: &str) -> RuntimeFailure {
        let mut reason = format!("{}: {}", self.error_name(), text.trim());
        if let Some((_, advice)) = ADVICE.iter().find(|(words, _)| text.contains(words)) {
            reason = format!("{reason}; {advice}");
        }
        if reason.len() > REASON_BYTES_MAX {
            let whole = |end: &usize| reason.is_char_boundary(*end);
            let end = (0..=REASON_BYTES_MAX).rev().find(whole).unwrap_or(0);
            reason.truncate(end);
        }
        RuntimeFailure { kind, reason }
    }
}

impl CallError {
    /// The HTTP status of Docker's answer; `None` where there was none.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Docker(DockerError::DockerResponseServerError { status_code, .. }) => {
                Some(*status_code)
            }
            Self::Docker(_) | Self::TimedOut(_) | Self::Unavailable | Self::Id(_) => None,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        // Podman says so, too, of one that goes while it looks.
        let goes = || {
            self.text()
                .contains("does not exist in database: no such container")
        };
        match self.status() {
            Some(404) => true,
            Some(500) => goes(),
            _ => false,
        }
    }

    pub(crate) fn is_no_such_image(&self) -> bool {
        self.is_not_found() && self.text().to_ascii_lowercase().contains("no such image")
    }

    /// Whether Docker may have done what was asked without our hearing of it.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unavailable | Self::Id(_) => false,
            Self::TimedOut(_) => true,
            Self::Docker(_) => self.status().is_none_or(|status| status >= 500),
        }
    }

    /// The whole story in one line.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Docker(cause) => text(cause),
            Self::Id(cause) => format!("{self}: {cause}"),
            Self::Unavailable | Self::TimedOut(_) => self.to_string(),
        }
    }
}

fn kind(err: &DockerError) -> FailureKind {
    match err {
        DockerError::DockerResponseServerError {
            status_code,
            message,
        } => match status_code {
            408 | 409 | 429 => FailureKind::Transient,
            400..500 => FailureKind::Permanent,
            _ => {
                let message = message.to_ascii_lowercase();
                if PERMANENT_TEXTS.iter().any(|text| message.contains(text)) {
                    FailureKind::Permanent
                } else {
                    FailureKind::Transient
                }
            }
        },
        // Docker's own words in the middle of a pull: the registry said no.
        DockerError::DockerStreamError { .. } => FailureKind::Permanent,
        _ => FailureKind::Transient,
    }
}

/// Docker's own words; where it had none, the root of the failure ("connection refused").
fn text(err: &DockerError) -> String {
    match err {
        DockerError::DockerResponseServerError {
            status_code,
            message,
        } if message.is_empty() => {
            format!("Docker answered with status {status_code} and no reason")
        }
        DockerError::DockerResponseServerError { message, .. } => message.clone(),
        DockerError::DockerStreamError { error } => error.clone(),
        DockerError::SocketNotFoundError(_) => "no such socket; is Docker running?".to_owned(),
        _ => root(err),
    }
}

fn root(err: &DockerError) -> String {
    let mut cause: &(dyn Error + 'static) = err;
    loop {
        if let Some(err) = cause
            .downcast_ref::<io::Error>()
            .filter(|err| err.get_ref().is_none())
        {
            return err.kind().to_string();
        }
        match cause.source() {
            Some(source) => cause = source,
            None => return cause.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> CallError {
        let message = message.to_owned();
        CallError::Docker(DockerError::DockerResponseServerError {
            status_code,
            message,
        })
    }

    #[test]
    fn failures_are_sorted_by_what_to_do() {
        use FailureKind::{Permanent, Transient};
        for (status, message, kind) in [
            (400, "invalid reference format", Permanent),
            (404, "No such image: web:1", Permanent),
            (409, "removal already in progress", Transient),
            (429, "slow down", Transient),
            (
                500,
                "Bind for 0.0.0.0:80 failed: port is already allocated",
                Permanent,
            ),
            (
                500,
                "could not select device driver \"nvidia\" with capabilities: [[gpu]]",
                Permanent,
            ),
            (500, "containerd: deadline exceeded", Transient),
            (503, "", Transient),
        ] {
            let failure = Operation::Start.failed(&refused(status, message));
            assert_eq!(failure.kind, kind, "{status} {message}");
        }
    }

    #[test]
    fn what_is_not_there_is_known_by_status_or_by_podmans_words() {
        let goes = "container 562d does not exist in database: no such container";
        assert!(refused(404, "").is_not_found());
        assert!(refused(500, goes).is_not_found());
        assert!(!refused(500, "database is locked").is_not_found());
        assert!(!refused(409, goes).is_not_found());
    }

    #[test]
    fn a_reason_has_ecs_name_and_says_why_within_the_limit() {
        let failure = Operation::Create.failed(&CallError::TimedOut(Duration::from_secs(120)));
        assert_eq!(
            failure.reason,
            "DockerTimeoutError: could not create the container: no answer from Docker within 120 s"
        );
        let failure = Operation::Pull.failed(&refused(404, "No such image: web:1"));
        assert_eq!(
            failure.reason,
            "CannotPullContainerError: No such image: web:1"
        );
        let long = Operation::Stop.permanent(&"\u{e9}".repeat(REASON_BYTES_MAX));
        assert!(long.reason.len() <= REASON_BYTES_MAX);
    }
}
