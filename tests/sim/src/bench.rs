//! `sim bench`: what Holdfast reaches at scale and beside its rivals, as a page that repeats.

pub mod sample;
pub mod rivals;
pub mod crowd;
pub mod placement;
pub mod boot;
pub mod speed;
pub mod recording;
pub mod page;

use std::{ops::Range, time::Instant};

/// What of the benchmark is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// All where there is none.
    pub parts: Vec<String>,
    /// Instead of each part's own sizes.
    pub hosts: Option<[usize; 1]>,
    /// Instead of each part's own number of seeds.
    pub seeds: Option<Range<u64>>,
    /// Of virtual time, in the part that measures speed.
    pub seconds: u64,
    /// The page to write to.
    pub write: Option<String>,
}

type Part = (&'static str, fn(&Asked) -> Result<String, String>);

const PARTS: &[Part] = &[
    ("detection", rivals::detection),
    ("falsehood", rivals::falsehood),
    ("idleness", rivals::idleness),
    ("spreading", rivals::spreading),
    ("boot", boot::section),
    ("placement", crowd::section),
    ("churn", placement::churn),
    ("convergence", placement::convergence),
    ("speed", speed::section),
    ("recording", recording::section),
];

impl Asked {
    fn sizes<'a>(&'a self, usual: &'a [usize]) -> &'a [usize] {
        self.hosts.as_ref().map_or(usual, |hosts| hosts)
    }

    fn seeds(&self, usual: u64) -> Vec<u64> {
        self.seeds.clone().unwrap_or(0..usual).collect()
    }
}

/// Runs the parts, and writes or prints what they say.
pub fn bench(asked: &Asked) -> Result<(), String> {
    let unknown = |name: &&String| !PARTS.iter().any(|(part, _)| part == name);
    if let Some(name) = asked.parts.iter().find(unknown) {
        let parts: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        return Err(format!("there is no part {name}: {}", parts.join(", ")));
    }
    let mut sections = Vec::new();
    for (name, part) in PARTS {
        if !asked.parts.is_empty() && !asked.parts.iter().any(|asked| asked == name) {
            continue;
        }
        let began = Instant::now();
        let section = part(asked)?;
        println!("{section}");
        eprintln!("{name} took {} s\n", began.elapsed().as_secs());
        sections.push((*name, section));
    }
    match &asked.write {
        Some(path) => page::write(path, &sections),
        None => Ok(()),
    }
}
