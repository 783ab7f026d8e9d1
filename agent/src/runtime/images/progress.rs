//! How far a pull has come, added up from what Docker says of each layer, in one sentence.

use bollard::models::CreateImageInfo;
use std::collections::BTreeMap;

/// Docker's own limit is 127 layers; what is beyond it isn't counted.
const LAYERS_MAX: usize = 256;
const MIB: u64 = 1_024 * 1_024;

#[derive(Debug, Default)]
pub(crate) struct Progress {
    layers: BTreeMap<String, Layer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layer {
    /// Zero until its download begins.
    bytes_total: u64,
    bytes_here: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Waits,
    Loads,
    IsLoaded,
    IsDone,
}

impl Progress {
    pub(crate) fn on(&mut self, info: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&info.id, &info.status) else {
            return;
        };
        let stage = match status.as_str() {
            "Pulling fs layer" | "Waiting" => Stage::Waits,
            "Downloading" => Stage::Loads,
            "Verifying Checksum" | "Download complete" | "Extracting" => Stage::IsLoaded,
            "Pull complete" | "Already exists" => Stage::IsDone,
            // "Pulling from library/web", "Retrying in 5 seconds" and words that are yet to come.
            _ => return,
        };
        if self.layers.len() >= LAYERS_MAX && !self.layers.contains_key(id) {
            return;
        }
        let layer = self.layers.entry(id.clone()).or_default();
        layer.stage = stage;
        let detail = info.progress_detail.as_ref();
        let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
        match stage {
            Stage::Loads => {
                let total = detail.and_then(|detail| bytes(detail.total));
                layer.bytes_total = total.unwrap_or(layer.bytes_total);
                layer.bytes_here = detail.and_then(|detail| bytes(detail.current)).unwrap_or(0);
            }
            Stage::Waits => {}
            Stage::IsLoaded | Stage::IsDone => layer.bytes_here = layer.bytes_total,
        }
    }

    /// Follows the image's name and a colon; empty while there is nothing to tell.
    pub(crate) fn in_words(&self) -> String {
        let layers = || self.layers.values();
        let total: u64 = layers().map(|layer| layer.bytes_total).sum();
        let here: u64 = layers().map(|layer| layer.bytes_here).sum();
        let waiting = layers().filter(|layer| layer.stage == Stage::Waits).count();
        if layers().all(|layer| layer.stage == Stage::IsDone) || (total == 0 && waiting == 0) {
            return String::new();
        }
        if layers().all(|layer| layer.stage >= Stage::IsLoaded) {
            return format!("unpacks {}", size(total));
        }
        let (unit, name) = unit(total);
        let loaded = format!("{} of {} {name}", here / unit, total.div_ceil(unit));
        match (total, waiting) {
            (0, waiting) => format!("layers to come: {waiting}"),
            (_, 0) => loaded,
            (_, waiting) => format!("{loaded}, layers to come: {waiting}"),
        }
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let (unit, name) = unit(bytes);
    format!("{} {name}", bytes.div_ceil(unit))
}

const fn unit(bytes: u64) -> (u64, &'static str) {
    match bytes < MIB {
        true => (1_024, "KiB"),
        false => (MIB, "MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn info(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: detail.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_are_added_up_to_one_sentence() {
        const M: i64 = 1_024 * 1_024;
        let mut progress = Progress::default();
        let mut told = Vec::new();
        for (id, status, detail) in [
            ("1", "Pulling from web", None),
            ("a", "Pulling fs layer", None),
            ("b", "Pulling fs layer", None),
            ("c", "Already exists", None),
            ("a", "Downloading", Some((10 * M, 100 * M))),
            ("b", "Downloading", Some((M, 20 * M))),
            ("b", "Download complete", None),
            ("b", "Extracting", Some((M, 20 * M))),
            ("a", "Verifying Checksum", None),
            ("a", "Retrying in 5 seconds", None),
            ("b", "Pull complete", None),
            ("a", "Pull complete", None),
        ] {
            progress.on(&info(id, status, detail));
            let words = progress.in_words();
            if told.last() != Some(&words) {
                told.push(words);
            }
        }
        assert_eq!(
            told,
            [
                "",
                "layers to come: 1",
                "layers to come: 2",
                "10 of 100 MiB, layers to come: 1",
                "11 of 120 MiB",
                "30 of 120 MiB",
                "unpacks 120 MiB",
                "",
            ]
        );
    }

    #[test]
    fn a_small_image_is_told_in_kib() {
        let mut progress = Progress::default();
        progress.on(&info("a", "Downloading", Some((2_048, 10_000))));
        assert_eq!(progress.in_words(), "2 of 10 KiB");
        progress.on(&info("a", "Downloading", Some((-1, -1))));
        assert_eq!(progress.in_words(), "0 of 10 KiB");
    }
}
