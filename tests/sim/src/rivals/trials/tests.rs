//! The rivals behave as they are known to; the same seed gives the same run.

use super::*;

fn detected(who: Who, hosts: usize, seeds: std::ops::Range<u64>) -> Vec<Detected> {
    let trial = Detection {
        loss_ppm: 0,
        crashes: 2,
    };
    seeds
        .flat_map(|seed| trial.play(who, hosts, seed))
        .collect()
}

#[test]
fn memberlist_detects_among_32_hosts_as_fast_as_serf_is_known_to() {
    // Measured on serf 0.9.4 with its LAN profile, kill -9 of one of 32: 6.2 to 9.4 s.
    let firsts = detected(Who::Memberlist, 32, 0..20);
    let like_serf = |d: &&Detected| (6_200_000..9_400_000).contains(&d.first);
    let alike = firsts.iter().filter(like_serf).count();
    assert!(alike >= 34, "{alike} of 40: {firsts:?}");
    assert!(firsts.iter().all(|d| d.first < 20_000_000), "{firsts:?}");
}

#[test]
fn foca_suspects_for_as_long_as_its_settings_say() {
    // It suspects for four periods and begins to after one to two, as a whole period passes before
    // a probe has failed.
    let firsts = detected(Who::Foca, 10, 0..10);
    assert!(
        firsts
            .iter()
            .all(|d| (4_500_000..8_500_000).contains(&d.first)),
        "{firsts:?}"
    );
}

#[test]
fn holdfast_detects_within_its_time_at_both_settings() {
    for (who, within) in [(Who::DEFAULT, 2_000_000), (Who::QUICK, 1_600_000)] {
        let firsts = detected(who, 30, 0..5);
        assert!(
            firsts.iter().all(|d| d.first < within),
            "{who:?}: {firsts:?}"
        );
    }
}

#[test]
fn a_calm_network_gives_no_false_verdict_and_a_seed_gives_one_run() {
    let idle = Idleness { seconds: 30 };
    let calm = Falsehood {
        trouble: Trouble::Loss { ppm: 0 },
        seconds: 60,
    };
    let lossy = Spreading { loss_ppm: 50_000 };
    for who in Who::ALL {
        let False { healthy, troubled } = calm.play(who, 40, 1);
        assert_eq!((healthy, troubled), (0, 0), "{who:?}");
        let runs = [0, 0].map(|_| (idle.play(who, 40, 1).messages, lossy.play(who, 40, 1)));
        assert_eq!(runs[0].0, runs[1].0, "{who:?}");
        let known = runs.map(|(_, spread)| (spread.known, spread.messages));
        assert_eq!(known[0], known[1], "{who:?}");
        assert!(known[0].0 < 5_000_000, "{who:?}: {known:?}");
    }
}

#[test]
fn a_host_that_stands_still_for_longer_than_the_others_wait_is_judged() {
    let stalls = Falsehood {
        trouble: Trouble::Stalls {
            share_ppm: 100_000,
            millis: 30_000,
            what: Frozen::Machine,
        },
        seconds: 90,
    };
    for who in [Who::DEFAULT, Who::Memberlist, Who::Foca] {
        assert!(stalls.play(who, 30, 3).troubled > 0, "{who:?}");
    }
}

#[test]
fn a_stalled_agent_on_a_living_machine_is_not_judged_by_holdfast() {
    let stalls = Falsehood {
        trouble: Trouble::Stalls {
            share_ppm: 100_000,
            millis: 30_000,
            what: Frozen::Process,
        },
        seconds: 90,
    };
    let False { healthy, troubled } = stalls.play(Who::DEFAULT, 30, 3);
    assert_eq!((healthy, troubled), (0, 0));
}
