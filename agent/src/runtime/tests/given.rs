//! Values that containers are given, on a real engine: who sees them, and what is left of them.

use super::{config, story::Story};
use crate::{
    gossip::{ClusterKey, Keyring},
    runtime::DockerConfig,
    vault::Vault,
};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use holdfast_core::{
    cluster::values::{Content, GivenValue, Opaque},
    ids::RuntimeId,
    spec::given::{Secret, SecretPlace, SecretSource, ValueName},
    task::runtime::{CreateContainer, FailureKind},
    time::Span,
};
use holdfast_seal::value::Clear;
use std::{fs, path::PathBuf};

fn with_key() -> DockerConfig {
    let mut config = config();
    let ring = Keyring {
        primary: ClusterKey::known_to_everyone("test"),
        others: vec![],
    };
    config.given.vault = Vault::new("test", Some(ring));
    config
}

/// A container that is given the secret `db` at this place, as the cluster holds it.
fn given(story: &Story, words: &str, at: SecretPlace) -> CreateContainer {
    let mut create = story.create(1, words);
    let (name, member) = ("db".to_owned(), None);
    let from = SecretSource::Secret { name, member };
    create.container.secrets = vec![Secret { at, from }];
    let vault = &story.config.given.vault;
    let value = Clear::new(b"hunter2\n".to_vec());
    let sealed = vault.seal("db", &value).expect("it has a key");
    create.given = vec![GivenValue {
        name: ValueName::Secret("db".to_owned()),
        content: Content::Sealed { sealed, set_at: 1 },
    }];
    create
}

fn dir_of(story: &Story, create: &CreateContainer) -> PathBuf {
    let (host, task) = (create.labels.host, create.labels.task);
    let mounts = &story.config.given.secret_mounts;
    mounts.join(host.to_string()).join(task.to_string())
}

pub(super) async fn first_line(story: &Story, id: RuntimeId) -> String {
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).build();
    let mut logs = story.client.logs(&id.to_string(), Some(options));
    let line = logs.next().await.expect("it says something");
    line.expect("Docker keeps its words").to_string()
}

async fn inspected(story: &Story, id: RuntimeId) -> String {
    let id = id.to_string();
    let inspected = story.client.inspect_container(&id, None).await;
    serde_json::to_string(&inspected.expect("it is there")).expect("it is JSON")
}

#[tokio::test]
async fn a_file_is_seen_by_the_containers_user_alone_and_gone_with_the_container() {
    let Some(mut story) = Story::with(with_key()).await else {
        return;
    };
    let at = SecretPlace::File("/run/secrets/db".to_owned());
    let mut create = given(&story, "show /run/secrets/db", at);
    create.container.user = Some("1000:1000".to_owned());
    let id = story.created(&create).await;
    assert_eq!(story.started(&create, id).await, []);
    assert_eq!(
        first_line(&story, id).await.trim_end(),
        "workload: mode 600 uid 1000 writable false: hunter2"
    );
    let shown = inspected(&story, id).await;
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(dir_of(&story, &create).join("web/0").exists());
    // An agent that is started again leaves what is in use.
    story.restart().await;
    story.listed().await;
    assert!(dir_of(&story, &create).join("web/0").exists());
    story.stop(&create, id, Span::from_secs(30));
    story.exited(&create).await;
    story.remove(&create, id);
    story.removed(&create).await;
    let is_gone = async || !dir_of(&story, &create).exists();
    story.until_cleared("the file is gone", is_gone).await;
}

#[tokio::test]
async fn a_config_can_be_read_by_all_and_written_by_nobody() {
    let Some(mut story) = Story::with(with_key()).await else {
        return;
    };
    let mut create = story.create(1, "show /etc/web.conf");
    create.container.secrets = vec![Secret {
        at: SecretPlace::File("/etc/web.conf".to_owned()),
        from: SecretSource::Config("conf".to_owned()),
    }];
    let text = Opaque::from(b"listen 80".to_vec());
    create.given = vec![GivenValue {
        name: ValueName::Config("conf".to_owned()),
        content: Content::Plain { text, set_at: 1 },
    }];
    let id = story.created(&create).await;
    story.started(&create, id).await;
    assert_eq!(
        first_line(&story, id).await.trim_end(),
        "workload: mode 444 uid 0 writable false: listen 80"
    );
}

#[tokio::test]
async fn a_variable_is_there_for_whoever_may_inspect() {
    let Some(mut story) = Story::with(with_key()).await else {
        return;
    };
    let at = SecretPlace::Variable("DB_PASSWORD".to_owned());
    let create = given(&story, "run", at);
    let id = story.created(&create).await;
    let shown = inspected(&story, id).await;
    assert!(shown.contains("\"DB_PASSWORD=hunter2\""), "{shown}");
    assert!(!dir_of(&story, &create).exists());
}

#[tokio::test]
async fn what_is_not_there_makes_no_container_and_leaves_nothing() {
    let Some(mut story) = Story::with(with_key()).await else {
        return;
    };
    let at = SecretPlace::File("/run/db".to_owned());
    let mut create = given(&story, "run", at);
    create.given[0].content = Content::Unknown;
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Transient, "it may yet come");
    assert_eq!(
        failure.reason,
        "ResourceInitializationError: cannot have /run/db from secret:db: the secret \"db\" is not \
         on this cluster; set it with `holdfast secret set db`"
    );
    create.given[0].content = Content::Removed;
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Permanent);
    // What was made before another step failed goes, too.
    let at = SecretPlace::File("/run/db".to_owned());
    let mut create = given(&story, "run", at);
    create.container.image = "holdfast/no-such-image:1".to_owned();
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
    assert!(!dir_of(&story, &create).exists());
}

#[tokio::test]
async fn what_an_agent_that_was_killed_left_behind_is_swept_away() {
    let Some(mut story) = Story::with(with_key()).await else {
        return;
    };
    let at = SecretPlace::File("/run/db".to_owned());
    let create = given(&story, "run", at);
    let left = dir_of(&story, &create).join("web");
    fs::create_dir_all(&left).expect("the tmpfs is there");
    fs::write(left.join("0"), "hunter2").expect("it has room");
    story.listed().await;
    // Swept behind the comparison: the next one is told after that.
    story.listed().await;
    assert!(!dir_of(&story, &create).exists());
}
