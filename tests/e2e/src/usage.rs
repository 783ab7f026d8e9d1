//! What a process uses, as proc(5) has it.

use std::fs;

pub const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time so far, in ticks.
pub fn cpu_ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat
        .rsplit_once(')')
        .expect("proc(5): the name is in brackets")
        .1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let tick = |at: usize| {
        fields[at]
            .parse::<f64>()
            .expect("proc(5): ticks are numbers")
    };
    // proc(5) counts from 1 and these are fields 14 and 15; ours begin with field 3.
    tick(11) + tick(12)
}

pub fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

/// As `resident_mib`, of a process that may have ended.
pub fn resident_mib_of(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    mib_in(&status, "VmRSS:")
}

/// The most that was ever resident.
pub fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    mib_in(&status, name).expect("proc(5): it is there, in kB")
}

fn mib_in(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.split_whitespace().next()?.parse::<f64>().ok()?;
    Some(kib / 1_024.0)
}
