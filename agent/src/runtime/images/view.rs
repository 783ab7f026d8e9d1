//! What people ask about images: which ones this agent pulled.

#[cfg(test)]
use super::PullBehavior;
use crate::runtime::{
    containers::Containers,
    docker::{Shared, bounded},
    failure::CallError,
};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions};
use holdfast_core::time::Wall;
use std::{collections::BTreeMap, sync::Arc};
#[cfg(test)]
use tokio::sync::mpsc;

/// Images as the servers see them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Images(pub(crate) Arc<Shared>);

/// One that this agent pulled and Docker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PulledImage {
    pub(crate) id: String,
    /// Its names now; none where another image took them over.
    pub(crate) names: Vec<String>,
    pub(crate) digests: Vec<String>,
    pub(crate) bytes: u64,
    pub(crate) pulled_at: Wall,
    /// `None` before the first use of one that was pulled ahead.
    pub(crate) used_at: Option<Wall>,
    /// The names of containers, anybody's.
    pub(crate) used_by: Vec<String>,
    /// It was on the host already when it was first pulled, and is never removed.
    pub(crate) was_here: bool,
}

impl Images {
    /// The containers of the same Docker.
    pub(crate) fn containers(&self) -> Containers {
        Containers(Arc::clone(&self.0))
    }

    /// Sorted by name. In one sentence why not, where Docker does not answer.
    pub(crate) async fn list(&self) -> Result<Vec<PulledImage>, String> {
        let listed = self.listed().await;
        listed.map_err(|err| format!("cannot list this host's images: {}", err.text()))
    }

    async fn listed(&self) -> Result<Vec<PulledImage>, CallError> {
        let (client, limit) = (self.0.client()?, self.0.config.call_timeout);
        let present = bounded(limit, client.list_images(None::<ListImagesOptions>)).await?;
        let options = ListContainersOptions {
            all: true,
            ..ListContainersOptions::default()
        };
        let containers = bounded(limit, client.list_containers(Some(options))).await?;
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in containers {
            let name = container.names.into_iter().flatten().next();
            let name = name.unwrap_or_default().trim_start_matches('/').to_owned();
            users
                .entry(container.image_id.unwrap_or_default())
                .or_default()
                .push(name);
        }
        let notes = self.0.images.notes.all();
        let real = |name: &String| !name.starts_with("<none>");
        let pulled = present.into_iter().filter_map(|image| {
            let note = notes.get(&image.id)?;
            Some(PulledImage {
                names: image.repo_tags.into_iter().filter(real).collect(),
                digests: image.repo_digests.into_iter().filter(real).collect(),
                bytes: u64::try_from(image.size).unwrap_or(0),
                pulled_at: note.pulled_at,
                used_at: (!note.is_ahead).then_some(note.used_at),
                used_by: users.remove(&image.id).unwrap_or_default(),
                was_here: note.was_here,
                id: image.id,
            })
        });
        let mut pulled: Vec<_> = pulled.collect();
        pulled.sort_by(|a, b| (&a.names, &a.id).cmp(&(&b.names, &b.id)));
        Ok(pulled)
    }
}

#[cfg(test)]
impl Images {
    /// Of an agent that has no Docker.
    pub(crate) fn without_docker(behavior: PullBehavior) -> Self {
        let mut config = crate::runtime::tests::config();
        config.socket = "/nonexistent/docker.sock".into();
        config.images.behavior = behavior;
        crate::runtime::Docker::start(config, mpsc::channel(1).0).images()
    }
}
