//! What can be wrong with an input, said so that its author can put it right without a manual.

use std::fmt;

/// How many faults one answer lists; the rest is counted.
const FAULTS_LISTED_MAX: usize = 20;

/// How much of a wrong value a fault shows.
const SHOWN_CHARS_MAX: usize = 64;

/// One fault. Each says where (a JSON path), what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "{path} is an ECS field that Holdfast does not serve yet; remove it to send this request"
    )]
    Refused { path: String },
    #[error("{path} is {got:?}, which Holdfast does not serve yet; it must be {wanted}")]
    RefusedValue {
        path: String,
        got: String,
        wanted: &'static str,
    },
    #[error("{path} is part of ECS's answers, not of its requests; remove it")]
    Answered { path: String },
    #[error("{path} is not an ECS field{}", hint(near.as_deref()))]
    Unknown { path: String, near: Option<String> },
    #[error("{path} is missing; it must be {wanted}")]
    Missing { path: String, wanted: &'static str },
    #[error("{path} must be {wanted}, but is {got}")]
    WrongType {
        path: String,
        wanted: &'static str,
        got: &'static str,
    },
    #[error("{path} is {got:?}, but must be {wanted}")]
    Malformed {
        path: String,
        got: String,
        wanted: &'static str,
    },
    #[error("{path} is {got:?}, {what}, which Holdfast does not read; {instead}")]
    OfAws {
        path: String,
        got: String,
        what: &'static str,
        instead: &'static str,
    },
    #[error("{path} is {got}, but must be from {min} to {max}{unit}")]
    OutOfRange {
        path: String,
        got: String,
        min: i64,
        max: i64,
        unit: &'static str,
    },
    #[error("{path} repeats {value}, which {first} has already; use each only once")]
    Duplicate {
        path: String,
        first: String,
        value: String,
    },
    #[error("{path} has {got} entries, but at most {max} are allowed; remove some")]
    TooMany {
        path: String,
        got: usize,
        max: usize,
    },
    #[error("the request has {got} bytes, but at most {max} are allowed; make it smaller")]
    TooLarge { got: usize, max: usize },
    #[error(
        "containerDefinitions has no essential container; set essential to true on at least one"
    )]
    NoEssential,
    #[error("{path} is {volume:?}, which volumes does not declare; declare it there or correct it")]
    UndeclaredVolume { path: String, volume: String },
    #[error(
        "{path} is {got} MiB, less than the {reserved} MiB of memoryReservation; raise it or \
         reserve less"
    )]
    LessThanReserved {
        path: String,
        got: u32,
        reserved: u32,
    },
    #[error("{path} needs a limit that swap comes on top of; set memory, too")]
    SwapWithoutLimit { path: String },
    #[error("{path} is {soft}, more than the hardLimit of {hard}; make it no more than that")]
    SoftAboveHard { path: String, soft: i64, hard: i64 },
    #[error("{path} must be {port} or left out: with networkMode host a port is the host's own")]
    OtherHostPort { path: String, port: u16 },
    #[error("{path} cannot be mapped: with networkMode none there is no network; remove it")]
    NothingToMap { path: String },
    #[error("{path} is {got:?}, which with networkMode host is the host's own; remove it")]
    HostsOwn { path: String, got: String },
    #[error("{path} cannot be with networkMode {mode}; remove it or choose another networkMode")]
    OfAnotherNetwork { path: String, mode: &'static str },
    #[error("{path} is more than the {in_all} MiB that the whole task has; make memory agree")]
    MoreThanTheTask { path: String, in_all: u32 },
    #[error("{path} stands beside host.sourcePath, but a volume is one of them; remove one")]
    TwoSources { path: String },
    #[error(
        "{path} waits for {container:?} to be healthy, which has no healthCheck; give it one or \
         wait for its START"
    )]
    NotChecked { path: String, container: String },
    #[error("{path} is {container:?}, which is not in containerDefinitions; correct it")]
    UndeclaredContainer { path: String, container: String },
    #[error(
        "{path} waits for the end of {container:?}, which is essential, so that its end ends the \
         task; set its essential to false"
    )]
    AwaitsTheEssential { path: String, container: String },
    #[error("containers wait for one another: {circle}; remove one dependsOn")]
    Circle { circle: String },
    #[error("service names the cluster {named:?}, but cluster is {cluster:?}; make them agree")]
    OtherCluster { named: String, cluster: String },
}

/// The faults of one input, at least one; displayed one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors {
    listed: Vec<SpecError>,
    /// How many there were beyond those listed.
    more: usize,
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.listed.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for SpecErrors {}

impl From<SpecError> for SpecErrors {
    fn from(fault: SpecError) -> Self {
        Self {
            listed: vec![fault],
            more: 0,
        }
    }
}

/// Collects faults, so that people learn of all of them at once and not of one an attempt.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Vec<SpecError>,
    more: usize,
}

impl Faults {
    pub fn push(&mut self, fault: SpecError) {
        if self.listed.len() < FAULTS_LISTED_MAX {
            self.listed.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// The value read, or a stand-in that [`Faults::finish`] never lets out.
    pub fn keep<T: Default>(&mut self, read: Result<T, SpecError>) -> T {
        read.unwrap_or_else(|fault| {
            self.push(fault);
            T::default()
        })
    }

    /// Takes over the faults of a part.
    pub(super) fn absorb(&mut self, part: SpecErrors) {
        part.listed.into_iter().for_each(|fault| self.push(fault));
        self.more += part.more;
    }

    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The whole value, if nothing was wrong with any part of it.
    pub fn finish<T>(self, value: T) -> Result<T, SpecErrors> {
        if self.is_empty() {
            return Ok(value);
        }
        Err(SpecErrors {
            listed: self.listed,
            more: self.more,
        })
    }
}

/// The beginning of what somebody wrote: an error must not be as long as its cause.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// As [`shown`], in quotation marks.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shown(text))
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(
        || "; remove it".to_owned(),
        |near| format!("; did you mean {near}?"),
    )
}
