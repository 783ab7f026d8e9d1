//! The host's ledger: what each of its tasks has been promised, and whether one more fits.

use crate::{
    cluster::body::Capacity,
    ids::TaskId,
    spec::task_definition::{Protocol, Resources},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    capacity: Capacity,
    promised: BTreeMap<TaskId, Resources>,
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
    Port {
        protocol: Protocol,
        port: u16,
        held_by: TaskId,
    },
}

impl Ledger {
    pub const fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            promised: BTreeMap::new(),
        }
    }

    /// Promises `needs` to the task, or says what is missing and promises nothing.
    pub fn reserve(&mut self, task: TaskId, needs: &Resources) -> Result<(), NoRoom> {
        if planted!(NeverRefuses) {
            self.adopt(task, needs.clone());
            return Ok(());
        }
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
        self.promised.insert(task, needs.clone());
        Ok(())
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
        Capacity {
            cpu: sum(|r| r.cpu),
            memory_mib: sum(|r| r.memory_mib),
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(cpu: u32, memory_mib: u32, ports: &[u16]) -> Resources {
        let ports = ports.iter().map(|&port| (Protocol::Tcp, port)).collect();
        Resources {
            cpu,
            memory_mib,
            ports,
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing_and_promises_nothing() {
        let mut ledger = Ledger::new(Capacity {
            cpu: 1024,
            memory_mib: 512,
        });
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
                memory_mib: 256
            }
        );
        ledger.release(TaskId(1));
        ledger.reserve(TaskId(2), &needs(1024, 512, &[80])).unwrap();
        assert_eq!(ledger.free(), Capacity::default());
    }
}
