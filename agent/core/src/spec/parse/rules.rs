//! What the fields of a task definition may say, in words for whoever is told that they don't.

use crate::{
    limits,
    spec::{
        own,
        read::{Choice, Range, Rule, is_name},
    },
};
use std::net::IpAddr;

/// ECS's integers have 32 bits and a sign.
pub(super) const INTEGER_MAX: i64 = i32::MAX as i64;

pub(super) const CPU: Range = Range {
    min: 0,
    max: INTEGER_MAX,
    unit: " CPU units",
};

/// Docker 20.10 makes no container with less.
pub(super) const MEMORY: Range = Range {
    min: 6,
    max: INTEGER_MAX,
    unit: " MiB",
};

pub(super) const CONTAINER_PORT: Range = Range {
    min: 1,
    max: u16::MAX as i64,
    unit: "",
};

pub(super) const HOST_PORT: Range = Range {
    min: 0,
    max: u16::MAX as i64,
    unit: " (0: any free port)",
};

pub(super) const STOP_TIMEOUT: Range = Range {
    min: 0,
    max: (limits::STOP_TIMEOUT_MAX.as_ms() / 1_000) as i64,
    unit: " seconds",
};

pub(super) const NETWORK_MODE: Choice = Choice {
    served: &["bridge", "host", "none", "task"],
    refused: &["awsvpc"],
    wanted: "\"bridge\", in which tasks are reached on ports of their host, \"task\", in which \
             its containers meet on localhost, too, \"host\" or \"none\"",
};

pub(super) const COMPATIBILITY: Choice = Choice {
    served: &["EC2", "EXTERNAL"],
    refused: &["FARGATE", "MANAGED_INSTANCES"],
    wanted: "\"EC2\" or \"EXTERNAL\": tasks run on your own hosts",
};

pub(super) const PROTOCOL: Choice = Choice {
    served: &["tcp", "udp"],
    refused: &[],
    wanted: "\"tcp\" or \"udp\"",
};

pub(super) const CONSISTENCY: Choice = Choice {
    served: &["enabled", "disabled"],
    refused: &[],
    wanted: "\"enabled\", by which all tasks of a deployment run the image that its first one \
             found, or \"disabled\"",
};

pub(super) const IMAGE: Rule = Rule {
    wanted: "an image name of 1 to 255 letters, digits or -_:./#@",
    holds: |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#@".contains(&b);
        (1..=255).contains(&text.len()) && text.bytes().all(allowed)
    },
};

pub(super) const VARIABLE: Rule = Rule {
    wanted: "a variable's name, not empty, without '=' and NUL characters",
    holds: |text| !text.is_empty() && !text.contains(['=', '\0']),
};

pub(super) const SECRET_PLACE: Rule = Rule {
    wanted: "a variable's name, not empty and without '=', or an absolute path, without \"..\" and \
             ':', to have the value in a file",
    holds: |text| match text.starts_with('/') {
        true => (PATH.holds)(text) && !text.ends_with('/'),
        false => (VARIABLE.holds)(text),
    },
};

pub(super) const FILE_TYPE: Choice = Choice {
    served: &["s3"],
    refused: &[],
    wanted: "\"s3\", ECS's only word, wherever the file is",
};

/// `..` would lead out of what a host's policy allows, and a colon would end the path in the
/// engine's own notation of mounts.
pub(super) const PATH: Rule = Rule {
    wanted: "an absolute path other than /, without \"..\", ':' and control characters",
    holds: |text| {
        text.starts_with('/')
            && text.bytes().any(|b| b != b'/')
            && !text.contains(|c: char| c == ':' || c.is_control())
            && !text.split('/').any(|part| part == "..")
    },
};

/// Unlike [`PATH`] it may be the root: who looks after a host wants to see all of it.
pub(super) const HOST_PATH: Rule = Rule {
    wanted: "an absolute path without \"..\", ':' and control characters",
    holds: |text| text == "/" || (PATH.holds)(text),
};

pub(super) const SOME_TEXT: Rule = Rule {
    wanted: "a text, not empty, without NUL characters",
    holds: |text| !text.is_empty() && !text.contains('\0'),
};

/// Unlike [`PATH`] it may be the root, and it is no mount: a colon in it ends nothing.
pub(super) const DIRECTORY: Rule = Rule {
    wanted: "an absolute path without control characters",
    holds: |text| text.starts_with('/') && !text.contains(char::is_control),
};

/// Linux takes no more for the name of a machine.
pub(super) const OWN_NAME: Rule = Rule {
    wanted: "a host name of 1 to 64 letters, digits, hyphens, underscores or dots",
    holds: |text| text.len() <= 64 && (HOST_NAME.holds)(text),
};

/// Unlike a mount's path it may have colons, as those of PCI have.
pub(super) const DEVICE_PATH: Rule = Rule {
    wanted: "an absolute path without \"..\" and control characters",
    holds: |text| {
        let leads_out = text.split('/').any(|part| part == "..");
        text.starts_with('/') && !text.contains(char::is_control) && !leads_out
    },
};

/// RFC 1123, and underscores, which Docker's users have in their names.
pub(super) const HOST_NAME: Rule = Rule {
    wanted: "a host name of 1 to 253 letters, digits, hyphens, underscores or dots",
    holds: |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        (1..=253).contains(&text.len()) && text.bytes().all(allowed)
    },
};

pub(super) const ADDRESS: Rule = Rule {
    wanted: "an IPv4 or IPv6 address",
    holds: |text| text.parse::<IpAddr>().is_ok(),
};

pub(super) const LABEL: Rule = Rule {
    wanted: "a label's name, not empty and not one of the agent's own (io.holdfast.*, \
             com.amazonaws.ecs.*)",
    holds: |text| {
        let ours = ["io.holdfast.", "com.amazonaws.ecs."];
        own::LABELS.contains(&text)
            || !text.is_empty()
                && !text.contains('\0')
                && !ours.iter().any(|own| text.starts_with(own))
    },
};

pub(super) const SECURITY_OPTION: Rule = Rule {
    wanted: "\"no-new-privileges\", \"seccomp:unconfined\", or apparmor: or label: with its value",
    holds: |text| {
        let has_value = |kind: &&str| text.len() > kind.len() && text.starts_with(*kind);
        ["no-new-privileges", "seccomp:unconfined"].contains(&text)
            || ["apparmor:", "label:"].iter().any(has_value) && !text.contains('\0')
    },
};

/// Those that ECS documents.
pub(super) const CAPABILITY: Choice = Choice {
    served: &[
        "ALL",
        "AUDIT_CONTROL",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ],
    refused: &[],
    wanted: "a capability of Linux without CAP_, such as \"NET_ADMIN\", or \"ALL\"",
};

/// Those of namespaces that each container has for itself: runc refuses others.
pub(super) const SYSTEM_CONTROL: Rule = Rule {
    wanted: "a kernel parameter of the container's own: net.*, fs.mqueue.*, or one of \
             kernel.msgmax, msgmnb, msgmni, sem, shmall, shmmax, shmmni, shm_rmid_forced",
    holds: |text| {
        const OF_IPC: [&str; 8] = [
            "msgmax",
            "msgmnb",
            "msgmni",
            "sem",
            "shmall",
            "shmmax",
            "shmmni",
            "shm_rmid_forced",
        ];
        let plain = |b: u8| b.is_ascii_graphic() && b != b'=';
        let below = |prefix: &str| text.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        text.bytes().all(plain)
            && (below("net.").or(below("fs.mqueue.")).is_some()
                || below("kernel.").is_some_and(|rest| OF_IPC.contains(&rest)))
    },
};

/// What Docker takes of ECS's list.
pub(super) const MOUNT_OPTION: Rule = Rule {
    wanted: "an option that tmpfs takes, such as \"noexec\" or \"mode=1777\"",
    holds: |text| {
        const FLAGS: [&str; 22] = [
            "defaults",
            "ro",
            "rw",
            "suid",
            "nosuid",
            "dev",
            "nodev",
            "exec",
            "noexec",
            "sync",
            "async",
            "dirsync",
            "mand",
            "nomand",
            "atime",
            "noatime",
            "diratime",
            "nodiratime",
            "relatime",
            "norelatime",
            "strictatime",
            "nostrictatime",
        ];
        const SETTINGS: [&str; 6] = ["mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
        match text.split_once('=') {
            Some((name, value)) => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b":-".contains(&b);
                SETTINGS.contains(&name) && !value.is_empty() && value.bytes().all(plain)
            }
            None => FLAGS.contains(&text),
        }
    },
};

pub(super) const RESOURCE_TYPE: Choice = Choice {
    served: &["GPU"],
    refused: &["InferenceAccelerator"],
    wanted: "\"GPU\": inference accelerators are AWS's own",
};

pub(super) const GPUS: Range = Range {
    min: 1,
    max: limits::GPUS_PER_HOST_MAX as i64,
    unit: " GPUs, as a text",
};

pub(super) const RLIMIT: Range = Range {
    min: -1,
    max: INTEGER_MAX,
    unit: " (-1: no limit)",
};

pub(super) const SIZE: Range = Range {
    min: 1,
    max: INTEGER_MAX,
    unit: " MiB",
};

pub(super) const SWAP: Range = Range {
    min: 0,
    max: INTEGER_MAX,
    unit: " MiB",
};

pub(super) const SWAPPINESS: Range = Range {
    min: 0,
    max: 100,
    unit: "",
};

pub(super) const RLIMIT_NAME: Choice = Choice {
    served: &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ],
    refused: &[],
    wanted: "a limit of setrlimit(2) without RLIMIT_, such as \"nofile\"",
};

pub(super) const PERMISSION: Choice = Choice {
    served: &["read", "write", "mknod"],
    refused: &[],
    wanted: "\"read\", \"write\" or \"mknod\"",
};

/// A day: whoever prepares something for longer has it done by a task of its own.
pub(super) const START_TIMEOUT: Range = Range {
    min: 0,
    max: 24 * 3_600,
    unit: " seconds (0: no limit)",
};

pub(super) const CONDITION: Choice = Choice {
    served: &["START", "COMPLETE", "SUCCESS", "HEALTHY"],
    refused: &[],
    wanted: "\"START\", \"COMPLETE\", \"SUCCESS\" or \"HEALTHY\"",
};

pub(super) const PID_MODE: Choice = Choice {
    served: &["host", "task"],
    refused: &[],
    wanted: "\"host\" or \"task\"",
};

pub(super) const IPC_MODE: Choice = Choice {
    served: &["host", "task", "none"],
    refused: &[],
    wanted: "\"host\", \"task\" or \"none\"",
};

pub(super) const ARCHITECTURE: Choice = Choice {
    served: &["X86_64", "ARM64"],
    refused: &[],
    wanted: "\"X86_64\" or \"ARM64\"",
};

pub(super) const OS_FAMILY: Choice = Choice {
    served: &["LINUX"],
    refused: &[
        "WINDOWS_SERVER_2004_CORE",
        "WINDOWS_SERVER_2016_FULL",
        "WINDOWS_SERVER_2019_CORE",
        "WINDOWS_SERVER_2019_FULL",
        "WINDOWS_SERVER_2022_CORE",
        "WINDOWS_SERVER_2022_FULL",
        "WINDOWS_SERVER_2025_CORE",
        "WINDOWS_SERVER_2025_FULL",
        "WINDOWS_SERVER_20H2_CORE",
    ],
    wanted: "\"LINUX\"",
};

pub(super) const SCOPE: Choice = Choice {
    served: &["task", "shared"],
    refused: &[],
    wanted: "\"task\" or \"shared\"",
};

/// ECS's begins at 5 s; a check from outside costs less than a process in the container.
pub(super) const CHECK_INTERVAL: Range = Range {
    min: 1,
    max: 300,
    unit: " seconds",
};

pub(super) const CHECK_TIMEOUT: Range = Range {
    min: 1,
    max: 120,
    unit: " seconds",
};

pub(super) const CHECK_RETRIES: Range = Range {
    min: 1,
    max: 10,
    unit: "",
};

pub(super) const CHECK_START: Range = Range {
    min: 0,
    max: 300,
    unit: " seconds",
};

/// ECS's begins at 60 s; here restarts that follow one another fast are slowed down.
pub(super) const ATTEMPT_PERIOD: Range = Range {
    min: 0,
    max: 1_800,
    unit: " seconds",
};

pub(super) const EXIT_CODE: Range = Range {
    min: 0,
    max: 255,
    unit: "",
};

/// An hour, as of a load balancer's target group.
pub(super) const DELAY: Range = Range {
    min: 0,
    max: 3_600,
    unit: " seconds",
};

pub(super) const LINK: Rule = Rule {
    wanted: "the name of another container, or name:alias",
    holds: |text| {
        let (name, alias) = text.split_once(':').unwrap_or((text, "x"));
        is_name(name) && is_name(alias)
    },
};

pub(super) const SIGNAL: Rule = Rule {
    wanted: "the name of a signal such as \"SIGQUIT\"",
    holds: |text| {
        let name = text.strip_prefix("SIG").unwrap_or_default();
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b);
        (2..=8).contains(&name.len()) && name.bytes().all(allowed)
    },
};

pub(super) const APP_PROTOCOL: Choice = Choice {
    served: &["http", "http2", "grpc"],
    refused: &[],
    wanted: "\"http\", \"http2\" or \"grpc\"",
};

/// Those of Docker's that ECS has, and two more of Docker's.
pub(super) const LOG_DRIVER: Choice = Choice {
    served: &[
        "json-file",
        "local",
        "none",
        "journald",
        "syslog",
        "gelf",
        "fluentd",
        "splunk",
        "awslogs",
    ],
    refused: &["awsfirelens"],
    wanted: "one of Docker's log drivers: \"json-file\", \"local\", \"none\", \"journald\", \
             \"syslog\", \"gelf\", \"fluentd\", \"splunk\" or \"awslogs\"",
};
