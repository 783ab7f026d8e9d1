//! `holdfast leave`: asks this host's agent to go, and shows how far it is.

use super::{
    client::Client,
    failure::Failure,
    output::{Output, at, number_at, say, say_json},
    wait::{self, LOOK_INTERVAL, Progress},
};
use serde_json::{Value, json};
use tokio::time::interval;

pub(super) async fn run(
    client: &Client,
    output: Output,
    force: bool,
    timeout: Option<u32>,
) -> Result<(), Failure> {
    let host = at(&client.get("/v1/status").await?, "/host/id");
    let mut body = json!({"force": force});
    if let Some(seconds) = timeout {
        body["timeoutSeconds"] = json!(seconds);
    }
    let mut progress = Progress::new();
    let answer = {
        let asked = client.post("/v1/leave", &body);
        tokio::pin!(asked);
        let mut look = interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                answer = &mut asked => break answer,
                _ = look.tick() => {
                    // The agent may end between two looks; its answer is what counts.
                    if let Ok(left) = wait::tasks_left(client, &host).await {
                        progress.show(&wait::left_line("this host", &left));
                    }
                }
            }
        }
    };
    progress.end();
    let answer = answer?;
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&left_text(&answer)),
    }
}

pub(super) fn left_text(answer: &Value) -> String {
    match number_at(answer, "/tasksStopped") {
        0 => "This host has left the cluster. Start its agent to come back.".to_owned(),
        stopped => format!(
            "This host has left the cluster; {stopped} of its tasks were stopped, since nobody \
             took them over in time. Start its agent to come back."
        ),
    }
}
