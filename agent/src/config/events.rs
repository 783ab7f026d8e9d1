//! The settings that say where lifecycle events go.

use super::{
    is_set,
    keys::RawConfig,
    one_of, path,
    source::{ConfigError, Set},
};
use crate::outbound::{OutboundSettings, WebhookUrl};
use std::path::Path;

const WORDS_MAX: usize = 64;

pub(super) fn events(raw: &RawConfig) -> Result<OutboundSettings, ConfigError> {
    let webhook = raw.event_webhook.as_ref();
    let webhook = webhook.map(|set| WebhookUrl::parse(&set.value).ok_or_else(|| set.not_allowed()));
    let command = raw.event_command.as_ref().map(command).transpose()?;
    let mib = is_set(&raw.event_spool_mib).number()?;
    Ok(OutboundSettings {
        webhook: webhook.transpose()?,
        webhook_secret_file: raw
            .event_webhook_secret_file
            .as_ref()
            .map(path)
            .transpose()?,
        command: command.unwrap_or_default(),
        journal: one_of(is_set(&raw.event_journal), &[("on", true), ("off", false)])?,
        spool_bytes_max: u64::from(mib) * 1_024 * 1_024,
    })
}

fn command(set: &Set<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let is_absolute = set
        .value
        .first()
        .is_some_and(|program| Path::new(program).is_absolute());
    match is_absolute && set.value.len() <= WORDS_MAX {
        true => Ok(set.value.clone()),
        false => Err(set.not_allowed()),
    }
}
