//! `holdfast ecs …`: what ECS's own clients need to ask an agent.

use super::{args::EcsCommand, failure::Failure, output::say};
use crate::{
    config::{Config, Flags, RawConfig},
    disk::chain,
    http::{Access, hex},
    probe::HostFacts,
};
use holdfast_core::spec::read::NAME;
use std::error::Error;

const ID_BYTES: usize = 9;
const SECRET_BYTES: usize = 20;

pub(super) fn run(command: EcsCommand) -> Result<(), Failure> {
    match command {
        EcsCommand::Key { role, cluster } => {
            if let Some(other) = cluster.iter().find(|name| !(NAME.holds)(name)) {
                let wanted = NAME.wanted;
                let text = format!("--cluster has {other:?}, but a cluster's name is {wanted}");
                return Err(Failure::Usage(text));
            }
            let (id, secret) = (random::<ID_BYTES>()?, random::<SECRET_BYTES>()?);
            let id = hex(&id).to_ascii_uppercase();
            let line = format!(
                "HF{id} {} {} {}",
                hex(&secret),
                role.as_str(),
                cluster.join(",")
            );
            say(line.trim_end())
        }
        EcsCommand::Env { id, flags } => env(id.as_deref(), &flags),
    }
}

fn random<const LEN: usize>() -> Result<[u8; LEN], Failure> {
    let mut bytes = [0; LEN];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|err| Failure::Refused(format!("cannot read random bytes: {err}")))?;
    Ok(bytes)
}

/// By the settings of this host's agent, as it reads them itself.
fn env(id: Option<&str>, flags: &Flags) -> Result<(), Failure> {
    fn refused(err: impl Error + 'static) -> Failure {
        Failure::Refused(chain(&err))
    }
    let facts = HostFacts::read().map_err(refused)?;
    let raw = RawConfig::gather(flags, std::env::vars_os(), &facts).map_err(refused)?;
    let config = Config::try_from(raw).map_err(refused)?;
    let api = config.api.as_ref().ok_or_else(|| {
        Failure::Refused(
            "the agent of this host serves no API over TCP: set api_listen and api_keys_file, and \
             restart it"
                .to_owned(),
        )
    })?;
    let (id, secret) = Access::key(&api.keys_file, id).map_err(refused)?;
    let mut address = api.listen;
    if address.ip().is_unspecified() {
        address.set_ip(config.advertise.ip());
    }
    let region = &config.region;
    let scheme = if api.tls.is_some() { "https" } else { "http" };
    say(&format!(
        "export AWS_ENDPOINT_URL_ECS={scheme}://{address}\n\
         export AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID={id}\n\
         export AWS_SECRET_ACCESS_KEY={secret}\n\
         unset AWS_SESSION_TOKEN AWS_PROFILE"
    ))
}
