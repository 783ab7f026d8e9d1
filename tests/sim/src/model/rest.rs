//! Fair runs of the model: no more faults, everything arrives; then all must come to rest.

use super::world::{Event, HOSTS, World};

/// From the last fault to rest.
const REST_MAX: u64 = 150_000_000;
/// All must be well for so long.
const SETTLED: u64 = 3_000_000;
/// More events without any time passing feed on themselves.
const EVENTS_AT_ONCE_MAX: u32 = 10_000;

impl World {
    /// Ends all faults and lets time pass until all is well; how long that took.
    pub(super) fn rests(mut self) -> Result<u64, String> {
        if self.cut.is_some() {
            self.act(Event::Heal)?;
        }
        for host in 0..HOSTS {
            if self.machines[host].agent.is_none() {
                self.act(Event::Restart(host))?;
            }
        }
        self.rest()
    }

    pub(super) fn rest(&mut self) -> Result<u64, String> {
        let began = self.now;
        let mut well_since = None;
        loop {
            self.pass(self.now + 100_000)?;
            match self.missing() {
                None => {
                    let since = *well_since.get_or_insert(self.now);
                    if self.now - since >= SETTLED {
                        return Ok(since - began);
                    }
                }
                Some(missing) if self.now - began > REST_MAX => {
                    return Err(format!("never comes to rest: {missing}; {}", self.told()));
                }
                Some(_) => well_since = None,
            }
        }
    }

    /// Lets time pass, in which everything arrives at once.
    pub(super) fn pass(&mut self, until: u64) -> Result<(), String> {
        let mut at_once = 0;
        loop {
            let event = self.under_way().first().copied().unwrap_or(Event::Wake);
            let before = self.now;
            if event == Event::Wake && before >= until {
                return Ok(());
            }
            self.happen(event)
                .map_err(|what| format!("{what}; {}", self.told()))?;
            at_once = if self.now > before { 0 } else { at_once + 1 };
            if at_once > EVENTS_AT_ONCE_MAX {
                return Err(format!("goes on for ever at one instant; {}", self.told()));
            }
        }
    }

    /// What is missing until all is well.
    fn missing(&self) -> Option<String> {
        let boards: Vec<_> = self
            .machines
            .iter()
            .filter_map(|machine| machine.agent.as_ref())
            .map(holdfast_core::agent::Agent::board)
            .collect();
        let Some(board) = boards.first().filter(|_| boards.len() == HOSTS) else {
            return Some("an agent is not there".to_owned());
        };
        if boards.iter().any(|other| other.root() != board.root()) {
            return Some("boards differ".to_owned());
        }
        let copies = self.copies();
        let many = copies.iter().find(|(_, copies)| copies.len() > 1);
        if let Some(((_, index), copies)) = many {
            return Some(format!("slot {index} runs {} times", copies.len()));
        }
        let mut told = copies.values().flatten();
        if let Some((host, task)) =
            told.find(|(host, task)| !board.is_fresh(self.machines[*host].id, *task))
        {
            return Some(format!("h{host} does not say that {task} still runs"));
        }
        let slots: Vec<_> = copies.keys().map(|(_, index)| *index as usize).collect();
        let wanted: Vec<_> = (0..self.desired).collect();
        (slots != wanted).then(|| format!("slots {slots:?} run instead of {wanted:?}"))
    }
}
