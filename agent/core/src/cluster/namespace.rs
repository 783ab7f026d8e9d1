//! Clusters that people make: parts of what runs, over the one fleet that all of them share.
//!
//! The agents' own cluster is there without a record. A service of another one has its cluster in
//! front of its name, a run behind the mark of runs: neither kind of name has a slash in it.

use crate::{
    cluster::{
        board::{Board, Service},
        body::{Body, Key},
        run::NAME_PREFIX,
    },
    time::Wall,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub created_at: Wall,
}

/// No cluster is called so: what runs and schedules are called begins with it.
pub const RESERVED: [&str; 2] = ["run", "schedule"];

/// What a service of this name is called in the cluster; in the agents' own where there is none.
pub fn qualified(cluster: Option<&str>, name: &str) -> String {
    match cluster {
        Some(cluster) => format!("{cluster}/{name}"),
        None => name.to_owned(),
    }
}

/// The cluster of a service, unless it is the agents' own, and its name there.
pub fn split(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((cluster, name)) => (Some(cluster), name),
        None => (None, name),
    }
}

/// The cluster of what a slot is of, by the name in its label; `None` for the agents' own.
pub fn cluster_of(name: &str) -> Option<&str> {
    split(name.strip_prefix(NAME_PREFIX).unwrap_or(name))
        .0
        .filter(|cluster| !RESERVED.contains(cluster))
}

impl Board {
    /// When people made the cluster.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        match &self.record(&Key::Cluster(name.to_owned()))?.body {
            Some(Body::Cluster(namespace)) => Some(namespace),
            _ => None,
        }
    }

    /// People made it; or something of it is there, though it was deleted on the other side of a
    /// partition meanwhile.
    pub fn has_cluster(&self, name: &str) -> bool {
        if self.namespace(name).is_some() || planted!(ForgetsFullClusters) {
            return self.namespace(name).is_some();
        }
        let mut runs = self.runs_of_clusters();
        self.services_in(Some(name)).next().is_some() || runs.any(|cluster| cluster == name)
    }

    /// All but the agents' own.
    pub fn clusters(&self) -> BTreeSet<&str> {
        let made = self
            .range(Key::Cluster(String::new())..)
            .map_while(|record| match &record.key {
                Key::Cluster(name) => Some((name.as_str(), record.body.is_some())),
                _ => None,
            });
        let made = made.filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        let services = self.services();
        let services = services.filter_map(|service| split(&service.settings.name).0);
        made.chain(services)
            .chain(self.runs_of_clusters())
            .collect()
    }

    /// The cluster of each run that goes on, but for those of the agents' own.
    pub fn runs_of_clusters(&self) -> impl Iterator<Item = &str> {
        self.runs().filter_map(|(id, run)| {
            let cluster = cluster_of(&run.settings.name)?;
            self.run_ended_at(id).is_none().then_some(cluster)
        })
    }

    /// The services of one cluster, in order of their names.
    pub fn services_in<'b>(
        &'b self,
        cluster: Option<&'b str>,
    ) -> impl Iterator<Item = Service<'b>> + 'b {
        let beginning = cluster.map_or_else(String::new, |cluster| format!("{cluster}/"));
        let names = self.service_names_from(beginning.clone());
        names
            .take_while(move |name| name.starts_with(&beginning))
            .filter(move |name| split(name).0 == cluster)
            .filter_map(|name| self.service_named(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_cluster() {
        assert_eq!(qualified(Some("staging"), "web"), "staging/web");
        assert_eq!(split("staging/web"), (Some("staging"), "web"));
        assert_eq!(split(&qualified(None, "web")), (None, "web"));
        assert_eq!(cluster_of("staging/web"), Some("staging"));
        assert_eq!(cluster_of("run/staging/00ff"), Some("staging"));
        for own in ["web", "run/00ff", "schedule/nightly"] {
            assert_eq!(cluster_of(own), None, "{own}");
        }
    }
}
