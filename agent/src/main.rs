//! Entry point: parses the command line and runs the daemon or one command.

mod command;
mod config;
mod daemon;
mod discovery;
mod directory;
mod disk;
mod dns;
mod recordings;
mod drive;
mod gossip;
mod gpus;
mod identity;
mod journal;
mod outbound;
mod metadata;
mod probe;
mod runtime;
mod store;
mod systemd;
mod telemetry;
mod vault;
mod whole_file;
mod handle;
mod api;
mod http;
mod cli;
#[cfg(test)]
mod test_dir;

use clap::Parser as _;
use drive::Ending;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command {
        cli::Command::Agent(args) => match daemon::run(&args) {
            Ok(Ending::Stopped) => ExitCode::SUCCESS,
            // The unit knows it, and does not start the agent again.
            Ok(Ending::Left) => ExitCode::from(cli::EXIT_LEFT),
            Err(err) => {
                eprintln!("error: {}", disk::chain(&err));
                ExitCode::FAILURE
            }
        },
        command => cli::run(&cli.global, command),
    }
}
