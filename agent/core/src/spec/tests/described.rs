//! What we describe to a client can be registered again, whatever is in it.

use crate::{
    limits,
    rng::Rng,
    spec::{
        parse_task_definition,
        task_definition::{Container, Mount, PortMapping, Protocol, TaskDefinition, Volume},
    },
};

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
    let volumes: Vec<_> = (0..rng.below(3))
        .map(|i| Volume {
            name: format!("volume-{i}"),
            host_path: format!("/srv/{}", random_text(rng).replace(':', "_")),
        })
        .collect();
    let containers: Vec<_> = (0..=rng.below(limits::CONTAINERS_PER_TASK_MAX as u64 - 1))
        .map(|i| random_container(i, &volumes, rng))
        .collect();
    TaskDefinition {
        family: format!("family_{}", rng.below(1_000)),
        containers,
        volumes,
    }
}

fn random_container(index: u64, volumes: &[Volume], rng: &mut Rng) -> Container {
    let number = |rng: &mut Rng, below| u32::try_from(rng.below(below)).expect("a small bound");
    Container {
        name: format!("container-{index}"),
        image: format!("registry:5000/image@sha256:{:x}", rng.next_u64()),
        command: (0..rng.below(3)).map(|_| random_text(rng)).collect(),
        entry_point: (0..rng.below(3)).map(|_| random_text(rng)).collect(),
        environment: (0..rng.below(4))
            .map(|i| (format!("{} {i}", random_text(rng)), random_text(rng)))
            .collect(),
        cpu: number(rng, 4_096),
        memory_mib: 4 + number(rng, 1 << 30),
        essential: index == 0 || rng.chance_ppm(500_000),
        ports: (0..rng.below(3))
            .map(|i| PortMapping {
                container_port: u16::MAX - number(rng, 65_535) as u16,
                host_port: match rng.below(2) {
                    0 => 0,
                    // No two containers of a definition may have the same.
                    _ => (index * 10 + i + 1) as u16,
                },
                protocol: [Protocol::Tcp, Protocol::Udp][number(rng, 2) as usize],
            })
            .collect(),
        mounts: volumes
            .iter()
            .map(|volume| Mount {
                source_volume: volume.name.clone(),
                container_path: format!("/mnt/{}", volume.name),
                read_only: rng.chance_ppm(500_000),
            })
            .collect(),
        stop_timeout_s: rng.chance_ppm(500_000).then(|| number(rng, 121)),
    }
}

/// Never empty, and full of what needs quoting.
fn random_text(rng: &mut Rng) -> String {
    const CHARS: [char; 10] = ['a', 'Z', '0', '"', '\\', ' ', ':', '{', 'ß', '…'];
    (0..=rng.below(12))
        .map(|_| CHARS[rng.below(CHARS.len() as u64) as usize])
        .collect()
}
