//! ECS's words for where a task stands, and the one table of legal moves.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a task stands, in ECS's order; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskStatus {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

/// Why a task stopped, as ECS classes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    /// Its host is gone.
    TerminationNotice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

impl TaskStatus {
    /// The one table: a task never goes back, and `Stopped` is final.
    pub fn can_become(self, next: Self) -> bool {
        use TaskStatus::{
            Activating, Deactivating, Deprovisioning, Pending, Provisioning, Running, Stopped,
            Stopping,
        };
        match self {
            Provisioning => next > Provisioning,
            Pending => next > Pending,
            Activating => next > Activating,
            Running => matches!(next, Deactivating | Stopping | Deprovisioning | Stopped),
            Deactivating => matches!(next, Stopping | Deprovisioning | Stopped),
            Stopping => matches!(next, Deprovisioning | Stopped),
            Deprovisioning => matches!(next, Stopped),
            Stopped => false,
        }
    }

    /// Still holds, or may come to hold, a running container.
    pub fn is_live(self) -> bool {
        self < Self::Stopped
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl StopCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::TerminationNotice => "TerminationNotice",
        }
    }
}

impl Health {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for StopCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
