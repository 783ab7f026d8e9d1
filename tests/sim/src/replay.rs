//! Replaying what an agent recorded: the same core takes the same steps, or says where it does not.

use crate::{
    cluster::{Cluster, SECOND},
    trace::{command_text, event_text, message_kind},
};
use holdfast_core::{
    cluster::message::Via,
    effect::Effect,
    input::Input,
    recording::{Bounds, Cause, Divergence, Header, ReadError, Recorder, Recording, Step},
};
use std::{
    error::Error as _,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a recording turned out to be.
#[derive(Debug)]
pub struct Replayed {
    pub header: Header,
    /// How many steps were taken.
    pub steps: u64,
    /// What the agent said when it panicked in the last step, as it did on the record.
    pub panicked: Option<String>,
}

#[derive(Debug)]
pub enum Failed {
    Read(ReadError),
    Diverged(Divergence),
    /// On the record the step ended.
    Panicked {
        number: u64,
        said: String,
    },
}

/// Takes all steps again. `see` is shown each step before it is taken, and then what it asked for.
pub fn replay(
    recording: Recording,
    mut see: impl FnMut(&Step, Option<&[Effect]>),
) -> Result<Replayed, Failed> {
    let mut agent = recording.agent.clone();
    let mut panicked = None;
    for step in &recording.steps {
        see(step, None);
        let taken = catch_unwind(AssertUnwindSafe(|| step.repeat(&mut agent)));
        match (taken, step.effects) {
            (Ok((effects, same)), _) => {
                see(step, Some(&effects));
                same.map_err(Failed::Diverged)?;
            }
            (Err(panic), None) => panicked = Some(Cause::said(&*panic)),
            (Err(panic), Some(_)) => {
                let (number, said) = (step.number, Cause::said(&*panic));
                return Err(Failed::Panicked { number, said });
            }
        }
    }
    recording.check_end(&agent).map_err(Failed::Diverged)?;
    Ok(Replayed {
        steps: recording.steps.len() as u64,
        header: recording.header,
        panicked,
    })
}

/// Reads what this core recorded, and replays it in silence.
pub fn replay_file(bytes: &[u8]) -> Result<Replayed, Failed> {
    let recording = Recording::read(bytes).map_err(Failed::Read)?;
    replay(recording, |_, _| {})
}

/// Between replays of a run that is recorded, in seconds.
const EVERY: u64 = 10;

impl Cluster {
    /// Records from now on what this host's agent is told.
    pub fn record(&mut self, place: usize, bounds: Bounds) {
        let host = &mut self.hosts[place];
        let agent = host.agent.as_ref();
        host.recorder = agent.map(|agent| Recorder::new(agent, bounds));
    }

    /// Each second: now and then, each agent's recording must lead to where it is.
    pub(crate) fn check_recordings(&mut self) {
        if !(self.now / SECOND).is_multiple_of(EVERY) {
            return;
        }
        let failed = self.hosts.iter().find_map(|host| {
            let (agent, recorder) = (host.agent.as_ref()?, host.recorder.as_ref()?);
            let file = recorder.save(agent, Cause::Asked, host.wall(self.now));
            let failed = replay_file(&file).err()?;
            Some(format!("the recording of h{}: {failed}", host.place))
        });
        if let Some(what) = failed {
            self.fail(what);
        }
    }
}

/// One line for a step.
pub fn step_text(step: &Step) -> String {
    let (seconds, micros) = (step.now.mono.0 / 1_000_000, step.now.mono.0 % 1_000_000);
    format!(
        "{:>8} {seconds:>5}.{micros:06}  {}",
        step.number,
        input_text(&step.input)
    )
}

fn input_text(input: &Input) -> String {
    match input {
        Input::Wake => "wake".to_owned(),
        Input::Message {
            from,
            address,
            via,
            message,
        } => {
            let (kind, entries) = message_kind(message);
            format!(
                "{kind} ({entries} entries) from {:08x} at {address} by {}",
                from.short(),
                way(*via)
            )
        }
        Input::Runtime(event) => format!("docker: {}", event_text(event)),
        Input::Knocked { host, answered } => {
            format!("knocked at {:08x}, answered: {answered}", host.short())
        }
        Input::Command { id, command } => format!("command {}: {command:?}", id.0),
        Input::Seeds(seeds) => format!("first peers: {seeds:?}"),
        Input::Keys(report) => format!("keys: {report:?}"),
        Input::Blamed { blame, held } => {
            let held = held.len();
            format!("the last agent died of what it read: {blame:?}; {held} are held back")
        }
        Input::Resealed(secrets) => format!("{} secrets are sealed anew", secrets.len()),
        Input::Tried => "who is tried is noted".to_owned(),
        Input::Shutdown => "shutdown".to_owned(),
    }
}

const fn way(via: Via) -> &'static str {
    match via {
        Via::Datagram => "datagram",
        Via::Stream => "stream",
    }
}

/// One line for an effect.
pub fn effect_text(effect: &Effect) -> String {
    match effect {
        Effect::Send(send) => {
            let (kind, entries) = message_kind(&send.message);
            let (to, via) = (send.to, way(send.via));
            format!("sends {kind} ({entries} entries) to {to} by {via}")
        }
        Effect::Runtime(command) => format!("asks docker: {}", command_text(command)),
        Effect::Persist(records) => format!("persists {} records", records.len()),
        Effect::Remember(records) => format!("remembers {} records", records.len()),
        Effect::Forget(records) => format!("forgets {} records", records.len()),
        Effect::Reply { id, result } => format!("answers command {}: {result:?}", id.0),
        Effect::Reseal(orders) => format!("seals {} secrets anew", orders.len()),
        Effect::Keys(orders) => format!("orders keys: {orders:?}"),
        Effect::Try(hashes) => format!("tries {} records", hashes.len()),
        Effect::Acquit(hashes) => format!("acquits {} records", hashes.len()),
        Effect::Emit(event) => format!("tells: {:?}", event.what),
        Effect::Retell(event) => format!("tells again: {:?}", event.what),
        Effect::Left => "has left".to_owned(),
        Effect::Knock { host, addresses } => {
            format!("knocks at {:08x}: {addresses:?}", host.short())
        }
        Effect::Fatal { reason } => format!("gives up: {reason}"),
    }
}

/// What a recording says of itself.
pub fn header_text(header: &Header) -> String {
    let cause = match &header.cause {
        Cause::Asked => "because somebody asked".to_owned(),
        Cause::Panicked(said) => format!("because it panicked: {said}"),
    };
    let last = header.first + header.steps;
    format!(
        "{} ({}), version {}, core {}\nrecorded {cause}\nsteps {} to {last} since it started",
        header.name,
        header.host,
        header.version,
        header.core,
        header.first + 1,
    )
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, header, .. } = self;
        match (&self.panicked, header.state) {
            (Some(said), _) => write!(
                f,
                "{steps} steps, each as recorded; the last one panics as it did: {said}"
            ),
            (None, Some(_)) => write!(f, "{steps} steps, each as recorded, and so is the end"),
            (None, None) => write!(f, "{steps} steps, each as recorded"),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(err) => {
                write!(f, "{err}")?;
                let mut cause = err.source();
                while let Some(err) = cause {
                    write!(f, ": {err}")?;
                    cause = err.source();
                }
                Ok(())
            }
            Self::Diverged(divergence) => write!(f, "{divergence}"),
            Self::Panicked { number, said } => {
                write!(
                    f,
                    "step {number} panics, and on the record it ended: {said}"
                )
            }
        }
    }
}
