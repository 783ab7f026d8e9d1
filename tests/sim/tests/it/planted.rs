//! Every planted bug is caught by some check, so that no check can be silently dead.

use sim::{options::Options, planted::Planted, run::run};

#[test]
fn every_planted_bug_is_caught() {
    let caught_by = |planted: Planted| match planted {
        Planted::DropPersist => "before it was on its disk",
        Planted::Misdeliver => "was handed a message for",
        Planted::DoubleStart | Planted::VanishQuietly | Planted::IgnoreStop => "",
        Planted::TouchForeign => "which is not ours",
        Planted::StopHealthy => "which is healthy and the only copy",
        Planted::RepeatEvent | Planted::SkipEvent => "follows event",
        Planted::StatusBack => "went from",
        Planted::Resurrect => "knows to be deleted",
        Planted::OverPromise => "promises",
        Planted::Spin => "woken for ever",
        Planted::FatDatagram => "sends a datagram of",
        Planted::LoseReply => "is not answered",
        Planted::DeafToRecords => "",
        Planted::Chatter => "messages/s a host when idle",
    };
    for planted in Planted::ALL {
        let seeds = 0..4;
        let failures: Vec<String> = seeds
            .filter_map(|seed| {
                let mut options = Options::calm(seed, 5);
                options.planted = Some(planted);
                run(options).err().map(|failure| failure.what)
            })
            .collect();
        let expected = caught_by(planted);
        assert!(
            failures.iter().any(|what| what.contains(expected)),
            "{planted:?} was not caught: {failures:?}"
        );
    }
}
