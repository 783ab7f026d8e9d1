//! The program under test and the image that its tasks run: built once for each process.

use crate::skip;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// What `make-image.sh` makes.
pub const IMAGE: &str = "holdfast-workload:latest";

/// The `holdfast` of `HOLDFAST_BIN`, else the workspace's release build, brought up to date.
///
/// Always brought up to date, since a test of yesterday's program is worse than none.
pub fn holdfast() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match env::var_os("HOLDFAST_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "HOLDFAST_BIN={} is no file", path.display());
            path
        }
        None => build(),
    })
}

/// The Python that has the public clients of ECS, made anew where it is not there; says SKIPPED
/// where it cannot be had.
pub fn ecs_clients() -> Option<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let script = workspace().join("packaging/prerequisites.sh");
        let made = Command::new(script).arg("ecs-clients").output();
        let made = made.expect("the script can be run");
        match made.status.success() {
            true => Ok(String::from_utf8_lossy(&made.stdout).trim().into()),
            false => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
        }
    });
    match made {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            skip(&format!("public clients of ECS: {why}"));
            None
        }
    }
}

/// Makes the image, unless the engine has it as it should be.
pub fn make_image() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = workspace().join("tests/e2e/make-image.sh");
        run(Command::new(script).stdout(Stdio::null()));
    });
}

/// The image as an archive that any engine can load; its path.
pub fn image_archive() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = workspace().join("tests/e2e/make-image.sh");
        let mut command = Command::new(script);
        command.arg("--archive-only").stderr(Stdio::inherit());
        let output = command.output();
        let output = output.unwrap_or_else(|err| panic!("cannot run {command:?}: {err}"));
        assert!(output.status.success(), "{command:?}: {}", output.status);
        // The script prints the path as seen from the workspace.
        workspace().join(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// Removes the copy that was made, so that nothing is left behind. Nothing can be run after it.
pub fn forget() {
    let copy = copy();
    if copy.exists() {
        fs::remove_file(&copy).unwrap_or_else(|err| panic!("remove {}: {err}", copy.display()));
    }
}

/// Of one file at most: it is named after us.
fn copy() -> PathBuf {
    crate::place::base().join(format!("holdfast-{}", std::process::id()))
}

pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .nth(2)
        .expect("this package is two levels down");
    root.to_owned()
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "holdfast",
    ]);
    // What cargo told us of this package would have it build others anew that look at such words.
    let told = env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| is_of_this_package(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    run(build.current_dir(workspace()));
    let exe = target_dir().join("release/holdfast");
    assert!(
        exe.is_file(),
        "{} was built, but is not there",
        exe.display()
    );
    // A copy, as somebody may build while we run.
    let copy = copy();
    fs::copy(&exe, &copy).unwrap_or_else(|err| panic!("copy {}: {err}", exe.display()));
    copy
}

fn is_of_this_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Tests lie in `<target>/<profile>/deps`, programs in `<target>/<profile>`.
fn target_dir() -> PathBuf {
    if let Some(dir) = env::var_os("CARGO_TARGET_DIR") {
        return workspace().join(dir);
    }
    let exe = env::current_exe().expect("/proc is mounted");
    let marked = |dir: &&Path| dir.join("CACHEDIR.TAG").is_file();
    let found = exe.ancestors().find(marked).map(Path::to_owned);
    found.unwrap_or_else(|| workspace().join("target"))
}

fn run(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?} failed: {status}"),
        Err(err) => panic!("cannot run {command:?}: {err}"),
    }
}
