//! The Amazon ECS operations over one agent's view: pure, so that they are tested without a server.
//!
//! A request is planned ([`plan`]) into an answer or a command; what a command did is told by
//! [`answer`]. Both run beside the driver, on what the agent saw between two steps.

pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod request;
pub(crate) mod scope;
pub(crate) mod view;
pub(crate) mod definitions;
pub(crate) mod clusters;
pub(crate) mod settings;
pub(crate) mod tasks;
pub(crate) mod task_shape;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod services;
pub(crate) mod remembered;
pub(crate) mod deployments;
pub(crate) mod service_events;
pub(crate) mod tags;
pub(crate) mod attributes;
pub(crate) mod hosts;
pub(crate) mod images;
pub(crate) mod introspection;
pub(crate) mod keys;
pub(crate) mod values;
pub(crate) mod metadata;
pub(crate) mod metadata_file;
pub(crate) mod why;
pub(crate) mod overview;
pub(crate) mod prometheus;
pub(crate) mod traefik;
pub(crate) mod reach;
pub(crate) mod events;
pub(crate) mod protection;
#[cfg(test)]
pub(crate) mod tests;

use error::ApiError;
use holdfast_core::{
    cluster::tag::Subject,
    command::{Command, Outcome},
};
use serde_json::{Value, json};
use view::View;

/// What the header `X-Amz-Target` starts with.
pub(crate) const TARGET: &str = "AmazonEC2ContainerServiceV20141113";

/// A request as understood.
#[derive(Debug)]
pub(crate) enum Plan {
    Answer(Value),
    /// An answer that was written down as it was made.
    Written {
        json: Vec<u8>,
        /// Something that was asked for is not known.
        lacks: bool,
        /// It tells what only those may read who may deploy.
        tells_secrets: bool,
    },
    Write {
        command: Command,
        /// The answer, where what it describes is gone once the command is carried out.
        prepared: Option<Value>,
        /// What of the request is not done, and why, as ECS tells it.
        failures: Vec<Value>,
    },
}

impl Plan {
    pub(crate) const fn write(command: Command) -> Self {
        Self::Write {
            command,
            prepared: None,
            failures: Vec::new(),
        }
    }

    pub(crate) const fn prepared(command: Command, answer: Value) -> Self {
        Self::Write {
            command,
            prepared: Some(answer),
            failures: Vec::new(),
        }
    }
}

macro_rules! operations {
    ($($name:ident $reach:ident;)*) => {
        /// The operations that are served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),* }

        impl Operation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            pub(crate) const fn reach(self) -> Reach {
                match self { $(Self::$name => Reach::$reach),* }
            }
        }
    };
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everybody on the host.
    Read,
    /// Whoever may deploy.
    Write,
    /// Also whoever may deploy; of the keys for TCP, those of role admin alone.
    Hosts,
}

operations! {
    CreateCluster Hosts;
    CreateService Write;
    DeleteAccountSetting Hosts;
    DeleteAttributes Hosts;
    DeleteCluster Hosts;
    DeleteService Write;
    DeleteTaskDefinitions Write;
    DeregisterContainerInstance Hosts;
    DeregisterTaskDefinition Write;
    DescribeClusters Read;
    DescribeContainerInstances Read;
    DescribeServiceDeployments Read;
    DescribeServiceRevisions Read;
    DescribeServices Read;
    DescribeTaskDefinition Read;
    DescribeTasks Read;
    GetTaskProtection Read;
    ListAccountSettings Read;
    ListAttributes Read;
    ListClusters Read;
    ListContainerInstances Read;
    ListServiceDeployments Read;
    ListServices Read;
    ListTagsForResource Read;
    ListTaskDefinitionFamilies Read;
    ListTaskDefinitions Read;
    ListTasks Read;
    PutAccountSetting Hosts;
    PutAccountSettingDefault Hosts;
    PutAttributes Hosts;
    RegisterTaskDefinition Write;
    RunTask Write;
    StartTask Write;
    StopTask Write;
    TagResource Write;
    UntagResource Write;
    UpdateCluster Hosts;
    UpdateClusterSettings Hosts;
    UpdateContainerInstancesState Hosts;
    UpdateService Write;
    UpdateTaskProtection Write;
}

impl Operation {
    /// The operation that the header `X-Amz-Target` names.
    pub(crate) fn of_target(target: &str) -> Result<Self, ApiError> {
        let name = target
            .strip_prefix(TARGET)
            .and_then(|rest| rest.strip_prefix('.'));
        Self::ALL
            .iter()
            .find(|operation| Some(operation.as_str()) == name)
            .copied()
            .ok_or_else(|| {
                let served: Vec<_> = Self::ALL.iter().map(|o| o.as_str()).collect();
                let wanted = name.unwrap_or(target);
                ApiError::UnknownOperation(format!(
                    "Holdfast does not serve the operation {:?}; it serves {}",
                    wanted.chars().take(80).collect::<String>(),
                    served.join(", ")
                ))
            })
    }
}

/// Understands a request; a read is answered at once.
pub(crate) fn plan(view: &View<'_>, operation: Operation, body: &Value) -> Result<Plan, ApiError> {
    let context = view.context.scoped(view.board, &body["cluster"])?;
    let view = &view.within(&context);
    match operation {
        Operation::RegisterTaskDefinition => definitions::plan_register(body),
        Operation::DeregisterTaskDefinition => definitions::plan_deregister(view, body),
        Operation::DeleteTaskDefinitions => definitions::plan_delete(body),
        Operation::CreateCluster => clusters::plan_create(view, body),
        Operation::DeleteCluster => clusters::plan_delete(view, body),
        Operation::DescribeClusters => clusters::describe(view, body).map(Plan::Answer),
        Operation::ListClusters => clusters::list(view, body).map(Plan::Answer),
        Operation::UpdateCluster => settings::update_cluster(view, body).map(Plan::Answer),
        Operation::UpdateClusterSettings => {
            settings::update_cluster_settings(view, body).map(Plan::Answer)
        }
        Operation::ListAccountSettings => settings::list(view, body).map(Plan::Answer),
        Operation::PutAccountSetting => settings::put(view, body).map(Plan::Answer),
        Operation::PutAccountSettingDefault => settings::put_default(view, body).map(Plan::Answer),
        Operation::DeleteAccountSetting => settings::delete(view, body).map(Plan::Answer),
        Operation::CreateService => services::plan_create(view, body),
        Operation::UpdateService => services::plan_update(view, body),
        Operation::DeleteService => services::plan_delete(view, body),
        Operation::RunTask => runs::plan_run(view, body),
        Operation::StartTask => runs::plan_start(view, body),
        Operation::StopTask => tasks::plan_stop(view, body),
        Operation::UpdateTaskProtection => protection::plan_update(view, body),
        Operation::GetTaskProtection => protection::get(view, body).map(Plan::Answer),
        Operation::UpdateContainerInstancesState => hosts::plan_state(view, body),
        Operation::DeregisterContainerInstance => hosts::plan_deregister(view, body),
        Operation::PutAttributes => attributes::plan_put(view, body),
        Operation::DeleteAttributes => attributes::plan_delete(view, body),
        Operation::ListAttributes => attributes::list(view, body).map(Plan::Answer),
        Operation::TagResource => tags::plan_tag(view, body),
        Operation::UntagResource => tags::plan_untag(view, body),
        Operation::ListTagsForResource => tags::list(view, body).map(Plan::Answer),
        Operation::DescribeTaskDefinition => definitions::describe(view, body).map(Plan::Answer),
        Operation::ListTaskDefinitionFamilies => {
            definitions::list_families(view, body).map(Plan::Answer)
        }
        Operation::ListTaskDefinitions => definitions::list(view, body).map(Plan::Answer),
        Operation::DescribeServices => services::describe(view, body),
        Operation::ListServices => services::list(view, body).map(Plan::Answer),
        Operation::ListServiceDeployments => deployments::list(view, body).map(Plan::Answer),
        Operation::DescribeServiceDeployments => {
            deployments::describe(view, body).map(Plan::Answer)
        }
        Operation::DescribeServiceRevisions => {
            deployments::describe_revisions(view, body).map(Plan::Answer)
        }
        Operation::DescribeTasks => tasks::describe(view, body),
        Operation::ListTasks => tasks::list(view, body).map(Plan::Answer),
        Operation::DescribeContainerInstances => hosts::describe(view, body).map(Plan::Answer),
        Operation::ListContainerInstances => hosts::list(view, body).map(Plan::Answer),
    }
}

/// Tells what a command did.
pub(crate) fn answer(view: &View<'_>, outcome: &Outcome) -> Result<Value, ApiError> {
    match outcome {
        Outcome::Registered {
            family, revision, ..
        } => definitions::registered(view, family, *revision),
        Outcome::Retired {
            definitions,
            failed,
            delete,
        } => definitions::retired(view, (definitions, failed), *delete),
        Outcome::Created(id) | Outcome::Updated(id) | Outcome::Deleted(id) => {
            // Somebody else may have deleted it in the meantime.
            let service = view.board.service(*id).ok_or_else(|| {
                ApiError::Server(format!(
                    "the change was made, but the service {id} is gone already; look with \
                     `holdfast service ls`"
                ))
            })?;
            Ok(json!({"service": services::service_json(view, &service)}))
        }
        Outcome::RunBegun(id) => runs::begun(view, *id),
        Outcome::RunStopped(_) | Outcome::RunRemoved(_) => Ok(runs::changed(outcome)),
        Outcome::ScheduleSet { .. } | Outcome::ScheduleRemoved(_) => {
            schedules::changed(view, outcome)
        }
        Outcome::ProtectionOrdered {
            until,
            tasks,
            failed,
        } => Ok(protection::ordered(view, *until, tasks, failed)),
        Outcome::ClusterMade(name) => {
            Ok(json!({"cluster": clusters::cluster_json(view, name, false)}))
        }
        Outcome::Tagged(subjects) => match &subjects[..] {
            [Subject::Cluster(name)] => {
                Ok(json!({"cluster": clusters::cluster_json(view, name, false)}))
            }
            _ => Ok(json!({})),
        },
        // What it was like was prepared before.
        Outcome::ClusterDeleted(_) => Ok(json!({})),
        Outcome::StopOrdered(task) => tasks::stop_ordered(view, *task),
        Outcome::Directed(hosts) => Ok(hosts::directed(view, hosts)),
        // What it was like was prepared before: the board has no such host any more.
        Outcome::Forgotten(host) => Ok(json!({
            "containerInstance": {"containerInstanceArn": view.context.host_arn(*host)}
        })),
        Outcome::Left { stopped } => Ok(json!({"left": true, "tasksStopped": stopped})),
        Outcome::KeyInstalled(_) | Outcome::KeyPutToUse(_) | Outcome::KeyRemoved(_) => {
            Ok(keys::changed(outcome))
        }
        // Both are said as services hear of it.
        Outcome::ValueSet { .. } => Ok(values::set(outcome, true)),
        Outcome::ValueRemoved(_) => Ok(values::removed(outcome)),
        Outcome::ImagePulled { .. } => Ok(images::pulled(outcome)),
    }
}
