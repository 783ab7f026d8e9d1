//! Whoever has a key for some clusters alone reaches nothing of others, whatever it is called.

use super::{
    board::{context, revision, task_id, with_view},
    clusters::{FRONT, staged},
};
use crate::api::{self, Operation, Plan, scope::about, tasks::deployment_number};
use expect_test::expect_file;
use serde_json::{Value, json};

fn of_service(name: &String) -> Vec<(Operation, Value)> {
    vec![
        (
            Operation::UpdateService,
            json!({"service": name, "desiredCount": 0}),
        ),
        (
            Operation::DeleteService,
            json!({"service": name, "force": true}),
        ),
        (Operation::DescribeServices, json!({"services": [name]})),
        (Operation::ListServiceDeployments, json!({"service": name})),
        (Operation::ListTasks, json!({"serviceName": name})),
        (
            Operation::TagResource,
            json!({"resourceArn": name, "tags": []}),
        ),
        (Operation::ListTagsForResource, json!({"resourceArn": name})),
    ]
}

fn of_task(id: &String) -> Vec<(Operation, Value)> {
    vec![
        (Operation::StopTask, json!({"task": id})),
        (Operation::DescribeTasks, json!({"tasks": [id]})),
        (Operation::GetTaskProtection, json!({"tasks": [id]})),
        (
            Operation::UpdateTaskProtection,
            json!({"tasks": [id], "protectionEnabled": true}),
        ),
    ]
}

/// What a service has, by its ARN.
fn of_parts() -> [(Operation, Value); 2] {
    ["service-deployment", "service-revision"].map(|kind| {
        let arn = |cluster| {
            let number = deployment_number(FRONT, (revision().definition, 0));
            format!("arn:aws:ecs:eu-central-1:000000000000:{kind}/{cluster}/web/{number}")
        };
        let arns = [arn("staging"), arn("shop/staging")];
        match kind {
            "service-revision" => (
                Operation::DescribeServiceRevisions,
                json!({"serviceRevisionArns": arns}),
            ),
            _ => (
                Operation::DescribeServiceDeployments,
                json!({"serviceDeploymentArns": arns}),
            ),
        }
    })
}

/// As whoever has a key for the agents' own.
#[test]
fn who_is_to_stay_in_a_cluster_reaches_nothing_of_another_whatever_it_is_called() {
    let board = staged();
    let plain = context();
    let task = task_id(40).to_string();
    let names = [
        "staging/web".to_owned(),
        "shop/staging/web".to_owned(),
        plain.service_arn("staging/web"),
        "arn:aws:ecs:eu-central-1:000000000000:service/shop/staging/web".to_owned(),
    ];
    let ids = [
        task.clone(),
        format!("arn:aws:ecs:eu-central-1:000000000000:task/{task}"),
        format!("arn:aws:ecs:eu-central-1:000000000000:task/shop/{task}"),
        format!("arn:aws:ecs:eu-central-1:000000000000:task/staging/{task}"),
    ];
    let asked = names.iter().flat_map(of_service);
    let asked = asked.chain(ids.iter().flat_map(of_task)).chain(of_parts());
    let told = asked.map(|(operation, body)| {
        let planned = with_view(&board, |view| {
            let own = view.context.scoped(view.board, &json!("shop"))?;
            api::plan(&view.within(&own), operation, &body)
        });
        let planned = planned.map(|plan| match plan {
            Plan::Written { json, .. } => {
                Plan::Answer(serde_json::from_slice(&json).expect("it is JSON"))
            }
            plan => plan,
        });
        let told = match planned {
            Ok(Plan::Answer(answer)) => {
                let lists = answer.as_object().into_iter().flatten();
                let told = lists
                    .map(|(name, list)| format!("{} {name}", list.as_array().map_or(0, Vec::len)));
                told.collect::<Vec<_>>().join(", ")
            }
            Ok(write) => format!("CHANGES {write:?}"),
            Err(err) => err.kind().to_owned(),
        };
        let about = about(&plain, operation, &body);
        format!("{operation:?} {body} ({about:?}): {told}")
    });
    let told: Vec<_> = told.collect();
    expect_file!["snapshots/kept_in_a_cluster.txt"].assert_eq(&told.join("\n"));
}
