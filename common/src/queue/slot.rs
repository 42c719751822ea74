//! The slots of a pool: how many are held, and when a job that got one begins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The part of a job's usual time over which the beginnings of a full pool are spread.
const SPREAD: f64 = 0.5;

/// Jobs that usually take longer than this are not spread: nobody could wait so long for an even spread.
const LONG: Duration = Duration::from_millis(250);

/// Shorter waits are not worth a timer.
const GRAIN: Duration = Duration::from_millis(1);

/// The part that one job has in what is usual.
const WEIGHT: f64 = 0.05;

/// The slots of a pool.
#[derive(Debug)]
pub struct Slots {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: usize,
    /// How long a job usually takes, in seconds.
    usual: f64,
    /// When the next job of a full pool begins, at the earliest.
    next: Instant,
}

impl Slots {
    /// `total` free slots.
    pub fn new(total: usize) -> Arc<Self> {
        let state = State {
            held: 0,
            usual: 0.0,
            next: Instant::now(),
        };
        Arc::new(Self {
            total,
            state: Mutex::new(state),
        })
    }

    /// Takes one; `freed` is dropped with it.
    pub(super) fn take(self: &Arc<Self>, freed: oneshot::Sender<()>) -> Slot {
        self.state().held += 1;
        Slot {
            slots: Arc::clone(self),
            began: None,
            _freed: freed,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a job that is ready waits until it begins.
    fn turn(&self, now: Instant) -> Duration {
        let mut state = self.state();
        if state.held < self.total || state.usual > LONG.as_secs_f64() {
            return Duration::ZERO;
        }
        let total = u32::try_from(self.total).unwrap_or(u32::MAX);
        let begins = state.next.max(now);
        state.next = begins + Duration::from_secs_f64(state.usual * SPREAD) / total;
        begins - now
    }
}

/// A job's place among those that its pool runs at once. Dropped, it is free for another, though the job's end may still be
/// on its way to the database.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    began: Option<Instant>,
    _freed: oneshot::Sender<()>,
}

impl Slot {
    /// Waits until the job may begin: at once, unless the pool is full and others begin just now.
    ///
    /// Jobs of equal length that begin together end together, and are claimed together again: until then no slot comes free,
    /// and who is next waits for a whole job instead of for a slot's share of one.
    pub async fn begin(&mut self) {
        let wait = self.slots.turn(Instant::now());
        if wait >= GRAIN {
            tokio::time::sleep(wait).await;
        }
        self.began = Some(Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.held -= 1;
        if let Some(began) = self.began {
            state.usual += (began.elapsed().as_secs_f64() - state.usual) * WEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Arc<Slots>, count: usize) -> Vec<Slot> {
        (0..count)
            .map(|_| slots.take(oneshot::channel().0))
            .collect()
    }

    #[test]
    fn a_full_pool_spreads_what_begins_together_and_one_with_room_does_not() {
        let slots = Slots::new(8);
        slots.state().usual = 0.016;
        let now = Instant::now();

        let mut held = take(&slots, 7);
        assert_eq!(slots.turn(now), Duration::ZERO);
        assert_eq!(slots.turn(now), Duration::ZERO);

        held.extend(take(&slots, 1));
        let waits: Vec<u128> = (0..4).map(|_| slots.turn(now).as_millis()).collect();
        assert_eq!(waits, [0, 1, 2, 3]);
        assert_eq!(slots.turn(now + Duration::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn long_jobs_are_not_spread() {
        let slots = Slots::new(2);
        slots.state().usual = 1.0;
        let _held = take(&slots, 2);
        let now = Instant::now();

        assert_eq!(slots.turn(now), Duration::ZERO);
        assert_eq!(slots.turn(now), Duration::ZERO);
    }

    #[test]
    fn what_is_usual_follows_what_is() {
        let slots = Slots::new(1);
        let mut slot = take(&slots, 1).remove(0);
        slot.began = Instant::now().checked_sub(Duration::from_secs(2));
        drop(slot);

        assert!((0.1..0.2).contains(&slots.state().usual));
        assert_eq!(slots.state().held, 0);
    }
}
