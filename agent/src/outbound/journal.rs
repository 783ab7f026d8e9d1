//! The sink `event_journal`: one entry of the system's journal for each event, with fields to find
//! it by.

use super::{sink::Outcome, spool::Kept};
use crate::systemd;
use serde_json::Value;
use std::path::Path;
use tokio::task::spawn_blocking;

/// Where journald listens: libsystemd says nothing when nobody does.
const SOCKET: &str = "/run/systemd/journal/socket";

/// One for each sort of entry, as `systemd-id128 new` draws them.
const MESSAGE_IDS: [(&str, &str); 4] = [
    ("ECS Task State Change", "5d7072a3e70f49d5916a82562a4b456f"),
    (
        "ECS Container Instance State Change",
        "97a0f6143170435c85acbad7b97d788f",
    ),
    (
        "ECS Deployment State Change",
        "544fc8c886bf4faf881c4689ad00f06f",
    ),
    ("ECS Service Action", "34e8327e9c334cbb97692962f31bca64"),
];
const OTHER_MESSAGE_ID: &str = "a1c2a63b56264590a9d51e3ef56b8316";

pub(super) async fn deliver(batch: &[Kept]) -> Outcome {
    let entries: Vec<Vec<String>> = batch.iter().map(|kept| fields(&kept.json)).collect();
    let sent = spawn_blocking(move || {
        if !Path::new(SOCKET).exists() {
            return Err(format!("journald does not listen: there is no {SOCKET}"));
        }
        for fields in entries {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            systemd::note(&fields).map_err(|err| format!("journald: {err}"))?;
        }
        Ok(())
    });
    match sent.await {
        Ok(Ok(())) => Outcome::Taken,
        Ok(Err(reason)) => Outcome::Failed(reason),
        Err(err) => Outcome::Failed(format!("its worker ended: {err}")),
    }
}

fn fields(json: &[u8]) -> Vec<String> {
    let event: Value = serde_json::from_slice(json).unwrap_or_default();
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let last = |pointer: &str| text(pointer).and_then(|arn| arn.rsplit('/').next());
    let kind = text("/detail-type").unwrap_or_default();
    let known = MESSAGE_IDS.iter().find(|(of, _)| *of == kind);
    let message_id = known.map_or(OTHER_MESSAGE_ID, |(_, id)| *id);
    let resource = last("/resources/0");
    let of = |wanted: &str| resource.filter(|_| kind == wanted);
    let group = text("/detail/group").and_then(|group| group.strip_prefix("service:"));
    let service = of("ECS Deployment State Change")
        .or(of("ECS Service Action"))
        .or(group);
    let is_bad = text("/detail/eventType") == Some("ERROR") || known.is_none();
    let status = text("/detail/lastStatus").or(text("/detail/eventName"));
    let status = status.or(text("/detail/status"));
    let host = last("/detail/containerInstanceArn");
    let reasons = [
        "/detail/stoppedReason",
        "/detail/statusReason",
        "/detail/reason",
    ];
    let reason = reasons.iter().find_map(|pointer| text(pointer));
    let mut message = format!("{kind}: {}", resource.unwrap_or_default());
    if let Some(status) = status {
        message.push_str(&format!(" {status}"));
    }
    if let Some(reason) = reason {
        message.push_str(&format!(": {reason}"));
    }
    let raw = String::from_utf8_lossy(json);
    let fields = [
        ("MESSAGE", Some(message.as_str())),
        ("MESSAGE_ID", Some(message_id)),
        ("PRIORITY", Some(if is_bad { "4" } else { "6" })),
        ("SYSLOG_IDENTIFIER", Some("holdfast")),
        ("HOLDFAST_EVENT_ID", text("/id")),
        ("HOLDFAST_DETAIL_TYPE", Some(kind)),
        ("HOLDFAST_CLUSTER", last("/detail/clusterArn")),
        ("HOLDFAST_TASK", of("ECS Task State Change")),
        ("HOLDFAST_SERVICE", service),
        ("HOLDFAST_HOST", host),
        ("HOLDFAST_STATUS", status),
        ("HOLDFAST_EVENT", Some(&*raw)),
    ];
    let set = fields
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    set.map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_entry_can_be_found_by_its_task_service_and_host() {
        let event = br#"{"id":"0-1","detail-type":"ECS Task State Change",
            "resources":["arn:aws:ecs:local:000000000000:task/default/abc"],
            "detail":{"group":"service:web","lastStatus":"STOPPED","stoppedReason":"told to",
            "clusterArn":"arn:aws:ecs:local:000000000000:cluster/default",
            "containerInstanceArn":"arn:aws:ecs:local:0:container-instance/default/h"}}"#;
        let mut fields = fields(event);
        fields.pop();
        expect![[r#"
            MESSAGE=ECS Task State Change: abc STOPPED: told to
            MESSAGE_ID=5d7072a3e70f49d5916a82562a4b456f
            PRIORITY=6
            SYSLOG_IDENTIFIER=holdfast
            HOLDFAST_EVENT_ID=0-1
            HOLDFAST_DETAIL_TYPE=ECS Task State Change
            HOLDFAST_CLUSTER=default
            HOLDFAST_TASK=abc
            HOLDFAST_SERVICE=web
            HOLDFAST_HOST=h
            HOLDFAST_STATUS=STOPPED"#]]
        .assert_eq(&fields.join("\n"));
        let action = br#"{"detail-type":"ECS Service Action","resources":["a/default/web"],
            "detail":{"eventType":"ERROR","eventName":"SERVICE_TASK_PLACEMENT_FAILURE"}}"#;
        let mut fields = super::fields(action);
        fields.pop();
        expect![[r#"
            MESSAGE=ECS Service Action: web SERVICE_TASK_PLACEMENT_FAILURE
            MESSAGE_ID=34e8327e9c334cbb97692962f31bca64
            PRIORITY=4
            SYSLOG_IDENTIFIER=holdfast
            HOLDFAST_DETAIL_TYPE=ECS Service Action
            HOLDFAST_SERVICE=web
            HOLDFAST_STATUS=SERVICE_TASK_PLACEMENT_FAILURE"#]]
        .assert_eq(&fields.join("\n"));
    }
}
