//! What can be typed for ECS's own clients.

use crate::{config::Flags, http::Role};
use clap::{Subcommand, ValueEnum, builder::PossibleValue};

#[derive(Debug, Subcommand)]
pub(crate) enum EcsCommand {
    /// Make a line for the agent's api_keys_file: an id, a secret, and what the key may do
    #[command(after_help = "Examples:\n  \
        (umask 077; holdfast ecs key >> /etc/holdfast/api.keys)\n  \
        holdfast ecs key --role read")]
    Key {
        /// read; deploy: definitions, services and tasks, too; admin: hosts, too
        #[arg(long, value_enum, default_value = "deploy")]
        role: Role,
        /// Only for what is in these clusters, as in --cluster staging,trial
        #[arg(long, value_delimiter = ',')]
        cluster: Vec<String>,
    },
    /// Print what a shell sets so that aws, SDKs and Terraform ask this host's agent
    #[command(after_help = "Examples:\n  eval \"$(sudo holdfast ecs env)\"\n  \
        aws ecs list-services")]
    Env {
        /// Which of the keys [default: the first by its id]
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Read, Self::Deploy, Self::Admin]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}
