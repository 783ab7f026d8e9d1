//! Environment files and secrets: what may stand there, and what AWS's own is refused with.

use super::{check_definition, web_with};
use crate::{
    limits,
    spec::{
        given::{SecretSource, ValueName},
        parse_task_definition,
    },
};
use expect_test::expect;
use serde_json::{Value, json};

fn secret(name: &str, from: &str) -> Value {
    json!({"name": name, "valueFrom": from})
}

fn file(value: &str) -> Value {
    json!({"value": value, "type": "s3"})
}

#[test]
fn values_are_described_as_they_were_sent() {
    let secrets = [
        secret("A", "secret:db-1.x"),
        secret("B", "secret:db:user:name"),
        secret("/run/secrets/tls.key", "file:tls/key"),
        secret("C", "credential:token"),
        secret("D", "command:fetch prod db"),
        secret("/etc/nginx/nginx.conf", "config:nginx.conf"),
    ];
    let files = [
        file("file:/etc/holdfast/env/web.env"),
        file("config:web.env"),
    ];
    let sent = web_with(json!({"secrets": secrets, "environmentFiles": files}));
    let parsed = parse_task_definition(&sent).expect("it is all right");
    let described = &parsed.to_ecs_json()["containerDefinitions"][0];
    assert_eq!(described["secrets"], json!(secrets));
    assert_eq!(described["environmentFiles"], json!(files));
    let names: Vec<ValueName> = parsed.values().into_iter().collect();
    let secret = |name: &str| ValueName::Secret(name.to_owned());
    let config = |name: &str| ValueName::Config(name.to_owned());
    assert_eq!(
        names,
        [
            secret("db"),
            secret("db-1.x"),
            config("nginx.conf"),
            config("web.env")
        ]
    );
}

#[test]
fn what_is_kept_by_aws_is_refused_with_what_to_do_instead() {
    check_definition(
        web_with(json!({
            "secrets": [
                secret("A", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"),
                secret("B", "arn:aws:ssm:eu-central-1:123456789012:parameter/db"),
                secret("C", "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/db"),
            ],
            "environmentFiles": [file("arn:aws:s3:::bucket/web.env")],
        })),
        expect![[r#"
            containerDefinitions[0].environmentFiles[0].value is
                "arn:aws:s3:::bucket/web.env", an object of Amazon S3, which Holdfast
                does not read; keep the file in the cluster with `holdfast config set
                NAME FILE` and say "config:NAME", or put it on the hosts and say
                "file:/PATH"
            containerDefinitions[0].secrets[0].valueFrom is
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdE…", a
                secret of AWS Secrets Manager, which Holdfast does not read; keep the
                value in the cluster with `holdfast secret set NAME` and say
                "secret:NAME", or have each host fetch it, with "command:NAME"
            containerDefinitions[0].secrets[1].valueFrom is
                "arn:aws:ssm:eu-central-1:123456789012:parameter/db", a parameter of AWS
                Systems Manager, which Holdfast does not read; keep the value in the
                cluster with `holdfast secret set NAME` and say "secret:NAME", or have
                each host fetch it, with "command:NAME"
            containerDefinitions[0].secrets[2].valueFrom is
                "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/db", something of AWS,
                which Holdfast does not read; keep the value in the cluster with
                `holdfast secret set NAME` and say "secret:NAME", or have each host fetch
                it, with "command:NAME"
        "#]],
    );
}

#[test]
fn what_says_nowhere_or_nothing_is_refused() {
    let bad = [
        secret("A", "db"),
        secret("B", "secret:"),
        secret("C", "secret:db:"),
        secret("D", "secret:.db"),
        secret("E", "file:../shadow"),
        secret("F", "command:/bin/sh -c x"),
        secret("G", "credential:a/b"),
        secret("a=b", "secret:db"),
        secret("/", "secret:db"),
        json!({"name": "H"}),
        json!({"name": "I", "valueFrom": "secret:db", "value": "x"}),
    ];
    check_definition(
        web_with(json!({"secrets": bad})),
        expect![[r#"
        containerDefinitions[0].secrets[0].valueFrom is "db", but must be
            "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[1].valueFrom is "secret:", but must be
            "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[2].valueFrom is "secret:db:", but must be
            "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[3].valueFrom is "secret:.db", but must be
            "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[4].valueFrom is "file:../shadow", but must
            be "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[5].valueFrom is "command:/bin/sh -c x", but
            must be "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[6].valueFrom is "credential:a/b", but must
            be "secret:NAME" or "secret:NAME:MEMBER" (kept by the cluster),
            "config:NAME" (likewise), "file:NAME", "credential:NAME" or "command:NAME
            ARGUMENTS" (of the host)
        containerDefinitions[0].secrets[7].name is "a=b", but must be a variable's
            name, not empty and without '=', or an absolute path, without ".." and
            ':', to have the value in a file
        containerDefinitions[0].secrets[8].name is "/", but must be a variable's
            name, not empty and without '=', or an absolute path, without ".." and
            ':', to have the value in a file
        containerDefinitions[0].secrets[9].valueFrom is missing; it must be where
            the value comes from
        containerDefinitions[0].secrets[10].value is not an ECS field; remove it
    "#]],
    );
}

#[test]
fn an_environment_file_is_of_a_host_or_a_config() {
    let bad = [
        json!({"value": "file:web.env"}),
        json!({"value": "secret:db", "type": "s3"}),
        json!({"value": "file:web.env", "type": "http"}),
    ];
    check_definition(
        web_with(json!({"environmentFiles": bad})),
        expect![[r#"
        containerDefinitions[0].environmentFiles[0].type is missing; it must be
            "s3", ECS's only word, wherever the file is
        containerDefinitions[0].environmentFiles[1].value is "secret:db", but must
            be "file:NAME" or "file:/PATH" (of the host) or "config:NAME" (kept by
            the cluster)
        containerDefinitions[0].environmentFiles[2].type is "http", but must be
            "s3", ECS's only word, wherever the file is
    "#]],
    );
}

#[test]
fn each_variable_and_each_path_comes_once() {
    check_definition(
        web_with(json!({
            "environment": [{"name": "A", "value": "1"}],
            "linuxParameters": {"tmpfs": [{"containerPath": "/run/x", "size": 1}]},
            "secrets": [
                secret("A", "secret:db"),
                secret("B", "secret:db"),
                secret("B", "secret:other"),
                secret("/run/x", "secret:db"),
            ],
        })),
        expect![[r#"
            containerDefinitions[0].secrets[0].name repeats "A", which
                containerDefinitions[0].environment has already; use each only once
            containerDefinitions[0].secrets[2].name repeats "B", which
                containerDefinitions[0].secrets[1].name has already; use each only once
            containerDefinitions[0].secrets[3].name repeats "/run/x", which
                containerDefinitions[0].linuxParameters.tmpfs[0].containerPath has
                already; use each only once
        "#]],
    );
    let many: Vec<_> = (0..=limits::SECRETS_PER_CONTAINER_MAX)
        .map(|number| secret(&format!("A{number}"), "secret:db"))
        .collect();
    let files: Vec<_> = (0..=limits::ENVIRONMENT_FILES_MAX)
        .map(|number| file(&format!("file:{number}.env")))
        .collect();
    check_definition(
        web_with(json!({"secrets": many, "environmentFiles": files})),
        expect![[r#"
            containerDefinitions[0].environmentFiles has 11 entries, but at most 10 are
                allowed; remove some
            containerDefinitions[0].secrets has 65 entries, but at most 64 are allowed;
                remove some
        "#]],
    );
}

#[test]
fn a_refusal_shows_the_beginning_of_what_was_sent() {
    let long = SecretSource::parse(&"x".repeat(10_000)).unwrap_err();
    assert!(long.got.len() < 100, "{}", long.got.len());
}
