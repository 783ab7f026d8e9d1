//! Everything that an agent can ask for: the closed set of effects, drained in order every step.

use crate::{
    cluster::{
        keys::KeyOrders,
        message::{Message, Via},
        record::Record,
        values::Reseal,
    },
    command::{CommandId, Outcome, Refusal},
    event::Event,
    ids::HostId,
    task::runtime::{CreateContainer, RuntimeCommand},
};
use serde::Serialize;
use std::{net::SocketAddr, sync::Arc};

#[derive(Clone, Debug, Serialize)]
pub enum Effect {
    Send(Send),
    Runtime(RuntimeCommand),
    /// A barrier: nothing that follows in this step leaves the host before these are on disk.
    Persist(Vec<Arc<Record>>),
    /// To be written soon; nothing waits for it, and its loss costs a repair, never a promise.
    Remember(Vec<Arc<Record>>),
    /// To be removed from the disk soon; the board no longer has these.
    Forget(Vec<Arc<Record>>),
    Reply {
        id: CommandId,
        result: Result<Outcome, Refusal>,
    },
    /// To be noted where a crash of the process does not lose it, before the driver's next input,
    /// which is [`crate::input::Input::Tried`]: the records with these hashes are about to be read.
    Try(Vec<u64>),
    /// The records with these hashes are no longer to blame for any crash.
    Acquit(Vec<u64>),
    /// The driver's keys are to change; it answers with `Input::Keys`.
    Keys(KeyOrders),
    /// These secrets are to be sealed with the driver's key; it answers with `Input::Resealed`, or
    /// is asked again.
    Reseal(Vec<Reseal>),
    Emit(Event),
    /// To be told to those outside once more, by this agent: whoever was to tell it is gone. It is
    /// no news within the cluster, and has no sequence of its own.
    Retell(Event),
    /// The agent has left the cluster: the last effect there is. The driver ends the process, which
    /// is not to be started again by itself.
    Left,
    /// To open a TCP connection to each of these addresses of one machine, and to tell with
    /// [`crate::input::Input::Knocked`] whether any of them is accepted or refused: either shows
    /// that its kernel is alive.
    Knock {
        host: HostId,
        addresses: Vec<SocketAddr>,
    },
    /// The agent must not go on; the driver ends the process with this reason.
    Fatal {
        reason: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Send {
    pub to: SocketAddr,
    /// Who is meant; `None` when only the address is known. Another host at it drops the message.
    pub host: Option<HostId>,
    pub via: Via,
    pub message: Message,
}

/// The effects of one step: the core may only push, a driver may only drain.
#[derive(Debug, Default, Serialize)]
pub struct Effects(Vec<Effect>);

impl Effects {
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// A command to the container runtime, if there is one to give.
    pub(crate) fn ask(&mut self, command: Option<RuntimeCommand>) {
        self.0.extend(command.map(Effect::Runtime));
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.0.drain(..)
    }

    pub(crate) fn sends(&mut self) -> impl Iterator<Item = &mut Send> + '_ {
        self.0.iter_mut().filter_map(|effect| match effect {
            Effect::Send(send) => Some(send),
            _ => None,
        })
    }

    pub(crate) fn creates(&mut self) -> impl Iterator<Item = &mut CreateContainer> + '_ {
        self.0.iter_mut().filter_map(|effect| match effect {
            Effect::Runtime(RuntimeCommand::Create(create)) => Some(&mut **create),
            _ => None,
        })
    }

    pub(crate) fn as_slice(&self) -> &[Effect] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
