//! The host's ledger: what each of its tasks has been promised, and whether one more fits.

use crate::{
    cluster::body::Capacity,
    ids::{GpuId, TaskId},
    spec::task_definition::{NetworkMode, Protocol, Resources, TaskDefinition},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    capacity: Capacity,
    /// Those that the capacity counts.
    gpus: Vec<GpuId>,
    promised: BTreeMap<TaskId, Resources>,
    dynamic_ports: Option<(u16, u16)>,
    /// Where the search for the next one begins: a port that somebody else has, unknown to us, is
    /// not given out twice in a row.
    next_port: u16,
}

/// Why a task does not fit, in the words that its refusal carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoom {
    Cpu {
        needed: u32,
        free: u32,
    },
    Memory {
        needed_mib: u32,
        free_mib: u32,
    },
    Gpus {
        needed: u32,
        free: usize,
    },
    Port {
        protocol: Protocol,
        port: u16,
        held_by: TaskId,
    },
    Dynamic {
        protocol: Protocol,
        first: u16,
        last: u16,
    },
}

impl Ledger {
    pub fn new(
        (capacity, gpus): (Capacity, Vec<GpuId>),
        dynamic_ports: Option<(u16, u16)>,
        seed: u64,
    ) -> Self {
        assert_eq!(usize::from(capacity.gpus), gpus.len(), "each GPU is named");
        // Agents that share a machine, and so its ports, begin apart; and so does each life of one,
        // as the one before may have chosen ports that nobody was told of.
        let next_port = match dynamic_ports {
            Some((first, last)) => first + (seed % (last - first + 1) as u64) as u16,
            None => 0,
        };
        Self {
            capacity,
            gpus,
            promised: BTreeMap::new(),
            dynamic_ports,
            next_port,
        }
    }

    /// Chooses the host ports that the definition leaves open.
    pub fn choose_ports(
        &mut self,
        mut definition: TaskDefinition,
    ) -> Result<TaskDefinition, NoRoom> {
        let maps = matches!(definition.network, NetworkMode::Bridge | NetworkMode::Task);
        let Some(range) = self.dynamic_ports.filter(|_| maps) else {
            return Ok(definition);
        };
        let mut taken = definition.needs().ports;
        let containers = definition.containers.iter_mut();
        let ports = containers.flat_map(|container| &mut container.ports);
        for port in ports.filter(|port| port.host_port == 0) {
            port.host_port = self.free_port(port.protocol, range, &taken)?;
            taken.push((port.protocol, port.host_port));
        }
        Ok(definition)
    }

    fn free_port(
        &mut self,
        protocol: Protocol,
        (first, last): (u16, u16),
        taken: &[(Protocol, u16)],
    ) -> Result<u16, NoRoom> {
        let from = self.next_port.clamp(first, last);
        let is_free = |port: &u16| {
            let wanted = (protocol, *port);
            let mut promised = self.promised.values();
            !taken.contains(&wanted) && !promised.any(|needs| needs.ports.contains(&wanted))
        };
        let found = (from..=last).chain(first..from).find(is_free);
        let port = found.ok_or(NoRoom::Dynamic {
            protocol,
            first,
            last,
        })?;
        self.next_port = if port == last { first } else { port + 1 };
        Ok(port)
    }

    /// Promises `needs` to the task, and says which GPUs it has; or says what is missing and
    /// promises nothing.
    pub fn reserve(&mut self, task: TaskId, needs: &Resources) -> Result<Vec<GpuId>, NoRoom> {
        let gpu_ids: Vec<GpuId> = if planted!(NeverRefuses) {
            let any = self.gpus.iter().take(needs.gpus as usize);
            any.cloned().collect()
        } else {
            self.check(needs)?;
            self.choose_gpus(needs.gpus)?
        };
        let promised = Resources {
            gpu_ids: gpu_ids.clone(),
            ..needs.clone()
        };
        self.adopt(task, promised);
        Ok(gpu_ids)
    }

    /// Whether all but the GPUs is free.
    fn check(&self, needs: &Resources) -> Result<(), NoRoom> {
        let free = self.free();
        if needs.cpu > free.cpu {
            return Err(NoRoom::Cpu {
                needed: needs.cpu,
                free: free.cpu,
            });
        }
        if needs.memory_mib > free.memory_mib {
            return Err(NoRoom::Memory {
                needed_mib: needs.memory_mib,
                free_mib: free.memory_mib,
            });
        }
        for &(protocol, port) in &needs.ports {
            let holder = self
                .promised
                .iter()
                .find(|(_, r)| r.ports.contains(&(protocol, port)));
            if let Some((&held_by, _)) = holder {
                return Err(NoRoom::Port {
                    protocol,
                    port,
                    held_by,
                });
            }
        }
        Ok(())
    }

    /// The first ones that nobody has. A task may hold one by another id than it has now, as an
    /// index in the place of a UUID: nobody knows which that is, so that one is kept free for it.
    fn choose_gpus(&self, needed: u32) -> Result<Vec<GpuId>, NoRoom> {
        let held = self.promised.values().flat_map(|r| &r.gpu_ids);
        let unknown = held.filter(|id| !self.gpus.contains(id)).count();
        let free: Vec<&GpuId> = self.free_gpus().collect();
        let count = free.len().saturating_sub(unknown);
        match count < needed as usize {
            true => Err(NoRoom::Gpus {
                needed,
                free: count,
            }),
            false => Ok(free.into_iter().take(needed as usize).cloned().collect()),
        }
    }

    /// By their ids: what a task holds may be none of those that there are now.
    fn free_gpus(&self) -> impl Iterator<Item = &GpuId> {
        let is_held = |id: &GpuId| self.promised.values().any(|r| r.gpu_ids.contains(id));
        self.gpus.iter().filter(move |id| !is_held(id))
    }

    /// Enters a task that runs already; what runs has its resources, whatever the sum.
    pub fn adopt(&mut self, task: TaskId, needs: Resources) {
        self.promised.insert(task, needs);
    }

    pub fn release(&mut self, task: TaskId) {
        self.promised.remove(&task);
    }

    pub fn used(&self) -> Capacity {
        let sum = |part: fn(&Resources) -> u32| {
            self.promised
                .values()
                .map(part)
                .fold(0, u32::saturating_add)
        };
        let gpus = self.gpus.len() - self.free_gpus().count();
        Capacity {
            cpu: sum(|r| r.cpu),
            memory_mib: sum(|r| r.memory_mib),
            gpus: u16::try_from(gpus).expect("no more than the capacity has"),
        }
    }

    pub fn free(&self) -> Capacity {
        self.capacity.less(self.used())
    }
}

impl Capacity {
    /// What is left after `used`; nothing where more is used than there is.
    pub const fn less(self, used: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(used.cpu),
            memory_mib: self.memory_mib.saturating_sub(used.memory_mib),
            gpus: self.gpus.saturating_sub(used.gpus),
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { needed, free } => {
                write!(f, "RESOURCE:CPU: needs {needed} CPU units, {free} free")
            }
            Self::Memory {
                needed_mib,
                free_mib,
            } => {
                write!(
                    f,
                    "RESOURCE:MEMORY: needs {needed_mib} MiB, {free_mib} free"
                )
            }
            Self::Gpus { needed, free } => {
                let plural = if *needed == 1 { "GPU" } else { "GPUs" };
                write!(f, "RESOURCE:GPU: needs {needed} {plural}, {free} free")
            }
            Self::Port {
                protocol,
                port,
                held_by,
            } => {
                write!(
                    f,
                    "RESOURCE:PORTS: port {port}/{protocol} is held by task {held_by}"
                )
            }
            Self::Dynamic {
                protocol,
                first,
                last,
            } => {
                write!(
                    f,
                    "RESOURCE:PORTS: no {protocol} port is free from {first} to {last} \
                     (dynamic_ports)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::task_definition::{Container, PortMapping};

    fn needs(cpu: u32, memory_mib: u32, ports: &[u16]) -> Resources {
        let ports = ports.iter().map(|&port| (Protocol::Tcp, port)).collect();
        Resources {
            cpu,
            memory_mib,
            ports,
            ..Resources::default()
        }
    }

    fn gpu_ids(ids: &[&str]) -> Vec<GpuId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn a_refusal_says_what_is_missing_and_promises_nothing() {
        let capacity = Capacity {
            cpu: 1024,
            memory_mib: 512,
            gpus: 0,
        };
        let mut ledger = Ledger::new((capacity, vec![]), None, 0);
        ledger.reserve(TaskId(1), &needs(512, 256, &[80])).unwrap();
        let why = |ledger: &mut Ledger, needs: &Resources| {
            ledger.reserve(TaskId(2), needs).unwrap_err().to_string()
        };
        assert_eq!(
            why(&mut ledger, &needs(600, 0, &[])),
            "RESOURCE:CPU: needs 600 CPU units, 512 free"
        );
        assert_eq!(
            why(&mut ledger, &needs(0, 300, &[])),
            "RESOURCE:MEMORY: needs 300 MiB, 256 free"
        );
        assert_eq!(
            why(&mut ledger, &needs(0, 0, &[81, 80])),
            "RESOURCE:PORTS: port 80/tcp is held by task 00000000000000000000000000000001"
        );
        assert_eq!(
            ledger.used(),
            Capacity {
                cpu: 512,
                memory_mib: 256,
                gpus: 0,
            }
        );
        ledger.release(TaskId(1));
        ledger.reserve(TaskId(2), &needs(1024, 512, &[80])).unwrap();
        assert_eq!(ledger.free(), Capacity::default());
    }

    #[test]
    fn a_gpu_belongs_to_one_task_until_that_has_gone() {
        let capacity = Capacity {
            gpus: 3,
            ..Capacity::default()
        };
        let mut ledger = Ledger::new((capacity, gpu_ids(&["0", "1", "GPU-c"])), None, 0);
        let wants = |gpus| Resources {
            gpus,
            ..Resources::default()
        };
        assert_eq!(
            ledger.reserve(TaskId(1), &wants(2)),
            Ok(gpu_ids(&["0", "1"]))
        );
        let why = |ledger: &mut Ledger, gpus| {
            let refused = ledger.reserve(TaskId(2), &wants(gpus));
            refused.unwrap_err().to_string()
        };
        assert_eq!(why(&mut ledger, 2), "RESOURCE:GPU: needs 2 GPUs, 1 free");
        // What runs is known again after a restart by its ids, and by nothing else.
        let found = Resources {
            gpu_ids: gpu_ids(&["GPU-c", "GPU-gone"]),
            ..wants(2)
        };
        ledger.adopt(TaskId(3), found);
        assert_eq!(why(&mut ledger, 1), "RESOURCE:GPU: needs 1 GPU, 0 free");
        // Which of those there are now is called GPU-gone nobody knows: one is kept free for it.
        ledger.release(TaskId(1));
        assert_eq!(why(&mut ledger, 2), "RESOURCE:GPU: needs 2 GPUs, 1 free");
        ledger.adopt(
            TaskId(1),
            Resources {
                gpu_ids: gpu_ids(&["0", "1"]),
                ..wants(2)
            },
        );
        assert_eq!(ledger.free().gpus, 0);
        ledger.release(TaskId(1));
        assert_eq!(ledger.reserve(TaskId(2), &wants(1)), Ok(gpu_ids(&["0"])));
        assert_eq!(ledger.free().gpus, 1);
        assert_eq!(ledger.reserve(TaskId(4), &wants(0)), Ok(vec![]));
    }

    #[test]
    fn ports_that_are_left_open_are_chosen_one_after_the_other() {
        let definition = |network| TaskDefinition {
            network,
            containers: vec![Container {
                ports: vec![
                    PortMapping::new(80, 0, Protocol::Tcp),
                    PortMapping::new(81, 61_002, Protocol::Tcp),
                    PortMapping::new(82, 0, Protocol::Tcp),
                    PortMapping::new(53, 0, Protocol::Udp),
                ],
                ..Container::default()
            }],
            ..TaskDefinition::default()
        };
        let mut ledger = Ledger::new((Capacity::default(), vec![]), Some((61_000, 61_004)), 0);
        ledger.next_port = 61_001;
        let chosen = |ledger: &mut Ledger, task| {
            let definition = ledger.choose_ports(definition(NetworkMode::Bridge));
            definition.map_err(|why| why.to_string()).map(|definition| {
                ledger.adopt(TaskId(task), definition.needs());
                let ports = definition.containers[0].ports.iter();
                ports.map(|port| port.host_port).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            chosen(&mut ledger, 1),
            Ok(vec![61_001, 61_002, 61_003, 61_004])
        );
        assert_eq!(
            chosen(&mut ledger, 2),
            Ok(vec![61_000, 61_002, 61_004, 61_000])
        );
        let none = "RESOURCE:PORTS: no tcp port is free from 61000 to 61004 (dynamic_ports)";
        assert_eq!(chosen(&mut ledger, 3), Err(none.to_owned()));
        let hosts = definition(NetworkMode::Host);
        assert_eq!(ledger.choose_ports(hosts.clone()), Ok(hosts));
    }
}
