//! What a queue's list in Redis holds of ours, how fast slots come free, and how far each lane may go.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// The time for which a list has jobs ready: several looks, since a look may be late, and then every slot would wait for it.
const AHEAD: Duration = Duration::from_millis(40);

/// The time over which a pace is averaged.
const PACE_OVER: Duration = Duration::from_millis(60);

/// How long the pace of a lane is remembered of which nothing is seen.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// A task that was put into the list.
#[derive(Clone, Copy, Debug)]
struct Task {
    lane: Uuid,
    ahead: bool,
}

/// The tasks this dispatcher put into a queue's list, and how fast they are worked off.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// What was in the list at the last look, or was put into it since.
    tasks: HashMap<String, Task>,
    /// How many of them are each lane's.
    listed: HashMap<Uuid, usize>,
    /// How many of each lane workers took between the last two looks.
    taken: HashMap<Uuid, usize>,
    pace: Pace,
    lanes: HashMap<Uuid, Pace>,
}

impl Window {
    /// Learns what the list holds now, first to last, and how many jobs of the queue run.
    pub(crate) fn observe(&mut self, list: &[String], running: usize, now: Instant) {
        let mut before = std::mem::take(&mut self.tasks);
        self.listed.clear();
        self.taken.clear();
        for task in list {
            if let Some((id, task)) = before.remove_entry(task) {
                self.insert(id, task.lane, task.ahead);
            }
        }
        for task in before.into_values() {
            *self.taken.entry(task.lane).or_default() += 1;
            self.lanes.entry(task.lane).or_default().taken.0 += 1;
            self.pace.taken.0 += 1;
        }
        self.pace.observe(running, now);
        self.lanes
            .retain(|_, pace| pace.since.is_none_or(|at| now - at < FORGET_AFTER));
    }

    /// Learns how many jobs of a lane run.
    pub(crate) fn observe_lane(&mut self, lane: Uuid, running: usize, now: Instant) {
        self.lanes.entry(lane).or_default().observe(running, now);
    }

    /// Learns of a task that was put into the list: at its end, or ahead of those that were not.
    pub(crate) fn insert(&mut self, id: String, lane: Uuid, ahead: bool) {
        self.tasks.insert(id, Task { lane, ahead });
        *self.listed.entry(lane).or_default() += 1;
    }

    /// How many more jobs of a lane that runs `running` may go into the list.
    ///
    /// It may hold `cap` slots, and, whatever it holds, have ready half as much again as will end of it in [`AHEAD`]: as much
    /// as that, and shares would stay as they are instead of following the weights. Where it is anything at all, slots come
    /// free so fast that nobody waits long for one; where jobs are longer, the cap leaves slots to others.
    pub(crate) fn allowance(&self, lane: Uuid, running: usize, cap: usize) -> usize {
        let listed = self.listed.get(&lane).copied().unwrap_or(0);
        let ready = self.lanes.get(&lane).map_or(0, Pace::growing);
        cap.saturating_sub(running + listed)
            .max(ready.saturating_sub(listed))
    }

    /// How long the list should be: what will be started in [`AHEAD`], or as much as there are `idle` slots.
    pub(crate) fn target(&self, idle: usize) -> usize {
        self.pace.ready().max(idle)
    }

    /// The lanes that are worked off fast, and how many of each are wanted ready.
    pub(crate) fn wanted(&self) -> (Vec<Uuid>, Vec<i64>) {
        let wanted = |pace: &Pace| i64::try_from(pace.growing()).unwrap_or(i64::MAX);
        self.lanes
            .iter()
            .filter(|(_, pace)| pace.ready() > 0)
            .map(|(lane, pace)| (*lane, wanted(pace)))
            .unzip()
    }

    /// Whether nothing of a lane is in the list or was a look ago.
    pub(crate) fn is_quiet(&self, lane: Uuid) -> bool {
        !self.listed.contains_key(&lane) && !self.taken.contains_key(&lane)
    }

    /// Before which task of `list` a task goes that is put ahead: the first of ours that was not.
    pub(crate) fn pivot<'a>(&self, list: &'a [String]) -> Option<&'a str> {
        list.iter()
            .find(|id| self.tasks.get(*id).is_some_and(|task| !task.ahead))
            .map(String::as_str)
    }
}

/// How fast slots come free: by the jobs that ended, not by those that were taken, since idle slots take the longest jobs at
/// once.
#[derive(Debug, Default)]
struct Pace {
    /// Jobs that ended, a second.
    ends: f64,
    /// How many ran at the last look.
    running: i64,
    /// How many were taken since that look, and in the time before: only these have all been claimed meanwhile.
    taken: (i64, i64),
    /// Jobs that run and were not known to be taken; less than none.
    behind: i64,
    /// When that look was.
    since: Option<Instant>,
}

impl Pace {
    fn observe(&mut self, running: usize, now: Instant) {
        let running = i64::try_from(running).unwrap_or(i64::MAX);
        self.behind += self.running + self.taken.1 - running;
        self.taken = (0, self.taken.0);
        self.running = running;
        let ended = u32::try_from(self.behind).unwrap_or(0);
        self.behind = self.behind.min(0);
        let Some(since) = self.since.replace(now) else {
            return;
        };
        let seconds = (now - since).as_secs_f64().max(0.001);
        let weight = 1.0 - (-seconds / PACE_OVER.as_secs_f64()).exp();
        self.ends += (f64::from(ended) / seconds - self.ends) * weight;
    }

    /// How many will end in [`AHEAD`].
    fn ready(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand jobs a second at most, and never less than none"
        )]
        let ready = (self.ends * AHEAD.as_secs_f64()) as usize;
        ready
    }

    /// Half as much again.
    fn growing(&self) -> usize {
        (self.ready() * 3).div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Offer, Shares};

    fn list(tasks: &[&str]) -> Vec<String> {
        tasks.iter().map(|&task| task.to_owned()).collect()
    }

    /// Looks every 10 ms at a queue of one lane, of which `taken` tasks a look are taken while `running` of it run.
    fn look(window: &mut Window, lane: Uuid, looks: &[(usize, usize)]) {
        let mut now = Instant::now();
        for &(taken, running) in looks {
            for _ in 0..taken {
                window.insert(Uuid::now_v7().to_string(), lane, false);
            }
            now += Duration::from_millis(10);
            window.observe(&[], running, now);
            window.observe_lane(lane, running, now);
        }
    }

    #[test]
    fn a_lane_of_long_jobs_keeps_to_its_cap_however_fast_idle_slots_take_them() {
        let lane = Uuid::from_u128(1);
        let mut window = Window::default();
        // Taken at once; one look later they run.
        look(&mut window, lane, &[(0, 0), (9, 0), (0, 9), (0, 9)]);

        assert_eq!(window.allowance(lane, 9, 9), 0);
        assert_eq!(window.allowance(lane, 7, 9), 2);
        assert_eq!(window.target(1), 1, "as long as there are idle slots");
    }

    #[test]
    fn a_lane_of_short_jobs_has_those_ready_that_are_started_until_the_next_looks() {
        let lane = Uuid::from_u128(1);
        let mut window = Window::default();
        look(&mut window, lane, &[(16, 32); 50]);

        let ready = window.target(0);
        assert!((60..=64).contains(&ready), "{ready}");
        assert_eq!(window.allowance(lane, 32, 29), (ready * 3).div_ceil(2));
        assert_eq!(window.wanted().0, [lane]);
        assert!(!window.is_quiet(lane));

        look(&mut window, lane, &[(0, 32); 50]);
        assert_eq!(window.allowance(lane, 32, 29), 0, "they have become long");
        assert!(window.is_quiet(lane));
    }

    /// Starts of each lane in the last of 6 s, of a queue with 32 slots and jobs of 20 ms that looks every 8 ms.
    fn starts(weights: [i16; 3]) -> [usize; 3] {
        let lanes = [1, 2, 3].map(Uuid::from_u128);
        let (mut window, mut shares) = (Window::default(), Shares::default());
        let mut list: Vec<(String, usize)> = Vec::new();
        let mut running: Vec<(u64, usize)> = Vec::new();
        let (began, mut starts) = (Instant::now(), [0; 3]);
        for ms in 0..6_000 {
            running.retain(|(end, _)| *end > ms);
            let free = (32 - running.len()).min(list.len());
            for (_, lane) in list.drain(..free) {
                running.push((ms + 20, lane));
                starts[lane] += usize::from(ms >= 5_000);
            }
            if ms % 8 > 0 {
                continue;
            }
            let now = began + Duration::from_millis(ms);
            let ids: Vec<String> = list.iter().map(|(id, _)| id.clone()).collect();
            window.observe(&ids, running.len(), now);
            let room = window.target(32 - running.len()).saturating_sub(list.len());
            let mut offers = Vec::new();
            for (place, lane) in lanes.into_iter().enumerate() {
                let runs = running.iter().filter(|(_, of)| *of == place).count();
                window.observe_lane(lane, runs, now);
                // The others come where the last has all slots already.
                let due = if ms >= 1_000 || place == 2 {
                    usize::MAX
                } else {
                    0
                };
                let jobs = window.allowance(lane, runs, 29).min(due);
                let jobs = (0..jobs).map(|_| Uuid::now_v7());
                offers.push(Offer {
                    lane,
                    weight: weights[place],
                    jobs: jobs.collect(),
                });
            }
            for (lane, id) in shares.pick(offers, room) {
                let place = lanes.iter().position(|of| *of == lane).unwrap();
                list.push((id.to_string(), place));
                window.insert(id.to_string(), lane, false);
            }
        }
        starts
    }

    #[test]
    fn weights_hold_where_all_have_backlogs_and_slots_come_free_fast() {
        let starts = starts([3, 2, 1]);
        let all: usize = starts.iter().sum();
        assert!(all > 1_400, "{starts:?}");
        assert!(starts[0].abs_diff(all / 2) < all / 25, "{starts:?}");
        assert!(starts[2].abs_diff(all / 6) < all / 25, "{starts:?}");
    }

    #[test]
    fn what_is_listed_counts_against_what_a_lane_may_have() {
        let (lane, now) = (Uuid::from_u128(1), Instant::now());
        let mut window = Window::default();
        window.insert("a".to_owned(), lane, false);
        window.observe(&list(&["a"]), 6, now);

        assert_eq!(window.allowance(lane, 6, 10), 3);
    }

    #[test]
    fn tasks_of_others_are_nobodys_and_those_ahead_stay_in_order() {
        let mut window = Window::default();
        window.insert("ahead".to_owned(), Uuid::nil(), true);
        window.insert("behind".to_owned(), Uuid::nil(), false);
        let list = list(&["somebody's", "ahead", "behind"]);
        window.observe(&list, 0, Instant::now());

        assert_eq!(window.allowance(Uuid::max(), 0, 3), 3);
        assert_eq!(window.pivot(&list), Some("behind"));
    }
}
