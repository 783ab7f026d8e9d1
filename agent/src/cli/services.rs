//! `holdfast service …`.

use super::{
    args::{CreateArgs, OptionArgs, ServiceCommand, WaitArgs},
    client::{Client, encode},
    failure::Failure,
    output::{Output, at, list_at, number_at, properties, say, say_json, table, tail},
    task_definitions::read_json,
    wait,
};
use crate::api::Operation;
use holdfast_core::{
    cluster::namespace::split,
    spec::options::{HAND_OVER_TAG, PARTITION_TAG, PartitionPolicy, REPLACE_AFTER_TAG},
};
use serde_json::{Map, Value, json};

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: ServiceCommand,
) -> Result<(), Failure> {
    match command {
        ServiceCommand::Create(args) => create(client, output, args).await,
        ServiceCommand::Scale { name, count, wait } => {
            let (name, count) = scaled(&name, count)?;
            let body = json!({"service": name, "desiredCount": count});
            change(client, output, Operation::UpdateService, &body, Some(wait)).await
        }
        ServiceCommand::Update {
            name,
            task_definition,
            count,
            force_new_deployment,
            options,
            wait,
        } => {
            let tags = tags(&options);
            let mut body = json!({"service": name});
            set(&mut body, "taskDefinition", task_definition);
            set(&mut body, "desiredCount", count);
            let force = force_new_deployment.then_some(true);
            set(&mut body, "forceNewDeployment", force);
            set_options(&mut body, &options);
            let changes = body.as_object().is_some_and(|body| body.len() > 1);
            if !changes && tags.is_empty() {
                let text = "nothing to change: give --task-definition, --count or an option";
                return Err(Failure::Usage(text.to_owned()));
            }
            if !tags.is_empty() {
                let path = format!("/v1/services/{}", encode(&name));
                let service = client.get(&path).await?;
                let arn = at(&service, "/service/serviceArn");
                let body = json!({"resourceArn": arn, "tags": tags});
                client.call(Operation::TagResource, &body).await?;
            }
            warn_of_halves(client, &options).await;
            change(client, output, Operation::UpdateService, &body, Some(wait)).await
        }
        ServiceCommand::Rm { names, force } => {
            for name in names {
                let body = json!({"service": name, "force": force});
                change(client, output, Operation::DeleteService, &body, None).await?;
            }
            Ok(())
        }
        ServiceCommand::Rebalance { name, dry_run: _ } => {
            let path = format!("/v1/services/{}/rebalance", encode(&name));
            let answer = client.get(&path).await?;
            match output {
                Output::Json => say_json(&answer),
                Output::Table => say(&moves_text(list_at(&answer, "/moves"))),
            }
        }
        ServiceCommand::Ls => {
            let services = client.list("/v1/services", "services").await?;
            match output {
                Output::Json => say_json(&json!(services)),
                Output::Table => say(&list_text(&services)),
            }
        }
        ServiceCommand::Show { name } => show(client, output, &name).await,
        ServiceCommand::Wait { name, timeout } => wait::steady(client, &name, timeout).await,
    }
}

async fn create(client: &Client, output: Output, args: CreateArgs) -> Result<(), Failure> {
    let mut body = match &args.cli_input_json {
        Some(file) => read_json(file)?,
        None => Value::Object(Map::new()),
    };
    if !body.is_object() {
        let text = "the file must hold one JSON object, as CreateService takes it";
        return Err(Failure::Refused(text.to_owned()));
    }
    // As `cluster/name` where it is to be in another one than the agents' own.
    let named = args.name.as_deref().map(split);
    let (cluster, name) = named.unzip();
    set(&mut body, "cluster", cluster.flatten());
    set(&mut body, "serviceName", name);
    set(&mut body, "taskDefinition", args.task_definition);
    set(&mut body, "desiredCount", args.count);
    set_options(&mut body, &args.options);
    let tags = tags(&args.options);
    set(&mut body, "tags", (!tags.is_empty()).then_some(tags));
    warn_of_halves(client, &args.options).await;
    change(
        client,
        output,
        Operation::CreateService,
        &body,
        Some(args.wait),
    )
    .await
}

/// The options that ECS has words for.
fn set_options(body: &mut Value, options: &OptionArgs) {
    let rebalance = options.rebalance.as_deref();
    let rebalance = rebalance.map(|on| if on == "on" { "ENABLED" } else { "DISABLED" });
    set(body, "availabilityZoneRebalancing", rebalance);
    let grace = options.health_check_grace_period_seconds;
    set(body, "healthCheckGracePeriodSeconds", grace);
}

/// The options that ECS has no word for.
fn tags(options: &OptionArgs) -> Vec<Value> {
    let tag = |(key, value): (&str, &Option<String>)| {
        let value = value.as_ref()?;
        Some(json!({"key": key, "value": value}))
    };
    let given = [
        (REPLACE_AFTER_TAG, &options.replace_after),
        (PARTITION_TAG, &options.partition),
        (HAND_OVER_TAG, &options.hand_over),
    ];
    given.into_iter().filter_map(tag).collect()
}

/// `web 3` or `web=3`, as other tools have it.
pub(super) fn scaled(name: &str, count: Option<u32>) -> Result<(String, u32), Failure> {
    let joint = name.split_once('=');
    match (
        joint.and_then(|(name, count)| Some((name, count.parse().ok()?))),
        count,
    ) {
        (Some((name, count)), None) => Ok((name.to_owned(), count)),
        (None, Some(count)) if joint.is_none() => Ok((name.to_owned(), count)),
        _ => Err(Failure::Usage(
            "say how many copies are to run, once: `holdfast service scale NAME COUNT`".to_owned(),
        )),
    }
}

fn set<T: Into<Value>>(body: &mut Value, name: &str, value: Option<T>) {
    if let Some(value) = value {
        body[name] = value.into();
    }
}

async fn change(
    client: &Client,
    output: Output,
    operation: Operation,
    body: &Value,
    wait: Option<WaitArgs>,
) -> Result<(), Failure> {
    let mut answer = client.call(operation, body).await?;
    if let Some(wait) = wait.filter(|wait| wait.wait) {
        let name = named_in(body);
        wait::steady(client, &name, wait.timeout).await?;
        answer = client
            .get(&format!("/v1/services/{}", encode(&name)))
            .await?;
    }
    match output {
        Output::Json => say_json(&answer["service"]),
        Output::Table => say(&at(&answer, "/service/serviceName")),
    }
}

/// The service that a request is about, as paths take it.
fn named_in(body: &Value) -> String {
    let text = |field: &str| body[field].as_str();
    match (text("service"), text("cluster")) {
        (Some(service), _) => service.to_owned(),
        (None, Some(cluster)) => format!("{}/{}", tail(cluster), at(body, "/serviceName")),
        (None, None) => at(body, "/serviceName"),
    }
}

/// With its cluster, where that is another one than the agents' own.
fn name_of(service: &Value) -> String {
    let name = service.pointer("/holdfast/name").and_then(Value::as_str);
    name.map_or_else(|| at(service, "/serviceName"), str::to_owned)
}

/// Of two hosts neither is more than half. Whoever cannot be told so is not refused anything.
async fn warn_of_halves(client: &Client, options: &OptionArgs) {
    let majority = PartitionPolicy::Majority.to_string();
    if options.partition.as_ref() != Some(&majority) {
        return;
    }
    let hosts = client.list("/v1/hosts", "hosts").await;
    if hosts.is_ok_and(|hosts| hosts.len() == 2) {
        eprintln!(
            "warning: this cluster has two hosts; under `majority`, when one is lost or cut off, \
             nothing runs until both are back or the other one was forgotten"
        );
    }
}

async fn show(client: &Client, output: Output, name: &str) -> Result<(), Failure> {
    let mut answer = client
        .get(&format!("/v1/services/{}", encode(name)))
        .await?;
    // What was deleted has no slots to explain.
    if at(&answer, "/service/status") == "ACTIVE" {
        answer["why"] = client
            .get(&format!("/v1/services/{}/why", encode(name)))
            .await?;
    }
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&show_text(&answer["service"], &answer["why"])),
    }
}

pub(super) fn list_text(services: &[Value]) -> String {
    let header = [
        "NAME",
        "TASK DEFINITION",
        "DESIRED",
        "RUNNING",
        "PENDING",
        "STATUS",
    ];
    let rows = services.iter().map(|service| {
        vec![
            name_of(service),
            tail(&at(service, "/taskDefinition")).to_owned(),
            at(service, "/desiredCount"),
            at(service, "/runningCount"),
            at(service, "/pendingCount"),
            status(service),
        ]
    });
    table(&header, rows)
}

pub(super) fn moves_text(moves: &[Value]) -> String {
    if moves.is_empty() {
        return "nothing to move: no host could take a slot to even it out".to_owned();
    }
    let rows = moves.iter().map(|step| {
        ["/slot", "/from/name", "/to/name", "/reason"]
            .map(|path| at(step, path))
            .to_vec()
    });
    table(&["SLOT", "FROM", "TO", "WHY"], rows)
}

fn status(service: &Value) -> String {
    let unplaced = list_at(service, "/holdfast/unplacedSlots").len();
    match at(service, "/status").as_str() {
        "ACTIVE" if wait::is_steady(service) => "steady".to_owned(),
        "ACTIVE" if unplaced > 0 => format!("{unplaced} cannot be placed"),
        "ACTIVE" => "changing".to_owned(),
        other => other.to_lowercase(),
    }
}

pub(super) fn show_text(service: &Value, why: &Value) -> String {
    let counts = format!(
        "{} desired, {} running, {} pending",
        number_at(service, "/desiredCount"),
        number_at(service, "/runningCount"),
        number_at(service, "/pendingCount")
    );
    let properties = properties(&[
        ("Name", name_of(service)),
        ("Id", at(service, "/holdfast/serviceId")),
        ("Status", status(service)),
        ("Tasks", counts),
        (
            "Task definition",
            tail(&at(service, "/taskDefinition")).to_owned(),
        ),
        ("Replaced after", at(service, "/holdfast/replaceAfter")),
        ("In a partition", at(service, "/holdfast/partition")),
        (
            "Rebalancing",
            at(service, "/availabilityZoneRebalancing").to_lowercase(),
        ),
        ("Decided by", at(service, "/holdfast/keeper/name")),
    ]);
    let slots = list_at(why, "/slots");
    if slots.is_empty() {
        return properties;
    }
    let mut slots: Vec<_> = slots.iter().collect();
    slots.sort_by_key(|slot| number_at(slot, "/slot"));
    let rows = slots.into_iter().map(|slot| {
        let task: String = at(slot, "/task/taskId").chars().take(16).collect();
        let host = at(slot, "/host/name");
        let status = at(slot, "/task/lastStatus");
        // Where all is well there is nothing to explain.
        let why = match slot["well"] == Value::Bool(true) {
            true => String::new(),
            false => at(slot, "/explanation"),
        };
        vec![at(slot, "/slot"), host, task, status, why]
    });
    let header = ["SLOT", "HOST", "TASK", "STATUS", "WHY"];
    format!("{properties}\n\n{}", table(&header, rows))
}
