//! A bounded map whose entries age: what was looked up lately need not be looked up again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one who set out to ask again keeps others from it.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Remembers answers for a while.
pub(crate) struct Cache<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    /// Until when an answer is taken without asking again.
    fresh: Duration,
    /// Until when it is taken where asking is not possible.
    stale: Duration,
    capacity: usize,
}

struct Entry<V> {
    value: V,
    learnt_at: Instant,
    /// When somebody last set out to ask again.
    asked_at: Instant,
}

/// What a [`Cache`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known<V> {
    /// It is so.
    Fresh(V),
    /// It was so; ask again, and take this if nobody answers.
    Stale(V),
    /// Ask.
    Nothing,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// A cache of at most `capacity` entries, fresh for `fresh` and kept for `stale`.
    pub(crate) fn new(capacity: usize, fresh: Duration, stale: Duration) -> Self {
        Self {
            entries: Mutex::default(),
            fresh,
            stale,
            capacity,
        }
    }

    /// What is known of `key`. Of all who find it stale, one a second is told so: the others need not ask too.
    pub(crate) fn get(&self, key: &K) -> Known<V> {
        let now = Instant::now();
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(key) else {
            return Known::Nothing;
        };
        if now - entry.learnt_at > self.stale {
            entries.remove(key);
            return Known::Nothing;
        }
        let value = entry.value.clone();
        let being_asked = now - entry.asked_at < ASKED_EVERY;
        if now - entry.learnt_at <= self.fresh || being_asked {
            return Known::Fresh(value);
        }
        entry.asked_at = now;
        Known::Stale(value)
    }

    /// Remembers `value`.
    pub(crate) fn insert(&self, key: K, value: V) {
        let now = Instant::now();
        let mut entries = self.lock();
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            let fresh = self.fresh;
            entries.retain(|_, entry| now - entry.learnt_at <= fresh);
            if entries.len() >= self.capacity
                && let Some(other) = entries.keys().next().cloned()
            {
                // Any will do: the next request that misses it asks again.
                entries.remove(&other);
            }
        }
        entries.insert(
            key,
            Entry {
                value,
                learnt_at: now,
                asked_at: now,
            },
        );
    }

    /// Forgets `key`.
    pub(crate) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Has everything asked again by the next who wants it, and taken as it is where nobody answers.
    pub(crate) fn make_stale(&self) {
        let now = Instant::now();
        let before = |age| now.checked_sub(age).unwrap_or(now);
        for entry in self.lock().values_mut() {
            entry.learnt_at = entry
                .learnt_at
                .min(before(self.fresh + Duration::from_millis(1)));
            entry.asked_at = entry.asked_at.min(before(ASKED_EVERY));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_answer_is_asked_again_by_one() {
        let cache = Cache::new(10, Duration::ZERO, Duration::from_mins(1));
        assert_eq!(cache.get(&1), Known::Nothing);
        cache.insert(1, "one");
        cache.lock().get_mut(&1).unwrap().asked_at -= Duration::from_secs(2);

        assert_eq!(cache.get(&1), Known::Stale("one"));
        assert_eq!(cache.get(&1), Known::Fresh("one"));
    }

    #[test]
    fn what_was_learnt_a_moment_ago_can_be_made_stale() {
        let cache = Cache::new(10, Duration::from_mins(1), Duration::from_hours(1));
        cache.insert(1, "one");
        cache.make_stale();
        assert_eq!(cache.get(&1), Known::Stale("one"));
    }

    #[test]
    fn an_answer_is_forgotten_in_the_end() {
        let cache = Cache::new(10, Duration::ZERO, Duration::ZERO);
        cache.insert(1, "one");
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(cache.get(&1), Known::Nothing);
    }

    #[test]
    fn it_does_not_grow() {
        let cache = Cache::new(10, Duration::from_mins(1), Duration::from_mins(1));
        for key in 0..100 {
            cache.insert(key, ());
            assert!(cache.lock().len() <= 10);
            assert_eq!(cache.get(&key), Known::Fresh(()));
        }
    }
}
