//! What a driver tells of a call that the container runtime did not answer in time.

use holdfast_core::task::runtime::{FailureKind, RuntimeCommand, RuntimeEvent, RuntimeFailure};

/// The event that stands for the missing answer; a list has none then.
pub fn time_out(command: &RuntimeCommand) -> Option<RuntimeEvent> {
    let failure = RuntimeFailure {
        kind: FailureKind::Transient,
        reason: "DockerTimeoutError: no answer in time".to_owned(),
    };
    match command {
        RuntimeCommand::Create(make) => Some(RuntimeEvent::CreateFailed {
            task: make.labels.task,
            container: make.labels.container.clone(),
            failure,
        }),
        RuntimeCommand::Start {
            task, container, ..
        } => Some(RuntimeEvent::StartFailed {
            task: *task,
            container: container.clone(),
            failure,
        }),
        RuntimeCommand::Stop {
            task, container, ..
        } => Some(RuntimeEvent::StopFailed {
            task: *task,
            container: container.clone(),
            failure,
        }),
        RuntimeCommand::Remove {
            task, container, ..
        } => Some(RuntimeEvent::RemoveFailed {
            task: *task,
            container: container.clone(),
            failure,
        }),
        RuntimeCommand::Check {
            task,
            container,
            kind,
            ..
        } => Some(RuntimeEvent::Checked {
            task: *task,
            container: container.clone(),
            kind: *kind,
            outcome: Err("no answer in time".to_owned()),
        }),
        RuntimeCommand::Pull { image } => Some(RuntimeEvent::ImagePulled {
            image: image.clone(),
            outcome: Err(failure),
        }),
        RuntimeCommand::ReadLog { .. } | RuntimeCommand::List => None,
    }
}

/// A failure that another try would not change.
pub const fn permanent(reason: String) -> RuntimeFailure {
    RuntimeFailure {
        kind: FailureKind::Permanent,
        reason,
    }
}
