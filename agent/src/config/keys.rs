//! The table of keys: the one place where a key of the configuration comes into being.
//!
//! Each row makes a key known to the file, the environment (`HOLDFAST_…`), the command line
//! (`--…`), the default file in `packaging/` and the print-out alike.

use super::source::{ConfigError, FileText, Set, Source, Texts};
use std::{collections::BTreeMap, path::PathBuf};

/// One key, as all sources spell it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) about: &'static [&'static str],
    pub(crate) fallback: Fallback,
    pub(crate) allowed: Allowed,
}

/// What holds where no source sets the key.
#[derive(Debug)]
pub(crate) enum Fallback {
    /// This value, as TOML.
    Is(&'static str),
    /// What the agent finds out when it starts, or nothing; `example` is TOML.
    Found {
        how: &'static str,
        example: &'static str,
    },
}

#[derive(Debug)]
pub(crate) enum Allowed {
    Words(&'static str),
    /// A whole number, both ends included.
    Number {
        min: i64,
        max: i64,
        unit: &'static str,
    },
}

use Allowed::{Number, Words};
use Fallback::{Found, Is};

impl Key {
    pub(crate) fn variable(&self) -> String {
        format!("HOLDFAST_{}", self.name.to_ascii_uppercase())
    }

    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Words(words) => f.write_str(words),
            Number { min, max, unit } => write!(f, "{min} to {max} {unit}"),
        }
    }
}

macro_rules! keys {
    ($($(#[doc = $about:tt])+ $name:ident: $kind:ty = $fallback:expr, $allowed:expr;)+) => {
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            about: &[$($about),+],
            fallback: $fallback,
            allowed: $allowed,
        }),+];

        /// The flags of `holdfast agent`: one for each key, as text; and where the file is.
        #[derive(Clone, Debug, Default, clap::Args)]
        pub(crate) struct Flags {
            /// File of settings; also HOLDFAST_CONFIG [default: /etc/holdfast/holdfast.toml]
            #[arg(long, value_name = "FILE")]
            pub(crate) config: Option<PathBuf>,
            /// Print the settings in force, each with where it came from, and end
            #[arg(long, conflicts_with = "print_default_config")]
            pub(crate) print_config: bool,
            /// Print the default file, with every key explained, and end
            #[arg(long)]
            pub(crate) print_default_config: bool,
            $($(#[doc = $about])+
            #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
            pub(crate) $name: Option<String>,)+
        }

        /// The settings of one source, or of several laid over one another: as typed, unchecked,
        /// each with where it was typed.
        #[derive(Clone, Debug)]
        pub(crate) struct RawConfig {
            $(pub(super) $name: Option<Set<$kind>>,)+
        }

        /// The file, in the types that a key has there.
        #[derive(serde::Deserialize)]
        struct FileKeys {
            $($name: Option<toml::Spanned<$kind>>,)+
        }

        impl Flags {
            pub(super) fn texts(&self) -> Texts {
                let mut texts = Texts::new();
                $(if let Some(text) = &self.$name {
                    texts.insert(stringify!($name), text.clone());
                })+
                texts
            }
        }

        impl RawConfig {
            /// From environment or command line.
            pub(super) fn from_texts(
                texts: &Texts,
                from: fn(&'static Key) -> Source,
            ) -> Result<Self, ConfigError> {
                let keys = by_name();
                Ok(Self {
                    $($name: Set::from_text(keys[stringify!($name)], texts, from)?,)+
                })
            }

            pub(super) fn from_file(file: &FileText) -> Result<Self, ConfigError> {
                let keys = by_name();
                file.refuse_unknown(&keys)?;
                let read: FileKeys = file.parse()?;
                Ok(Self {
                    $($name: read.$name.map(|spanned| Set {
                        key: keys[stringify!($name)],
                        from: file.at(spanned.span().start),
                        value: spanned.into_inner(),
                    }),)+
                })
            }

            /// What `self` leaves open is taken from `lower`.
            pub(super) fn over(self, lower: Self) -> Self {
                Self { $($name: self.$name.or(lower.$name),)+ }
            }

            /// The settings as a file that sets them again, each with where it came from.
            pub(crate) fn render(&self) -> String {
                let mut text = String::new();
                $(match &self.$name {
                    Some(set) => text.push_str(&set.render()),
                    None => text.push_str(concat!("# ", stringify!($name), " is not set\n")),
                })+
                text
            }
        }
    };
}

fn by_name() -> BTreeMap<&'static str, &'static Key> {
    KEYS.iter().map(|key| (key.name, key)).collect()
}

pub(super) const PATH: Allowed = Words("an absolute path");

keys! {
    /// Name of the cluster. Agents of another cluster are strangers.
    cluster: String = Is(r#""default""#), Words("1 to 255 letters, digits, - and _");

    /// Name of this host, for people.
    name: String = Found { how: "this machine's host name", example: r#""web-1""# },
        Words("1 to 253 letters, digits, -, _ and .");

    /// What fails together with this host: an availability zone, a rack, a room.
    /// Shown with the host; placement does not look at it yet.
    zone: String = Found { how: "none", example: r#""eu-central-1a""# },
        Words("1 to 64 letters, digits, -, _ and .");

    /// Address and port to listen on for other agents (UDP and TCP).
    bind: String = Found {
        how: "0.0.0.0:7946; 127.0.0.1:7946 while key_file is not set",
        example: r#""0.0.0.0:7946""#,
    }, Words("an IP address and a port; without key_file a loopback address");

    /// Address that the other agents reach this one by, where it is not the one of bind.
    /// Without a port: the one of bind.
    advertise: String = Found {
        how: "the address of bind, or of the default route if bind has none",
        example: r#""10.0.0.1:7946""#,
    }, Words("an IP address, with or without a port");

    /// Agents to join the cluster through. One that answers is enough. None starts a cluster,
    /// which others then join. Each is an address; a DNS name, which may stand for several;
    /// "srv:NAME" for DNS's service records; "file:/PATH" with peers a line each, read again when
    /// it changes; or "exec:/PATH ARGUMENTS", a command that prints peers a line each.
    /// Without a port: the one of bind. In a file and in a command's output # begins a comment.
    peers: Vec<String> = Found {
        how: "none",
        example: r#"["10.0.0.2", "seed.internal:7946", "file:/etc/holdfast/peers"]"#,
    }, Words("at most 256 times HOST, HOST:PORT, srv:NAME, file:/PATH or exec:/PATH ARGUMENTS");

    /// How often names in peers are resolved, files read and commands run again. Also at once,
    /// and then ever less often, while no other agent answers.
    peers_refresh_s: i64 = Is("30"), Number { min: 1, max: 3_600, unit: "seconds" };

    /// How long a command in peers may take before it is killed.
    peers_command_timeout_s: i64 = Is("10"), Number { min: 1, max: 300, unit: "seconds" };

    /// File with the cluster's key. Who has the key may join the cluster.
    key_file: String = Found { how: "none", example: r#""/etc/holdfast/cluster.key""# }, PATH;

    /// Directory for the identity of this host and its copy of the cluster's records.
    state_dir: String = Is(r#""/var/lib/holdfast""#), PATH;

    /// Socket of the local API, which the command line uses.
    api_socket: String = Is(r#""/run/holdfast/holdfast.sock""#),
        Words("an absolute path of at most 107 bytes");

    /// Group whose members may use the local API. They are then as good as root on every host.
    api_group: String = Is(r#""holdfast""#), Words("the name of a group");

    /// Address and port of the read-only introspection API.
    introspection: String = Is(r#""127.0.0.1:51678""#),
        Words("a loopback address and a port, or \"off\"");

    /// Socket of Docker, or of Podman where it speaks Docker's API.
    docker_socket: String = Is(r#""/run/docker.sock""#), PATH;

    /// What this host offers to tasks: CPU units, 1024 a core.
    cpu: i64 = Found { how: "1024 for each core", example: "2048" },
        Number { min: 128, max: 16_777_216, unit: "CPU units" };

    /// What this host offers to tasks: memory, before reserved_memory_mib is taken off.
    memory_mib: i64 = Found { how: "all memory of the machine", example: "4096" },
        Number { min: 4, max: 1_073_741_824, unit: "MiB" };

    /// Memory kept back from memory_mib for the system, Docker and the agent.
    reserved_memory_mib: i64 = Is("0"), Number { min: 0, max: 1_073_741_824, unit: "MiB" };

    /// Shown with the host; placement does not look at them yet.
    /// In the environment and as a flag: rack=r7,disk=ssd
    attributes: BTreeMap<String, String> = Found {
        how: "none",
        example: r#"{ rack = "r7", disk = "ssd" }"#,
    }, Words("at most 64; names and values of 1 to 128 letters, digits and - _ . / : @");

    /// Whether images are pulled: those that are missing, or never.
    pull: String = Is(r#""missing""#), Words("\"missing\" or \"never\"");

    /// How long a container may take to stop before it is killed, where its definition does not
    /// say.
    stop_timeout_s: i64 = Is("30"), Number { min: 0, max: 120, unit: "seconds" };

    /// How long a stopped container stays, for its logs and its file system.
    stopped_container_retention_s: i64 = Is("600"),
        Number { min: 0, max: 604_800, unit: "seconds" };

    /// How often all containers are compared with what Docker has, beside its events.
    docker_resync_s: i64 = Is("30"), Number { min: 1, max: 3_600, unit: "seconds" };

    /// For how long a host, its agent and its machine, answers none of its observers' probes before
    /// it is down and its tasks are replaced. No shorter pause counts.
    down_after_ms: i64 = Is("1000"), Number { min: 600, max: 600_000, unit: "milliseconds" };

    /// For how long a host answers no probe before it is suspect: nothing moves, but it is shown.
    /// At most down_after_ms.
    suspect_after_ms: i64 = Is("600"), Number { min: 100, max: 600_000, unit: "milliseconds" };

    /// How often a host is probed.
    probe_interval_ms: i64 = Is("1000"), Number { min: 100, max: 60_000, unit: "milliseconds" };

    /// How long an agent that said it restarts may be silent before its tasks are replaced.
    restart_grace_s: i64 = Is("30"), Number { min: 0, max: 600, unit: "seconds" };

    /// How long an agent may be silent before its tasks are replaced, while its machine answers:
    /// it hangs, or is being started again, and its tasks run on.
    impaired_grace_s: i64 = Is("60"), Number { min: 0, max: 3_600, unit: "seconds" };

    /// How long a host that leaves, or shuts down, waits for others to take its tasks over, where
    /// `holdfast leave` does not say.
    leave_timeout_s: i64 = Is("60"), Number { min: 1, max: 3_600, unit: "seconds" };

    /// How long a host is down before it is forgotten: it is then no longer listed, and registers
    /// anew if it comes back. To be the same on all hosts.
    reap_after: String = Is(r#""72h""#), Words("\"1h\" to \"8760h\", or \"never\"");

    /// What is logged: a level, for all modules or for one.
    log: String = Is(r#""info""#),
        Words("error, warn, info, debug, trace, off; also as in \"info,holdfast::store=debug\"");

    /// How it is logged. "auto": text on a terminal, to the journal under systemd, else JSON.
    log_format: String = Is(r#""auto""#),
        Words("\"auto\", \"text\", \"json\" or \"journald\"");

    /// The region in ARNs. A name only.
    region: String = Is(r#""local""#), Words("1 to 64 lower-case letters, digits and -");

    /// The account in ARNs. A number only.
    account: String = Is(r#""000000000000""#), Words("12 digits");
}

impl RawConfig {
    /// The default file: every key with all that is to be said of it, and nothing set.
    pub(crate) fn default_file() -> String {
        let mut text = FILE_HEAD.to_owned();
        for key in KEYS {
            let (how, value) = match key.fallback {
                Is(value) => (value.to_owned(), value),
                Found { how, example } => (format!("{how} (below: an example)"), example),
            };
            text.push('\n');
            for line in key.about {
                text.push_str(&format!("#{line}\n"));
            }
            text.push_str(&format!("# Allowed: {}\n# Default: {how}\n", key.allowed));
            text.push_str(&format!("# Also: {} {}\n", key.variable(), key.flag()));
            text.push_str(&format!("#{} = {value}\n", key.name));
        }
        text
    }
}

/// The values that hold where nothing else is said, as the text of a file.
pub(super) fn literal_defaults() -> String {
    let lines = KEYS.iter().filter_map(|key| match key.fallback {
        Is(value) => Some(format!("{} = {value}\n", key.name)),
        Found { .. } => None,
    });
    lines.collect()
}

const FILE_HEAD: &str = "\
# Settings of the Holdfast agent (/etc/holdfast/holdfast.toml).
#
# Every key is here, and none is set. What is set here yields to the environment, and that to the
# command line. A key that the agent does not know is an error, not a comment. The agent reads this
# file when it starts; restarting the agent restarts no container.
";
