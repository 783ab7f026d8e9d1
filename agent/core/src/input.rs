//! Everything that can happen to an agent: the closed set of inputs of a step.

use crate::{
    cluster::{
        keys::KeyReport,
        message::{Message, Via},
        quarantine::{Blame, Reads},
        record::Record,
        values::Reseal,
    },
    command::{Command, CommandId},
    ids::HostId,
    task::runtime::RuntimeEvent,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// The deadline has come.
    Wake,
    /// An authenticated message of this cluster, addressed to this host or to whoever is at its
    /// address.
    Message {
        from: HostId,
        address: SocketAddr,
        /// The way by which it came.
        via: Via,
        message: Message,
    },
    Runtime(RuntimeEvent),
    /// What came of a knock.
    Knocked {
        host: HostId,
        answered: bool,
    },
    Command {
        id: CommandId,
        command: Command,
    },
    /// Where first peers are, as of now: replaces what was known of them before.
    Seeds(Vec<SocketAddr>),
    /// After a start, if the agent before this one died while it read records: which these are.
    /// Those of them that are on the disk were not given to the agent when it started, but are
    /// here.
    Blamed {
        blame: Blame,
        held: Vec<Arc<Record>>,
    },
    /// Who is tried is noted: the answer to [`crate::effect::Effect::Try`], and the next input
    /// after it.
    Tried,
    /// Which cluster keys the driver has from now on.
    Keys(KeyReport),
    /// Secrets as they are sealed now.
    Resealed(Vec<Reseal>),
    /// The agent is about to end and leave its tasks running; it is expected back.
    Shutdown,
}

impl Input {
    /// What the core reads when it takes this step, for a driver to note before.
    pub fn reads(&self) -> Reads<'_> {
        match self {
            Self::Message {
                message: Message::Records(records) | Message::Page { records, .. },
                ..
            } if !records.is_empty() => Reads::Records(records),
            Self::Tried => Reads::Trial,
            _ => Reads::Nothing,
        }
    }
}
