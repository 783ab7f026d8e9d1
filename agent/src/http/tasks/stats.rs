//! `/v1/tasks/{task}/stats` and `/top`: what the containers of a task use, and their processes.

use super::{App, Asked, refused, respond};
use crate::{api::error::ApiError, http::answer};
use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

const PS_ARGS_BYTES_MAX: usize = 256;

pub(super) async fn stats(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out_stats(app, task, request).await)
}

async fn carry_out_stats(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let asked = Asked::read(app, task, request, &["container"]).await?;
    if !asked.place.is_here {
        return Ok(asked.pass_on("stats").await?.plain());
    }
    let (containers, place) = (asked.containers(), &asked.place);
    let each = place.containers.iter().map(async |found| {
        let id = found.runtime_id.to_string();
        let sample = containers.stats(&id).await.map_err(refused)?;
        Ok::<_, ApiError>(sample_json(&found.name, &sample))
    });
    let containers = try_join_all(each).await?;
    let task = asked.place.task.to_string();
    let answer = json!({"taskId": task, "containers": containers});
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Counters, of which two make a rate. Absent is what Docker does not tell, as of a container that
/// does not run.
fn sample_json(name: &str, sample: &Value) -> Value {
    let number = |pointer: &str| sample.pointer(pointer).and_then(Value::as_u64);
    // As `docker stats` counts: what the kernel can take back at once is not in use.
    let cached = [
        "/memory_stats/stats/inactive_file",
        "/memory_stats/stats/total_inactive_file",
    ];
    let cached = cached.into_iter().find_map(number).unwrap_or(0);
    let memory = number("/memory_stats/usage").map(|usage| usage.saturating_sub(cached));
    let networks = sample.get("networks").and_then(Value::as_object);
    let network = |what: &str| {
        let each = networks?.values();
        Some(each.filter_map(|one| one[what].as_u64()).sum::<u64>())
    };
    let blocks = sample.pointer("/blkio_stats/io_service_bytes_recursive");
    let block = |what: &str| {
        let each = blocks.and_then(Value::as_array)?.iter();
        let each = each.filter(|one| {
            let op = one["op"].as_str().unwrap_or_default();
            op.eq_ignore_ascii_case(what)
        });
        Some(each.filter_map(|one| one["value"].as_u64()).sum::<u64>())
    };
    let made = [
        ("cpuNanoseconds", number("/cpu_stats/cpu_usage/total_usage")),
        (
            "systemCpuNanoseconds",
            number("/cpu_stats/system_cpu_usage"),
        ),
        ("cpus", number("/cpu_stats/online_cpus")),
        ("memoryBytes", memory),
        ("memoryLimitBytes", number("/memory_stats/limit")),
        ("networkReceivedBytes", network("rx_bytes")),
        ("networkSentBytes", network("tx_bytes")),
        ("diskReadBytes", block("read")),
        ("diskWrittenBytes", block("write")),
        ("processes", number("/pids_stats/current")),
    ];
    let mut answer = json!({"container": name});
    if let Some(at) = sample["read"].as_str() {
        answer["at"] = json!(at);
    }
    for (name, value) in made {
        if let Some(value) = value {
            answer[name] = json!(value);
        }
    }
    answer
}

pub(super) async fn top(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out_top(app, task, request).await)
}

async fn carry_out_top(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let asked = Asked::read(app, task, request, &["container", "psArgs"]).await?;
    let args = asked.query.get("psArgs").map(String::as_str);
    if args.is_some_and(|args| args.len() > PS_ARGS_BYTES_MAX) {
        return Err(ApiError::InvalidParameter(format!(
            "psArgs must be at most {PS_ARGS_BYTES_MAX} bytes"
        )));
    }
    if !asked.place.is_here {
        return Ok(asked.pass_on("top").await?.plain());
    }
    let (containers, place) = (asked.containers(), &asked.place);
    let each = place.containers.iter().map(async |found| {
        let id = found.runtime_id.to_string();
        let told = containers.processes(&id, args).await;
        let told = told.map_err(refused)?;
        Ok::<_, ApiError>(json!({
            "container": found.name,
            "titles": told["Titles"],
            "processes": told["Processes"],
        }))
    });
    let containers = try_join_all(each).await?;
    let task = asked.place.task.to_string();
    let answer = json!({"taskId": task, "containers": containers});
    Ok(answer::json(StatusCode::OK, &answer))
}
