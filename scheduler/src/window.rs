//! What a queue's list in Redis holds of ours, and how far each lane may go.

use std::collections::HashMap;

use uuid::Uuid;

/// A task that was put into the list.
#[derive(Clone, Copy, Debug)]
struct Task {
    lane: Uuid,
    ahead: bool,
}

/// The tasks this dispatcher put into a queue's list, and how fast they are taken.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// What was in the list at the last look, or was put into it since.
    tasks: HashMap<String, Task>,
    /// How many of them are each lane's.
    listed: HashMap<Uuid, usize>,
    /// How many of each lane workers took between the last two looks.
    taken: HashMap<Uuid, usize>,
}

impl Window {
    /// Learns what the list holds now, first to last.
    pub(crate) fn observe(&mut self, list: &[String]) {
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
        }
    }

    /// Learns of a task that was put into the list: at its end, or ahead of those that were not.
    pub(crate) fn insert(&mut self, id: String, lane: Uuid, ahead: bool) {
        self.tasks.insert(id, Task { lane, ahead });
        *self.listed.entry(lane).or_default() += 1;
    }

    /// How many more jobs of a lane that runs `running` may go into the list.
    ///
    /// It may hold `cap` slots, and, whatever it holds, have ready what will be started until the next look: half as much
    /// again as since the last. Where that is anything at all, slots come free faster than this looks, and nobody waits long
    /// for one; where jobs are longer, the cap leaves slots to others.
    pub(crate) fn allowance(&self, lane: Uuid, running: usize, cap: usize) -> usize {
        let taken = self.taken.get(&lane).copied().unwrap_or(0);
        let listed = self.listed.get(&lane).copied().unwrap_or(0);
        cap.saturating_sub(running + listed)
            .max(ready(taken).saturating_sub(listed))
    }

    /// How long the list should be: what will be started until the next look, or as much as there are `idle` slots.
    pub(crate) fn target(&self, idle: usize) -> usize {
        ready(self.taken.values().sum()).max(idle)
    }

    /// The lanes of which jobs were taken since the last look, and how many are wanted now.
    pub(crate) fn wanted(&self) -> (Vec<Uuid>, Vec<i64>) {
        let wanted = |taken| i64::try_from(ready(taken)).unwrap_or(i64::MAX);
        self.taken
            .iter()
            .map(|(lane, taken)| (*lane, wanted(*taken)))
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

/// What to have ready where `taken` were taken since the last look.
fn ready(taken: usize) -> usize {
    (taken * 3).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tasks: &[&str]) -> Vec<String> {
        tasks.iter().map(|&task| task.to_owned()).collect()
    }

    #[test]
    fn a_lane_of_long_jobs_keeps_to_its_cap_and_one_of_short_jobs_has_the_next_ready() {
        let (long, short) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut window = Window::default();
        for (task, lane) in [("a", long), ("b", long), ("c", short), ("d", short)] {
            window.insert(task.to_owned(), lane, false);
        }
        window.observe(&list(&["a", "b"]));

        assert_eq!(window.allowance(long, 6, 10), 2, "listed and running count");
        assert_eq!(window.allowance(long, 9, 10), 0);
        assert_eq!(window.allowance(short, 6, 10), 4);
        assert_eq!(
            window.allowance(short, 12, 10),
            3,
            "what was taken is made up for"
        );
        assert!(!window.is_quiet(short));

        window.observe(&list(&["a", "b"]));
        assert!(window.is_quiet(short));
    }

    #[test]
    fn tasks_of_others_are_nobodys_and_those_ahead_stay_in_order() {
        let mut window = Window::default();
        window.insert("ahead".to_owned(), Uuid::nil(), true);
        window.insert("behind".to_owned(), Uuid::nil(), false);
        let list = list(&["somebody's", "ahead", "behind"]);
        window.observe(&list);

        assert_eq!(window.allowance(Uuid::max(), 0, 3), 3);
        assert_eq!(window.pivot(&list), Some("behind"));
    }
}
