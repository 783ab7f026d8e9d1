//! Removes images that this agent pulled and nothing uses: old ones, and when the disk is full.
//!
//! Never one that any container uses, whoever made it; never one that was here before this agent
//! pulled it, or has a name that this agent did not pull it by. Docker is asked without force, so
//! what it needs itself stays.

use super::{
    ImageName,
    notes::{Note, NotesById},
    settings::{CleanUp, WhenCleaned},
};
use crate::runtime::{
    docker::{Shared, bounded, lock},
    failure::CallError,
    timestamp,
};
use bollard::{
    Docker as Client,
    models::{ImageSummary, SystemInfo},
    query_parameters::{ListContainersOptions, ListImagesOptions, RemoveImageOptions},
};
use holdfast_core::time::Wall;
use nix::sys::statvfs::statvfs;
use std::{
    collections::BTreeSet,
    future::pending,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

/// Between looks at the disk, which may fill faster than images grow old.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What Docker calls a store of images that is containerd's.
const SNAPSHOTTERS: &str = "io.containerd.snapshotter";
/// Where a containerd listens that Docker started itself, and what it keeps is below Docker's root.
const CONTAINERD_OF_DOCKER: &str = "/docker/containerd/containerd.sock";
const CONTAINERD_IN_ROOT: &str = "containerd/daemon";

/// Why images may go now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reasons<'a> {
    pub(crate) age: bool,
    /// The disks to make room on, by a place on each.
    pub(crate) disks: &'a [PathBuf],
}

/// An image that Docker has, as far as it matters here.
#[derive(Clone, Debug)]
struct Present {
    id: String,
    tags: Vec<ImageName>,
    /// Its names by digest, also in repositories that it has no tag of.
    digests: Vec<ImageName>,
}

/// One that may go if there is a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    id: String,
    tags: Vec<ImageName>,
    /// All that it is called: each name that somebody may want it by.
    names: BTreeSet<ImageName>,
    note: Note,
}

/// Which images are not to be touched, and which are ours at all.
#[derive(Debug)]
struct Bounds<'a> {
    notes: &'a NotesById,
    in_use: BTreeSet<String>,
    excluded: &'a [String],
}

/// Looks after images for as long as the connection lasts; never returns.
pub(crate) async fn keep_clean(shared: &Shared, client: &Client) -> String {
    let settings = &shared.config.images.clean_up;
    if settings.when == WhenCleaned::Never {
        return pending().await;
    }
    let disks = disks_of(shared, client).await;
    loop {
        // A full disk is looked at now and then, and when an image has come.
        timeout(LOOK_INTERVAL, shared.images.room_wanted.notified())
            .await
            .ok();
        let now = Instant::now();
        let is_due = now >= *lock(&shared.images.next_cycle);
        if is_due {
            *lock(&shared.images.next_cycle) = now + settings.interval;
        }
        let reasons = Reasons {
            age: is_due && settings.when == WhenCleaned::Age,
            disks: &disks,
        };
        if (is_due || is_full(&disks, settings))
            && let Err(err) = clean(shared, client, reasons).await
        {
            let reason = err.text();
            warn!(reason, "Cannot look for images that nothing uses.");
        }
    }
}

/// Where images are kept; what cannot be looked at is left out, with a warning.
async fn disks_of(shared: &Shared, client: &Client) -> Vec<PathBuf> {
    let info = match bounded(shared.config.call_timeout, client.info()).await {
        Ok(info) => info,
        Err(err) => {
            let reason = err.text();
            warn!(
                reason,
                "Cannot tell how full Docker's disk is; images stay until they are too old."
            );
            return vec![];
        }
    };
    let mut stores = stores(&info, &shared.config.images.clean_up.containerd_root);
    stores.retain(|store| {
        let is_here = percent_used(store).is_some();
        if !is_here {
            let path = store.display();
            warn!(%path, "Images are said to be kept where nothing is; that disk is not watched.");
        }
        is_here
    });
    stores
}

/// By what Docker says of itself. Where it leaves its images to containerd, it has other things in
/// its own root; and where containerd has them, it does not know unless it started that itself.
fn stores(info: &SystemInfo, containerd_root: &Path) -> Vec<PathBuf> {
    let root = PathBuf::from(info.docker_root_dir.clone().unwrap_or_default());
    let told = info.driver_status.iter().flatten();
    let mut kinds = told.filter_map(|pair| match &pair[..] {
        [name, kind] if name == "driver-type" => Some(kind),
        _ => None,
    });
    if !kinds.any(|kind| kind.starts_with(SNAPSHOTTERS)) {
        return vec![root];
    }
    let containerd = info.containerd.as_ref();
    let address = containerd.and_then(|containerd| containerd.address.as_deref());
    let images = match address.is_some_and(|address| address.ends_with(CONTAINERD_OF_DOCKER)) {
        true => root.join(CONTAINERD_IN_ROOT),
        false => containerd_root.to_owned(),
    };
    vec![root, images]
}

/// One look: notes what is in use, and removes what may go for these reasons.
pub(crate) async fn clean(
    shared: &Shared,
    client: &Client,
    reasons: Reasons<'_>,
) -> Result<(), CallError> {
    let (settings, notes) = (&shared.config.images.clean_up, &shared.images.notes);
    // Containers last: what was made of an image meanwhile is among them.
    let present = present(shared, client).await?;
    let in_use = in_use(shared, client).await?;
    let now = timestamp::now();
    let ids: BTreeSet<&str> = present.iter().map(|image| image.id.as_str()).collect();
    notes.retain(|id| ids.contains(id));
    notes.on_seen(in_use.iter().map(String::as_str), now);
    let all = notes.all();
    let bounds = Bounds {
        notes: &all,
        in_use,
        excluded: &settings.excluded,
    };
    let (mut deleted, mut for_age) = (BTreeSet::new(), 0);
    for candidate in candidates(&present, &bounds) {
        let is_old = is_old(&candidate.note, settings, now) && for_age < settings.deleted_max;
        let is_full = is_full(reasons.disks, settings);
        let why = match (reasons.age && is_old, is_full) {
            (true, _) => "nothing has used it for long",
            (false, true) => "the disk is full, and nothing uses it",
            (false, false) => continue,
        };
        let (id, image) = (&candidate.id, words(&candidate.tags));
        match remove_unused(shared, client, &candidate).await {
            Ok(true) => {
                info!(id, image, why, "Image removed.");
                deleted.insert(id.clone());
                for_age += usize::from(!is_full);
            }
            Ok(false) => debug!(id, image, "An image is wanted after all."),
            // Docker needs it, for an image or a container that came meanwhile.
            Err(err) if err.status() == Some(409) => {
                let reason = err.text();
                debug!(id, image, reason, "Docker keeps an image.");
            }
            Err(err) => {
                let reason = err.text();
                warn!(
                    id,
                    image, reason, "Cannot remove an image that nothing uses."
                );
            }
        }
    }
    notes.retain(|id| !deleted.contains(id));
    notes.save().await;
    Ok(())
}

/// Looks once more, since the others took their time: what somebody has begun to use is kept, and
/// whoever wants it from now on waits until it is gone, to pull it anew.
async fn remove_unused(
    shared: &Shared,
    client: &Client,
    candidate: &Candidate,
) -> Result<bool, CallError> {
    let images = &shared.images;
    let _removing = images.removals.begin(candidate.names.clone());
    let is_held = candidate.names.iter().any(|name| images.held.holds(name));
    // It was pulled again, or used.
    let is_another = images.notes.get(&candidate.id).as_ref() != Some(&candidate.note);
    if is_held || is_another || in_use(shared, client).await?.contains(&candidate.id) {
        return Ok(false);
    }
    remove(shared, client, candidate).await?;
    Ok(true)
}

async fn present(shared: &Shared, client: &Client) -> Result<Vec<Present>, CallError> {
    let listed = client.list_images(None::<ListImagesOptions>);
    let listed = bounded(shared.config.call_timeout, listed).await?;
    Ok(listed.into_iter().map(Present::from).collect())
}

/// The images of all containers: anybody's, running or not.
async fn in_use(shared: &Shared, client: &Client) -> Result<BTreeSet<String>, CallError> {
    let options = ListContainersOptions {
        all: true,
        ..ListContainersOptions::default()
    };
    let listed = client.list_containers(Some(options));
    let listed = bounded(shared.config.call_timeout, listed).await?;
    Ok(listed.into_iter().filter_map(|c| c.image_id).collect())
}

/// What may go, that which was used least recently first.
fn candidates(present: &[Present], bounds: &Bounds<'_>) -> Vec<Candidate> {
    let candidate = |image: &Present| {
        let note = bounds.notes.get(&image.id)?;
        let names = note.names.iter().map(|name| ImageName::of(name));
        bounds.lets_go(image, note).then(|| Candidate {
            id: image.id.clone(),
            tags: image.tags.clone(),
            names: names.chain(image.digests.clone()).collect(),
            note: note.clone(),
        })
    };
    let mut found: Vec<_> = present.iter().filter_map(candidate).collect();
    // Many were found in use by the same look.
    found.sort_by_key(|candidate| (candidate.note.used_at, candidate.note.pulled_at));
    found
}

impl Bounds<'_> {
    fn lets_go(&self, image: &Present, note: &Note) -> bool {
        let names: Vec<_> = note.names.iter().map(|name| ImageName::of(name)).collect();
        let is_named = |tag: &ImageName| names.contains(tag);
        let is_known = |other: &ImageName| {
            names
                .iter()
                .any(|name| name.repository() == other.repository())
        };
        let ours = image.tags.iter().all(is_named) && image.digests.iter().all(is_known);
        let is_excluded = |name: &ImageName| self.excluded.iter().any(|meant| name.is_among(meant));
        !note.was_here && ours && !self.in_use.contains(&image.id) && !names.iter().any(is_excluded)
    }
}

/// One that was pulled ahead waits for its first use, however long that takes.
fn is_old(note: &Note, settings: &CleanUp, now: Wall) -> bool {
    let age = Duration::from_millis(now.ms_since(note.used_at));
    !note.is_ahead && age >= settings.age_min
}

/// By its id, so that a name which moved meanwhile is not touched. Docker refuses that while there
/// are several names, so all but one are taken off before.
async fn remove(shared: &Shared, client: &Client, candidate: &Candidate) -> Result<(), CallError> {
    let limit = shared.config.call_timeout;
    let options = RemoveImageOptions {
        force: false,
        noprune: true,
        ..RemoveImageOptions::default()
    };
    for tag in candidate.tags.iter().skip(1).map(ToString::to_string) {
        let found = bounded(limit, client.inspect_image(&tag)).await?;
        if found.id.as_ref() == Some(&candidate.id) {
            let untagged = client.remove_image(&tag, Some(options.clone()), None);
            bounded(limit, untagged).await?;
        }
    }
    let removed = client.remove_image(&candidate.id, Some(options), None);
    match bounded(limit, removed).await {
        Err(err) if !err.is_not_found() => Err(err),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The fullest counts.
fn is_full(disks: &[PathBuf], settings: &CleanUp) -> bool {
    let used = disks.iter().filter_map(|disk| percent_used(disk)).max();
    used.is_some_and(|used| used > u64::from(settings.disk_percent_max))
}

/// As `df` counts: of what is not kept back for root.
fn percent_used(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    let used = found.blocks().saturating_sub(found.blocks_free());
    let usable = used + found.blocks_available();
    (usable > 0).then(|| (used * 100).div_ceil(usable))
}

fn words(tags: &[ImageName]) -> String {
    let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
    tags.join(", ")
}

impl From<ImageSummary> for Present {
    fn from(image: ImageSummary) -> Self {
        // "<none>:<none>" is Docker's word for an image without a name.
        let real = |name: &&String| !name.starts_with("<none>");
        let tags: Vec<_> = image
            .repo_tags
            .iter()
            .filter(real)
            .map(|name| ImageName::of(name))
            .collect();
        let digests = image.repo_digests.iter().filter(real);
        let digests = digests.map(|name| ImageName::of(name)).collect();
        Self {
            id: image.id,
            tags,
            digests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    /// Parts of what `docker info` says.
    const GRAPH: &str = r#"{"DockerRootDir": "/srv/docker",
        "DriverStatus": [["Backing Filesystem", "extfs"], ["Native Overlay Diff", "true"]],
        "Containerd": {"Address": "/run/containerd/containerd.sock"}}"#;
    const SHARED: &str = r#"{"DockerRootDir": "/srv/docker",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Containerd": {"Address": "/run/containerd/containerd.sock"}}"#;
    const OWN: &str = r#"{"DockerRootDir": "/srv/docker",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Containerd": {"Address": "/var/run/docker/containerd/containerd.sock"}}"#;
    const SILENT: &str = r#"{"DockerRootDir": "/srv/docker",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}"#;

    #[test]
    fn images_are_where_docker_keeps_them_or_the_containerd_that_it_leaves_them_to() {
        let told = [GRAPH, SHARED, OWN, SILENT].map(|info| {
            let info: SystemInfo = serde_json::from_str(info).expect("it is JSON");
            let stores = stores(&info, Path::new("/srv/containerd"));
            let stores = stores.iter().map(|store| store.display().to_string());
            stores.collect::<Vec<_>>().join(" ")
        });
        expect![[r#"
            /srv/docker
            /srv/docker /srv/containerd
            /srv/docker /srv/docker/containerd/daemon
            /srv/docker /srv/containerd"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn the_fullest_disk_counts_and_one_that_is_not_there_does_not() {
        let settings = |disk_percent_max| CleanUp {
            disk_percent_max,
            ..crate::runtime::tests::config().images.clean_up
        };
        // Nothing is ever kept in the first one.
        let (empty, here) = (PathBuf::from("/proc"), std::env::temp_dir());
        let used = percent_used(&here).expect("it is there");
        assert!(used > 0, "the tests themselves are on some disk");
        let full = settings(u8::try_from(used - 1).expect("at most a hundred"));
        let free = settings(u8::try_from(used).expect("at most a hundred"));
        let disks = [empty.clone(), here];
        assert!(is_full(&disks, &full) && !is_full(&disks, &free));
        assert!(!is_full(&[empty, "/nowhere".into()], &settings(0)));
    }
}
