//! What is gathered for a container, and why it cannot be; and files in memory, which need a tmpfs.

use super::{mounts, *};
use crate::{
    gossip::{ClusterKey, Keyring},
    runtime::tests::create,
    test_dir::TestDir,
};
use expect_test::{Expect, expect};
use holdfast_core::{cluster::values::Opaque, ids::HostId, limits};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Where Linux has a tmpfs wherever there is a C library.
const IN_MEMORY: &str = "/dev/shm";

fn settings(dir: &Path) -> GivenSettings {
    let ring = Keyring {
        primary: ClusterKey::known_to_everyone("test"),
        others: vec![],
    };
    GivenSettings {
        vault: Vault::new("test", Some(ring)),
        environment_files: dir.join("env"),
        secret_files: dir.join("secrets"),
        secret_commands: Some(dir.join("commands")),
        secret_mounts: dir.join("mounts"),
    }
}

/// A host that has one of each.
fn host() -> (TestDir, GivenSettings) {
    let dir = TestDir::new("given");
    let settings = settings(&dir);
    for (path, text, mode) in [
        (
            "env/web.env",
            "MODE=fast\nTOKEN=of the file\nLEVEL=1\n",
            0o644,
        ),
        ("secrets/token", "hunter2\n", 0o600),
        ("secrets/open", "for all", 0o644),
        ("commands/fetch", "#!/bin/sh\necho \"$1 of $2\"\n", 0o700),
        (
            "commands/fail",
            "#!/bin/sh\necho no such thing >&2; exit 3\n",
            0o700,
        ),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    (dir, settings)
}

/// As it fits in here.
pub(crate) fn folded(text: &str) -> String {
    const COLUMNS_MAX: usize = 64;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS_MAX => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn secret(name: &str, from: &str) -> Secret {
    let at = match name.starts_with('/') {
        true => SecretPlace::File(name.to_owned()),
        false => SecretPlace::Variable(name.to_owned()),
    };
    let from = SecretSource::parse(from).unwrap();
    Secret { at, from }
}

fn given(settings: &GivenSettings) -> Vec<GivenValue> {
    let sealed = |name: &str, text: &str| {
        let sealed = settings.vault.seal(name, &Clear::new(text.into())).unwrap();
        let content = Content::Sealed { sealed, set_at: 1 };
        let name = ValueName::Secret(name.to_owned());
        GivenValue { name, content }
    };
    let config = |name: &str, content| GivenValue {
        name: ValueName::Config(name.to_owned()),
        content,
    };
    let text = Opaque::from(b"LEVEL=2\nREGION=eu\n".to_vec());
    vec![
        sealed("db", r#"{"user": "ann", "port": 5432, "deep": {"a": 1}}"#),
        sealed("plain", "s3cret"),
        config("more.env", Content::Plain { text, set_at: 1 }),
        config("gone", Content::Removed),
    ]
}

async fn told(settings: &GivenSettings, secrets: Vec<Secret>, files: &[&str]) -> String {
    let mut create = create("web");
    create.container.secrets = secrets;
    let files = files
        .iter()
        .map(|file| EnvironmentFile::parse(file).unwrap());
    create.container.environment_files = files.collect();
    create.given = given(settings);
    match gather(settings, &create).await {
        Ok(gathered) => {
            let variables = gathered.variables.iter();
            let variables = variables.map(|(name, value)| format!("{name}={value}"));
            let files = gathered.files.iter().map(|file| {
                let text = String::from_utf8_lossy(file.value.bytes());
                format!("{} {:?}: {text:?}", file.target, file.access)
            });
            variables.chain(files).collect::<Vec<_>>().join("\n")
        }
        Err(trouble) => {
            // Not where this run has its directory.
            let dir = settings
                .secret_files
                .parent()
                .unwrap()
                .display()
                .to_string();
            folded(&format!(
                "{:?}: {}",
                trouble.kind,
                trouble.text.replace(&dir, "DIR")
            ))
        }
    }
}

async fn check(secrets: &[(&str, &str)], files: &[&str], expected: Expect) {
    let (_dir, settings) = host();
    let secrets = secrets.iter().map(|(name, from)| secret(name, from));
    expected.assert_eq(&told(&settings, secrets.collect(), files).await);
}

#[tokio::test]
async fn values_come_from_the_host_and_from_the_cluster() {
    check(
        &[
            ("TOKEN", "file:token"),
            ("DB_USER", "secret:db:user"),
            ("DB_PORT", "secret:db:port"),
            ("DEEP", "secret:db:deep"),
            ("/run/plain", "secret:plain"),
            ("/run/token", "file:token"),
            ("/etc/more.env", "config:more.env"),
            ("FETCHED", "command:fetch key vault"),
        ],
        &["file:web.env", "config:more.env"],
        expect![[r#"
            TOKEN=hunter2
            DB_USER=ann
            DB_PORT=5432
            DEEP={"a": 1}
            FETCHED=key of vault
            MODE=fast
            TOKEN=of the file
            LEVEL=1
            LEVEL=2
            REGION=eu
            /run/plain Owner(Owner { uid: 0, gid: 0 }): "s3cret"
            /run/token Owner(Owner { uid: 0, gid: 0 }): "hunter2\n"
            /etc/more.env All: "LEVEL=2\nREGION=eu\n""#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_had_says_why_and_what_to_do() {
    let refused = async |from: &str, expected: Expect| {
        check(&[("A", from)], &[], expected).await;
    };
    refused(
        "secret:api",
        expect![[r#"
            Transient: cannot have A from secret:api: the secret "api" is
            not on this cluster; set it with `holdfast secret set api`"#]],
    )
    .await;
    refused(
        "secret:db:password",
        expect![[r#"
            Permanent: cannot have A from secret:db:password: it has no
            member "password""#]],
    )
    .await;
    refused(
        "secret:plain:password",
        expect![[r#"
            Permanent: cannot have A from secret:plain:password: it is not
            JSON, so it has no member "password""#]],
    )
    .await;
}

#[tokio::test]
async fn what_the_host_cannot_give_says_why_and_what_to_do() {
    let refused = async |from: &str, expected: Expect| {
        check(&[("A", from)], &[], expected).await;
    };
    refused(
        "config:gone",
        expect![[r#"
            Permanent: cannot have A from config:gone: the config "gone" was
            removed from this cluster; set it with `holdfast config set
            gone`"#]],
    )
    .await;
    refused(
        "file:none",
        expect![[r#"
            Permanent: cannot have A from file:none: cannot read
            DIR/secrets/none on this host: entity not found"#]],
    )
    .await;
    refused(
        "file:open",
        expect![[r#"
            Permanent: cannot have A from file:open: DIR/secrets/open can be
            read by everybody on this host (mode 0644), so it is no secret:
            chmod o= DIR/secrets/open"#]],
    )
    .await;
    refused(
        "file:/etc/passwd",
        expect![[r#"
            Permanent: cannot have A from file:/etc/passwd: /etc/passwd is
            not in DIR/secrets, which alone this host reads"#]],
    )
    .await;
    // Its arguments are for those who may deploy, and everybody reads this.
    refused(
        "command:fail --token=hvs.XYZ db",
        expect![[r#"
            Permanent: cannot have A from command:fail: it failed (exit
            status: 3): no such thing"#]],
    )
    .await;
    refused(
        "command:none",
        expect![[r#"
            Permanent: cannot have A from command:none: cannot run it: No
            such file or directory (os error 2)"#]],
    )
    .await;
    refused(
        "credential:db",
        expect![[r#"
            Permanent: cannot have A from credential:db: the agent of this
            host has no credentials; give them to its unit with
            LoadCredential= or LoadCredentialEncrypted="#]],
    )
    .await;
}

#[tokio::test]
async fn an_environment_file_that_cannot_be_had_is_named() {
    check(
        &[],
        &["file:/etc/hostname"],
        expect![[r#"
            Permanent: cannot have environment file file:/etc/hostname:
            /etc/hostname is not in DIR/env, which alone this host reads"#]],
    )
    .await;
    check(
        &[],
        &["config:less.env"],
        expect![[r#"
            Transient: cannot have environment file config:less.env: the
            config "less.env" is not on this cluster; set it with `holdfast
            config set less.env`"#]],
    )
    .await;
}

#[tokio::test]
async fn a_secret_that_this_host_cannot_open_is_told_by_its_key() {
    let (_dir, settings) = host();
    let given = given(&settings);
    settings.vault.set_keyring(&Keyring {
        primary: ClusterKey::known_to_everyone("another"),
        others: vec![],
    });
    let name = ValueName::Secret("plain".to_owned());
    let trouble = of_cluster(&settings, Some(name), &given).unwrap_err();
    assert_eq!(trouble.kind, FailureKind::Permanent);
    expect![[r#"
            the secret "plain" cannot be read: it is sealed with the cluster
            key ac20653c, which this host does not have (see `holdfast key
            ls`)"#]]
    .assert_eq(&folded(&trouble.text));
}

#[test]
fn a_value_that_is_no_text_can_only_be_a_file() {
    let bad = [&b"\xff"[..], b"a\0b"];
    for bytes in bad {
        let why = as_text(&Clear::new(bytes.to_vec())).unwrap_err().text;
        assert!(why.starts_with("it is no text"), "{why}");
    }
    assert_eq!(as_text(&Clear::new(b"a\n\n".to_vec())).unwrap(), "a\n");
    assert!(checked(vec![0; limits::VALUE_BYTES_MAX + 1]).is_err());
}

fn file(access: Access, text: &str) -> MountedFile {
    MountedFile {
        target: "/run/secret".to_owned(),
        access,
        value: Clear::new(text.into()),
    }
}

#[test]
fn files_are_in_memory_of_their_user_alone_and_gone_with_their_task() {
    let root = Path::new(IN_MEMORY).join(format!("holdfast-given-{}", std::process::id()));
    let place = |task: u128, container: &str| Place {
        host: HostId(7),
        task: TaskId(task),
        container: container.to_owned(),
    };
    let files = [
        file(Access::Owner(mounts::owner(Some("1000:1001"))), "hunter2"),
        file(Access::All, "text"),
    ];
    let written = mounts::write(&root, &place(1, "web"), &files).unwrap();
    let found: Vec<_> = written
        .iter()
        .map(|(path, _)| {
            let known = fs::metadata(path).unwrap();
            let text = fs::read_to_string(path).unwrap();
            (text, known.mode() & 0o7777, known.uid(), known.gid())
        })
        .collect();
    let expected = [
        ("hunter2".to_owned(), 0o600, 1_000, 1_001),
        ("text".to_owned(), 0o444, 0, 0),
    ];
    assert_eq!(found, expected);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&root), 0o700);
    // What was made of the first one has it open still.
    let open = fs::File::open(&written[0].0).unwrap();
    mounts::write(&root, &place(1, "web"), &files).unwrap();
    assert_ne!(
        open.metadata().unwrap().ino(),
        fs::metadata(&written[0].0).unwrap().ino()
    );
    mounts::write(&root, &place(1, "side"), &files[..1]).unwrap();
    mounts::write(&root, &place(2, "web"), &files[..1]).unwrap();
    let tasks = || {
        fs::read_dir(root.join(HostId(7).to_string()))
            .unwrap()
            .count()
    };
    mounts::remove(&root, &place(1, "web"));
    assert_eq!(tasks(), 2, "another container of the task is there");
    mounts::remove(&root, &place(1, "side"));
    assert_eq!(tasks(), 1);
    mounts::sweep(&root, HostId(7), |task| task == TaskId(2));
    assert_eq!(tasks(), 1);
    mounts::sweep(&root, HostId(7), |_| false);
    assert_eq!(tasks(), 0);
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn nothing_is_written_to_a_disk() {
    let dir = TestDir::new("mounts");
    let place = Place {
        host: HostId(7),
        task: TaskId(1),
        container: "web".to_owned(),
    };
    // Where even temporary files are in memory there is no disk to refuse.
    match mounts::write(&dir.join("m"), &place, &[file(Access::All, "x")]) {
        Ok(written) => assert_eq!(written.len(), 1),
        Err(err) => assert!(err.to_string().contains("set secret_mounts"), "{err}"),
    }
}

#[test]
fn only_a_number_is_known_to_be_a_user() {
    let owned = |user| format!("{:?}", mounts::owner(user));
    assert_eq!(owned(Some("1000")), "Owner { uid: 1000, gid: 0 }");
    assert_eq!(owned(Some("web:1001")), "Owner { uid: 0, gid: 1001 }");
    assert_eq!(owned(None), "Owner { uid: 0, gid: 0 }");
}

#[test]
fn a_member_is_given_as_it_is_written() {
    let json = r#"{"serial": 12345678901234567890123, "pin": 1.10, "name": "a\u0062", "on": true}"#;
    let value = Clear::new(json.into());
    let member = |name| {
        let found = super::member_of(&value, name);
        found.map(|found| String::from_utf8(found.bytes().to_vec()).unwrap())
    };
    assert_eq!(member("serial").as_deref(), Ok("12345678901234567890123"));
    assert_eq!(member("pin").as_deref(), Ok("1.10"));
    assert_eq!(member("name").as_deref(), Ok("ab"));
    assert_eq!(member("on").as_deref(), Ok("true"));
    assert!(member("none").is_err());
}
