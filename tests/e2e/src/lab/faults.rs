//! Faults of the lab's network: what they are, how they are written down, and what the switch does.

use super::Outcome;
use std::{fmt, str::FromStr};

/// One fault. Hosts by their numbers; no number stands for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Packets on this way are dropped, silently: nobody is told, and addresses still resolve.
    Cut(Way),
    /// As a cut, for datagrams only.
    Udp(Way),
    /// Each packet from or to this host is dropped with this probability, in thousandths.
    Loss { host: u8, thousandths: u16 },
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub from: Option<u8>,
    pub to: Option<u8>,
}

impl Way {
    pub fn between(a: u8, b: Option<u8>) -> [Self; 2] {
        let a = Some(a);
        [Self { from: a, to: b }, Self { from: b, to: a }]
    }

    fn matched(self) -> String {
        let side = |word: &str, host: Option<u8>| {
            host.map_or(String::new(), |number| format!("{word} \"h{number}\" "))
        };
        side("iifname", self.from) + &side("oifname", self.to)
    }
}

impl Fault {
    /// The rules of the switch.
    fn rules(self) -> String {
        match self {
            Self::Cut(way) => format!("{}ether type ip drop\n", way.matched()),
            Self::Udp(way) => format!("{}ether type ip meta l4proto udp drop\n", way.matched()),
            Self::Loss { host, thousandths } => {
                let both = Way::between(host, None);
                let rules = both.iter().map(|way| {
                    let way = way.matched();
                    format!("{way}ether type ip numgen random mod 1000 < {thousandths} drop\n")
                });
                rules.collect()
            }
        }
    }
}

/// The whole table of the switch, which replaces the one before in one transaction.
pub(super) fn table(faults: &[Fault]) -> String {
    let rules: String = faults.iter().map(|fault| fault.rules()).collect();
    format!(
        "add table bridge lab\ndelete table bridge lab\ntable bridge lab {{\nchain forward {{\n\
         type filter hook forward priority 0\n{rules}}}\n}}\n"
    )
}

/// Cuts between groups of hosts, as in `1,2|3,4,5`; whoever is in none sees all.
pub fn partition(text: &str) -> Outcome<Vec<Fault>> {
    let groups: Result<Vec<Vec<u8>>, _> = text
        .split('|')
        .map(|group| group.split(',').map(|host| host.trim().parse()).collect())
        .collect();
    let groups = groups.map_err(|_| format!("{text:?} is not like 1,2|3,4,5"))?;
    if groups.len() < 2 {
        return Err(format!("{text:?} has no two sides, as 1,2|3,4,5 has"));
    }
    let mut faults = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        for (other, others) in groups.iter().enumerate() {
            if index == other {
                continue;
            }
            for from in group {
                faults.extend(others.iter().map(|to| {
                    let (from, to) = (Some(*from), Some(*to));
                    Fault::Cut(Way { from, to })
                }));
            }
        }
    }
    Ok(faults)
}

/// Groups of hosts as [`partition`] reads them; here hosts are counted from 0, as a fleet's are.
pub fn sides(groups: &[&[usize]]) -> String {
    let side = |hosts: &&[usize]| {
        let numbers = hosts.iter().map(|host| (host + 1).to_string());
        numbers.collect::<Vec<_>>().join(",")
    };
    groups.iter().map(side).collect::<Vec<_>>().join("|")
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |host: Option<u8>| host.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{} {}", side(self.from), side(self.to))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(way) => write!(f, "cut {way}"),
            Self::Udp(way) => write!(f, "udp {way}"),
            Self::Loss { host, thousandths } => write!(f, "loss {host} {thousandths}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(line: &str) -> Outcome<Self> {
        let wrong = || format!("{line:?} is no fault");
        let words: Vec<_> = line.split_whitespace().collect();
        let [kind, first, second] = words[..] else {
            return Err(wrong());
        };
        let side = |word: &str| match word {
            "*" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        };
        let way = || {
            let (from, to) = (side(first)?, side(second)?);
            Ok::<_, String>(Way { from, to })
        };
        match kind {
            "cut" => Ok(Self::Cut(way()?)),
            "udp" => Ok(Self::Udp(way()?)),
            "loss" => Ok(Self::Loss {
                host: first.parse().map_err(|_| wrong())?,
                thousandths: second.parse().map_err(|_| wrong())?,
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for line in ["cut 1 *", "cut * 12", "cut 3 4", "udp 1 2", "loss 3 250"] {
            let fault: Fault = line.parse().expect("it is a fault");
            assert_eq!(fault.to_string(), line);
        }
        for line in ["", "cut", "cut a b", "loss * 3", "burn 1 2", "cut 1 2 3"] {
            assert!(line.parse::<Fault>().is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_partition_cuts_both_ways_between_the_sides_and_nothing_within() {
        let written = |text: &str| {
            let faults = partition(text).expect("it is a partition");
            let lines: Vec<_> = faults.iter().map(Fault::to_string).collect();
            lines.join(", ")
        };
        assert_eq!(written("1|2,3"), "cut 1 2, cut 1 3, cut 2 1, cut 3 1");
        assert!(partition("1,2").is_err());
        assert!(partition("1|x").is_err());
    }

    #[test]
    fn rules_name_the_ports_of_the_switch() {
        let rules = |line: &str| line.parse::<Fault>().expect("it is a fault").rules();
        assert_eq!(
            rules("cut 1 2"),
            "iifname \"h1\" oifname \"h2\" ether type ip drop\n"
        );
        assert_eq!(
            rules("udp * 2"),
            "oifname \"h2\" ether type ip meta l4proto udp drop\n"
        );
        assert_eq!(
            rules("loss 2 50"),
            "iifname \"h2\" ether type ip numgen random mod 1000 < 50 drop\n\
             oifname \"h2\" ether type ip numgen random mod 1000 < 50 drop\n"
        );
    }
}
