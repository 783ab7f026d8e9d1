//! Compiles the pause program, which the daemon brings along and loads into Docker when asked to.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

const SOURCE: &str = "pause/pause.rs";

/// How it becomes a program that needs nothing: no C library, no loader, no tables for unwinding.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-name=pause",
    "--crate-type=bin",
    "-Cpanic=abort",
    "-Copt-level=s",
    "-Ccodegen-units=1",
    "-Cforce-unwind-tables=no",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed={SOURCE}");
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    let program = PathBuf::from(told("OUT_DIR")?).join("pause");
    // Not cargo's flags for the daemon (RUSTFLAGS): they may ask for what needs a C library.
    let mut compiler = Command::new(told("RUSTC")?);
    compiler.args(FLAGS).arg("--target").arg(told("TARGET")?);
    // Where one is set for this target, as for another architecture than the building machine's.
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = OsString::from("-Clinker=");
        flag.push(linker);
        compiler.arg(flag);
    }
    compiler.arg("-o").arg(program).arg(SOURCE);
    let ended = compiler.status().map_err(|err| {
        format!("cannot run the compiler for agent/{SOURCE}: {err}; tried: {compiler:?}")
    })?;
    if !ended.success() {
        return Err(format!(
            "cannot compile agent/{SOURCE} ({ended}), the compiler said why; ran: {compiler:?}"
        ));
    }
    Ok(())
}

fn told(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: this is cargo's to run"))
}
