//! What people set about images: when they are pulled, with whose credentials, when they go.

use std::{path::PathBuf, time::Duration};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageSettings {
    pub(crate) behavior: PullBehavior,
    /// In the form of Docker's `config.json`; read anew for each pull.
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) clean_up: CleanUp,
}

/// When an image is pulled for a container that is to be made: ECS's `ECS_IMAGE_PULL_BEHAVIOR`, and
/// `Never`. One that is named by its digest and is here is never pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullBehavior {
    /// Each time; if that fails, the image that is here serves.
    Default,
    /// Each time; if that fails, so does the task.
    Always,
    /// If this agent has not pulled it before.
    Once,
    /// If it is not here.
    PreferCached,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CleanUp {
    pub(crate) when: WhenCleaned,
    /// Between looks for images that are too old.
    pub(crate) interval: Duration,
    /// No image goes for its age before nothing has used it for so long.
    pub(crate) age_min: Duration,
    /// Images that go for their age at each look.
    pub(crate) deleted_max: usize,
    /// What a disk with images may be full of, in per cent.
    pub(crate) disk_percent_max: u8,
    /// Where containerd has its images, if Docker leaves them to it.
    pub(crate) containerd_root: PathBuf,
    /// Images that stay whatever happens; one without tag means all of its repository.
    pub(crate) excluded: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenCleaned {
    /// When they have not been used for long, and when the disk is full.
    Age,
    /// When the disk is full.
    Disk,
    Never,
}
