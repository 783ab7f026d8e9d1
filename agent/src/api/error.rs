//! What an operation answers when it does not do what it was asked: ECS's types, our sentences.

use crate::handle::Stopping;
use holdfast_core::{command::Refusal, spec::SpecErrors};
use serde_json::{Value, json};

/// ECS's error types, as far as we answer them; the text says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    AccessDenied(String),
    #[error("{0}")]
    AttributeLimitExceeded(String),
    #[error("{0}")]
    Client(String),
    #[error("{0}")]
    ClusterContainsContainerInstances(String),
    #[error("{0}")]
    ClusterContainsServices(String),
    #[error("{0}")]
    ClusterContainsTasks(String),
    #[error("{0}")]
    ClusterNotFound(String),
    #[error("{0}")]
    IncompleteSignature(String),
    #[error("{0}")]
    InvalidParameter(String),
    #[error("{0}")]
    InvalidSignature(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    MissingAuthenticationToken(String),
    #[error("{0}")]
    NoSuchDefinition(String),
    #[error("{0}")]
    NoSuchTask(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    RequestTooLarge(String),
    #[error("{0}")]
    Serialization(String),
    /// Worth another try: clients of ECS make one by themselves.
    #[error("{0}")]
    Server(String),
    #[error("{0}")]
    ServiceNotActive(String),
    #[error("{0}")]
    ServiceNotFound(String),
    #[error("{0}")]
    TargetNotFound(String),
    #[error("{0}")]
    UnknownOperation(String),
    #[error("{0}")]
    UnrecognizedClient(String),
}

impl ApiError {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::AccessDenied(_) => "AccessDeniedException",
            Self::AttributeLimitExceeded(_) => "AttributeLimitExceededException",
            Self::Client(_) | Self::NoSuchDefinition(_) => "ClientException",
            Self::ClusterContainsContainerInstances(_) => {
                "ClusterContainsContainerInstancesException"
            }
            Self::ClusterContainsServices(_) => "ClusterContainsServicesException",
            Self::ClusterContainsTasks(_) => "ClusterContainsTasksException",
            Self::ClusterNotFound(_) => "ClusterNotFoundException",
            Self::IncompleteSignature(_) => "IncompleteSignatureException",
            Self::InvalidParameter(_) | Self::NoSuchTask(_) => "InvalidParameterException",
            Self::InvalidSignature(_) => "InvalidSignatureException",
            Self::LimitExceeded(_) => "LimitExceededException",
            Self::MissingAuthenticationToken(_) => "MissingAuthenticationTokenException",
            Self::NotFound(_) => "ResourceNotFoundException",
            Self::RequestTooLarge(_) => "RequestEntityTooLargeException",
            Self::Serialization(_) => "SerializationException",
            Self::Server(_) => "ServerException",
            Self::ServiceNotActive(_) => "ServiceNotActiveException",
            Self::ServiceNotFound(_) => "ServiceNotFoundException",
            Self::TargetNotFound(_) => "TargetNotFoundException",
            Self::UnknownOperation(_) => "UnknownOperationException",
            Self::UnrecognizedClient(_) => "UnrecognizedClientException",
        }
    }

    /// The HTTP status of ECS's API: 400 whatever the client did wrong, 500 where it did not.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Server(_) => 500,
            Self::RequestTooLarge(_) => 413,
            _ => 400,
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"__type": self.kind(), "message": self.to_string()})
    }

    /// What an agent refused for another one; `None` where it was not able to do it at the moment.
    pub(crate) fn of_json(answer: &Value) -> Option<Self> {
        let text = answer["message"].as_str()?.to_owned();
        Some(match answer["__type"].as_str()? {
            "ClientException" => Self::Client(text),
            "InvalidParameterException" => Self::InvalidParameter(text),
            "LimitExceededException" => Self::LimitExceeded(text),
            _ => return None,
        })
    }

    /// Another agent may know what this one does not yet.
    pub(crate) const fn may_be_on_its_way(&self) -> bool {
        matches!(
            self,
            Self::ClusterNotFound(_)
                | Self::NoSuchDefinition(_)
                | Self::NoSuchTask(_)
                | Self::NotFound(_)
                | Self::ServiceNotFound(_)
        )
    }

    /// A fault of the request's form, for every operation but `RegisterTaskDefinition`.
    pub(crate) fn invalid(err: impl Into<SpecErrors>) -> Self {
        Self::InvalidParameter(err.into().to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoSuchDefinition(_) => Self::NoSuchDefinition(text),
            Refusal::DefinitionInactive(_) => Self::Client(text),
            Refusal::NoSuchCluster(_) => Self::ClusterNotFound(text),
            Refusal::ClusterHasServices { .. } => Self::ClusterContainsServices(text),
            Refusal::ClusterHasTasks { .. } => Self::ClusterContainsTasks(text),
            Refusal::NoSuchService(_) => Self::ServiceNotFound(text),
            Refusal::NoSuchTask(_) => Self::NoSuchTask(text),
            Refusal::NoSuchRun(_)
            | Refusal::StillRuns(_)
            | Refusal::NoSuchHost(_)
            | Refusal::ServiceExists(_)
            | Refusal::StillScaled { .. }
            | Refusal::HostIsUp { .. }
            | Refusal::ForgetsItself
            | Refusal::LastHost { .. }
            | Refusal::NotTakenOver { .. } => Self::InvalidParameter(text),
            Refusal::NoSuchKey(_) | Refusal::NoSuchValue(_) | Refusal::NoSuchSchedule(_) => {
                Self::NotFound(text)
            }
            Refusal::NoKeys
            | Refusal::KeyLacking { .. }
            | Refusal::KeyUsed { .. }
            | Refusal::KeySeals { .. }
            | Refusal::ValueUsed { .. }
            | Refusal::OnlyKey(_)
            | Refusal::KeyOfAbsent { .. } => Self::InvalidParameter(text),
            Refusal::Limit { .. } => Self::LimitExceeded(text),
            Refusal::NotSaved { .. } | Refusal::NotCaughtUp { .. } | Refusal::NotPulled { .. } => {
                Self::Server(text)
            }
        }
    }
}

impl From<Stopping> for ApiError {
    fn from(stopping: Stopping) -> Self {
        Self::Server(stopping.to_string())
    }
}
