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

    /// The host ports that containers get which ask for any (hostPort 0): best none that the kernel
    /// gives away itself. "docker": Docker chooses, among the kernel's.
    dynamic_ports: String = Found {
        how: "what is above the kernel's own (ip_local_port_range), or else below",
        example: r#""61000-65535""#,
    }, Words("\"FIRST-LAST\", ports from 1024 to 65535, or \"docker\"");

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

    /// Address and port where ECS's clients find the API over TCP. Each request is signed with a
    /// key of api_keys_file (AWS Signature Version 4).
    api_listen: String = Found { how: "none: not over TCP", example: r#""127.0.0.1:51680""# },
        Words("an IP address and a port; without the files for TLS a loopback address");

    /// File with the keys of the API over TCP, each on a line: ID SECRET ROLE, where ROLE is read,
    /// deploy (definitions, services and tasks) or admin (hosts, too). Root alone may be able to
    /// read it (mode 0600). It is read for each request, so keys are rotated by changing it.
    api_keys_file: String = Found { how: "none", example: r#""/etc/holdfast/api.keys""# }, PATH;

    /// File with the certificate of the API over TCP, and those that vouch for it, in PEM. Read
    /// when the agent starts.
    api_tls_cert_file: String = Found { how: "none", example: r#""/etc/holdfast/api.crt""# }, PATH;

    /// File with the private key of that certificate, in PEM.
    api_tls_key_file: String = Found { how: "none", example: r#""/etc/holdfast/api.key""# }, PATH;

    /// Address and port of the read-only introspection API.
    introspection: String = Is(r#""127.0.0.1:51678""#),
        Words("a loopback address and a port, or \"off\"");

    /// Address and port where services, tasks and hosts are looked up by DNS (UDP and TCP). Whoever
    /// reaches it may ask. If it cannot be had, the agent runs without it and tries again.
    dns: String = Is(r#""127.0.0.1:8600""#), Words("an IP address and a port, or \"off\"");

    /// The domain of those names, as in web.service.holdfast.internal.
    dns_domain: String = Is(r#""holdfast.internal""#),
        Words("at most 100 bytes of letters, digits and -, with dots between");

    /// Address and port of ECS's task metadata endpoint, where a container may ask what it is; its
    /// variable ECS_CONTAINER_METADATA_URI_V4 says so. A link-local address (169.254.…) that this
    /// machine does not have is added to it. Containers behind a bridge must be let through to it.
    metadata: String = Is(r#""169.254.170.2:80""#),
        Words("an IPv4 address of this host and a port, or \"off\"");

    /// Whether containers have ECS's container metadata file, which says what they are, in a
    /// directory of their own, where the variable ECS_CONTAINER_METADATA_FILE says. It is for
    /// containers that are made from then on.
    metadata_file: bool = Is("false"), Words("true or false");

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

    /// This host's GPUs, each of which one container has for itself: their UUIDs or indexes, as
    /// nvidia-smi calls them. "auto": all that `nvidia-smi --query-gpu=uuid` lists when the agent
    /// starts. Docker needs NVIDIA's container toolkit.
    gpus: String = Is(r#""off""#),
        Words(
            "\"off\", \"auto\", or at most 64 ids with commas between: \"GPU-8f6d4c1e-…,MIG-…\" or \
             \"0,1\"",
        );

    /// How many processes and threads a task may have; 0: as many as it likes. Where its definition
    /// has neither cpu nor memory, or systemd has Docker's control groups, each of its containers
    /// may have so many.
    task_pids_limit: i64 = Is("0"), Number { min: 0, max: 4_194_304, unit: "processes" };

    /// Whether tasks may be root on this host: privileged containers, devices, added capabilities,
    /// looser security options, the host's processes or IPC. "deny": the host refuses those.
    privileged: String = Is(r#""allow""#), Words("\"allow\" or \"deny\"");

    /// Whether commands are run in this host's containers (`holdfast task exec`), and files copied
    /// out of them and into them. "deny": the host refuses that, whoever asks.
    exec: String = Is(r#""allow""#), Words("\"allow\" or \"deny\"");

    /// Where the logs of a container go whose definition has no logConfiguration. "local": Docker's
    /// driver of that name, at most 5 files of 20 MiB for each container, compressed; "engine":
    /// what the engine is set to, which is what Podman does in any case, as it has no such driver.
    log_driver: String = Is(r#""local""#), Words("\"local\" or \"engine\"");

    /// Shown with the host; placement does not look at them yet.
    /// In the environment and as a flag: rack=r7,disk=ssd
    attributes: BTreeMap<String, String> = Found {
        how: "none",
        example: r#"{ rack = "r7", disk = "ssd" }"#,
    }, Words("at most 64; names and values of 1 to 128 letters, digits and - _ . / : @");

    /// Directory of the files that environmentFiles of task definitions name with file:.
    environment_files: String = Is(r#""/etc/holdfast/env""#), PATH;

    /// Directory of the files that secrets of task definitions name with file:. What everybody on
    /// the host could read is not taken.
    secret_files: String = Is(r#""/etc/holdfast/secrets""#), PATH;

    /// Directory of the programs that secrets of task definitions name with command:. The agent
    /// runs them, as root, and takes what they print. "off": it runs none.
    secret_commands: String = Is(r#""off""#), Words("an absolute path, or \"off\"");

    /// Directory, in memory (on a tmpfs), of the secrets that are mounted into containers while
    /// their tasks are there.
    secret_mounts: String = Is(r#""/run/holdfast/secrets""#), PATH;

    /// When the image of a container that is to be made is pulled, in ECS's words. "default": each
    /// time, and if that fails, the image that is here serves; "always": each time, and if that
    /// fails, so does the task; "once": unless this agent has pulled it before; "prefer-cached":
    /// if it is not here; "never". Named by a digest, what is here is never pulled.
    image_pull_behavior: String = Is(r#""prefer-cached""#),
        Words("\"default\", \"always\", \"once\", \"prefer-cached\" or \"never\"");

    /// File with credentials for registries, in the form of Docker's config.json: auths,
    /// credHelpers, credsStore. Read for each pull; refused if others than its owner can read it.
    registry_auth_file: String = Found { how: "none", example: r#""/etc/holdfast/registry.json""# },
        PATH;

    /// When images that this agent pulled and no container uses are removed. "age": when they were
    /// last used image_minimum_cleanup_age_s ago, and when the disk is too full; "disk": only then.
    image_cleanup: String = Found {
        how: "age; disk where image_pull_behavior is prefer-cached or never",
        example: r#""age""#,
    }, Words("\"age\", \"disk\" or \"never\"");

    /// How often images are looked at for their age.
    image_cleanup_interval_s: i64 = Is("1800"), Number { min: 60, max: 86_400, unit: "seconds" };

    /// How long nothing must have used an image before it is removed for its age.
    image_minimum_cleanup_age_s: i64 = Is("3600"),
        Number { min: 60, max: 31_536_000, unit: "seconds" };

    /// How many images are removed for their age at each look.
    images_deleted_per_cycle: i64 = Is("5"), Number { min: 1, max: 1_000, unit: "images" };

    /// How full the disks that Docker has its images on may be. If one is fuller, images go,
    /// however young, those used least recently first.
    image_cleanup_disk_percent: i64 = Is("85"), Number { min: 1, max: 100, unit: "per cent" };

    /// Where containerd keeps its images, if Docker leaves them to it, as Docker 29 does: that disk
    /// is watched, too. Where Docker has started its containerd itself, the place is known.
    containerd_root: String = Is(r#""/var/lib/containerd""#), PATH;

    /// Images that are never removed. Without a tag, all of that name.
    image_cleanup_excluded: Vec<String> = Found { how: "none", example: r#"["base", "web:1"]"# },
        Words("at most 256 names of images");

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

    /// Where this host's agent posts lifecycle events, in the shapes of Amazon EventBridge: see
    /// docs/events.md. It may be the same on all hosts.
    event_webhook: String = Found {
        how: "none",
        example: r#""https://hooks.example.com/ecs""#,
    }, Words("an http or https URL without a user");

    /// File with a secret to sign those with. Refused if others than its owner can read it.
    event_webhook_secret_file: String = Found {
        how: "none",
        example: r#""/etc/holdfast/webhook.secret""#,
    }, PATH;

    /// Program that is given each event on its standard input, one at a time. Ending with 0, it
    /// has taken it.
    event_command: Vec<String> = Found {
        how: "none",
        example: r#"["/usr/local/bin/on-event"]"#,
    }, Words("an absolute path and at most 63 arguments");

    /// Whether events go into the system's journal, an entry each.
    event_journal: String = Is(r#""off""#), Words("\"on\" or \"off\"");

    /// How much of what could not be delivered yet is kept on disk, for each of these three. If
    /// it is more, the oldest events are dropped, and that is told in their place.
    event_spool_mib: i64 = Is("64"), Number { min: 1, max: 65_536, unit: "MiB" };

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
