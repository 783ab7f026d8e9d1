//! The pause image: one small program that holds the namespaces which a task's containers share.
//!
//! The daemon brings the program along and loads the image itself: no registry is asked for it.
//! Nothing in it tells of a time or a place, so it is one image, however often it is loaded, and by
//! however many at once.

use super::{docker::bounded, failure::CallError};
use bollard::{Docker as Client, body_full, query_parameters::ImportImageOptions};
use futures_util::TryStreamExt as _;
use holdfast_core::ids::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{env::consts::ARCH, time::Duration};

/// The program, compiled by the build script from `agent/pause/pause.rs`.
pub(crate) const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// On the image, and so on each container of it: the digest of the program.
pub(crate) const LABEL: &str = "io.holdfast.pause";

const REPOSITORY: &str = "holdfast-pause";
/// Enough of the digest to tell the programs of all releases apart.
const TAG_CHARS: usize = 12;

/// Nobody: it needs no right to anything.
const USER: &str = "65535:65535";

/// A tar archive is made of these.
const BLOCK_BYTES: usize = 512;

/// The name of the image, which is loaded into Docker where it is missing; each call to Docker may
/// take `limit`.
///
/// A person may clear away unused images, and with them this one, before a container is made of it:
/// then ask again.
pub(crate) async fn image(client: &Client, limit: Duration) -> Result<String, CallError> {
    let name = format!("{REPOSITORY}:{}", &digest(BYTES)[..TAG_CHARS]);
    provide(client, &name, limit).await?;
    Ok(name)
}

/// Afterwards the image has this name, whatever had it before.
pub(crate) async fn provide(client: &Client, name: &str, limit: Duration) -> Result<(), CallError> {
    if is_there(client, name, limit).await? {
        return Ok(());
    }
    let options = ImportImageOptions {
        quiet: true,
        ..ImportImageOptions::default()
    };
    let archive = body_full(archive(name).into());
    let progress = client.import_image(options, archive, None);
    bounded(limit, progress.try_for_each(async |_| Ok(()))).await
}

async fn is_there(client: &Client, name: &str, limit: Duration) -> Result<bool, CallError> {
    match bounded(limit, client.inspect_image(name)).await {
        Ok(image) => {
            let labels = image.config.and_then(|config| config.labels);
            let label = labels.and_then(|mut labels| labels.remove(LABEL));
            Ok(label == Some(digest(BYTES)))
        }
        Err(err) if err.is_not_found() => Ok(false),
        Err(err) => Err(err),
    }
}

/// What `docker load` takes: the image's one layer, what is said of it, and its name.
fn archive(name: &str) -> Vec<u8> {
    // As Go calls them, and with it Docker.
    let architecture = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let created = "1970-01-01T00:00:00Z";
    let layer = tar(&[("pause", BYTES)]);
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": ["/pause"],
            "User": USER,
            "Labels": { LABEL: digest(BYTES) },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
        "history": [{ "created": created, "created_by": "holdfast" }],
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": ["layer.tar"],
    }]);
    tar(&[
        ("layer.tar", &layer),
        ("config.json", config.to_string().as_bytes()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

/// An archive of files with short names, all of user 0 and of 1970.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        tar.extend(tar_header(name, content.len()));
        tar.extend(*content);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    // Two empty blocks are its end.
    tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
    tar
}

/// POSIX.1-2017, pax, "ustar Interchange Format": where each field is, and how it is written.
fn tar_header(name: &str, content_bytes: usize) -> [u8; BLOCK_BYTES] {
    const CHECKSUM: usize = 148;
    let size = format!("{content_bytes:011o}");
    let fields = [
        (0, name),
        (100, "0000755"),       // mode
        (108, "0000000"),       // user
        (116, "0000000"),       // group
        (124, &size),           // of the content
        (136, "00000000000"),   // when it was changed
        (CHECKSUM, "        "), // counts as blanks in the sum
        (156, "0"),             // an ordinary file
        (257, "ustar\x0000"),   // this format, and its version
    ];
    let mut header = [0; BLOCK_BYTES];
    for (at, text) in fields {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[CHECKSUM..CHECKSUM + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn digest(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::{fs, process::Command};

    #[test]
    fn the_program_is_small() {
        assert!(BYTES.len() < 20 * 1024, "{} bytes", BYTES.len());
    }

    /// ELF-64, "Program Header": a program that asks for a loader names it in one of type 3.
    #[test]
    fn the_program_needs_no_loader_and_no_library() {
        const DYNAMIC: u32 = 2;
        const INTERPRETER: u32 = 3;
        let number = |at: usize, bytes: usize| {
            let field = BYTES[at..at + bytes].iter().rev();
            field.fold(0, |number, byte| number << 8 | usize::from(*byte))
        };
        assert_eq!(
            BYTES[..6],
            *b"\x7fELF\x02\x01",
            "64 bits, the low byte first"
        );
        let (table, entry_bytes, entries) = (number(32, 8), number(54, 2), number(56, 2));
        let kinds: Vec<u32> = (0..entries)
            .map(|entry| number(table + entry * entry_bytes, 4))
            .map(|kind| u32::try_from(kind).expect("it has four bytes"))
            .collect();
        assert!(kinds.contains(&1), "something is loaded: {kinds:?}");
        assert!(!kinds.contains(&DYNAMIC), "{kinds:?}");
        assert!(!kinds.contains(&INTERPRETER), "{kinds:?}");
    }

    #[test]
    fn any_tar_reads_the_archive() {
        let dir = TestDir::new("pause");
        let path = dir.join("image.tar");
        fs::write(&path, archive("pause:1")).expect("the directory takes a file");
        let tar = |words: &[&str]| {
            let ran = Command::new("tar")
                .args(words)
                .arg("--file")
                .arg(&path)
                .output();
            let ran = ran.expect("the machine has tar");
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success() && said.is_empty(), "{said}");
            ran.stdout
        };
        let listed = String::from_utf8(tar(&["--list"])).expect("the names are text");
        let names: Vec<&str> = listed.lines().collect();
        assert_eq!(names, ["layer.tar", "config.json", "manifest.json"]);
        let manifest = tar(&[
            "--extract",
            "--to-stdout",
            "--occurrence=1",
            "manifest.json",
        ]);
        let manifest = String::from_utf8(manifest).expect("JSON is text");
        assert!(manifest.contains(r#""RepoTags":["pause:1"]"#), "{manifest}");

        let layer = tar(&["--extract", "--to-stdout", "layer.tar"]);
        fs::write(&path, layer).expect("the directory takes a file");
        let program = tar(&["--extract", "--to-stdout", "pause"]);
        assert!(program == BYTES);
    }
}
