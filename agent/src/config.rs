//! The agent's settings: gathered from file, environment and command line, checked once.

mod api;
mod keys;
mod layers;
mod source;
mod events;

pub(crate) use api::ApiSettings;
pub(crate) use keys::{Flags, RawConfig};
pub(crate) use layers::{BakedSettings, FIRST_BOOT, SEED_FILE, SEED_KEY};
pub(crate) use source::ConfigError;

use crate::{
    discovery::PeerSource,
    gpus::{self, GpuSource},
    outbound::OutboundSettings,
    probe::HostFacts,
    runtime::{
        LogDriver,
        images::{CleanUp, ImageSettings, PullBehavior, WhenCleaned},
    },
    telemetry::{LogFormat, parse_filter},
};
use holdfast_core::time::Span;
use keys::{KEYS, Key};
use source::{Set, Source, Texts};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// The settings, as meant. The table in `config/keys.rs` says what each is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) cluster: String,
    pub(crate) name: String,
    pub(crate) zone: Option<String>,
    pub(crate) bind: SocketAddr,
    /// Never unspecified. Port 0 where the port of `bind` is: whichever is bound in the end.
    pub(crate) advertise: SocketAddr,
    pub(crate) peers: Vec<PeerSource>,
    pub(crate) peers_refresh: Span,
    pub(crate) peers_command_timeout: Span,
    /// Set, unless `bind` is a loopback address.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
    pub(crate) api_socket: PathBuf,
    pub(crate) api_group: String,
    /// `None` where the API is not served over TCP.
    pub(crate) api: Option<ApiSettings>,
    /// A loopback address; `None` where switched off.
    pub(crate) introspection: Option<SocketAddr>,
    /// `None` where switched off.
    pub(crate) dns: Option<SocketAddr>,
    /// In lower case.
    pub(crate) dns_domain: String,
    /// Where containers may ask what they are; `None` where switched off.
    pub(crate) metadata: Option<SocketAddr>,
    /// Containers have a file that says what they are.
    pub(crate) metadata_file: bool,
    pub(crate) docker_socket: PathBuf,
    /// CPU units offered to tasks.
    pub(crate) cpu: u32,
    /// MiB offered to tasks: what was reserved is already taken off.
    pub(crate) memory_mib: u32,
    pub(crate) gpus: GpuSource,
    pub(crate) task_pids_limit: Option<u32>,
    /// No task may be root on this host.
    pub(crate) denies_privilege: bool,
    /// Nobody runs commands in this host's containers, nor copies files out of them or into them.
    pub(crate) denies_exec: bool,
    /// What the container engine does with logs where a definition does not say.
    pub(crate) log_driver: LogDriver,
    /// `None`: Docker chooses.
    pub(crate) dynamic_ports: Option<(u16, u16)>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) environment_files: PathBuf,
    pub(crate) secret_files: PathBuf,
    /// `None`: no program is run for secrets.
    pub(crate) secret_commands: Option<PathBuf>,
    pub(crate) secret_mounts: PathBuf,
    pub(crate) images: ImageSettings,
    pub(crate) events: OutboundSettings,
    pub(crate) stop_timeout: Span,
    pub(crate) stopped_container_retention: Span,
    pub(crate) docker_resync: Span,
    pub(crate) down_after: Span,
    pub(crate) suspect_after: Span,
    pub(crate) probe_interval: Span,
    pub(crate) restart_grace: Span,
    pub(crate) leave_timeout: Span,
    /// `None`: never.
    pub(crate) reap_after: Option<Span>,
    pub(crate) impaired_grace: Span,
    /// Checked: `telemetry::parse_filter` takes it.
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) region: String,
    pub(crate) account: String,
}

impl RawConfig {
    /// Fills in what depends on the machine and on other keys.
    fn completed(self, facts: &HostFacts) -> Self {
        let bind = match self.key_file {
            Some(_) => "0.0.0.0:7946",
            None => "127.0.0.1:7946",
        };
        let bind = self.bind.or_else(|| found("bind", bind.to_owned()));
        let bound = bind
            .as_ref()
            .and_then(|set| set.value.parse::<SocketAddr>().ok());
        let address = match bound {
            Some(bound) if !bound.ip().is_unspecified() => Some(bound.ip()),
            _ => facts.address,
        };
        let advertised = || found("advertise", address?.to_string());
        let cleanup = match self
            .image_pull_behavior
            .as_ref()
            .map(|set| set.value.as_str())
        {
            Some("prefer-cached" | "never") => "disk",
            _ => "age",
        };
        Self {
            bind,
            image_cleanup: self
                .image_cleanup
                .or_else(|| found("image_cleanup", cleanup.to_owned())),
            advertise: self.advertise.or_else(advertised),
            name: self.name.or_else(|| found("name", facts.hostname.clone())),
            cpu: self.cpu.or_else(|| found("cpu", facts.cpu_units().into())),
            memory_mib: self
                .memory_mib
                .or_else(|| found("memory_mib", facts.memory_mib.into())),
            dynamic_ports: self.dynamic_ports.or_else(|| {
                let (first, last) = beside(facts.ephemeral_ports);
                found("dynamic_ports", format!("{first}-{last}"))
            }),
            ..self
        }
    }
}

/// The ports above those that the kernel gives away, or where those are few, below.
fn beside((first, last): (u16, u16)) -> (u16, u16) {
    const ENOUGH: u16 = 1_000;
    if last <= u16::MAX - ENOUGH {
        return (last + 1, u16::MAX);
    }
    let below = first.saturating_sub(1).max(PORT_MIN);
    (below.saturating_sub(4 * ENOUGH).max(PORT_MIN), below)
}

fn found<T>(name: &str, value: T) -> Option<Set<T>> {
    let key: &'static Key = KEYS.iter().find(|key| key.name == name)?;
    Some(Set {
        key,
        from: Source::Machine,
        value,
    })
}

type Environment = BTreeMap<OsString, OsString>;

fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsString> {
    environment.get(OsStr::new(name))
}

fn texts_of(environment: &Environment) -> Result<Texts, ConfigError> {
    let mut texts = Texts::new();
    for key in KEYS {
        let Some(value) = variable(environment, &key.variable()) else {
            continue;
        };
        let text = value
            .to_str()
            .ok_or_else(|| ConfigError::NotText(key.variable()))?;
        texts.insert(key.name, text.to_owned());
    }
    Ok(texts)
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let (bind, advertise) = addresses(&raw)?;
        let (suspect, down) = (is_set(&raw.suspect_after_ms), is_set(&raw.down_after_ms));
        if suspect.number()? > down.number()? {
            let must = format!("at most down_after_ms, which is {}", down.value);
            return Err(suspect.refused(must));
        }
        let (images, events, api) = (images(&raw)?, events::events(&raw)?, api::api(&raw)?);
        Ok(Self {
            cluster: name(is_set(&raw.cluster), 255, "-_")?,
            name: name(is_set(&raw.name), 253, "-_.")?,
            zone: zone(raw.zone.as_ref())?,
            bind,
            advertise,
            peers: peers(raw.peers, peer_port(bind))?,
            peers_refresh: seconds(&raw.peers_refresh_s)?,
            peers_command_timeout: seconds(&raw.peers_command_timeout_s)?,
            key_file: raw.key_file.as_ref().map(path).transpose()?,
            state_dir: path(is_set(&raw.state_dir))?,
            api_socket: socket_path(is_set(&raw.api_socket))?,
            api,
            api_group: name(is_set(&raw.api_group), 32, "-_.")?,
            introspection: introspection(is_set(&raw.introspection))?,
            dns: dns(is_set(&raw.dns))?,
            dns_domain: dns_domain(is_set(&raw.dns_domain))?,
            metadata: metadata(is_set(&raw.metadata))?,
            metadata_file: is_set(&raw.metadata_file).value,
            docker_socket: path(is_set(&raw.docker_socket))?,
            cpu: is_set(&raw.cpu).number()?,
            memory_mib: memory_mib(is_set(&raw.memory_mib), is_set(&raw.reserved_memory_mib))?,
            gpus: gpus(is_set(&raw.gpus))?,
            task_pids_limit: Some(is_set(&raw.task_pids_limit).number()?).filter(|max| *max != 0),
            denies_privilege: one_of(is_set(&raw.privileged), &[("allow", false), ("deny", true)])?,
            denies_exec: one_of(is_set(&raw.exec), &[("allow", false), ("deny", true)])?,
            log_driver: one_of(
                is_set(&raw.log_driver),
                &[("local", LogDriver::Local), ("engine", LogDriver::Engine)],
            )?,
            dynamic_ports: dynamic_ports(is_set(&raw.dynamic_ports))?,
            attributes: attributes(raw.attributes)?,
            environment_files: path(is_set(&raw.environment_files))?,
            secret_files: path(is_set(&raw.secret_files))?,
            secret_commands: path_or_off(is_set(&raw.secret_commands))?,
            secret_mounts: path(is_set(&raw.secret_mounts))?,
            images,
            events,
            stop_timeout: seconds(&raw.stop_timeout_s)?,
            stopped_container_retention: seconds(&raw.stopped_container_retention_s)?,
            docker_resync: seconds(&raw.docker_resync_s)?,
            down_after: milliseconds(&raw.down_after_ms)?,
            suspect_after: milliseconds(&raw.suspect_after_ms)?,
            probe_interval: milliseconds(&raw.probe_interval_ms)?,
            restart_grace: seconds(&raw.restart_grace_s)?,
            leave_timeout: seconds(&raw.leave_timeout_s)?,
            reap_after: reap_after(is_set(&raw.reap_after))?,
            impaired_grace: seconds(&raw.impaired_grace_s)?,
            log: log(is_set(&raw.log))?,
            log_format: one_of(
                is_set(&raw.log_format),
                &[
                    ("auto", LogFormat::Auto),
                    ("text", LogFormat::Text),
                    ("json", LogFormat::Json),
                    ("journald", LogFormat::Journald),
                ],
            )?,
            region: region(is_set(&raw.region))?,
            account: account(is_set(&raw.account))?,
        })
    }
}

fn zone(set: Option<&Set<String>>) -> Result<Option<String>, ConfigError> {
    set.map(|set| name(set, 64, "-_.")).transpose()
}

fn is_set<T>(setting: &Option<Set<T>>) -> &Set<T> {
    let why = "`gather` alone makes a RawConfig, and fills in all keys that are not optional";
    setting.as_ref().expect(why)
}

/// Where to listen and what to tell others, or why that would not be safe or possible.
fn addresses(raw: &RawConfig) -> Result<(SocketAddr, SocketAddr), ConfigError> {
    let set = is_set(&raw.bind);
    let bind: SocketAddr = set.value.parse().map_err(|_| set.not_allowed())?;
    if raw.key_file.is_none() && !bind.ip().is_loopback() {
        return Err(ConfigError::NoKey {
            bind: set.value.clone(),
            at: set.from.clone(),
        });
    }
    let Some(set) = &raw.advertise else {
        return Err(ConfigError::NoAddress {
            bind: set.value.clone(),
        });
    };
    let address = match set.value.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, bind.port()),
        Err(_) => set.value.parse().map_err(|_| set.not_allowed())?,
    };
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(set.refused("an address of this one host"));
    }
    Ok((bind, address))
}

fn is_name(text: &str, bytes_max: usize, marks: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    (1..=bytes_max).contains(&text.len()) && text.chars().all(allowed)
}

fn name(set: &Set<String>, bytes_max: usize, marks: &str) -> Result<String, ConfigError> {
    match is_name(&set.value, bytes_max, marks) {
        true => Ok(set.value.clone()),
        false => Err(set.not_allowed()),
    }
}

fn peers(set: Option<Set<Vec<String>>>, port: u16) -> Result<Vec<PeerSource>, ConfigError> {
    let Some(set) = set else {
        return Ok(Vec::new());
    };
    if set.value.len() > PEERS_MAX {
        return Err(set.not_allowed());
    }
    let parse = |peer: &String| {
        PeerSource::parse(peer, port).map_err(|why| {
            let allowed = &set.key.allowed;
            set.refused(format!("{allowed}: {why}"))
        })
    };
    set.value.iter().map(parse).collect()
}

/// The port of peers that are given without one: all agents of a cluster mostly have the same.
pub(crate) const fn peer_port(bind: SocketAddr) -> u16 {
    match bind.port() {
        0 => PORT_DEFAULT,
        port => port,
    }
}

/// Absolute, since a daemon's working directory is nobody's choice.
fn path(set: &Set<String>) -> Result<PathBuf, ConfigError> {
    match Path::new(&set.value) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err(set.not_allowed()),
    }
}

fn path_or_off(set: &Set<String>) -> Result<Option<PathBuf>, ConfigError> {
    match set.value.as_str() {
        "off" => Ok(None),
        _ => path(set).map(Some),
    }
}

fn socket_path(set: &Set<String>) -> Result<PathBuf, ConfigError> {
    match set.value.len() <= SOCKET_PATH_BYTES_MAX {
        true => path(set),
        false => Err(set.not_allowed()),
    }
}

fn introspection(set: &Set<String>) -> Result<Option<SocketAddr>, ConfigError> {
    if set.value == "off" {
        return Ok(None);
    }
    match set.value.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        _ => Err(set.not_allowed()),
    }
}

fn dns(set: &Set<String>) -> Result<Option<SocketAddr>, ConfigError> {
    if set.value == "off" {
        return Ok(None);
    }
    address(set).map(Some)
}

/// Where somebody may be served.
fn address(set: &Set<String>) -> Result<SocketAddr, ConfigError> {
    match set.value.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_multicast() && address.port() > 0 => Ok(address),
        _ => Err(set.not_allowed()),
    }
}

/// Names in it are to stay within the 253 bytes that DNS has for one.
fn dns_domain(set: &Set<String>) -> Result<String, ConfigError> {
    let fits = |label: &str| {
        let inner = !label.starts_with('-') && !label.ends_with('-');
        inner && is_name(label, DNS_LABEL_BYTES_MAX, "-")
    };
    match set.value.len() <= DNS_DOMAIN_BYTES_MAX && set.value.split('.').all(fits) {
        true => Ok(set.value.to_ascii_lowercase()),
        false => Err(set.not_allowed()),
    }
}

/// Containers are told the address, so that it must be one.
fn metadata(set: &Set<String>) -> Result<Option<SocketAddr>, ConfigError> {
    if set.value == "off" {
        return Ok(None);
    }
    let is_one = |address: &SocketAddr| {
        let ip = address.ip();
        ip.is_ipv4() && !ip.is_unspecified() && !ip.is_multicast() && address.port() != 0
    };
    let address = set.value.parse().ok().filter(is_one);
    address.map(Some).ok_or_else(|| set.not_allowed())
}

fn memory_mib(all: &Set<i64>, reserved: &Set<i64>) -> Result<u32, ConfigError> {
    let (all_mib, reserved_mib) = (all.number()?, reserved.number()?);
    match all_mib.checked_sub(reserved_mib) {
        Some(rest) if rest > 0 => Ok(rest),
        _ => Err(reserved.refused(format!("less than memory_mib, which is {all_mib}"))),
    }
}

fn gpus(set: &Set<String>) -> Result<GpuSource, ConfigError> {
    match set.value.as_str() {
        "off" => Ok(GpuSource::Listed(Vec::new())),
        "auto" => Ok(GpuSource::Auto),
        ids => match gpus::parse(ids.split(',')) {
            Ok(ids) => Ok(GpuSource::Listed(ids)),
            Err(why) => Err(set.refused(format!("{}: {why}", set.key.allowed))),
        },
    }
}

fn dynamic_ports(set: &Set<String>) -> Result<Option<(u16, u16)>, ConfigError> {
    if set.value == "docker" {
        return Ok(None);
    }
    let (first, last) = set.value.split_once('-').ok_or_else(|| set.not_allowed())?;
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first >= PORT_MIN && first <= last => Ok(Some((first, last))),
        _ => Err(set.not_allowed()),
    }
}

fn attributes(
    set: Option<Set<BTreeMap<String, String>>>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let Some(set) = set else {
        return Ok(BTreeMap::new());
    };
    let mut pairs = set.value.iter();
    let fit = pairs.all(|(name, value)| is_attribute(name) && is_attribute(value));
    match fit && set.value.len() <= ATTRIBUTES_MAX {
        true => Ok(set.value),
        false => Err(set.not_allowed()),
    }
}

/// A name or a value of one.
pub(crate) fn is_attribute(text: &str) -> bool {
    is_name(text, 128, "-_./:@")
}

fn images(raw: &RawConfig) -> Result<ImageSettings, ConfigError> {
    let excluded = raw.image_cleanup_excluded.as_ref();
    let fits = |name: &String| is_name(name, 255, "-_./:@");
    if let Some(set) = excluded
        && (set.value.len() > EXCLUDED_MAX || !set.value.iter().all(fits))
    {
        return Err(set.not_allowed());
    }
    let percent = is_set(&raw.image_cleanup_disk_percent);
    Ok(ImageSettings {
        behavior: one_of(
            is_set(&raw.image_pull_behavior),
            &[
                ("default", PullBehavior::Default),
                ("always", PullBehavior::Always),
                ("once", PullBehavior::Once),
                ("prefer-cached", PullBehavior::PreferCached),
                ("never", PullBehavior::Never),
            ],
        )?,
        auth_file: raw.registry_auth_file.as_ref().map(path).transpose()?,
        clean_up: CleanUp {
            when: one_of(
                is_set(&raw.image_cleanup),
                &[
                    ("age", WhenCleaned::Age),
                    ("disk", WhenCleaned::Disk),
                    ("never", WhenCleaned::Never),
                ],
            )?,
            interval: duration(&raw.image_cleanup_interval_s)?,
            age_min: duration(&raw.image_minimum_cleanup_age_s)?,
            deleted_max: is_set(&raw.images_deleted_per_cycle).number()? as usize,
            disk_percent_max: u8::try_from(percent.number()?).map_err(|_| percent.not_allowed())?,
            containerd_root: path(is_set(&raw.containerd_root))?,
            excluded: excluded.map(|set| set.value.clone()).unwrap_or_default(),
        },
    })
}

fn one_of<T: Copy>(set: &Set<String>, choices: &[(&str, T)]) -> Result<T, ConfigError> {
    let chosen = choices.iter().find(|(name, _)| *name == set.value);
    chosen
        .map(|(_, choice)| *choice)
        .ok_or_else(|| set.not_allowed())
}

fn seconds(set: &Option<Set<i64>>) -> Result<Span, ConfigError> {
    Ok(Span::from_secs(is_set(set).number()?.into()))
}

fn duration(set: &Option<Set<i64>>) -> Result<Duration, ConfigError> {
    Ok(Duration::from_secs(is_set(set).number()?.into()))
}

fn reap_after(set: &Set<String>) -> Result<Option<Span>, ConfigError> {
    if set.value == "never" {
        return Ok(None);
    }
    let hours = set.value.strip_suffix('h');
    let hours = hours.and_then(|hours| hours.parse::<u64>().ok());
    let hours = hours.filter(|hours| (1..=REAP_HOURS_MAX).contains(hours));
    let hours = hours.ok_or_else(|| set.not_allowed())?;
    Ok(Some(Span::from_secs(hours * 3_600)))
}

fn milliseconds(set: &Option<Set<i64>>) -> Result<Span, ConfigError> {
    Ok(Span::from_ms(is_set(set).number()?.into()))
}

fn log(set: &Set<String>) -> Result<String, ConfigError> {
    match parse_filter(&set.value) {
        Ok(_) => Ok(set.value.clone()),
        Err(_) => Err(set.not_allowed()),
    }
}

fn region(set: &Set<String>) -> Result<String, ConfigError> {
    match set.value.chars().any(|c| c.is_ascii_uppercase()) {
        false => name(set, 64, "-"),
        true => Err(set.not_allowed()),
    }
}

fn account(set: &Set<String>) -> Result<String, ConfigError> {
    let digits = set.value.len() == 12 && set.value.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| set.value.clone())
        .ok_or_else(|| set.not_allowed())
}

const FILE_DEFAULT: &str = "/etc/holdfast/holdfast.toml";
const FILE_VARIABLE: &str = "HOLDFAST_CONFIG";
const PEERS_MAX: usize = 256;
const REAP_HOURS_MAX: u64 = 8_760;
const EXCLUDED_MAX: usize = 256;
const PORT_DEFAULT: u16 = 7946;
/// Below it are those of the system.
const PORT_MIN: u16 = 1_024;
pub(crate) const ATTRIBUTES_MAX: usize = 64;
const DNS_LABEL_BYTES_MAX: usize = 63;
const DNS_DOMAIN_BYTES_MAX: usize = 100;
/// sun_path of unix(7), less the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests;
