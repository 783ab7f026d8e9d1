//! ECS's container metadata file on a real engine: what a container finds, and what is left of it.

use super::{given::first_line, story::Story, together::sibling, with_metadata_file};
use crate::test_dir::TestDir;
use holdfast_core::{
    spec::task_definition::NetworkMode,
    task::{pause::PAUSE, runtime::CreateContainer},
    time::Span,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn file_of(dir: &Path, create: &CreateContainer) -> PathBuf {
    dir.join("metadata")
        .join(create.labels.task.to_string())
        .join(&create.labels.container)
        .join("ecs-container-metadata.json")
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("it is there");
    serde_json::from_str(&text).expect("it is JSON")
}

async fn until_ready(story: &Story, path: &Path) -> Value {
    let is_ready = async || read(path)["MetadataFileStatus"] == "READY";
    story.until_cleared("the file is complete", is_ready).await;
    read(path)
}

#[tokio::test]
async fn a_container_has_its_file_from_the_first_and_all_of_it_once_it_runs() {
    let dir = TestDir::new("metadata-file");
    let Some(mut story) = Story::with(with_metadata_file(&dir)).await else {
        return;
    };
    let settings = story.config.metadata_file.clone().expect("it is set");
    let mut create = story.create(1, "run");
    let id = settings.secret.id_of(create.labels.task, "web");
    let inside = format!("/opt/ecs/metadata/{id}/ecs-container-metadata.json");
    create.container.command = vec!["show".to_owned(), inside];
    let path = file_of(&dir, &create);
    let id = story.created(&create).await;
    assert_eq!(read(&path)["MetadataFileStatus"], Value::Null);
    story.started(&create, id).await;
    let line = first_line(&story, id).await;
    let seen = "workload: mode 644 uid 0 writable false: {";
    // Owned by whoever runs the test.
    let seen = seen.replace("uid 0", &format!("uid {}", nix::unistd::geteuid()));
    assert!(line.starts_with(&seen), "{line}");
    let full = until_ready(&story, &path).await;
    assert_eq!(full["ContainerID"], json!(id.to_string()));
    assert_eq!(full["AvailabilityZone"], "here");
    let network = &full["Networks"][0];
    assert!(network["NetworkMode"].is_string(), "{full}");
    // An agent that is started again makes good what another one did not come to.
    let mut half = full.clone();
    half["MetadataFileStatus"] = Value::Null;
    fs::write(&path, half.to_string()).expect("it can be written");
    story.restart().await;
    story.listed().await;
    assert_eq!(until_ready(&story, &path).await, full);
    story.stop(&create, id, Span::from_secs(30));
    story.exited(&create).await;
    story.remove(&create, id);
    story.removed(&create).await;
    let task = dir.join("metadata").join(create.labels.task.to_string());
    let is_gone = async || !task.exists();
    story.until_cleared("its directory is gone", is_gone).await;
}

#[tokio::test]
async fn who_joins_the_network_of_its_task_has_that_address() {
    let dir = TestDir::new("metadata-file");
    let Some(mut story) = Story::with(with_metadata_file(&dir)).await else {
        return;
    };
    let mut create = story.create(1, "run");
    create.shared.network = NetworkMode::Task;
    let pause = sibling(&create, PAUSE, &[]);
    let holder = story.created(&pause).await;
    story.started(&pause, holder).await;
    let id = story.created(&create).await;
    story.started(&create, id).await;
    let full = until_ready(&story, &file_of(&dir, &create)).await;
    let addresses = full["Networks"][0]["IPv4Addresses"].as_array();
    assert!(addresses.is_some_and(|all| all.len() == 1), "{full}");
    assert!(!file_of(&dir, &pause).exists());
}

#[tokio::test]
async fn what_an_agent_that_was_killed_left_behind_is_swept_away() {
    let dir = TestDir::new("metadata-file");
    let Some(mut story) = Story::with(with_metadata_file(&dir)).await else {
        return;
    };
    let left = file_of(&dir, &story.create(1, "run"));
    let directory = left.parent().expect("it is in a directory");
    fs::create_dir_all(directory).expect("it can be made");
    fs::write(&left, "{}").expect("it can be written");
    story.listed().await;
    let is_gone = async || !left.exists();
    story.until_cleared("the file is gone", is_gone).await;
}
