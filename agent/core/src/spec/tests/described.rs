//! What we describe to a client can be registered again, whatever is in it.

use crate::{
    limits,
    rng::Rng,
    spec::{
        given::{EnvironmentFile, Secret, SecretPlace, SecretSource},
        health::{HealthCheck, NetProbe, Probe},
        linux::{Device, DevicePermission, LinuxParameters, SystemControl, Tmpfs, Ulimit},
        parse_task_definition,
        task_definition::{
            AppProtocol, Architecture, Condition, Container, Dependency, HostEntry, Link,
            LogConfiguration, Mount, Namespace, NetworkMode, Platform, PortMapping, Protocol,
            RestartPolicy, TaskDefinition, VolumesFrom,
        },
        volume::{DockerVolume, Volume, VolumeSource},
    },
};
use std::collections::BTreeMap;

#[test]
fn a_described_definition_parses_to_itself() {
    for seed in 0..300 {
        let definition = random_definition(&mut Rng::new(seed));
        let described = definition.to_ecs_json();
        let parsed = parse_task_definition(&described);
        assert_eq!(parsed, Ok(definition), "seed {seed}: {described:#}");
    }
}

fn random_definition(rng: &mut Rng) -> TaskDefinition {
    let network = match rng.below(5) {
        0 => NetworkMode::Host,
        1 => NetworkMode::None,
        2 => NetworkMode::Task,
        _ => NetworkMode::Bridge,
    };
    let volumes: Vec<_> = (0..rng.below(3))
        .map(|i| Volume {
            name: format!("volume-{i}"),
            source: random_source(rng),
        })
        .collect();
    let containers: Vec<_> = (0..=rng.below(limits::CONTAINERS_PER_TASK_MAX as u64 - 1))
        .map(|i| random_container(i, network, &volumes, rng))
        .collect();
    TaskDefinition {
        family: format!("family_{}", rng.below(1_000)),
        network,
        pid: some(rng, |rng| {
            [Namespace::Host, Namespace::Task][rng.below(2) as usize]
        }),
        ipc: some(rng, |rng| {
            [Namespace::Task, Namespace::None][rng.below(2) as usize]
        }),
        cpu: some(rng, |rng| 1 + number(rng, 10_000)),
        memory_mib: some(rng, |rng| (1 << 31) - number(rng, 1_000)),
        platform: some(rng, |rng| Platform {
            architecture: Some([Architecture::X86_64, Architecture::Arm64][rng.below(2) as usize]),
            says_linux: flag(rng),
        }),
        execution_role: some(rng, random_text),
        containers,
        volumes,
    }
}

fn random_source(rng: &mut Rng) -> VolumeSource {
    match rng.below(3) {
        0 => VolumeSource::Scratch,
        1 => VolumeSource::Host(format!("/srv/{}", random_text(rng).replace(':', "_"))),
        _ => VolumeSource::Docker(DockerVolume {
            is_shared: flag(rng),
            autoprovision: some(rng, flag),
            driver: some(rng, random_text),
            driver_options: random_map(rng),
            labels: random_map(rng),
        }),
    }
}

fn random_file(index: u64, rng: &mut Rng) -> EnvironmentFile {
    match flag(rng) {
        true => EnvironmentFile::File(format!("/etc/{index}.env")),
        false => EnvironmentFile::Config(format!("{index}.env")),
    }
}

fn random_secret(index: u64, rng: &mut Rng) -> Secret {
    let name = format!("name-{}", rng.below(9));
    Secret {
        at: match flag(rng) {
            true => SecretPlace::Variable(format!("SECRET_{index}")),
            false => SecretPlace::File(format!("/run/secrets/{index}")),
        },
        from: match rng.below(5) {
            0 => SecretSource::File(name),
            1 => SecretSource::Credential(name),
            2 => SecretSource::Command(vec![name, "of".to_owned()]),
            3 => SecretSource::Config(name),
            _ => SecretSource::Secret {
                name,
                member: some(rng, random_text),
            },
        },
    }
}

fn random_check(rng: &mut Rng, is_net: bool) -> HealthCheck {
    let probe = match rng.below(4) {
        _ if is_net => Probe::Net(NetProbe {
            port: 1 + number(rng, 65_535) as u16,
            path: some(rng, |rng| format!("/{}", rng.below(9))),
        }),
        0 => Probe::None,
        _ => Probe::Command {
            shell: flag(rng),
            words: vec![random_text(rng)],
        },
    };
    HealthCheck {
        probe,
        interval_s: 1 + number(rng, 300),
        timeout_s: 1 + number(rng, 120),
        retries: 1 + number(rng, 10),
        start_period_s: some(rng, |rng| number(rng, 301)),
    }
}

fn random_container(
    index: u64,
    network: NetworkMode,
    volumes: &[Volume],
    rng: &mut Rng,
) -> Container {
    let memory_mib = 6 + number(rng, 1 << 30);
    let reserved = some(rng, |rng| 6 + number(rng, u64::from(memory_mib) - 5));
    Container {
        name: format!("container-{index}"),
        image: format!("registry:5000/image@sha256:{:x}", rng.next_u64()),
        command: (0..rng.below(3)).map(|_| random_text(rng)).collect(),
        entry_point: (0..rng.below(3)).map(|_| random_text(rng)).collect(),
        environment: (0..rng.below(4))
            .map(|i| (format!("{} {i}", random_text(rng)), random_text(rng)))
            .collect(),
        environment_files: (0..rng.below(3)).map(|i| random_file(i, rng)).collect(),
        secrets: (0..rng.below(4)).map(|i| random_secret(i, rng)).collect(),
        cpu: number(rng, 4_096),
        memory_mib,
        memory_reservation_mib: reserved,
        essential: index == 0 || rng.chance_ppm(500_000),
        ports: random_ports(index, network, rng),
        mounts: volumes
            .iter()
            .map(|volume| Mount {
                source_volume: volume.name.clone(),
                container_path: format!("/mnt/{}", volume.name),
                read_only: rng.chance_ppm(500_000),
            })
            .collect(),
        stop_timeout_s: some(rng, |rng| number(rng, 121)),
        linux: random_linux(rng),
        depends_on: (0..index)
            .filter(|_| rng.chance_ppm(300_000))
            .map(|other| Dependency {
                container: format!("container-{other}"),
                condition: Condition::Start,
            })
            .collect(),
        hostname: some(rng, |rng| format!("web-{}.local", rng.below(9)))
            .filter(|_| network != NetworkMode::Task),
        start_timeout_s: some(rng, |rng| 1 + number(rng, 86_400)),
        health_check: some(rng, |rng| random_check(rng, false)),
        readiness_check: some(rng, |rng| random_check(rng, true))
            .filter(|_| network != NetworkMode::None),
        gpus: number(rng, 4),
        restart: some(rng, |rng| RestartPolicy {
            enabled: flag(rng),
            ignored_exit_codes: several(rng, |_, rng| number(rng, 256) as i32),
            attempt_period_s: some(rng, |rng| number(rng, 1_801)),
        }),
        links: (0..index)
            .filter(|_| network == NetworkMode::Bridge && rng.chance_ppm(200_000))
            .map(|other| Link {
                container: format!("container-{other}"),
                alias: Some("other".to_owned()),
            })
            .collect(),
        volumes_from: (0..index.min(1))
            .map(|other| VolumesFrom {
                container: format!("container-{other}"),
                read_only: flag(rng),
            })
            .collect(),
        ..random_settings(rng)
    }
}

fn random_ports(index: u64, network: NetworkMode, rng: &mut Rng) -> Vec<PortMapping> {
    let ports = match network {
        NetworkMode::None => 0,
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::Task => rng.below(3),
    };
    let port = |i| {
        // No two containers of a definition may have the same on the host.
        let own = (index * 10 + i + 1) as u16;
        let (container_port, host_port) = match network {
            NetworkMode::Host => (own, own),
            NetworkMode::Task => (own, own * number(rng, 2) as u16),
            _ => (
                u16::MAX - number(rng, 65_535) as u16,
                own * number(rng, 2) as u16,
            ),
        };
        PortMapping {
            container_port,
            host_port,
            name: some(rng, |rng| format!("port-{}", rng.below(9))),
            app_protocol: some(rng, |_| AppProtocol::Grpc),
            protocol: [Protocol::Tcp, Protocol::Udp][number(rng, 2) as usize],
        }
    };
    (0..ports).map(port).collect()
}

fn random_settings(rng: &mut Rng) -> Container {
    Container {
        log: some(rng, |rng| LogConfiguration {
            driver: "json-file".to_owned(),
            options: random_map(rng),
        }),
        stop_signal: some(rng, |_| "SIGRTMIN+3".to_owned()),
        deregistration_delay_s: some(rng, |rng| number(rng, 3_601)),
        user: some(rng, random_text),
        working_directory: some(rng, |rng| format!("/{}", random_text(rng))),
        dns_servers: several(rng, |_, rng| format!("10.0.0.{}", rng.below(256))),
        dns_search_domains: several(rng, |_, rng| random_text(rng)),
        extra_hosts: several(rng, |i, _| HostEntry {
            hostname: format!("db{i}"),
            address: format!("fd00::{i}"),
        }),
        labels: random_map(rng),
        security_options: several(rng, |_, rng| format!("label:{}", random_text(rng))),
        interactive: some(rng, flag),
        pseudo_terminal: some(rng, flag),
        read_only_root: some(rng, flag),
        privileged: some(rng, flag),
        ulimits: several(rng, |i, rng| Ulimit {
            name: ["nofile", "memlock"][i].to_owned(),
            soft: rng.below(1_000) as i64,
            hard: [-1, 1_000][rng.below(2) as usize],
        }),
        system_controls: several(rng, |i, rng| SystemControl {
            namespace: ["kernel.shmmax", "fs.mqueue.msg_max"][i].to_owned(),
            value: random_text(rng),
        }),
        ..Container::default()
    }
}

fn random_map(rng: &mut Rng) -> BTreeMap<String, String> {
    several(rng, |_, rng| (random_text(rng), random_text(rng)))
        .into_iter()
        .collect()
}

fn random_linux(rng: &mut Rng) -> LinuxParameters {
    use DevicePermission::{Mknod, Read, Write};
    LinuxParameters {
        capabilities_add: several(rng, |i, _| ["NET_ADMIN", "SYS_TIME"][i].to_owned()),
        capabilities_drop: several(rng, |i, _| ["ALL", "CHOWN"][i].to_owned()),
        devices: several(rng, |i, rng| Device {
            host_path: format!("/dev/sd{i}"),
            container_path: some(rng, |_| format!("/dev/disk{i}")),
            permissions: several(rng, |_, rng| [Read, Write, Mknod][rng.below(3) as usize]),
        }),
        init: some(rng, flag),
        shared_memory_mib: some(rng, |rng| 1 + number(rng, 1_000)),
        tmpfs: several(rng, |i, rng| Tmpfs {
            container_path: format!("/tmp/{i}"),
            size_mib: 1 + number(rng, 1_000),
            options: several(rng, |i, _| ["noexec", "mode=1777"][i].to_owned()),
        }),
        max_swap_mib: some(rng, |rng| number(rng, 1_000)),
        swappiness: some(rng, |rng| number(rng, 101)),
    }
}

fn number(rng: &mut Rng, below: u64) -> u32 {
    u32::try_from(rng.below(below)).expect("a small bound")
}

fn flag(rng: &mut Rng) -> bool {
    rng.chance_ppm(500_000)
}

fn some<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    flag(rng).then(|| make(rng))
}

/// None, one or two.
fn several<T>(rng: &mut Rng, mut make: impl FnMut(usize, &mut Rng) -> T) -> Vec<T> {
    (0..rng.below(3) as usize).map(|i| make(i, rng)).collect()
}

/// Never empty, and full of what needs quoting.
fn random_text(rng: &mut Rng) -> String {
    const CHARS: [char; 10] = ['a', 'Z', '0', '"', '\\', ' ', ':', '{', 'ß', '…'];
    (0..=rng.below(12))
        .map(|_| CHARS[rng.below(CHARS.len() as u64) as usize])
        .collect()
}
