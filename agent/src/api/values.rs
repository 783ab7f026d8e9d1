//! `/v1/secrets` and `/v1/configs`: what is known of the values that the cluster keeps.

use super::{
    error::ApiError,
    request::Request,
    view::{View, seconds},
};
use crate::vault::{SealError, Vault};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use holdfast_core::{
    cluster::values::{Opaque, SetAt, Setting},
    command::{Command, NewValue, Outcome, Refusal},
    limits::VALUE_BYTES_MAX,
    spec::given::{ValueName, WANTED_VALUE_NAME, is_value_name},
    time::Wall,
};
use holdfast_seal::value::Clear;
use serde_json::{Value, json};

/// What is to be set, and who says so.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: ValueName,
    pub(crate) by: String,
}

pub(crate) fn secrets(view: &View<'_>) -> Value {
    let names = view.board.secrets().map(|(name, ..)| name);
    let all = names.filter_map(|name| secret(view, name).ok());
    json!({"secrets": all.collect::<Vec<_>>()})
}

/// Never the value itself.
pub(crate) fn secret(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let found = view.board.secrets().find(|(known, ..)| *known == name);
    let (_, set_at, secret) = found.ok_or_else(|| missing(ValueName::Secret(name.to_owned())))?;
    let name = ValueName::Secret(name.to_owned());
    let mut shown = described(view, &name, (set_at, &secret.set));
    shown["size"] = json!(secret.size);
    shown["sealedWith"] = json!(secret.sealed.key.to_string());
    Ok(shown)
}

pub(crate) fn configs(view: &View<'_>) -> Value {
    let all = view.board.configs().map(|(name, set_at, config)| {
        let name = ValueName::Config(name.to_owned());
        let mut shown = described(view, &name, (set_at, &config.set));
        shown["size"] = json!(config.text.0.len());
        shown
    });
    json!({"configs": all.collect::<Vec<_>>()})
}

pub(crate) fn config(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let found = view.board.configs().find(|(known, ..)| *known == name);
    let (_, set_at, config) = found.ok_or_else(|| missing(ValueName::Config(name.to_owned())))?;
    let name = ValueName::Config(name.to_owned());
    let mut shown = described(view, &name, (set_at, &config.set));
    shown["size"] = json!(config.text.0.len());
    shown["value"] = json!(STANDARD.encode(&config.text.0));
    Ok(shown)
}

fn described(view: &View<'_>, name: &ValueName, (set_at, set): (SetAt, &Setting)) -> Value {
    json!({
        "name": name.name(),
        "version": set.number,
        "setAt": seconds(Wall(set_at)),
        "setBy": set.by,
        "usedBy": view.board.users_of(name),
    })
}

/// The command, and whether services are to take the value up at once.
pub(crate) fn plan_set(
    vault: &Vault,
    Asked { name, by }: Asked,
    body: &Value,
) -> Result<(Command, bool), ApiError> {
    let known = ["value", "restart"];
    let request = Request::read(body, &known, &known)?;
    let restart = match body.get("restart") {
        None => true,
        Some(_) => request.flag("restart")?,
    };
    let text = request.required("value", "the value in base64")?;
    // The reason must not repeat any of it.
    let value = STANDARD
        .decode(text)
        .map_err(|_| ApiError::InvalidParameter("value is not base64".to_owned()))?;
    let value = Clear::new(value);
    check_name(&name)?;
    let size = value.bytes().len();
    if size > VALUE_BYTES_MAX {
        return Err(ApiError::InvalidParameter(format!(
            "{name} has {size} bytes, but at most {VALUE_BYTES_MAX} are allowed"
        )));
    }
    let value = match name {
        ValueName::Secret(name) => NewValue::Secret {
            sealed: vault.seal(&name, &value)?,
            size: u32::try_from(size).expect("its size was checked"),
            name,
        },
        ValueName::Config(name) => NewValue::Config {
            text: Opaque::from(value.bytes().to_vec()),
            name,
        },
    };
    Ok((Command::SetValue { value, by, restart }, restart))
}

pub(crate) fn plan_remove(name: ValueName, body: &Value) -> Result<Command, ApiError> {
    let known = ["force"];
    let force = Request::read(body, &known, &known)?.flag("force")?;
    Ok(Command::RemoveValue { name, force })
}

pub(crate) fn set(outcome: &Outcome, restart: bool) -> Value {
    let Outcome::ValueSet {
        name,
        number,
        used_by,
    } = outcome
    else {
        unreachable!("other commands set no values")
    };
    let (taken_up, left) = match restart {
        true => (used_by.as_slice(), [].as_slice()),
        false => ([].as_slice(), used_by.as_slice()),
    };
    json!({
        "name": name.name(),
        "version": number,
        "restarting": taken_up,
        "notRestarted": left,
    })
}

pub(crate) fn removed(outcome: &Outcome) -> Value {
    let Outcome::ValueRemoved(name) = outcome else {
        unreachable!("other commands remove no values")
    };
    json!({"name": name.name(), "status": "removed"})
}

fn check_name(name: &ValueName) -> Result<(), ApiError> {
    match is_value_name(name.name()) {
        true => Ok(()),
        false => Err(ApiError::InvalidParameter(format!(
            "{:?} is no name of a {}: these are {WANTED_VALUE_NAME}",
            name.name().chars().take(80).collect::<String>(),
            name.kind()
        ))),
    }
}

fn missing(name: ValueName) -> ApiError {
    Refusal::NoSuchValue(name).into()
}

impl From<SealError> for ApiError {
    fn from(err: SealError) -> Self {
        match err {
            SealError::NoKeys => Self::InvalidParameter(err.to_string()),
            SealError::Random(_) => Self::Server(err.to_string()),
        }
    }
}
