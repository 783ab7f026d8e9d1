//! What a container asks of Holdfast that ECS has no field for: labels, so that the definition
//! stays one that ECS's tools take.

pub const READINESS_CHECK: &str = "io.holdfast.readiness-check";
pub const STOP_SIGNAL: &str = "io.holdfast.stop-signal";
pub const DEREGISTRATION_DELAY: &str = "io.holdfast.deregistration-delay";

/// All that a definition may say itself.
pub const LABELS: [&str; 3] = [READINESS_CHECK, STOP_SIGNAL, DEREGISTRATION_DELAY];
