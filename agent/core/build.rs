//! Digests the core's sources, so that a recording is only replayed by the very core that made it.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs before the core, not in it"
)]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files)?;
    files.sort();
    // FNV-1a: no secret depends on it, and it is the same with every toolchain.
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.strip_prefix(&root).expect("it was found below");
        for byte in name.to_string_lossy().bytes().chain(fs::read(&file)?) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    println!("cargo:rustc-env=HOLDFAST_CORE={digest:016x}");
    Ok(())
}

/// What is compiled into the agent: not the tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_tests = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_tests {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") && !is_tests {
            files.push(path);
        }
    }
    Ok(())
}
