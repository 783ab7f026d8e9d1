//! `/v1/keys`: which cluster keys there are, by id, and which host has which. Never a secret.

use super::{error::ApiError, request::Request, view::View};
use crate::gossip::ClusterKey;
use holdfast_core::{
    cluster::body::HostReport,
    command::{Command, Outcome},
    ids::KeyId,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every key that any host has or that all are to have.
pub(crate) fn keys(view: &View<'_>) -> Value {
    let hosts: Vec<_> = view.board.hosts().collect();
    let installed = view
        .board
        .cluster_keys()
        .filter(|(.., body)| body.is_some());
    let mut ids: BTreeSet<KeyId> = installed.map(|(id, ..)| id).collect();
    ids.extend(hosts.iter().flat_map(|(_, _, report)| &report.keys.held));
    let keys = ids.into_iter().map(|id| {
        let names = |holds: &dyn Fn(bool, &HostReport) -> bool| -> Vec<&str> {
            let found = hosts
                .iter()
                .filter(|(host, _, report)| holds(view.board.is_up(*host), report));
            found.map(|(_, _, report)| &*report.name).collect()
        };
        let has = |report: &HostReport| report.keys.held.contains(&id);
        let removed = view
            .board
            .cluster_keys()
            .any(|(key, _, body)| key == id && body.is_none());
        json!({
            "id": id.to_string(),
            "hosts": names(&|up, report| up && has(report)).len(),
            "sealing": names(&|up, report| up && report.keys.in_use == Some(id)),
            "lacking": names(&|up, report| up && !has(report)),
            "lackingDown": names(&|up, report| !up && !has(report)),
            "inUse": view.board.key_in_use() == Some(id),
            "removed": removed,
        })
    });
    let up = hosts.iter().filter(|(host, ..)| view.board.is_up(*host));
    json!({ "hostsUp": up.count(), "keys": keys.collect::<Vec<_>>() })
}

pub(crate) fn plan_install(body: &Value) -> Result<Command, ApiError> {
    let known = ["key"];
    Request::read(body, &known, &known)?;
    let text = body.get("key").and_then(Value::as_str).unwrap_or_default();
    // The reason never repeats the text.
    let key: ClusterKey = text.parse().map_err(|err| refused(&err))?;
    Ok(Command::InstallKey {
        key: key.id(),
        secret: key.secret(),
    })
}

pub(crate) fn plan_use(key: &str, body: &Value) -> Result<Command, ApiError> {
    Ok(Command::UseKey {
        key: id(key)?,
        force: force(body)?,
    })
}

pub(crate) fn plan_remove(key: &str, body: &Value) -> Result<Command, ApiError> {
    Ok(Command::RemoveKey {
        key: id(key)?,
        force: force(body)?,
    })
}

fn id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        refused(&format!(
            "{shown:?} is not the id of a key: ids are 8 hexadecimal digits"
        ))
    })
}

fn force(body: &Value) -> Result<bool, ApiError> {
    let known = ["force"];
    Request::read(body, &known, &known)?.flag("force")
}

fn refused(why: &impl ToString) -> ApiError {
    ApiError::InvalidParameter(why.to_string())
}

pub(crate) fn changed(outcome: &Outcome) -> Value {
    let (key, what) = match outcome {
        Outcome::KeyInstalled(key) => (key, "installed"),
        Outcome::KeyPutToUse(key) => (key, "in use"),
        Outcome::KeyRemoved(key) => (key, "removed"),
        _ => unreachable!("other commands are not for keys"),
    };
    json!({ "id": key.to_string(), "status": what })
}
