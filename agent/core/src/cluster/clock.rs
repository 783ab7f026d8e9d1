//! The hybrid logical clock that stamps records: it follows the wall clock and never goes back.

use crate::{
    cluster::record::Stamp,
    ids::HostId,
    limits,
    time::{Mono, Now, Wall},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Clock {
    author: HostId,
    wall: Wall,
    counter: u32,
    /// The latest time that our own clock showed, and when that was.
    shown: Now,
}

impl Clock {
    pub const fn new(author: HostId) -> Self {
        Self {
            author,
            wall: Wall(0),
            counter: 0,
            shown: Now {
                mono: Mono(0),
                wall: Wall(0),
            },
        }
    }

    /// The wall clock, had it never jumped back: by it the others' stamps are judged.
    pub fn steady(&mut self, now: Now) -> Wall {
        let passed_ms = now.mono.since(self.shown.mono).as_ms();
        let steady = Wall(self.shown.wall.0.saturating_add(passed_ms)).max(now.wall);
        if now.wall >= steady {
            self.shown = now;
        }
        steady
    }

    /// From now on this is the time, and no stamp counts that was made or observed before.
    pub fn set(&mut self, now: Now) {
        (self.wall, self.counter, self.shown) = (Wall(0), 0, now);
    }

    /// A stamp later than every one that was made or observed here.
    pub fn stamp(&mut self, wall: Wall) -> Stamp {
        if wall > self.wall || planted!(FollowsTheWallClock) {
            (self.wall, self.counter) = (wall, 0);
        } else if let Some(counter) = self.counter.checked_add(1) {
            self.counter = counter;
        } else {
            (self.wall, self.counter) = (Wall(self.wall.0 + 1), 0);
        }
        Stamp {
            wall: self.wall,
            counter: self.counter,
            author: self.author,
        }
    }

    /// Takes notice of a stamp made elsewhere, so that what is written next is later than it.
    pub fn observe(&mut self, stamp: Stamp) {
        if (stamp.wall, stamp.counter) > (self.wall, self.counter) {
            (self.wall, self.counter) = (stamp.wall, stamp.counter);
        }
    }

    /// Too far ahead to be believed: following it would drag the whole cluster's clocks along.
    pub fn is_from_the_future(stamp: Stamp, wall: Wall) -> bool {
        stamp.wall.0 > wall.0.saturating_add(limits::STAMP_AHEAD_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_only_grow_even_when_the_wall_clock_jumps_back() {
        let mut clock = Clock::new(HostId(1));
        let mut last = clock.stamp(Wall(100));
        for wall in [100, 100, 50, 101, 0, 101] {
            let next = clock.stamp(Wall(wall));
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_make_strangers_of_the_others() {
        let mut clock = Clock::new(HostId(1));
        let now = |seconds: u64, wall| Now {
            mono: Mono(seconds * 1_000_000),
            wall: Wall(wall),
        };
        assert_eq!(clock.steady(now(1, 5_000_000)), Wall(5_000_000));
        assert_eq!(clock.steady(now(2, 1_000_000)), Wall(5_001_000));
        assert_eq!(clock.steady(now(602, 1_600_000)), Wall(5_601_000));
        assert_eq!(clock.steady(now(603, 5_700_000)), Wall(5_700_000));
    }

    #[test]
    fn what_is_written_after_reading_is_later_than_what_was_read() {
        let mut clock = Clock::new(HostId(1));
        let seen = Stamp {
            wall: Wall(500),
            counter: 7,
            author: HostId(9),
        };
        clock.observe(seen);
        assert!(clock.stamp(Wall(400)) > seen);
        assert!(!Clock::is_from_the_future(seen, Wall(400)));
        assert!(Clock::is_from_the_future(seen, Wall(0)) == (500 > limits::STAMP_AHEAD_MS_MAX));
    }
}
