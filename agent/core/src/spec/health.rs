//! Checks of a container: how it is found out whether it lives, and whether it may be used.

use serde::{Deserialize, Serialize};

/// ECS's `healthCheck`, with two kinds more: those that need no shell in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub probe: Probe,
    pub interval_s: u32,
    pub timeout_s: u32,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// From its start; until then failures do not count.
    pub start_period_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Nothing, and what the image has of its own is switched off.
    None,
    /// Run in the container by the container runtime; 0 is healthy.
    Command {
        shell: bool,
        words: Vec<String>,
    },
    Net(NetProbe),
}

/// Asked by the agent, from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetProbe {
    pub port: u16,
    /// Of what is asked for by HTTP, where 200 to 399 is healthy; else a connection is enough.
    pub path: Option<String>,
}

impl HealthCheck {
    /// ECS's values where nothing is said.
    pub const INTERVAL_S: u32 = 30;
    pub const TIMEOUT_S: u32 = 5;
    pub const RETRIES: u32 = 3;

    /// It finds something out.
    pub fn is_on(&self) -> bool {
        self.probe != Probe::None
    }

    pub const fn net(&self) -> Option<&NetProbe> {
        match &self.probe {
            Probe::Net(probe) => Some(probe),
            Probe::None | Probe::Command { .. } => None,
        }
    }

    /// The list of words that ECS calls its command.
    pub fn command(&self) -> Vec<String> {
        let words = |first: &str, rest: &[String]| {
            let first = std::iter::once(first.to_owned());
            first.chain(rest.iter().cloned()).collect()
        };
        match &self.probe {
            Probe::None => words("NONE", &[]),
            Probe::Command {
                shell: true,
                words: w,
            } => words("CMD-SHELL", w),
            Probe::Command {
                shell: false,
                words: w,
            } => words("CMD", w),
            Probe::Net(NetProbe { port, path: None }) => words("TCP", &[port.to_string()]),
            Probe::Net(NetProbe {
                port,
                path: Some(path),
            }) => words("HTTP", &[port.to_string(), path.clone()]),
        }
    }
}
