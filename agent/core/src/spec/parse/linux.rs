//! Parses what a container asks of the kernel.

use super::rules::{
    CAPABILITY, DEVICE_PATH, MOUNT_OPTION, PATH, PERMISSION, RLIMIT, RLIMIT_NAME, SIZE, SOME_TEXT,
    SWAP, SWAPPINESS, SYSTEM_CONTROL,
};
use crate::spec::{
    ecs_fields,
    error::Faults,
    linux::{Device, DevicePermission, LinuxParameters, SystemControl, Tmpfs, Ulimit},
    read::Fields,
};

pub(super) fn parameters(container: &Fields<'_>, faults: &mut Faults) -> LinuxParameters {
    let Some(fields) = faults.keep(container.object("linuxParameters")) else {
        return LinuxParameters::default();
    };
    let (capabilities_add, capabilities_drop) = capabilities(&fields, faults);
    let parameters = LinuxParameters {
        capabilities_add,
        capabilities_drop,
        devices: fields.each("devices", device, faults),
        init: faults.keep(fields.flag("initProcessEnabled")),
        shared_memory_mib: faults.keep(fields.number("sharedMemorySize", &SIZE)),
        tmpfs: fields.each("tmpfs", tmpfs, faults),
        max_swap_mib: faults.keep(fields.number("maxSwap", &SWAP)),
        swappiness: faults.keep(fields.number("swappiness", &SWAPPINESS)),
    };
    fields.check(
        &[
            "capabilities",
            "devices",
            "initProcessEnabled",
            "sharedMemorySize",
            "tmpfs",
            "maxSwap",
            "swappiness",
        ],
        ecs_fields::LINUX_PARAMETERS,
        faults,
    );
    parameters
}

fn capabilities(parameters: &Fields<'_>, faults: &mut Faults) -> (Vec<String>, Vec<String>) {
    let Some(fields) = faults.keep(parameters.object("capabilities")) else {
        return Default::default();
    };
    let mut read = |name| {
        let chosen = faults.keep(fields.choices(name, &CAPABILITY));
        chosen.into_iter().map(str::to_owned).collect()
    };
    let (add, drop) = (read("add"), read("drop"));
    fields.check(&["add", "drop"], ecs_fields::KERNEL_CAPABILITIES, faults);
    (add, drop)
}

fn device(fields: &Fields<'_>, faults: &mut Faults) -> Device {
    let permissions = faults.keep(fields.choices("permissions", &PERMISSION));
    let permission = |word: &&str| match *word {
        "read" => DevicePermission::Read,
        "write" => DevicePermission::Write,
        _ => DevicePermission::Mknod,
    };
    let device = Device {
        host_path: faults.keep(fields.required_text("hostPath", &DEVICE_PATH)),
        container_path: faults.keep(fields.text("containerPath", &DEVICE_PATH)),
        permissions: permissions.iter().map(permission).collect(),
    };
    fields.check(
        &["hostPath", "containerPath", "permissions"],
        ecs_fields::DEVICE,
        faults,
    );
    device
}

fn tmpfs(fields: &Fields<'_>, faults: &mut Faults) -> Tmpfs {
    let size = fields.number("size", &SIZE);
    let size = fields.required("size", "its size in MiB", size);
    let tmpfs = Tmpfs {
        container_path: faults.keep(fields.required_text("containerPath", &PATH)),
        size_mib: faults.keep(size),
        options: faults.keep(fields.texts("mountOptions", &MOUNT_OPTION)),
    };
    fields.check(
        &["containerPath", "size", "mountOptions"],
        ecs_fields::TMPFS,
        faults,
    );
    tmpfs
}

pub(super) fn ulimit(fields: &Fields<'_>, faults: &mut Faults) -> Ulimit {
    let name = fields.choice("name", &RLIMIT_NAME);
    let name = fields.required("name", RLIMIT_NAME.wanted, name);
    let mut limit = |field| {
        let limit = fields.integer(field, &RLIMIT);
        faults.keep(fields.required(field, "a whole number, -1 for none", limit))
    };
    let (soft, hard) = (limit("softLimit"), limit("hardLimit"));
    let name = faults.keep(name).to_owned();
    fields.check(
        &["name", "softLimit", "hardLimit"],
        ecs_fields::ULIMIT,
        faults,
    );
    Ulimit { name, soft, hard }
}

pub(super) fn system_control(fields: &Fields<'_>, faults: &mut Faults) -> SystemControl {
    let control = SystemControl {
        namespace: faults.keep(fields.required_text("namespace", &SYSTEM_CONTROL)),
        value: faults.keep(fields.required_text("value", &SOME_TEXT)),
    };
    fields.check(&["namespace", "value"], ecs_fields::SYSTEM_CONTROL, faults);
    control
}
