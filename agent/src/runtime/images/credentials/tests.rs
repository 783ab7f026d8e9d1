//! Tests of credentials: what Docker's file may say, who may read it, and commands that are asked.

use super::*;
use crate::test_dir::TestDir;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use expect_test::{Expect, expect};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt as _};

const PATIENCE: Duration = Duration::from_secs(20);

fn write(dir: &Path, name: &str, mode: u32, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn chain_of(err: &CredentialsError, dir: &Path) -> String {
    crate::disk::chain(err).replace(&dir.display().to_string(), "/etc")
}

fn password(user: &str, password: &str) -> Found {
    Found::Here(Credentials::new(user.to_owned(), password.to_owned()))
}

#[test]
fn dockers_file_is_read_as_docker_reads_it() {
    let dir = TestDir::new("auths");
    let auth = |text: &str| STANDARD.encode(text);
    let file = json!({
        "auths": {
            "https://index.docker.io/v1/": {"auth": auth("hub:hunter2")},
            "plain.example": {"username": "bob", "password": "hunter2", "email": "b@plain.example"},
            "colon.example:5000": {"auth": auth("carol:hun:ter2\0\0")},
            "token.example": {"auth": auth("dave:"), "identitytoken": "hunter2"},
            "store.example": {},
            "own.example": {"auth": auth("nobody:hunter2")},
        },
        "credHelpers": {"own.example": "ecr-login"},
        "credsStore": "pass",
        "HttpHeaders": {"User-Agent": "Docker"},
    });
    let path = write(&dir, "config.json", 0o600, &file.to_string());
    let file = AuthFile::read(&path).unwrap();
    let token = Found::Here(Credentials {
        user: "dave".to_owned(),
        secret: Secret::IdentityToken("hunter2".to_owned()),
    });
    for (registry, expected) in [
        ("docker.io", password("hub", "hunter2")),
        ("plain.example", password("bob", "hunter2")),
        ("colon.example:5000", password("carol", "hun:ter2")),
        ("token.example", token),
        ("store.example", Found::Store("pass".to_owned())),
        ("own.example", Found::Store("ecr-login".to_owned())),
        ("other.example", Found::Store("pass".to_owned())),
    ] {
        let found = file.look(registry, &path).unwrap();
        assert_eq!(found, expected, "{registry}");
        assert!(!format!("{found:?}").contains("ter2"), "{found:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_without_a_word_of_what_is_in_it() {
    let dir = TestDir::new("auths-bad");
    let refused = async |path: &Path, expected: Expect| {
        let err = find(path, "a.example", PATIENCE).await.unwrap_err();
        expected.assert_eq(&chain_of(&err, &dir));
    };
    let path = write(&dir, "registry.json", 0o640, r#"{"auths": {}}"#);
    refused(
        &path,
        expect![[
            "others than its owner can read or change /etc/registry.json (mode 0640), which \
             registry_auth_file names: chmod 600 /etc/registry.json"
        ]],
    )
    .await;
    for (text, expected) in [
        (
            r#"{"auths": {"a.example": "secret"}}"#,
            expect!["/etc/bad.json is not as Docker's config.json is: see line 1, column 32"],
        ),
        (
            r#"{"auths": {"a.example": {"auth": "secret"}}}"#,
            expect![[
                "auth of \"a.example\" in /etc/bad.json must be USER:PASSWORD in base64: make it \
                 with `printf %s USER:PASSWORD | base64 -w0`"
            ]],
        ),
        (
            r#"{"credsStore": "../secret"}"#,
            expect![[
                "\"../secret\" in /etc/bad.json is not the name of a credential store: \
                 docker-credential-NAME must be a command"
            ]],
        ),
        (
            r#"{"credsStore": "none-such"}"#,
            expect![[
                "docker-credential-none-such gave no credentials for a.example: cannot run it: No \
                 such file or directory (os error 2)"
            ]],
        ),
    ] {
        let path = write(&dir, "bad.json", 0o600, text);
        refused(&path, expected).await;
    }
    refused(
        &dir.join("absent"),
        expect![[
            "cannot read /etc/absent, which registry_auth_file names: No such file or directory \
             (os error 2)"
        ]],
    )
    .await;
    refused(
        &dir,
        expect!["/etc, which registry_auth_file names, is not a plain file"],
    )
    .await;
}

#[tokio::test]
async fn a_credential_store_is_asked_in_dockers_protocol_and_not_for_long() {
    let dir = TestDir::new("store");
    let ask = async |script: &str, registry: &str, wait_max| {
        let text = format!("#!/bin/sh\n{script}\n");
        let program = write(&dir, "docker-credential-test", 0o700, &text);
        super::ask(&program.display().to_string(), registry, wait_max).await
    };
    let echo = r#"echo "{\"ServerURL\":\"\",\"Username\":\"$1\",\"Secret\":\"$(cat)\"}""#;
    for (registry, server) in [
        ("a.example:5000", "a.example:5000"),
        ("docker.io", "https://index.docker.io/v1/"),
    ] {
        let expected = Credentials::new("get".to_owned(), server.to_owned());
        assert_eq!(ask(echo, registry, PATIENCE).await, Ok(Some(expected)));
    }
    let token = r#"echo '{"Username": "<token>", "Secret": "abc"}'"#;
    let given = ask(token, "a.example", PATIENCE).await.unwrap().unwrap();
    let docker = given.for_docker("a.example");
    assert_eq!((docker.username, docker.password), (None, None));
    assert_eq!(docker.identitytoken.as_deref(), Some("abc"));
    let none = "echo credentials not found in native keychain; exit 1";
    assert_eq!(ask(none, "a.example", PATIENCE).await, Ok(None));
    for (script, expected) in [
        (
            "echo the vault is locked; exit 1",
            expect!["it failed (exit status: 1): the vault is locked"],
        ),
        (
            r#"echo '{"Secret": "secret"}'; echo no network >&2; exit 2"#,
            expect!["it failed (exit status: 2): no network"],
        ),
        (
            "echo secret",
            expect!["it does not answer with JSON that has Username and Secret"],
        ),
    ] {
        expected.assert_eq(&ask(script, "a.example", PATIENCE).await.unwrap_err());
    }
    let slow = ask("sleep 100 & wait", "a.example", Duration::from_secs(1)).await;
    expect!["it had not ended after 1 s, and was killed"].assert_eq(&slow.unwrap_err());
}

#[test]
fn the_header_is_in_the_alphabet_that_docker_reads_and_nobody_logs_it() {
    let mut headers = HeaderMap::new();
    mend_header(&mut headers);
    assert!(headers.is_empty());
    headers.insert("X-Registry-Auth", HeaderValue::from_static("ab+/cd=="));
    mend_header(&mut headers);
    assert_eq!(headers["x-registry-auth"], "ab-_cd==");
    assert_eq!(format!("{headers:?}"), r#"{"x-registry-auth": Sensitive}"#);
}
