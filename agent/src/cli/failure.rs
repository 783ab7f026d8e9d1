//! How a command fails, and the exit code that tells scripts which way.

use crate::http::Address;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The agent said no, or a file was not what it must be.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Usage(String),
    #[error("cannot reach an agent at {address}: is `holdfast agent` running? ({why})")]
    Unreachable { address: Address, why: String },
    #[error("{0}")]
    TimedOut(String),
    /// What ran has failed, with this exit code.
    #[error("{text}")]
    Ended { code: u8, text: String },
    /// What was run somewhere ended like this; it has said why itself.
    #[error("exit code {0}")]
    Exit(u8),
    /// Our output goes to `head` or the like, which has seen enough.
    #[error("nobody reads the output")]
    NobodyReads,
}

impl Failure {
    /// As `holdfast --help` documents them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::TimedOut(_) => 4,
            Self::Ended { code, .. } => *code,
            Self::Exit(code) => *code,
        }
    }
}
