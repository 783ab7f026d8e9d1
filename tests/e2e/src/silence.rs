//! Silence: what goes to or from a lost host's address is dropped, as when its machine is gone.
//!
//! The hosts of a fleet share one kernel, which would answer in the place of a dead agent that its
//! port is closed: a host whose kernel answers is not lost. Done with a table of nftables that is
//! named after the fleet and goes with it.

use nix::unistd::geteuid;
use std::{
    fmt::Display,
    io::Write as _,
    net::IpAddr,
    process::{Command, Stdio},
};

const PREFIX: &str = "holdfast_";

/// The silence around the lost hosts of one fleet; ends with this value.
#[derive(Debug)]
pub struct Silence {
    table: String,
    lost: Vec<IpAddr>,
}

impl Silence {
    /// Nothing is silenced yet, and nothing of nftables touched.
    pub fn new(fleet: &str) -> Self {
        Self {
            table: table_of(fleet),
            lost: Vec::new(),
        }
    }

    /// From now on nobody hears of this address. Asks for root (or `sudo` without a password).
    pub fn begin(&mut self, address: IpAddr) {
        self.lost.push(address);
        self.apply();
    }

    pub fn end(&mut self, address: IpAddr) {
        if self.lost.contains(&address) {
            self.lost.retain(|lost| *lost != address);
            if self.lost.is_empty() {
                remove(&self.table);
            } else {
                self.apply();
            }
        }
    }

    /// In one transaction: the table as it was goes, and the table as it is to be comes.
    fn apply(&self) {
        let table = &self.table;
        let lost: Vec<_> = self.lost.iter().map(ToString::to_string).collect();
        let lost = lost.join(", ");
        // Dropped on the way in: on the way out, the sender would be told.
        let script = format!(
            "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\nchain input {{\n\
             type filter hook input priority -10\nip saddr {{ {lost} }} drop\n\
             ip daddr {{ {lost} }} drop\n}}\n}}\n"
        );
        if let Err(why) = nft(&script) {
            panic!("{why}");
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if !self.lost.is_empty() {
            remove(&self.table);
        }
    }
}

/// Removes the tables of fleets whose name satisfies `is_dead`; nothing where nft cannot be run.
pub fn clear(is_dead: impl Fn(&str) -> bool) {
    let Ok(listed) = command(&["list", "tables", "ip"]).output() else {
        return;
    };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tables = text
        .lines()
        .filter_map(|line| line.strip_prefix("table ip "));
    for table in tables {
        let fleet = table
            .strip_prefix(PREFIX)
            .map(|name| name.replace('_', "-"));
        if fleet.is_some_and(|fleet| is_dead(&fleet)) {
            remove(table);
        }
    }
}

fn table_of(fleet: &str) -> String {
    format!("{PREFIX}{}", fleet.replace('-', "_"))
}

/// Says it when it fails, and no more: it may be done by a test that fails already.
fn remove(table: &str) {
    if let Err(why) = nft(&format!("delete table ip {table}\n")) {
        eprintln!("{why}");
    }
}

fn nft(script: &str) -> Result<(), String> {
    let told =
        |what: &dyn Display| format!("nft (root or sudo, package nftables): {what}\n{script}");
    let mut nft = command(&["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|err| told(&err))?;
    let mut stdin = nft.stdin.take().expect("it is a pipe");
    let written = stdin.write_all(script.as_bytes());
    drop(stdin);
    let status = nft.wait().map_err(|err| told(&err))?;
    written.map_err(|err| told(&err))?;
    if status.success() {
        Ok(())
    } else {
        Err(told(&status))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = if geteuid().is_root() {
        Command::new("nft")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "nft"]);
        sudo
    };
    command.args(arguments);
    command
}
