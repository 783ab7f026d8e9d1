//! What people ask for in a run: definitions, services, scaling, updates, deletions, stopped tasks.

use crate::ticks::Recurring;
use holdfast_core::{
    cluster::body::Availability,
    rng::Rng,
    spec::{
        given::{Secret, SecretPlace, SecretSource, ValueName},
        health::{HealthCheck, NetProbe, Probe},
        options::{HandOver, OptionsChange, PartitionPolicy, ReplaceAfter},
        run::{OnLost, RunOptions},
        task_definition::{
            Condition, Container, Dependency, PortMapping, Protocol, RestartPolicy, TaskDefinition,
        },
    },
};
use std::{collections::BTreeMap, fmt};

/// One order, given to an agent that is there at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Register(TaskDefinition),
    Create {
        service: String,
        family: String,
        desired: u32,
    },
    Scale {
        service: String,
        desired: u32,
    },
    /// To the family's latest revision.
    Update {
        service: String,
        family: String,
    },
    Delete {
        service: String,
    },
    SetValue {
        name: ValueName,
        restart: bool,
    },
    RemoveValue {
        name: ValueName,
    },
    /// How the service is held.
    Choose {
        service: String,
        options: OptionsChange,
    },
    Direct {
        host: usize,
        availability: Availability,
    },
    /// What is to run again and again.
    Schedule {
        name: String,
        recurring: Recurring,
    },
    /// The host that is asked is to leave.
    Leave,
    /// A host that is down by the board of the one asked, picked by this word, is forgotten.
    Forget {
        pick: u64,
    },
    /// Tasks that end by themselves.
    Run {
        family: String,
        count: u32,
        options: RunOptions,
    },
    /// The run that this word picks among those that the agent knows.
    StopRun {
        pick: u64,
    },
    /// The task that this word picks among those that the agent knows to run.
    StopTask {
        pick: u64,
    },
}

#[derive(Clone, Debug)]
pub struct TimedOrder {
    pub at: u64,
    /// Which agent is asked, or the next one that is there.
    pub host: usize,
    pub order: Order,
}

const SECOND: u64 = 1_000_000;
const FAMILIES: [&str; 3] = ["web", "pair", "edge"];

pub fn draw(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<TimedOrder> {
    let mut orders = Vec::new();
    let host = |rng: &mut Rng| rng.below(hosts as u64) as usize;
    for family in FAMILIES {
        orders.push(TimedOrder {
            at: 4 * SECOND + rng.below(SECOND),
            host: host(rng),
            order: Order::Register(definition(family, 1)),
        });
    }
    let services = 1 + rng.below(3);
    for number in 0..services {
        let family = FAMILIES[rng.below(FAMILIES.len() as u64) as usize];
        orders.push(TimedOrder {
            at: 8 * SECOND + rng.below(10 * SECOND),
            host: host(rng),
            order: Order::Create {
                service: format!("s{number}"),
                family: family.to_owned(),
                desired: count(rng, family, hosts),
            },
        });
    }
    let mut at = 20 * SECOND;
    let mut variant = 2;
    while at < seconds * SECOND {
        let service = format!("s{}", rng.below(services));
        let family = FAMILIES[rng.below(FAMILIES.len() as u64) as usize];
        let order = match rng.below(12) {
            0..=4 => Order::Scale {
                desired: count(rng, family, hosts),
                service,
            },
            5 | 6 => {
                variant += 1;
                Order::Register(definition(family, variant))
            }
            7 | 8 => Order::Update {
                service,
                family: family.to_owned(),
            },
            9 => Order::Delete { service },
            10 => Order::Create {
                service,
                family: family.to_owned(),
                desired: count(rng, family, hosts),
            },
            _ => Order::StopTask {
                pick: rng.next_u64(),
            },
        };
        orders.push(TimedOrder {
            at,
            host: host(rng),
            order,
        });
        at += rng.below(20 * SECOND);
    }
    orders.sort_by_key(|order| order.at);
    orders
}

/// Orders about hosts, and how services are held. As with faults, each seed switches about half of
/// the kinds on. They come from a seed of their own and after the others, whose numbers stay as
/// they are.
pub fn draw_choices(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<TimedOrder> {
    let kinds: Vec<u64> = (0..6).filter(|_| rng.below(2) == 0).collect();
    let mut orders = Vec::new();
    let mut at = 19 * SECOND + rng.below(5 * SECOND);
    while at < seconds * SECOND && !kinds.is_empty() {
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        orders.push(TimedOrder {
            at,
            host: rng.below(hosts as u64) as usize,
            order: choice(rng, kind, hosts),
        });
        at += rng.below(15 * SECOND);
    }
    // Again behind the others, for the sake of their numbers.
    if rng.below(2) == 0 {
        let options = OptionsChange {
            hand_over: Some(HandOver::StopFirst),
            ..OptionsChange::default()
        };
        orders.extend((0..3).map(|number| TimedOrder {
            at: 19 * SECOND + rng.below(seconds * SECOND),
            host: rng.below(hosts as u64) as usize,
            order: Order::Choose {
                service: format!("s{number}"),
                options,
            },
        }));
    }
    orders
}

/// Runs, in about half of the seeds; again from a seed of their own.
pub fn draw_runs(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<TimedOrder> {
    const FAMILIES: [&str; 3] = ["once", "fails", "endless"];
    let mut orders = Vec::new();
    if rng.below(2) == 0 {
        return orders;
    }
    let mut order = |rng: &mut Rng, at, order| {
        let host = rng.below(hosts as u64) as usize;
        orders.push(TimedOrder { at, host, order });
    };
    for family in FAMILIES {
        order(rng, 4 * SECOND, Order::Register(definition(family, 1)));
    }
    let mut at = 12 * SECOND + rng.below(10 * SECOND);
    while at < seconds * SECOND {
        let family = FAMILIES[rng.below(3) as usize].to_owned();
        let is_endless = family == "endless";
        let options = RunOptions {
            retries: rng.below(3) as u32,
            timeout_s: (is_endless || rng.below(3) == 0).then(|| 3 + rng.below(10) as u32),
            on_lost: [OnLost::Report, OnLost::Rerun][rng.below(2) as usize],
            remove: rng.below(4) == 0,
        };
        let count = 1 + rng.below(3) as u32;
        let wanted = match rng.below(6) {
            0 => Order::StopRun {
                pick: rng.next_u64(),
            },
            _ => Order::Run {
                family,
                count,
                options,
            },
        };
        order(rng, at, wanted);
        at += rng.below(15 * SECOND);
    }
    orders
}

fn choice(rng: &mut Rng, kind: u64, hosts: usize) -> Order {
    let mut options = OptionsChange::default();
    match kind {
        0 => {
            return Order::Direct {
                host: rng.below(hosts as u64) as usize,
                availability: [Availability::Drain, Availability::Active][rng.below(2) as usize],
            };
        }
        1 => return Order::Leave,
        2 => {
            return Order::Forget {
                pick: rng.next_u64(),
            };
        }
        3 => {
            let policies = [
                PartitionPolicy::Fill,
                PartitionPolicy::Hold,
                PartitionPolicy::Majority,
            ];
            options.partition = Some(policies[rng.below(3) as usize]);
        }
        4 => {
            let ms = 600 + rng.below(20_000) as u32;
            let times = [
                ReplaceAfter::Down,
                ReplaceAfter::Never,
                ReplaceAfter::SilentMs(ms),
            ];
            options.replace_after = Some(times[rng.below(3) as usize]);
        }
        _ => options.rebalance = Some(rng.below(2) == 0),
    }
    let service = format!("s{}", rng.below(3));
    Order::Choose { service, options }
}

fn count(rng: &mut Rng, family: &str, hosts: usize) -> u32 {
    // Its fixed port lets `edge` run once on each host at most.
    let most = if family == "edge" { hosts } else { 2 * hosts };
    1 + rng.below(most as u64) as u32
}

/// A definition of one of the known families; the variant makes it differ from the others.
pub fn definition(family: &str, variant: u64) -> TaskDefinition {
    let mut main = container("main", variant, family == "edge");
    let containers = match family {
        "pair" => vec![main, container("side", variant, false)],
        // The first in the list is the last to start.
        "chain" => {
            let mut side = container("side", variant, false);
            main.depends_on = vec![started("side")];
            side.depends_on = vec![started("base")];
            vec![main, side, container("base", variant, false)]
        }
        "gpu" => {
            main.gpus = 1;
            vec![main]
        }
        "checked" => {
            (main.health_check, main.readiness_check) = (Some(check()), Some(check()));
            vec![main]
        }
        // It does its work, well or not, and ends.
        "once" | "fails" | "endless" => {
            main.image = match family {
                "once" => "once-0:1",
                "fails" => "once-1:1",
                _ => "web:1",
            }
            .to_owned();
            main.ports.clear();
            vec![main]
        }
        "drifting" => {
            main.image = "drifting:1".to_owned();
            vec![main]
        }
        // The second one is run again whenever it ends.
        "again" => {
            let mut again = container("again", variant, false);
            (again.essential, again.restart) = (false, Some(at_once()));
            vec![main, again]
        }
        // It is given what the cluster keeps.
        "keyed" => {
            let given = |name: &str, from| Secret {
                at: SecretPlace::Variable(name.to_owned()),
                from,
            };
            let (name, member) = ("db".to_owned(), None);
            main.secrets = vec![
                given("DB", SecretSource::Secret { name, member }),
                given("CONF", SecretSource::Config("conf".to_owned())),
            ];
            vec![main]
        }
        _ => vec![main],
    };
    TaskDefinition {
        family: family.to_owned(),
        containers,
        ..TaskDefinition::default()
    }
}

fn started(container: &str) -> Dependency {
    Dependency {
        container: container.to_owned(),
        condition: Condition::Start,
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Net(NetProbe {
            port: 80,
            path: None,
        }),
        interval_s: 1,
        timeout_s: 1,
        retries: 3,
        start_period_s: Some(10),
    }
}

fn at_once() -> RestartPolicy {
    RestartPolicy {
        enabled: true,
        ignored_exit_codes: vec![],
        attempt_period_s: Some(0),
    }
}

fn container(name: &str, variant: u64, fixed_port: bool) -> Container {
    Container {
        name: name.to_owned(),
        image: "web:1".to_owned(),
        environment: BTreeMap::from([("VARIANT".to_owned(), variant.to_string())]),
        cpu: 64,
        memory_mib: 64,
        essential: true,
        ports: vec![PortMapping::new(
            80,
            if fixed_port { 8_080 } else { 0 },
            Protocol::Tcp,
        )],
        ..Container::default()
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(definition) => write!(f, "register {}", definition.family),
            Self::Create {
                service,
                family,
                desired,
            } => {
                write!(f, "create {service}: {desired} of {family}")
            }
            Self::Scale { service, desired } => write!(f, "scale {service} to {desired}"),
            Self::Update { service, family } => write!(f, "update {service} to {family}"),
            Self::SetValue { name, restart } => write!(f, "set {name}, restart: {restart}"),
            Self::RemoveValue { name } => write!(f, "remove {name}"),
            Self::Delete { service } => write!(f, "delete {service}"),
            Self::Choose { service, options } => write!(f, "hold {service} as {options:?}"),
            Self::Direct { host, availability } => write!(f, "{availability:?} h{host}"),
            Self::Leave => write!(f, "leave"),
            Self::Forget { .. } => write!(f, "forget a host that is down"),
            Self::Run {
                family,
                count,
                options,
            } => write!(f, "run {count} of {family}, {options:?}"),
            Self::Schedule { name, recurring } => {
                let Recurring {
                    expression,
                    family,
                    count,
                    ..
                } = recurring;
                write!(f, "schedule {name}: {count} of {family} {expression}")
            }
            Self::StopRun { .. } => write!(f, "stop a run"),
            Self::StopTask { .. } => write!(f, "stop a task"),
        }
    }
}
