//! Placement: who is chosen of those that can, and in which words the others are refused.

use super::{SERVICE, Scene, host_id, label, revision, slot_on};
use crate::{
    cluster::body::{Capacity, HostReport, HostStatus, RuntimeStatus},
    ids::HostId,
    schedule::{
        index::Index,
        place::{Refusals, Wanted, choose},
    },
    spec::{
        privilege::{DENIED, PRIVILEGE_ATTRIBUTE},
        task_definition::{Architecture, Platform, Resources, TaskDefinition},
    },
};
use expect_test::{Expect, expect};
use std::collections::BTreeMap;

fn place(scene: &Scene, failed: &BTreeMap<HostId, u32>) -> Result<u64, String> {
    let definition = scene.the_service().revision.definition;
    let needs = scene
        .board
        .definition(definition)
        .expect("it is there")
        .needs();
    let index = Index::of(&scene.board);
    choose(&index.load, wanted(&needs, failed))
        .map(|host| (host.0 >> 96) as u64)
        .map_err(|refusals| refusals.to_string())
}

fn check_refused(scene: &Scene, expected: Expect) {
    let refused = place(scene, &BTreeMap::new()).expect_err("no host can");
    let folded = refused.replace(": ", ":\n").replace(", ", ",\n");
    expected.assert_eq(&folded.replace(",\nmost", ", most"));
}

fn small(free_mib: u32) -> Capacity {
    Capacity {
        cpu: 4_096,
        memory_mib: free_mib,
        gpus: 0,
    }
}

#[test]
fn a_refusal_counts_the_hosts_and_says_what_was_missing() {
    let mut scene = Scene::default();
    scene.service(1, 1, &[]);
    for (host, free_mib) in [(1, 100), (2, 300), (3, 200)] {
        scene.host_with(host, |report| report.capacity = small(free_mib));
    }
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 3 hosts 3 refused by memory (needs 512 MiB, most free 300)"#]],
    );
    scene.host(4);
    scene.host(5);
    scene.down(4);
    scene.down(5);
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 5 hosts 2 down,
        3 refused by memory (needs 512 MiB, most free 300)"#]],
    );
}

#[test]
fn each_filter_has_its_words() {
    let mut scene = Scene::default();
    let web = scene.service(1, 1, &[80, 443]);
    scene.host_with(1, |report| report.status = HostStatus::Restarting);
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 1 host 1 restarting"#]],
    );
    scene.host_with(2, |report| report.caught_up = false);
    let reason = "connection refused".into();
    scene.host_with(3, |report| {
        report.runtime = RuntimeStatus::Unavailable { reason }
    });
    scene.host(5);
    scene.copy(5, label(7, 1), web, |_| {});
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 4 hosts 1 restarting,
        1 still reading the board,
        1 without a container runtime that answers,
        1 refused by ports (80/tcp,
        443/tcp taken)"#]],
    );
}

#[test]
fn cpu_is_missed_in_units() {
    let mut scene = Scene::default();
    scene.service(1, 1, &[]);
    scene.host_with(1, |report| report.capacity.cpu = 100);
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 1 host 1 refused by cpu (needs 512 units, most free 100)"#]],
    );
}

#[test]
fn who_needs_gpus_goes_where_some_are_free() {
    let mut scene = Scene::default();
    for (host, gpus) in [(1, 0), (2, 2), (3, 1)] {
        scene.host_with(host, |report| report.capacity.gpus = gpus);
    }
    let mut index = Index::of(&scene.board);
    let needs = |gpus| Resources {
        gpus,
        ..Resources::default()
    };
    let mut place = |gpus| {
        let (needs, failed) = (needs(gpus), BTreeMap::new());
        let host = choose(&index.load, wanted(&needs, &failed))?;
        index.load.add(host, None, &needs);
        Ok((host.0 >> 96) as u64)
    };
    assert_eq!(place(2), Ok(2));
    let refused = |refusals: Box<Refusals>| refusals.to_string();
    assert_eq!(
        place(2).map_err(refused),
        Err("no host can run it: of 3 hosts 3 refused by GPUs (needs 2, most free 1)".to_owned())
    );
    assert_eq!(place(1), Ok(3));
    assert!(place(1).is_err());
    index.load.release(host_id(2), None, &needs(2));
    let (needs, failed) = (needs(1), BTreeMap::new());
    assert_eq!(choose(&index.load, wanted(&needs, &failed)), Ok(host_id(2)));
}

#[test]
fn copies_are_spread_over_the_hosts() {
    let mut scene = Scene::default();
    let web = scene.service(9, 1, &[]);
    for host in 1..=3 {
        scene.host(host);
    }
    let mut chosen = Vec::new();
    for generation in 1..=9 {
        let host = place(&scene, &BTreeMap::new()).expect("there is room");
        scene.copy(host, label(generation as u32 + 20, generation), web, |_| {});
        chosen.push(host);
    }
    for round in chosen.chunks_mut(3) {
        round.sort_unstable();
        assert_eq!(round, [1, 2, 3], "each host once in each round");
    }
}

#[test]
fn a_host_that_has_failed_is_the_last_to_be_tried_again() {
    let mut scene = Scene::default();
    scene.service(1, 1, &[]);
    scene.host(1);
    scene.host(2);
    let failed = |one, two| BTreeMap::from([(host_id(1), one), (host_id(2), two)]);
    assert_eq!(place(&scene, &failed(1, 0)), Ok(2));
    assert_eq!(place(&scene, &failed(0, 1)), Ok(1));
    assert_eq!(place(&scene, &failed(2, 3)), Ok(1));
}

#[test]
fn a_port_is_promised_once_also_by_an_offer_that_is_not_yet_taken() {
    let mut scene = Scene::default();
    let web = scene.service(2, 1, &[80]);
    scene.host(1);
    assert_eq!(place(&scene, &BTreeMap::new()), Ok(1));
    scene.slot(1, 1, slot_on(1, revision(web, 1)));
    check_refused(
        &scene,
        expect![[r#"
        no host can run it:
        of 1 host 1 refused by ports (80/tcp taken)"#]],
    );
}

#[test]
fn what_has_stopped_holds_nothing() {
    let mut scene = Scene::default();
    let web = scene.service(1, 1, &[80]);
    scene.host(1);
    let stopped = crate::task::status::TaskStatus::Stopped;
    scene.copy(1, label(0, 1), web, |report| report.last = stopped);
    assert_eq!(place(&scene, &BTreeMap::new()), Ok(1));
}

#[test]
fn most_free_is_told_of_hosts_refused_for_it_not_of_one_refused_for_something_else() {
    let mut scene = Scene::default();
    scene.service(1, 1, &[]);
    let cpu_less = Capacity {
        cpu: 0,
        memory_mib: 4_096,
        gpus: 0,
    };
    scene.host_with(1, |report| report.capacity = cpu_less);
    let small = Capacity {
        cpu: 1_024,
        memory_mib: 300,
        gpus: 0,
    };
    scene.host_with(2, |report| report.capacity = small);
    let refusals = place(&scene, &BTreeMap::new()).unwrap_err();
    assert!(
        refusals.contains("needs 512 MiB, most free 300"),
        "{refusals}"
    );
}

#[test]
fn what_was_built_for_one_architecture_runs_on_no_other() {
    let mut scene = Scene::default();
    let built = |architecture| TaskDefinition {
        platform: Some(Platform {
            architecture: Some(architecture),
            says_linux: true,
        }),
        ..TaskDefinition::default()
    };
    for (host, says) in [(1, Some("x86_64")), (2, Some("arm64")), (3, None)] {
        let said = says.map(|says| (Architecture::ATTRIBUTE.to_owned(), says.to_owned()));
        scene.host_with(host, |report| {
            report.attributes = said.into_iter().collect()
        });
    }
    let index = Index::of(&scene.board);
    for (architecture, others) in [(Architecture::X86_64, 2), (Architecture::Arm64, 1)] {
        let (needs, mut taken) = (built(architecture).needs(), BTreeMap::new());
        while let Ok(host) = choose(&index.load, wanted(&needs, &taken)) {
            let number = (host.0 >> 96) as u64;
            assert_ne!(number, others, "{architecture:?}");
            if taken.insert(host, 1).is_some() {
                break;
            }
        }
        assert_eq!(taken.len(), 2, "the host that does not say is taken, too");
    }
    scene.host_with(3, |report| report.status = HostStatus::Leaving);
    scene.host_with(2, |report| report.status = HostStatus::Leaving);
    let index = Index::of(&scene.board);
    let needs = built(Architecture::Arm64).needs();
    let refused = choose(&index.load, wanted(&needs, &BTreeMap::new())).expect_err("none is left");
    let refused = refused.to_string();
    assert!(
        refused.contains("1 refused by cpuArchitecture (needs ARM64)"),
        "{refused}"
    );
}

#[test]
fn what_would_be_root_on_its_host_runs_where_that_is_allowed() {
    let mut scene = Scene::default();
    let denies = |report: &mut HostReport| {
        let denied = (PRIVILEGE_ATTRIBUTE.to_owned(), DENIED.to_owned());
        report.attributes = [denied].into();
    };
    scene.host_with(1, denies);
    let needs = |privileged| Resources {
        privileged,
        ..Resources::default()
    };
    let placed = |scene: &Scene, privileged| {
        let index = Index::of(&scene.board);
        choose(&index.load, wanted(&needs(privileged), &BTreeMap::new()))
    };
    assert_eq!(placed(&scene, false), Ok(host_id(1)));
    let refused = placed(&scene, true).expect_err("it may not").to_string();
    assert!(
        refused.contains("of 1 host 1 refused by their setting privileged"),
        "{refused}"
    );
    scene.host(2);
    assert_eq!(placed(&scene, true), Ok(host_id(2)));
}

/// As `StartTask` has it.
#[test]
fn a_chosen_host_is_the_only_one_that_is_looked_at() {
    let mut scene = Scene::default();
    for host in 1..=3 {
        scene.host(host);
    }
    let index = Index::of(&scene.board);
    let place = |host, memory_mib| {
        let needs = Resources {
            memory_mib,
            ..Resources::default()
        };
        let failed = BTreeMap::new();
        let only = Some(host_id(host));
        let chosen = Wanted {
            only,
            ..wanted(&needs, &failed)
        };
        choose(&index.load, chosen).map_err(|refusals| refusals.to_string())
    };
    assert_eq!(place(3, 1), Ok(host_id(3)));
    let refusals = [place(3, u32::MAX), place(9, 1)].map(Result::unwrap_err);
    assert!(refusals[0].contains("only one was chosen: of 1 host 1 refused by memory"));
    assert!(refusals[1].ends_with("the one that was chosen is not there"));
}

fn wanted<'a>(needs: &'a Resources, failed: &'a BTreeMap<HostId, u32>) -> Wanted<'a> {
    Wanted {
        service: SERVICE,
        index: 0,
        needs,
        failed,
        only: None,
    }
}
