//! Waiting for what is meant, with a deadline: the one place where tests poll.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

const PAUSE: Duration = Duration::from_millis(10);

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Nanoseconds since 1970, on the clock that Docker's events and the agents' are stamped with.
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.expect("the clock is right").as_nanos();
    u64::try_from(nanos).expect("the year is below 2554")
}

/// Waits until `look` finds something; it says what it sees instead as long as it does not.
///
/// # Panics
/// When the time is up, with what was seen last.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    match poll(within, look) {
        Ok(found) => found,
        Err(seen) => panic!("waited {within:?} for: {what}; seen instead: {seen}"),
    }
}

/// Watches that what `look` finds stays so for the whole time.
///
/// # Panics
/// At once when it does not.
#[track_caller]
pub fn holds(what: &str, during: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let broken = poll(during, || match look() {
        Ok(()) => Err(String::new()),
        Err(seen) => Ok(seen),
    });
    if let Ok(seen) = broken {
        panic!("this was to hold for {during:?}: {what}; seen instead: {seen}");
    }
}

/// Lets time pass in which nobody asks anything: what is measured meanwhile is idle.
pub fn pass(during: Duration) {
    thread::sleep(during);
}

/// As `until`, for whoever can go on without it: what was seen last when the time is up.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Err(seen) if Instant::now() >= deadline => return Err(seen),
            Err(_) => thread::sleep(PAUSE),
            found => return found,
        }
    }
}
