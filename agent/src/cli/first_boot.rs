//! `holdfast first-boot`: takes up, once, what an EC2 instance was given: its user-data, zone, type
//! and tags. The agent reads it as settings.

use super::{failure::Failure, output::say};
use crate::{
    config::{ATTRIBUTES_MAX, FIRST_BOOT, SEED_FILE, SEED_KEY, is_attribute},
    http::imds::{Given, IMDS, ask},
    whole_file,
};
use std::{
    fs::DirBuilder,
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// What our user-data begins with, as other programs' begin with a line of their own.
const MARK: &str = "#holdfast";
/// Beside the settings: the cluster's key, which goes into a file of its own.
const KEY: &str = "cluster_key";
/// Written last: it is all there.
const INSTANCE: &str = "instance";
/// Where the machine says who made it.
const VENDOR: &str = "/sys/class/dmi/id/sys_vendor";
const EC2: &str = "Amazon EC2";

/// As the agent is to read it.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    text: String,
    key: Option<String>,
}

/// `imds` is asked wherever this machine is; without, EC2's own, on EC2 alone.
pub(super) async fn run(state: PathBuf, imds: Option<SocketAddr>) -> Result<(), Failure> {
    let directory = state.join(FIRST_BOOT);
    if directory.join(INSTANCE).exists() {
        return say("What this instance was given was taken up before.");
    }
    let is_ec2 = std::fs::read_to_string(VENDOR).is_ok_and(|vendor| vendor.trim() == EC2);
    if imds.is_none() && !is_ec2 {
        return say("This is no EC2 instance: nothing to take up.");
    }
    let given = ask(imds.unwrap_or(IMDS)).await.map_err(Failure::TimedOut)?;
    let settings = settings(&given);
    save(&directory, &given.instance, &settings).map_err(|err| {
        Failure::Refused(format!("cannot write into {}: {err}", directory.display()))
    })?;
    let key = settings
        .key
        .map_or("without a cluster key", |_| "with a cluster key");
    say(&format!(
        "Took up what {} was given, {key}: {}",
        given.instance,
        directory.join(SEED_FILE).display()
    ))
}

fn save(directory: &Path, instance: &str, settings: &Settings) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    if let Some(key) = &settings.key {
        whole_file::replace(&directory.join(SEED_KEY), key.as_bytes())?;
    }
    whole_file::replace(&directory.join(SEED_FILE), settings.text.as_bytes())?;
    whole_file::replace(&directory.join(INSTANCE), instance.as_bytes())
}

/// What the user-data does not say itself, the instance does. What is no TOML is left as it is, for
/// the agent to refuse with its line: but for the key, since refusals are logged.
fn settings(given: &Given) -> Settings {
    let ours = given.user_data.strip_prefix(MARK);
    let ours = ours.filter(|rest| rest.starts_with(['\n', '\r']) || rest.is_empty());
    let Ok(mut table) = ours.unwrap_or_default().parse::<Table>() else {
        let lines = given.user_data.lines().map(|line| match line.trim_start() {
            line if line.starts_with(KEY) => KEY,
            _ => line,
        });
        let text = lines.flat_map(|line| [line, "\n"]).collect();
        return Settings { text, key: None };
    };
    let key = match table.get(KEY) {
        Some(Value::String(key)) => Some(format!("{key}\n")),
        _ => None,
    };
    if key.is_some() {
        table.remove(KEY);
    }
    let zone = Some(&given.zone).filter(|zone| !zone.is_empty());
    if let (Some(zone), false) = (zone, table.contains_key("zone")) {
        table.insert("zone".to_owned(), Value::String(zone.clone()));
    }
    let kind = ("ecs.instance-type".to_owned(), given.kind.clone());
    let tags = given.tags.iter();
    let tags = tags.map(|(name, value)| (format!("tag/{name}"), value.clone()));
    let attributes = table
        .entry("attributes")
        .or_insert(Value::Table(Table::new()));
    if let Some(attributes) = attributes.as_table_mut() {
        for (name, value) in [kind].into_iter().chain(tags) {
            // A tag may be called and be whatever people like.
            let fits = is_attribute(&name) && is_attribute(&value);
            if fits && attributes.len() < ATTRIBUTES_MAX {
                attributes.entry(name).or_insert(Value::String(value));
            }
        }
    }
    Settings {
        text: table.to_string(),
        key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::imds::tests::{INSTANCE_PATHS, ec2},
        test_dir::TestDir,
    };
    use std::{fs, os::unix::fs::MetadataExt as _};

    #[tokio::test]
    async fn what_a_machine_was_given_is_taken_up_once() {
        let dir = TestDir::new("first-boot");
        let user_data = "#holdfast\ncluster = \"shop\"\ncluster_key = \"hfk1_x\"\n\
            attributes = { rack = \"r7\" }\n";
        let mut paths = INSTANCE_PATHS.to_vec();
        paths.push(("user-data", user_data));
        let at = ec2(&paths).await;
        run(dir.to_path_buf(), Some(at)).await.unwrap();
        let told = |name: &str| fs::read_to_string(dir.join("first-boot").join(name)).unwrap();
        let expected = "cluster = \"shop\"\nzone = \"eu-west-1b\"\n\n[attributes]\n\
            \"ecs.instance-type\" = \"m7g.large\"\nrack = \"r7\"\n\"tag/team\" = \"blue\"\n";
        assert_eq!(told("holdfast.toml"), expected);
        assert_eq!(told("holdfast.key"), "hfk1_x\n");
        assert_eq!(told("instance"), "i-0123");
        let key = fs::metadata(dir.join("first-boot/holdfast.key")).unwrap();
        assert_eq!(key.mode() & 0o777, 0o600);
        fs::write(dir.join("first-boot/holdfast.toml"), "by hand").unwrap();
        run(dir.to_path_buf(), Some(at)).await.unwrap();
        assert_eq!(told("holdfast.toml"), "by hand");
    }

    #[tokio::test]
    async fn what_others_find_in_the_user_data_is_none_of_ours() {
        for user_data in [
            None,
            Some("#!/bin/sh\ncluster=1\n"),
            Some("#holdfast-not\n"),
        ] {
            let dir = TestDir::new("first-boot");
            let mut paths = INSTANCE_PATHS[..3].to_vec();
            paths.extend(user_data.map(|text| ("user-data", text)));
            run(dir.to_path_buf(), Some(ec2(&paths).await))
                .await
                .unwrap();
            let told = fs::read_to_string(dir.join("first-boot/holdfast.toml")).unwrap();
            let expected = "zone = \"eu-west-1b\"\n\n[attributes]\n\
                \"ecs.instance-type\" = \"m7g.large\"\n";
            assert_eq!(told, expected);
            assert!(!dir.join("first-boot/holdfast.key").exists());
        }
    }

    #[test]
    fn what_is_ours_and_no_toml_is_kept_for_the_agent_to_refuse() {
        let given = Given {
            user_data: "#holdfast\ncluster = shop\n cluster_key = hfk1_x\n".to_owned(),
            ..Given::default()
        };
        let expected = "#holdfast\ncluster = shop\ncluster_key\n";
        assert_eq!(settings(&given).text, expected);
    }
}
