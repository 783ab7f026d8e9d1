//! Whose a container is: its labels, its name, and the judgement that it is ours.

use super::docker::DockerConfig;
use holdfast_core::{
    cluster::namespace::cluster_of,
    ids::GpuId,
    task::runtime::{Labels, SlotLabel},
};
use std::{collections::HashMap, str::FromStr};

pub(crate) const CLUSTER: &str = "io.holdfast.cluster";
pub(crate) const HOST: &str = "io.holdfast.host";
pub(crate) const TASK: &str = "io.holdfast.task";
pub(crate) const SERVICE: &str = "io.holdfast.service";
pub(crate) const SERVICE_NAME: &str = "io.holdfast.service-name";
pub(crate) const SLOT: &str = "io.holdfast.slot";
pub(crate) const GENERATION: &str = "io.holdfast.generation";
pub(crate) const DEFINITION: &str = "io.holdfast.definition";
pub(crate) const FAMILY: &str = "io.holdfast.family";
pub(crate) const REVISION: &str = "io.holdfast.revision";
pub(crate) const RENEWALS: &str = "io.holdfast.renewals";
pub(crate) const CONTAINER: &str = "io.holdfast.container";
pub(crate) const ESSENTIAL: &str = "io.holdfast.essential";
pub(crate) const GPUS: &str = "io.holdfast.gpus";

// Amazon ECS's own labels: log shippers and monitors read them.
const ECS_CLUSTER: &str = "com.amazonaws.ecs.cluster";
const ECS_CONTAINER: &str = "com.amazonaws.ecs.container-name";
const ECS_FAMILY: &str = "com.amazonaws.ecs.task-definition-family";
const ECS_VERSION: &str = "com.amazonaws.ecs.task-definition-version";

/// Why a container is not ours to touch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    #[error("it has no label {0}")]
    Missing(&'static str),
    #[error("its label {key} is {value:?}, which cannot be read")]
    Unreadable { key: &'static str, value: String },
    #[error("it is of cluster {0}")]
    OtherCluster(String),
    #[error("it is of host {0}")]
    OtherHost(String),
    #[error("it is called {found:?} and not {expected:?}: it is a copy, or was renamed")]
    OtherName { found: String, expected: String },
}

/// The one name that this container can have, so that making it twice ends in a conflict instead
/// of in two containers.
pub(crate) fn container_name(labels: &Labels) -> String {
    let Labels {
        family,
        revision,
        container,
        task,
        ..
    } = labels;
    format!("holdfast-{family}-{revision}-{container}-{task}")
}

/// The name of another container of the same task.
pub(crate) fn sibling_name(labels: &Labels, container: &str) -> String {
    let container = container.to_owned();
    container_name(&Labels {
        container,
        ..labels.clone()
    })
}

/// The labels of a container of this agent; the reason where it is none.
///
/// The name is compared too: `docker commit` writes our labels into an image, and what a person
/// runs from that image isn't ours, whatever its labels say.
pub(crate) fn ours(
    config: &DockerConfig,
    map: &HashMap<String, String>,
    name: &str,
) -> Result<Labels, NotOurs> {
    let labels = labels_from_map(map)?;
    if labels.cluster != config.cluster {
        return Err(NotOurs::OtherCluster(labels.cluster));
    }
    if labels.host != config.host {
        return Err(NotOurs::OtherHost(labels.host.to_string()));
    }
    let expected = container_name(&labels);
    let found = name.strip_prefix('/').unwrap_or(name);
    if found != expected {
        return Err(NotOurs::OtherName {
            found: found.to_owned(),
            expected,
        });
    }
    Ok(labels)
}

pub(crate) fn labels_to_map(labels: &Labels) -> HashMap<String, String> {
    let slot = labels.slot.as_ref();
    let namespace = slot.and_then(|slot| cluster_of(&slot.service_name));
    // Docker merges the image's labels into the container's. What has no value is therefore
    // written as empty: an image made by `docker commit` must not lend this task its slot.
    let of_slot = |value: fn(&SlotLabel) -> String| slot.map(value).unwrap_or_default();
    [
        (CLUSTER, labels.cluster.clone()),
        (HOST, labels.host.to_string()),
        (TASK, labels.task.to_string()),
        (SERVICE, of_slot(|slot| slot.service.to_string())),
        (SERVICE_NAME, of_slot(|slot| slot.service_name.to_string())),
        (SLOT, of_slot(|slot| slot.index.to_string())),
        (GENERATION, of_slot(|slot| slot.generation.to_string())),
        (DEFINITION, labels.definition.to_string()),
        (FAMILY, labels.family.clone()),
        (REVISION, labels.revision.to_string()),
        (RENEWALS, labels.renewals.to_string()),
        (CONTAINER, labels.container.clone()),
        (ESSENTIAL, labels.essential.to_string()),
        (GPUS, gpus_text(&labels.gpus)),
        (ECS_CLUSTER, namespace.unwrap_or(&labels.cluster).to_owned()),
        (ECS_CONTAINER, labels.container.clone()),
        (ECS_FAMILY, labels.family.clone()),
        (ECS_VERSION, labels.revision.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

pub(crate) fn labels_from_map(map: &HashMap<String, String>) -> Result<Labels, NotOurs> {
    let slot = match map.get(SERVICE).map(String::as_str) {
        None | Some("") => None,
        Some(_) => Some(SlotLabel {
            service: read(map, SERVICE)?,
            service_name: read::<String>(map, SERVICE_NAME)?.into(),
            index: read(map, SLOT)?,
            generation: read(map, GENERATION)?,
        }),
    };
    Ok(Labels {
        cluster: read(map, CLUSTER)?,
        host: read(map, HOST)?,
        task: read(map, TASK)?,
        container: read(map, CONTAINER)?,
        essential: read(map, ESSENTIAL)?,
        definition: read(map, DEFINITION)?,
        family: read(map, FAMILY)?,
        revision: read(map, REVISION)?,
        renewals: read(map, RENEWALS)?,
        slot,
        gpus: gpus_of(map)?,
    })
}

/// NVIDIA's ids have no commas.
fn gpus_text(gpus: &[GpuId]) -> String {
    let ids: Vec<&str> = gpus.iter().map(GpuId::as_str).collect();
    ids.join(",")
}

fn gpus_of(map: &HashMap<String, String>) -> Result<Box<[GpuId]>, NotOurs> {
    match map.get(GPUS).map(String::as_str) {
        None | Some("") => Ok(Box::default()),
        Some(text) => {
            let ids = text.split(',').map(str::parse);
            ids.collect::<Result<_, _>>()
                .map_err(|_| NotOurs::Unreadable {
                    key: GPUS,
                    value: text.to_owned(),
                })
        }
    }
}

fn read<T: FromStr>(map: &HashMap<String, String>, key: &'static str) -> Result<T, NotOurs> {
    let value = map.get(key).ok_or(NotOurs::Missing(key))?;
    value.parse().map_err(|_| NotOurs::Unreadable {
        key,
        value: value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tests::{config, labels, slot};
    use expect_test::expect;
    use std::collections::BTreeMap;

    fn gpus() -> Box<[GpuId]> {
        ["GPU-a", "1"]
            .map(|id| id.parse().expect("it is an id"))
            .into()
    }

    #[test]
    fn labels_read_back_as_they_were_written() {
        let without_slot = labels();
        let with_slot = Labels {
            slot: Some(slot()),
            gpus: gpus(),
            ..labels()
        };
        for labels in [without_slot, with_slot] {
            assert_eq!(labels_from_map(&labels_to_map(&labels)), Ok(labels));
        }
    }

    #[test]
    fn labels_are_what_other_tools_may_rely_on() {
        let labels = Labels {
            slot: Some(slot()),
            gpus: gpus(),
            ..labels()
        };
        let map: BTreeMap<_, _> = labels_to_map(&labels).into_iter().collect();
        let lines: String = map
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        expect![[r#"
            holdfast-shop-3-web-00000007000000000000000000000001
            com.amazonaws.ecs.cluster=test
            com.amazonaws.ecs.container-name=web
            com.amazonaws.ecs.task-definition-family=shop
            com.amazonaws.ecs.task-definition-version=3
            io.holdfast.cluster=test
            io.holdfast.container=web
            io.holdfast.definition=0909090909090909090909090909090909090909090909090909090909090909
            io.holdfast.essential=true
            io.holdfast.family=shop
            io.holdfast.generation=4
            io.holdfast.gpus=GPU-a,1
            io.holdfast.host=00000007000000000000000000000000
            io.holdfast.renewals=0
            io.holdfast.revision=3
            io.holdfast.service=00000007000000000000000000000005
            io.holdfast.service-name=front
            io.holdfast.slot=2
            io.holdfast.task=00000007000000000000000000000001
        "#]]
        .assert_eq(&format!("{}\n{lines}", container_name(&labels)));
    }

    #[test]
    fn labels_that_cannot_be_read_are_a_reason_and_not_a_guess() {
        let good = labels_to_map(&Labels {
            slot: Some(slot()),
            ..labels()
        });
        for (key, value) in &good {
            let mut map = good.clone();
            map.remove(key);
            let optional =
                [SERVICE, GPUS].contains(&key.as_str()) || key.starts_with("com.amazonaws");
            assert_eq!(labels_from_map(&map).is_ok(), optional, "without {key}");
            if value.parse::<u128>().is_ok() && !key.starts_with("com.amazonaws") {
                map.insert(key.clone(), "x".to_owned());
                assert!(labels_from_map(&map).is_err(), "{key} = x");
            }
        }
    }

    #[test]
    fn a_container_of_another_cluster_host_or_name_is_not_ours() {
        let config = config();
        let labels = labels();
        let name = container_name(&labels);
        let map = labels_to_map(&labels);
        assert_eq!(ours(&config, &map, &format!("/{name}")), Ok(labels.clone()));
        assert!(matches!(
            ours(&config, &map, "/copy"),
            Err(NotOurs::OtherName { .. })
        ));
        let other = labels_to_map(&Labels {
            cluster: "x".to_owned(),
            ..labels.clone()
        });
        assert_eq!(
            ours(&config, &other, &name),
            Err(NotOurs::OtherCluster("x".to_owned()))
        );
        let other = labels_to_map(&Labels {
            host: Default::default(),
            ..labels
        });
        assert!(matches!(
            ours(&config, &other, &name),
            Err(NotOurs::OtherHost(_))
        ));
    }
}
