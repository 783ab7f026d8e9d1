//! How the fake container runtime behaves: how fast it is, and what it does wrong.

use crate::silence::permanent;
use holdfast_core::{
    spec::image::ImageRef,
    task::runtime::{Observed, PulledImage, RuntimeEvent},
};

/// How long what takes, in microseconds, and how often it goes wrong.
#[derive(Clone, Debug)]
pub struct Manners {
    pub create_us: (u64, u64),
    pub start_us: (u64, u64),
    pub pull_us: (u64, u64),
    /// From SIGTERM to the end of a container that honours it.
    pub term_us: (u64, u64),
    pub other_us: (u64, u64),
    /// From its start until what is checked of a container is well.
    pub warm_us: (u64, u64),
    /// Creates and starts that fail; a fifth of them for good.
    pub fail_ppm: u64,
    /// Containers that end only when killed.
    pub stubborn_ppm: u64,
    /// Containers that end by themselves, within a minute.
    pub exits_ppm: u64,
    /// Every container ends by itself so long after its start.
    pub crashes_after_us: Option<u64>,
    /// A stop ends nothing, and says so.
    pub unkillable: bool,
    /// Whatever is made or started is not told.
    pub loses_answers: bool,
    /// No image can be had.
    pub no_images: bool,
    /// Ports that others on the host have.
    pub ports_taken: Vec<u16>,
    /// What a full comparison finds that is another cluster's.
    pub strangers: Vec<Observed>,
}

impl Manners {
    pub const GOOD: Self = Self {
        create_us: (15_000, 40_000),
        start_us: (150_000, 400_000),
        pull_us: (200_000, 5_000_000),
        term_us: (10_000, 100_000),
        other_us: (5_000, 20_000),
        warm_us: (0, 1_500_000),
        fail_ppm: 0,
        stubborn_ppm: 0,
        exits_ppm: 0,
        crashes_after_us: None,
        unkillable: false,
        loses_answers: false,
        no_images: false,
        ports_taken: Vec::new(),
        strangers: Vec::new(),
    };

    pub fn pull(&self, image: ImageRef) -> RuntimeEvent {
        let missing = image.as_str().starts_with("missing") || self.no_images;
        let reason = || format!("CannotPullContainerError: no such image: {image}");
        let outcome = match missing {
            true => Err(permanent(reason())),
            false => Ok(PulledImage {
                digest: "sha256:fake".to_owned(),
                was_here: false,
            }),
        };
        RuntimeEvent::ImagePulled { image, outcome }
    }
}
