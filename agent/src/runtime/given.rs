//! What a container is given from outside its definition, gathered just before it is made.
//!
//! Variables become part of what Docker is told, and `docker inspect` shows them. Files are in
//! memory alone (`mounts`), where only root and the container's user can read them.

mod env_file;
mod mounts;
mod sources;

use super::{docker::Shared, failure::Operation};
use crate::vault::Vault;
use bollard::models::{ContainerCreateBody, Mount, MountType};
use env_file::variables_of;
use holdfast_core::{
    cluster::values::{Content, GivenValue},
    ids::TaskId,
    limits::VALUE_BYTES_MAX,
    spec::{
        given::{EnvironmentFile, Secret, SecretPlace, SecretSource, ValueName},
        task_definition::Container,
    },
    task::runtime::{CreateContainer, FailureKind, RuntimeFailure},
};
use holdfast_seal::value::Clear;
use mounts::{Access, MountedFile, Place};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;

/// Where values come from on this host, and where they are put.
#[derive(Clone, Debug)]
pub(crate) struct GivenSettings {
    pub(crate) vault: Vault,
    /// The directory of environment files.
    pub(crate) environment_files: PathBuf,
    /// The directory of secrets.
    pub(crate) secret_files: PathBuf,
    /// The directory of programs that print secrets; `None`: no program is run.
    pub(crate) secret_commands: Option<PathBuf>,
    /// The directory, in memory, of files that are mounted.
    pub(crate) secret_mounts: PathBuf,
}

/// A value that cannot be had.
#[derive(Debug)]
struct Trouble {
    kind: FailureKind,
    text: String,
}

/// Gathers all of it, and puts it into what Docker is told.
pub(crate) async fn prepare(
    shared: &Shared,
    create: &CreateContainer,
    body: &mut ContainerCreateBody,
) -> Result<(), RuntimeFailure> {
    let Container {
        environment_files,
        secrets,
        ..
    } = &create.container;
    if environment_files.is_empty() && secrets.is_empty() {
        return Ok(());
    }
    let settings = &shared.config.given;
    let gathered = gather(settings, create).await.map_err(|trouble| {
        let Trouble { kind, text } = trouble;
        match kind {
            FailureKind::Transient => Operation::Initialize.transient(&text),
            FailureKind::Permanent => Operation::Initialize.permanent(&text),
        }
    })?;
    let set = body.env.get_or_insert_default();
    for (name, value) in gathered.variables {
        let begin = format!("{name}=");
        // The definition's own, and what came before, go first.
        if !set.iter().any(|known| known.starts_with(&begin)) {
            set.push(begin + &value);
        }
    }
    if gathered.files.is_empty() {
        return Ok(());
    }
    let (place, root) = (place(shared, create), settings.secret_mounts.clone());
    let written = spawn_blocking(move || mounts::write(&root, &place, &gathered.files)).await;
    let failed = |text: &str| Operation::Initialize.permanent(text);
    let written = written.map_err(|err| failed(&err.to_string()))?;
    let written = written.map_err(|err| failed(&err.to_string()))?;
    let host = body.host_config.get_or_insert_default();
    let mounts = written
        .into_iter()
        .map(|(source, target)| bind(&source, target));
    host.mounts.get_or_insert_default().extend(mounts);
    Ok(())
}

/// The container is gone, or was never made.
pub(crate) fn remove_of(shared: &Shared, task: TaskId, container: &str) {
    let place = Place {
        host: shared.config.host,
        task,
        container: container.to_owned(),
    };
    mounts::remove(&shared.config.given.secret_mounts, &place);
}

/// Removes what belongs to tasks of which nothing is left.
pub(crate) fn sweep(shared: &Shared, is_here: impl Fn(TaskId) -> bool) {
    let root = &shared.config.given.secret_mounts;
    mounts::sweep(root, shared.config.host, is_here);
}

fn place(shared: &Shared, create: &CreateContainer) -> Place {
    Place {
        host: shared.config.host,
        task: create.labels.task,
        container: create.container.name.clone(),
    }
}

/// Nobody writes there. Unlike a bind by its short name, it makes no directory where there is no
/// file.
pub(super) fn bind(source: &Path, target: String) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target),
        read_only: Some(true),
        ..Mount::default()
    }
}

#[derive(Default)]
struct Gathered {
    /// What counts comes first.
    variables: Vec<(String, String)>,
    files: Vec<MountedFile>,
}

async fn gather(settings: &GivenSettings, create: &CreateContainer) -> Result<Gathered, Trouble> {
    let mut gathered = Gathered::default();
    let owner = mounts::owner(create.container.user.as_deref());
    for secret in &create.container.secrets {
        let Secret { at, from } = secret;
        // Everybody reads why a task failed, and may not read what its commands are given.
        let shown = match from {
            SecretSource::Command(words) => format!("command:{}", words[0]),
            other => other.to_string(),
        };
        let failed = |trouble: Trouble| trouble.about(&format!("{} from {shown}", at.as_str()));
        let value = read(settings, from, &create.given).await.map_err(failed)?;
        match at {
            SecretPlace::Variable(name) => {
                let text = as_text(&value).map_err(failed)?;
                gathered.variables.push((name.clone(), text));
            }
            SecretPlace::File(path) => gathered.files.push(MountedFile {
                target: path.clone(),
                access: match from {
                    SecretSource::Config(_) => Access::All,
                    _ => Access::Owner(owner),
                },
                value,
            }),
        }
    }
    for file in &create.container.environment_files {
        let failed = |trouble: Trouble| trouble.about(&format!("environment file {file}"));
        let value = match file {
            EnvironmentFile::File(path) => sources::environment_file(settings, path.clone()).await,
            EnvironmentFile::Config(_) => of_cluster(settings, file.value(), &create.given),
        };
        let value = value.map_err(failed)?;
        let variables = variables_of(value.bytes()).map_err(|why| failed(permanent(why)))?;
        gathered.variables.extend(variables);
    }
    Ok(gathered)
}

async fn read(
    settings: &GivenSettings,
    from: &SecretSource,
    given: &[GivenValue],
) -> Result<Clear, Trouble> {
    match from {
        SecretSource::File(path) => sources::secret_file(settings, path.clone()).await,
        SecretSource::Credential(name) => sources::credential(name.clone()).await,
        SecretSource::Command(words) => sources::command(settings, words).await,
        SecretSource::Secret { member, .. } => {
            let value = of_cluster(settings, from.value(), given)?;
            match member {
                None => Ok(value),
                Some(member) => member_of(&value, member).map_err(permanent),
            }
        }
        SecretSource::Config(_) => of_cluster(settings, from.value(), given),
    }
}

/// What the cluster holds by this name.
fn of_cluster(
    settings: &GivenSettings,
    name: Option<ValueName>,
    given: &[GivenValue],
) -> Result<Clear, Trouble> {
    let name = name.expect("only values of the cluster's are looked up here");
    let found = given.iter().find(|value| value.name == name);
    let (kind, plain) = (name.kind(), name.name());
    match found.map(|value| &value.content) {
        Some(Content::Plain { text, .. }) => Ok(Clear::new(text.0.to_vec())),
        Some(Content::Sealed { sealed, .. }) => {
            let opened = settings.vault.open(plain, sealed);
            opened.map_err(|err| permanent(format!("{name} cannot be read: {err}")))
        }
        Some(Content::Removed) => Err(permanent(format!(
            "{name} was removed from this cluster; set it with `holdfast {kind} set {plain}`"
        ))),
        // It may be on its way.
        Some(Content::Unknown) | None => Err(Trouble {
            kind: FailureKind::Transient,
            text: format!(
                "{name} is not on this cluster; set it with `holdfast {kind} set {plain}`"
            ),
        }),
    }
}

/// Reasons never repeat any part of a value.
fn member_of(value: &Clear, member: &str) -> Result<Clear, String> {
    if serde_json::from_slice::<IgnoredAny>(value.bytes()).is_err() {
        return Err(format!("it is not JSON, so it has no member {member:?}"));
    }
    // As it is written there: what is no text, such as a number, is not to be rounded.
    let members: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(value.bytes());
    let Ok(members) = members else {
        return Err(format!(
            "it is not a JSON object, so it has no member {member:?}"
        ));
    };
    let written = members.get(member).map(|found| found.get());
    let written = written.ok_or_else(|| format!("it has no member {member:?}"))?;
    let text = serde_json::from_str::<String>(written);
    let text = text.unwrap_or_else(|_| written.to_owned());
    Ok(Clear::new(text.into_bytes()))
}

/// Without the line feed that editors and `echo` put at the end.
fn as_text(value: &Clear) -> Result<String, Trouble> {
    let bytes = value.bytes();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match String::from_utf8(bytes.to_vec()) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(permanent(
            "it is no text, which a variable has to be; take a path for its name, to have it in \
             a file"
                .to_owned(),
        )),
    }
}

fn checked(bytes: Vec<u8>) -> Result<Clear, Trouble> {
    let value = Clear::new(bytes);
    if value.bytes().len() > VALUE_BYTES_MAX {
        return Err(permanent(format!(
            "it is longer than {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(value)
}

const fn permanent(text: String) -> Trouble {
    Trouble {
        kind: FailureKind::Permanent,
        text,
    }
}

impl Trouble {
    fn about(self, what: &str) -> Self {
        let text = format!("cannot have {what}: {}", self.text);
        Self { text, ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests;
