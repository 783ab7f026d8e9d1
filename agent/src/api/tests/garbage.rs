//! Requests that nobody means: each is answered or refused, whatever is in it.

use super::{
    board::{A, task_id, with_view},
    runs::begun,
};
use crate::api::{self, Operation, error::ApiError};
use holdfast_core::{rng::Rng, spec::ecs_fields};
use serde_json::{Map, Value, json};

/// For each operation.
const REQUESTS: u64 = 400;
const DEPTH_MAX: u32 = 4;

/// A request that is served, and the fields that ECS knows.
fn known(operation: Operation) -> (Value, &'static [&'static str]) {
    use Operation as O;
    use ecs_fields as f;
    let service = "arn:aws:ecs:eu-central-1:000000000000:service/shop/web";
    match operation {
        O::CreateService => (
            json!({"serviceName": "new", "taskDefinition": "web:1", "desiredCount": 2}),
            f::CREATE_SERVICE,
        ),
        O::DeleteService => (json!({"service": "web", "force": true}), f::DELETE_SERVICE),
        O::DescribeServices => (json!({"services": ["web"]}), f::DESCRIBE_SERVICES),
        O::ListServices => (json!({"maxResults": 1}), f::LIST_SERVICES),
        O::ListTagsForResource => (json!({"resourceArn": service}), f::LIST_TAGS_FOR_RESOURCE),
        O::TagResource => (
            json!({"resourceArn": service, "tags": [
                {"key": "holdfast:partition", "value": "fill"}
            ]}),
            f::TAG_RESOURCE,
        ),
        O::UntagResource => (
            json!({"resourceArn": service, "tagKeys": ["holdfast:partition"]}),
            f::UNTAG_RESOURCE,
        ),
        O::UpdateService => (
            json!({"service": "web", "desiredCount": 1}),
            f::UPDATE_SERVICE,
        ),
        O::CreateCluster => (json!({"clusterName": "shop"}), f::CREATE_CLUSTER),
        O::DeleteCluster => (json!({"cluster": "shop"}), f::DELETE_CLUSTER),
        O::DescribeClusters => (
            json!({"clusters": ["shop"], "include": ["TAGS"]}),
            f::DESCRIBE_CLUSTERS,
        ),
        O::ListClusters => (json!({"maxResults": 1}), f::LIST_CLUSTERS),
        other => of_settings(other)
            .or_else(|| of_deployments(other))
            .or_else(|| of_definitions(other))
            .unwrap_or_else(|| of_tasks(other)),
    }
}

fn of_settings(operation: Operation) -> Option<(Value, &'static [&'static str])> {
    use Operation as O;
    use ecs_fields as f;
    let setting = json!({"name": "taskLongArnFormat", "value": "enabled"});
    let settings = json!([{"name": "containerInsights", "value": "disabled"}]);
    Some(match operation {
        O::ListAccountSettings => (json!({"maxResults": 3}), f::LIST_ACCOUNT_SETTINGS),
        O::PutAccountSetting => (setting, f::PUT_ACCOUNT_SETTING),
        O::PutAccountSettingDefault => (setting, f::PUT_ACCOUNT_SETTING_DEFAULT),
        O::DeleteAccountSetting => (json!({"name": "awsvpcTrunking"}), f::DELETE_ACCOUNT_SETTING),
        O::UpdateCluster => (
            json!({"cluster": "shop", "settings": settings}),
            f::UPDATE_CLUSTER,
        ),
        O::UpdateClusterSettings => (
            json!({"cluster": "shop", "settings": settings}),
            f::UPDATE_CLUSTER_SETTINGS,
        ),
        _ => return None,
    })
}

fn of_deployments(operation: Operation) -> Option<(Value, &'static [&'static str])> {
    use Operation as O;
    use ecs_fields as f;
    let arn = |kind: &str| format!("arn:aws:ecs:eu-central-1:000000000000:{kind}/shop/web/1");
    Some(match operation {
        O::ListServiceDeployments => (
            json!({"service": "web", "status": ["IN_PROGRESS"], "createdAt": {"after": 1.5}}),
            f::LIST_SERVICE_DEPLOYMENTS,
        ),
        O::DescribeServiceDeployments => (
            json!({"serviceDeploymentArns": [arn("service-deployment")]}),
            f::DESCRIBE_SERVICE_DEPLOYMENTS,
        ),
        O::DescribeServiceRevisions => (
            json!({"serviceRevisionArns": [arn("service-revision")]}),
            f::DESCRIBE_SERVICE_REVISIONS,
        ),
        _ => return None,
    })
}

fn of_definitions(operation: Operation) -> Option<(Value, &'static [&'static str])> {
    use Operation as O;
    use ecs_fields as f;
    Some(match operation {
        O::DeleteTaskDefinitions => (
            json!({"taskDefinitions": ["web:1"]}),
            f::DELETE_TASK_DEFINITIONS,
        ),
        O::DeregisterTaskDefinition => (
            json!({"taskDefinition": "web:1"}),
            f::DEREGISTER_TASK_DEFINITION,
        ),
        O::DescribeTaskDefinition => (
            json!({"taskDefinition": "web"}),
            f::DESCRIBE_TASK_DEFINITION,
        ),
        O::ListTaskDefinitionFamilies => {
            (json!({"status": "ALL"}), f::LIST_TASK_DEFINITION_FAMILIES)
        }
        O::ListTaskDefinitions => (json!({"sort": "DESC"}), f::LIST_TASK_DEFINITIONS),
        O::RegisterTaskDefinition => (
            json!({"family": "new", "memory": "64", "volumes": [{"name": "v"}],
                "containerDefinitions": [{"name": "c", "image": "i:1", "memory": 8, "cpu": 4,
                "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
                "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}],
                "environment": [{"name": "A", "value": "b"}],
                "healthCheck": {"command": ["CMD", "x"]}}]}),
            f::REGISTER_TASK_DEFINITION,
        ),
        _ => return None,
    })
}

fn of_tasks(operation: Operation) -> (Value, &'static [&'static str]) {
    use Operation as O;
    use ecs_fields as f;
    let (task, host) = (task_id(1).to_string(), A.to_string());
    match operation {
        O::RunTask => (
            json!({"taskDefinition": "web", "count": 2, "overrides": {"containerOverrides": [
                {"name": "nginx", "command": ["x"], "environment": [{"name": "A", "value": "b"}]}
            ]}}),
            f::RUN_TASK,
        ),
        O::StartTask => (
            json!({"taskDefinition": "web", "containerInstances": [host, "gone"], "tags": [
                {"key": "holdfast:retries", "value": "1"}, {"key": "team", "value": "red"}]}),
            f::START_TASK,
        ),
        O::PutAttributes | O::DeleteAttributes => (
            json!({"attributes": [{"name": "rack", "value": "7", "targetId": host}]}),
            f::PUT_ATTRIBUTES,
        ),
        O::ListAttributes => (
            json!({"targetType": "container-instance", "attributeName": "a"}),
            f::LIST_ATTRIBUTES,
        ),
        O::StopTask => (json!({"task": task, "reason": "x"}), f::STOP_TASK),
        O::DescribeTasks => (json!({"tasks": [task]}), f::DESCRIBE_TASKS),
        O::ListTasks => (
            json!({"serviceName": "web", "desiredStatus": "RUNNING"}),
            f::LIST_TASKS,
        ),
        O::GetTaskProtection => (json!({"tasks": [task]}), f::GET_TASK_PROTECTION),
        O::UpdateTaskProtection => (
            json!({"tasks": [task], "protectionEnabled": true}),
            f::UPDATE_TASK_PROTECTION,
        ),
        O::DeregisterContainerInstance => (
            json!({"containerInstance": host, "force": true}),
            f::DEREGISTER_CONTAINER_INSTANCE,
        ),
        O::DescribeContainerInstances => (
            json!({"containerInstances": [host]}),
            f::DESCRIBE_CONTAINER_INSTANCES,
        ),
        O::ListContainerInstances => (json!({"status": "ACTIVE"}), f::LIST_CONTAINER_INSTANCES),
        O::UpdateContainerInstancesState => (
            json!({"containerInstances": [host], "status": "DRAINING"}),
            f::UPDATE_CONTAINER_INSTANCES_STATE,
        ),
        other => panic!("{other:?} has no request here"),
    }
}

fn garbage(rng: &mut Rng, depth: u32) -> Value {
    const TEXTS: [&str; 14] = [
        "",
        "web",
        "web:1",
        "web:99999999999999999999",
        "shop",
        "ACTIVE",
        "\0",
        "ä😀\u{202e}",
        "arn:aws:ecs:::",
        "arn:aws:ecs:eu-central-1:000000000000:task/shop/x",
        "arn:aws:ecs:eu-central-1:000000000000:service/web",
        "hf1ff",
        "-1",
        "../../etc/passwd",
    ];
    match rng.below(if depth < DEPTH_MAX { 12 } else { 9 }) {
        0 => Value::Null,
        1 => json!(rng.below(2) == 0),
        2 => json!(rng.next_u64()),
        3 => json!(i64::MIN),
        4 => json!(rng.below(200) as i64 - 100),
        5 => json!(1.5e300),
        6 => json!("x".repeat(1 << rng.below(17))),
        7 | 8 => json!(TEXTS[rng.below(14) as usize]),
        9 | 10 => {
            let items = (0..rng.below(4)).map(|_| garbage(rng, depth + 1));
            Value::Array(items.collect())
        }
        _ => {
            let names = ecs_fields::CONTAINER_DEFINITION;
            let name = |rng: &mut Rng| names[rng.below(names.len() as u64) as usize].to_owned();
            let items = (0..rng.below(4)).map(|_| (name(rng), garbage(rng, depth + 1)));
            Value::Object(items.collect())
        }
    }
}

/// Something in it becomes something else, or goes.
fn spoil(value: &mut Value, rng: &mut Rng) {
    let stays_here = rng.below(3) == 0;
    match value {
        Value::Object(members) if !members.is_empty() && !stays_here => {
            let place = rng.below(members.len() as u64) as usize;
            let Some(name) = members.keys().nth(place).cloned() else {
                return;
            };
            match rng.below(8) {
                0 => drop(members.remove(&name)),
                _ => spoil(&mut members[&name], rng),
            }
        }
        Value::Array(items) if !items.is_empty() && !stays_here => {
            let place = rng.below(items.len() as u64) as usize;
            match rng.below(8) {
                0 => items.extend_from_within(place..),
                _ => spoil(&mut items[place], rng),
            }
        }
        other => *other = garbage(rng, 0),
    }
}

#[test]
fn whatever_is_asked_is_answered_or_refused_and_is_no_fault_of_the_servers() {
    let (board, rng) = (begun(), &mut Rng::new(7));
    let mut served = 0;
    for operation in Operation::ALL {
        let (good, fields) = known(*operation);
        let planned = with_view(&board, |view| api::plan(view, *operation, &good).map(drop));
        let is_refused_now = matches!(operation, Operation::DeleteCluster);
        assert!(
            planned.is_ok() != is_refused_now,
            "{operation:?}: {planned:?}"
        );
        for _ in 0..REQUESTS {
            let mut body = good.clone();
            for _ in 0..rng.below(4) {
                spoil(&mut body, rng);
            }
            if let Value::Object(members) = &mut body
                && rng.below(2) == 0
            {
                add(members, fields, rng);
            }
            let planned = with_view(&board, |view| api::plan(view, *operation, &body).map(drop));
            served += u64::from(planned.is_ok());
            let fault = matches!(planned, Err(ApiError::Server(_)));
            assert!(!fault, "{operation:?} {body}: {planned:?}");
            let text = planned.err().map(|err| err.to_string()).unwrap_or_default();
            assert!(text.len() < 8_192, "{operation:?}: {} bytes", text.len());
        }
    }
    assert!(
        served > REQUESTS,
        "of some requests only what does not matter is spoilt"
    );
}

fn add(members: &mut Map<String, Value>, fields: &[&str], rng: &mut Rng) {
    let field = fields[rng.below(fields.len() as u64) as usize];
    members.insert(field.to_owned(), garbage(rng, 1));
}
