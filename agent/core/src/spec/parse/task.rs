//! Parses what a definition says of the task as a whole.

use super::rules::{ARCHITECTURE, IPC_MODE, OS_FAMILY, PID_MODE};
use crate::spec::{
    ecs_fields,
    error::Faults,
    read::{Fields, RefError},
    task_definition::{Architecture, Namespace, Platform},
};

/// Fixed-point digits after the dot: ECS's examples have two.
const DECIMALS: usize = 3;
const CPU_WANTED: &str = "CPU units such as \"256\", or cores such as \"0.25 vCPU\", up to 2 \
                          million units";
const MEMORY_WANTED: &str = "MiB such as \"512\", or GiB such as \"0.5 GB\", from 6 MiB to 2 \
                             million GiB";
const MEMORY_MIB_MIN: u32 = 6;
const CPU_UNITS_MAX: u32 = 2_000_000;

/// CPU units of the whole task.
pub(super) fn cpu(fields: &Fields<'_>, faults: &mut Faults) -> Option<u32> {
    let parse = |text: &str| {
        let units = in_units(text, "vcpu").filter(|units| (1..=CPU_UNITS_MAX).contains(units));
        units.ok_or_else(|| refused(text, CPU_WANTED))
    };
    faults.keep(fields.reference("cpu", parse))
}

/// MiB of the whole task.
pub(super) fn memory(fields: &Fields<'_>, faults: &mut Faults) -> Option<u32> {
    let parse = |text: &str| {
        let mib = in_units(text, "gb").filter(|mib| *mib >= MEMORY_MIB_MIN);
        mib.ok_or_else(|| refused(text, MEMORY_WANTED))
    };
    faults.keep(fields.reference("memory", parse))
}

fn refused(text: &str, wanted: &'static str) -> RefError {
    let got = crate::spec::error::shown(text);
    RefError { got, wanted }
}

/// A whole number of units, or a number of 1024 of them where `large` is written behind it.
fn in_units(text: &str, large: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let Some(number) = text.strip_suffix(large) else {
        return text.parse().ok();
    };
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (whole, rest) = number
        .trim()
        .split_once('.')
        .unwrap_or((number.trim(), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole = if whole.is_empty() { "0" } else { whole };
    if !digits(whole) || !digits(rest) || rest.len() > DECIMALS {
        return None;
    }
    let thousandths = format!("{whole}{rest:0<DECIMALS$}").parse::<u64>().ok()?;
    u32::try_from(thousandths.checked_mul(1_024)? / 1_000).ok()
}

pub(super) fn pid(fields: &Fields<'_>, faults: &mut Faults) -> Option<Namespace> {
    faults
        .keep(fields.choice("pidMode", &PID_MODE))
        .map(namespace)
}

pub(super) fn ipc(fields: &Fields<'_>, faults: &mut Faults) -> Option<Namespace> {
    faults
        .keep(fields.choice("ipcMode", &IPC_MODE))
        .map(namespace)
}

fn namespace(word: &str) -> Namespace {
    match word {
        "host" => Namespace::Host,
        "task" => Namespace::Task,
        _ => Namespace::None,
    }
}

pub(super) fn platform(fields: &Fields<'_>, faults: &mut Faults) -> Option<Platform> {
    let fields = faults.keep(fields.object("runtimePlatform"))?;
    let architecture = faults.keep(fields.choice("cpuArchitecture", &ARCHITECTURE));
    let family = faults.keep(fields.choice("operatingSystemFamily", &OS_FAMILY));
    fields.check(
        &["cpuArchitecture", "operatingSystemFamily"],
        ecs_fields::RUNTIME_PLATFORM,
        faults,
    );
    let platform = Platform {
        architecture: architecture.map(|word| match word {
            "ARM64" => Architecture::Arm64,
            _ => Architecture::X86_64,
        }),
        says_linux: family.is_some(),
    };
    (platform.architecture.is_some() || platform.says_linux).then_some(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_size_mean_the_same() {
        for (text, large, units) in [
            ("256", "vcpu", Some(256)),
            ("0.25 vCPU", "vcpu", Some(256)),
            (".25vcpu", "vcpu", Some(256)),
            ("2 VCPU", "vcpu", Some(2_048)),
            ("1 GB", "gb", Some(1_024)),
            ("0.5GB", "gb", Some(512)),
            ("1.2345 GB", "gb", None),
            ("1.x GB", "gb", None),
            ("GB", "gb", None),
            ("", "gb", None),
            ("-1", "gb", None),
            ("99999999999999999999 GB", "gb", None),
        ] {
            assert_eq!(in_units(text, large), units, "{text}");
        }
    }
}
