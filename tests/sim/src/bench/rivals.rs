//! Holdfast beside memberlist and foca: how soon, how wrongly, how loudly, how far.

use super::{
    Asked,
    sample::{Sample, each, seconds},
};
use crate::rivals::{
    arena::Frozen,
    trials::{Detected, Detection, False, Falsehood, Idleness, Spreading, Trial, Trouble, Who},
};

const CRASHES: usize = 3;
const SEEDS: u64 = 3;
/// A death is over soon, and how it goes varies most.
const SEEDS_OF_DEATHS: u64 = 20;
/// So many hosts are tried with one seed: that alone takes many minutes.
const MANY: usize = 3_000;

/// A host dies while 1 % of all datagrams is lost.
pub fn detection(asked: &Asked) -> Result<String, String> {
    let trial = Detection {
        loss_ppm: 10_000,
        crashes: CRASHES,
    };
    let mut rows = String::new();
    for &hosts in asked.sizes(&[100, 1_000, 10_000]) {
        let seeds = asked.seeds(if hosts < MANY { SEEDS_OF_DEATHS } else { 1 });
        for (who, answers) in all(&seeds, |who, seed| trial.play(who, hosts, seed)) {
            let crashes: Vec<Detected> = answers.into_iter().flatten().collect();
            let cell = |of: fn(&Detected) -> u64| {
                Sample::of(&crashes.iter().map(of).collect::<Vec<_>>()).cell(seconds)
            };
            let (first, known) = (cell(|d| d.first), cell(|d| d.known));
            let (name, count) = (who.name(), crashes.len());
            rows += &format!("| {hosts} | {name} | {first} | {known} | {count} |\n");
        }
    }
    Ok(format!(
        "### A host dies, 1 % loss\n\n| hosts | who | the first holds it for down | 99 % do | \
         deaths |\n|---|---|---|---|---|\n{rows}"
    ))
}

/// Nobody dies, and yet somebody is held for down.
pub fn falsehood(asked: &Asked) -> Result<String, String> {
    let hosts = asked.sizes(&[1_000])[0];
    let seeds = asked.seeds(1);
    let troubles = [
        ("no loss", Trouble::Loss { ppm: 0 }),
        ("5 % loss", Trouble::Loss { ppm: 50_000 }),
        ("20 % loss", Trouble::Loss { ppm: 200_000 }),
        ("one host loses 80 %", Trouble::LossyHost { ppm: 800_000 }),
        ("one link is cut one way", Trouble::OneWayLink),
        ("one host hears nobody", Trouble::DeafHost),
        (
            "4 % of agents stall 0.5 s each 10 s",
            stalls(500, Frozen::Process),
        ),
        ("4 % of agents stall 2 s", stalls(2_000, Frozen::Process)),
        ("4 % of agents stall 8 s", stalls(8_000, Frozen::Process)),
        ("4 % of machines stall 0.5 s", stalls(500, Frozen::Machine)),
        ("4 % of machines stall 2 s", stalls(2_000, Frozen::Machine)),
        ("4 % of machines stall 8 s", stalls(8_000, Frozen::Machine)),
    ];
    let mut rows = String::new();
    for (name, trouble) in troubles {
        let trial = Falsehood {
            trouble,
            seconds: 60,
        };
        rows += &format!("| {name}");
        for (_, answers) in all(&seeds, |who, seed| trial.play(who, hosts, seed)) {
            let cell = |of: fn(&False) -> u64| {
                Sample::of(&answers.iter().map(of).collect::<Vec<_>>()).cell(|n| n.to_string())
            };
            rows += &format!(" | {}; {}", cell(|f| f.healthy), cell(|f| f.troubled));
        }
        rows += " |\n";
    }
    let names: Vec<&str> = Who::ALL.iter().map(|who| who.name()).collect();
    Ok(format!(
        "### Nobody dies: false verdicts within 60 s, {hosts} hosts\n\nHow often somebody began to \
         hold a living host for down: hosts with which nothing was wrong; the hosts\nwith the \
         trouble. Of a stalled agent the kernel still answers, which Holdfast \
         asks; the others go by\nthe agent's own word alone. A stalled machine answers \
         nothing. A host that hears nobody holds all others for\ndown after a minute, as the \
         last survivor must; that is beyond the end of this \
         table.\n\n| trouble | {} |\n|---|---|---|---|---|\n{rows}",
        names.join(" | ")
    ))
}

const fn stalls(millis: u64, what: Frozen) -> Trouble {
    Trouble::Stalls {
        share_ppm: 40_000,
        millis,
        what,
    }
}

/// What an idle cluster says.
pub fn idleness(asked: &Asked) -> Result<String, String> {
    let mut rows = String::new();
    for &hosts in asked.sizes(&[100, 1_000, 10_000]) {
        let settings = [Who::DEFAULT, Who::Memberlist, Who::Foca];
        let answers = each(&settings, |&who| {
            let seconds = match who {
                Who::Holdfast { .. } => 30,
                // What it does most seldom is to push and pull: each 90 s, 180 s and 300 s here.
                Who::Memberlist if hosts <= 100 => 90,
                Who::Memberlist if hosts <= 1_000 => 180,
                Who::Memberlist => 300,
                Who::Foca => 60,
            };
            Idleness { seconds }.play(who, hosts, asked.seeds(1)[0])
        });
        for (who, idle) in settings.iter().zip(answers) {
            let name = if *who == Who::DEFAULT {
                "Holdfast"
            } else {
                who.name()
            };
            rows += &format!(
                "| {hosts} | {name} | {:.1} | {:.0} | {:.0} | {:.0} |\n",
                idle.messages,
                idle.bytes_bare,
                idle.bytes_sealed,
                idle.bytes_sealed + 28.0 * idle.messages,
            );
        }
    }
    Ok(format!(
        "### Idle: sent by each host each second\n\n| hosts | who | messages | bytes, bare | \
         bytes, sealed | with IP and UDP headers |\n|---|---|---|---|---|---|\n{rows}\nSealed: \
         Holdfast in its daemon's envelope (83 bytes a datagram), the others with memberlist's \
         AES-GCM (29),\nwhich is off by default there, and which foca leaves to whoever uses it. \
         foca's bytes are the ones it hands out,\nmemberlist's those of its fields in msgpack, \
         with what it pushes and pulls compressed.\n"
    ))
}

/// One host changes one record.
pub fn spreading(asked: &Asked) -> Result<String, String> {
    let seeds = asked.seeds(SEEDS);
    let mut rows = String::new();
    for &hosts in asked.sizes(&[100, 1_000]) {
        for (name, loss_ppm) in [("none", 0), ("1 %", 10_000)] {
            let settings = [Who::DEFAULT, Who::Memberlist, Who::Foca];
            for who in settings {
                let trial = Spreading { loss_ppm };
                let answers = each(&seeds, |&seed| trial.play(who, hosts, seed));
                let known: Vec<u64> = answers.iter().map(|spread| spread.known).collect();
                let sent: Vec<u64> = answers.iter().map(|spread| spread.messages).collect();
                let who = if who == Who::DEFAULT {
                    "Holdfast"
                } else {
                    who.name()
                };
                let (known, sent) = (Sample::of(&known), Sample::of(&sent));
                let (known, sent) = (known.cell(seconds), sent.cell(|n| n.to_string()));
                rows += &format!("| {hosts} | {name} | {who} | {known} | {sent} |\n");
            }
        }
    }
    Ok(format!(
        "### One record changes\n\n| hosts | loss | who | 99 % know it | messages meanwhile, idle \
         ones too |\n|---|---|---|---|---|\n{rows}"
    ))
}

/// Everybody with every seed.
fn all<T: Send>(seeds: &[u64], play: impl Fn(Who, u64) -> T + Sync) -> Vec<(Who, Vec<T>)> {
    let of = |who: Who| (who, each(seeds, |&seed| play(who, seed)));
    Who::ALL.map(of).into_iter().collect()
}
