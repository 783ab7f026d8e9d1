//! The command line: the same operations over the agent's socket, for people and for scripts.

mod args;
mod client;
mod debug;
mod ecs;
mod events;
mod failure;
mod first_boot;
mod hosts;
mod images;
mod keys;
mod leave;
mod output;
mod runs;
mod schedules;
mod seal;
mod services;
mod task_definitions;
mod tasks;
mod logs;
mod lines;
mod exec;
mod terminal;
mod copy;
mod stats;
mod values;
mod wait;
mod man;
#[cfg(test)]
mod tests;

pub(crate) use args::{Cli, Command};

use args::Global;
use clap::CommandFactory as _;
use client::Client;
use failure::Failure;
use output::{Output, say};
use std::process::ExitCode;

/// What `holdfast agent` ends with once the host has left, as its unit knows.
pub(crate) const EXIT_LEFT: u8 = 5;

/// Runs one command against an agent; prints what went wrong and what to do about it.
pub(crate) fn run(global: &Global, command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(global, command)),
        Err(err) => Err(Failure::Refused(format!("cannot wait for sockets: {err}"))),
    };
    match done {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Err(Failure::Exit(code)) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn dispatch(global: &Global, command: Command) -> Result<(), Failure> {
    let client = Client::new(global.socket.clone());
    let output = global.output;
    match command {
        Command::Agent(_) => unreachable!("main runs the daemon itself"),
        Command::Status => status(&client, output).await,
        Command::Host(command) => hosts::run(&client, output, command).await,
        Command::Leave { force, timeout } => leave::run(&client, output, force, timeout).await,
        Command::TaskDefinition(command) => task_definitions::run(&client, output, command).await,
        Command::Service(command) => services::run(&client, output, command).await,
        Command::Run(args) => runs::begin(&client, output, *args).await,
        Command::Runs(command) => runs::run(&client, output, command).await,
        Command::Schedule(command) => schedules::run(&client, output, command).await,
        Command::Task(command) => tasks::run(&client, output, command).await,
        Command::Image(command) => images::run(&client, output, command).await,
        Command::Events(wanted) => events::run(&client, output, &wanted).await,
        Command::Secret(command) => values::run_secret(&client, output, command).await,
        Command::Config(command) => values::run_config(&client, output, command).await,
        Command::Key(command) => keys::run(&client, output, command).await,
        Command::Ecs(command) => ecs::run(command),
        Command::Debug(command) => debug::run(&client, output, command).await,
        Command::Completions { shell } => completions(shell),
        Command::FirstBoot { state_dir, imds } => first_boot::run(state_dir, imds).await,
        Command::Man { directory } => man::run(&directory),
    }
}

async fn status(client: &Client, output: Output) -> Result<(), Failure> {
    let status = client.get("/v1/status").await?;
    match output {
        Output::Json => output::say_json(&status),
        Output::Table => say(&hosts::status_text(&status)),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}
