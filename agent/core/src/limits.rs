//! Every limit on what a peer, a user or time can grow, with its unit last in the name.

use crate::time::Span;

// What people send.
pub const FAMILY_BYTES_MAX: usize = 255;
pub const SERVICE_NAME_BYTES_MAX: usize = 255;
pub const CONTAINERS_PER_TASK_MAX: usize = 10;
/// Of the largest machines with eight GPUs, each can be cut into seven.
pub const GPUS_PER_HOST_MAX: usize = 64;
pub const DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// ECS's own.
pub const ENVIRONMENT_FILES_MAX: usize = 10;
pub const SECRETS_PER_CONTAINER_MAX: usize = 64;
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
pub const DESIRED_COUNT_MAX: u32 = 5_000;
pub const SERVICES_MAX: usize = 5_000;
/// Tasks of one run; ECS allows ten.
pub const RUN_COUNT_MAX: u32 = 100;
pub const RUN_RETRIES_MAX: u32 = 100;
pub const SCHEDULES_MAX: usize = 1_000;
pub const SCHEDULE_NAME_BYTES_MAX: usize = 64;
/// Runs of one schedule that go on at a time.
pub const RUNS_OF_SCHEDULE_MAX: usize = 100;
/// Ticks of a schedule of which it is known what became of them.
pub const TICKS_KEPT_MAX: usize = 20;
/// A tick is run this late where nothing else is said, and never later than the other.
pub const TICK_DEADLINE_S_DEFAULT: u32 = 3_600;
pub const TICK_DEADLINE_S_MAX: u32 = 24 * 3_600;
pub const RUN_TIMEOUT_S_MAX: u32 = 7 * 24 * 3_600;
/// As ECS has it, of the whole of `overrides`.
pub const OVERRIDES_BYTES_MAX: usize = 8 * 1_024;
/// Runs that go on or have ended within the last hour.
pub const RUNS_MAX: usize = 10_000;
pub const CLUSTERS_MAX: usize = 1_000;
/// On one thing, as in ECS; and so many attributes of a host.
pub const TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// Hosts that one `StartTask` names, as in ECS.
pub const START_TASK_HOSTS_MAX: usize = 10;
pub const ATTRIBUTES_PER_CALL_MAX: usize = 10;
pub const REASON_BYTES_MAX: usize = 1_024;
/// How long a host is to be silent before a service moves its slots, where people choose it.
pub const REPLACE_AFTER_MS_MIN: u32 = 600;
pub const REPLACE_AFTER_MS_MAX: u32 = 24 * 3_600 * 1_000;
pub const DESCRIBE_TASKS_MAX: usize = 100;
pub const DESCRIBE_SERVICES_MAX: usize = 10;

pub const PROTECT_TASKS_MAX: usize = 10;
/// How long a task is protected that somebody protects once, as in ECS.
pub const PROTECTION_MINUTES_DEFAULT: u32 = 120;
pub const PROTECTION_MINUTES_MAX: u32 = 2_880;

// What travels.
pub const DATAGRAM_BYTES_MAX: usize = 1_200;
/// What of a datagram is left for a message, after the envelope's header, nonce and tag.
pub const DATAGRAM_MESSAGE_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 128;
/// What every path lets through in one piece: IPv4's 576 bytes (RFC 791), less its and UDP's
/// headers and our envelope.
pub const SURE_MESSAGE_BYTES_MAX: usize = 576 - 28 - 128;
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
pub const RECORD_BYTES_MAX: usize = 128 * 1024;
pub const RECORDS_PER_MESSAGE_MAX: usize = 4_096;
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// An incarnation this far beyond our clock (in ms), or a generation this far beyond ours, is
/// refused.
pub const EPOCH_AHEAD_MAX: u64 = 1 << 32;
/// A stamp further ahead of our own clock than this is refused.
pub const STAMP_AHEAD_MS_MAX: u64 = 5 * 60 * 1_000;

/// Key hashes with versions that one `Holdings` lists, about 40 bytes each.
pub const HOLDINGS_MAX: usize = 16_384;
/// Prefixes whose hashes one `Branches` tells, about 150 bytes each.
pub const BRANCHES_MAX: usize = 256;
/// Records that one answer in a repair sends; the rest is for the next round.
pub const REPAIR_BYTES_MAX: usize = 1024 * 1024;
/// Slots of which their hosts are told again at a time, once in each repair interval.
pub const ASKED_SLOTS_MAX: usize = 1_024;
/// Peers that get a changed record from its author, and from each host that it is new to. One of
/// them is the next one in the order of ids: so nobody is left out by chance, and few suffice.
pub const FANOUT_AUTHOR: usize = 5;
pub const FANOUT_FORWARD: usize = 3;
/// The same of what is found of a host, which is little as a rule: where many are lost at once, a
/// good part of it goes to those, and whoever is left has to know.
pub const FANOUT_VERDICT: usize = 6;
/// Changed records that each peer is sent within 10 ms, beside what concerns it.
pub const SPREAD_BYTES_MAX: usize = 16 * 1024;
/// Changed records that wait to be spread; the oldest beyond them are left to repair.
pub const OUTBOX_RECORDS_MAX: usize = 128 * 1024;
/// Observers of each host (K), after Rapid (Suresh et al., USENIX ATC'18).
pub const OBSERVERS: usize = 10;
/// Hosts of one zone in a row on the ring that crosses zones which one observer of another takes.
pub const CROSSING_MAX: usize = 16;
/// Hosts that count under the policy `majority`; of more hosts, so many that are drawn once.
pub const ELECTORS_MAX: usize = 31;
/// Verdicts of others that wait for a word of the accused.
pub const DOUBTS_MAX: usize = 1_024;
/// First peers that a starting agent asks at once for the board; all of them where they are few.
pub const CATCH_UP_PEERS: usize = 3;
pub const FANOUT_SEEDS: usize = 10;
/// First peers that an agent keeps in mind; all are probed while nobody answers.
pub const SEEDS_MAX: usize = 1_024;

// Values that the cluster keeps for tasks.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// What a seal adds to a value: nonce and tag.
pub const SEAL_BYTES_MAX: usize = 64;
pub const VALUES_MAX: usize = 1_000;
/// Every host has all of them in memory.
pub const VALUES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Secrets that are sealed anew in one step, once in each look around the house.
pub const RESEALED_AT_ONCE_MAX: usize = 16;

/// Keys that a host accepts at a time.
pub const CLUSTER_KEYS_MAX: usize = 8;

// Images that one host has another one pull.
pub const IMAGE_NAME_BYTES_MAX: usize = 255;
pub const PULL_PROGRESS_BYTES_MAX: usize = 255;
pub const IMAGE_DIGEST_BYTES_MAX: usize = 255;
/// Pulls that people here wait for: an image on a host each.
pub const PULLS_ASKED_MAX: usize = 8_192;
/// Whoever waits for one of them; also those that have hung up meanwhile.
pub const PULL_CALLERS_MAX: usize = 64;
/// Pulls that others ask of this host, with those that have ended of late.
pub const PULLS_TAKEN_MAX: usize = 1_024;

// What a board holds.
pub const RECORDS_MAX: usize = 1_000_000;
pub const TOMBSTONE_MS: u64 = 72 * 3_600 * 1_000;
/// Tombstones are kept so long while a host is down that nobody has forgotten yet.
pub const TOMBSTONE_FOR_ABSENT_MS: u64 = 10 * TOMBSTONE_MS;
pub const STOPPED_TASK_KEPT_MS: u64 = 3_600 * 1_000;
/// A run that is to leave nothing behind is kept so long after its end for who waits for it.
pub const REMOVED_RUN_KEPT_MS: u64 = 60 * 1_000;
/// A host that left stays known for as long as its stopped tasks.
pub const LEFT_HOST_KEPT_MS: u64 = STOPPED_TASK_KEPT_MS;
/// Callers of one `leave` that wait for its end.
pub const LEAVE_CALLERS_MAX: usize = 8;
pub const UPDATE_HOSTS_MAX: usize = 10;
pub const SUPERSEDED_PER_SLOT_MAX: usize = 8;

// What crashed its reader.
/// Records that were read last, which are suspects when the agent dies in a step that reads none.
pub const RECENTLY_READ_MAX: usize = 64;
pub const SET_ASIDE_MAX: usize = 1_024;

// What an agent remembers of its own doings, for who looks for a bug: minutes when idle.
pub const RECORDING_BYTES_MAX: usize = 2 * 1024 * 1024;
pub const RECORDING_STEPS_MAX: usize = 32 * 1024;

// How long we wait.
/// Copies under the policy `majority` run on so long without word from more than half of the hosts
/// that count.
pub const MAJORITY_LEASE: Span = Span::from_secs(10);
/// A majority for so long, without a break, knows who counts, and may change that.
pub const ELECTORS_STEADY: Span = Span::from_secs(10);
pub const STOP_TIMEOUT_DEFAULT: Span = Span::from_secs(30);
pub const STOP_TIMEOUT_MAX: Span = Span::from_secs(120);
