//! Task definitions as people have them: what becomes of each, and that none is forgotten.

use crate::spec::parse_task_definition;
use expect_test::expect_file;
use serde_json::Value;
use std::{collections::BTreeSet, fs};

macro_rules! files {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("corpus/", $name, ".json")))),*]
    };
}

/// The name and the text of each.
const FILES: &[(&str, &str)] = files![
    "all-of-a-container",
    "app-behind-envoy",
    "app-with-a-role",
    "batch-definition",
    "beanstalk",
    "bot-half-cleaned",
    "capabilities-changed",
    "cloudformation-properties",
    "cloudformation-resource",
    "cloudwatch-agent",
    "colorteller-logged",
    "consul-on-the-host",
    "data-container",
    "datadog-agent",
    "datadog-sized-as-a-task",
    "datadog-system-probe",
    "device-to-read",
    "docker-volume-of-a-task",
    "docker-volume-shared",
    "efs-by-access-point",
    "elasticsearch",
    "elasticsearch-single",
    "environment-from-a-file",
    "extra-host",
    "gateway-labelled-for-traefik",
    "gpus-listed",
    "half-a-processor",
    "httpd-on-fargate",
    "httpd-restarted",
    "iis-in-a-domain",
    "iis-on-windows",
    "jenkins",
    "jenkins-on-rexray",
    "journal-shipped",
    "kernel-parameter",
    "kibana",
    "labelled",
    "links-and-volumes-in-a-chain",
    "log-router-checked",
    "log-router-linked",
    "log-router-tails-files",
    "logstash-by-gelf",
    "memory-shared-in-a-task",
    "nginx-on-arm",
    "nginx-with-secrets",
    "no-network",
    "openmrs-as-described",
    "phoenix-with-x-ray",
    "ping-four-times",
    "prepared-by-another",
    "prepared-too-slowly",
    "presto-coordinator",
    "private-registry",
    "processes-of-the-host",
    "prometheus",
    "prometheus-containers-alone",
    "rabbitmq",
    "redis-with-its-network-inside",
    "scratch-of-two-databases",
    "secret-by-key",
    "skeleton",
    "splunk-collector",
    "splunk-token-as-a-secret",
    "spring-as-described",
    "statsd-linked",
    "storage-enlarged",
    "terminal",
    "tmpfs-to-read",
    "traces-by-a-sidecar",
    "traefik-in-capitals",
    "transaction-api",
    "web-root-of-two-servers",
    "wordpress-and-mysql",
    "wordpress-for-either",
    "x-ray-behind-the-bridge",
];

const INDEX: &str = include_str!("corpus/README.md");

/// The name of each, and what it says.
pub(super) fn definitions() -> impl Iterator<Item = (&'static str, Value)> {
    let read = |text| serde_json::from_str(text).expect("the file is JSON");
    FILES.iter().map(move |(name, text)| (*name, read(text)))
}

#[test]
fn each_is_accepted_or_refused_in_these_words() {
    let outcomes: String = definitions()
        .map(|(name, json)| outcome(name, &json))
        .collect();
    expect_file!["corpus/outcomes.txt"].assert_eq(&outcomes);
}

fn outcome(name: &str, json: &Value) -> String {
    let faults = match parse_task_definition(json) {
        Ok(_) => return format!("{name}: accepted\n"),
        Err(faults) => faults.to_string(),
    };
    let lines: String = faults.lines().map(|line| format!("    {line}\n")).collect();
    format!("{name}: refused\n{lines}")
}

#[test]
fn what_is_accepted_is_described_so_that_it_can_be_sent_again() {
    let mut accepted = 0;
    for (name, json) in definitions() {
        let Ok(definition) = parse_task_definition(&json) else {
            continue;
        };
        let again = parse_task_definition(&definition.to_ecs_json());
        let again = again.unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert_eq!(again, definition, "{name}");
        assert_eq!(again.digest(), definition.digest(), "{name}");
        accepted += 1;
    }
    assert!(accepted >= 10, "only {accepted}");
}

#[test]
fn each_file_is_listed_with_its_source() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/tests/corpus");
    let entries = fs::read_dir(folder).expect("this test was built from it");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
    assert!(listed.len() >= 30, "breadth is the point");

    let rows = INDEX.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut indexed = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        assert_eq!(cells.len(), 3, "a name, a source, what it shows: {row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        indexed.insert(cells[0].trim_end_matches('`').to_owned());
    }
    assert_eq!(indexed, listed);
}
