//! What is in somebody's hands, and in how many: for as long as they hold it.

use super::docker::lock;
use std::{collections::BTreeMap, sync::Mutex};

#[derive(Debug)]
pub(crate) struct Tally<K>(Mutex<BTreeMap<K, usize>>);

/// One hand; opens when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold<'a, K: Ord> {
    tally: &'a Tally<K>,
    key: K,
}

impl<K: Ord + Clone> Tally<K> {
    pub(crate) fn hold(&self, key: K) -> Hold<'_, K> {
        *lock(&self.0).entry(key.clone()).or_default() += 1;
        Hold { tally: self, key }
    }

    pub(crate) fn holds(&self, key: &K) -> bool {
        lock(&self.0).contains_key(key)
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Drop for Hold<'_, K> {
    fn drop(&mut self) {
        let mut held = lock(&self.tally.0);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_hold_is_held_until_both_let_go() {
        let tally = Tally::default();
        let (one, other) = (tally.hold("web"), tally.hold("web"));
        drop(one);
        assert!(tally.holds(&"web"));
        drop(other);
        assert!(!tally.holds(&"web"));
    }
}
