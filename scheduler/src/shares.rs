//! Who is served next: start-time fair queueing over the lanes of a queue.
//!
//! Each job of a lane costs it the inverse of its weight in virtual time; the lane that is furthest behind is next. A lane
//! that had nothing to do comes in at the present and saves nothing up. See Goyal, Vin, Cheng, "Start-time Fair Queueing"
//! (SIGCOMM 1996).

use std::collections::HashMap;

use uuid::Uuid;

/// What a lane offers to a round.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Which lane.
    pub(crate) lane: Uuid,
    /// Its share, relative to others.
    pub(crate) weight: i16,
    /// Its jobs, in order, no more than it may have.
    pub(crate) jobs: Vec<Uuid>,
}

/// What the lanes of a queue were served so far.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// The virtual time.
    present: f64,
    /// When a lane's last job ends, in virtual time; none: in the past.
    ends: HashMap<Uuid, f64>,
}

impl Shares {
    /// Picks at most `room` jobs, each with its lane, in the order in which they are to run.
    pub(crate) fn pick(&mut self, offers: Vec<Offer>, room: usize) -> Vec<(Uuid, Uuid)> {
        let mut waiting: Vec<_> = offers
            .into_iter()
            .map(|offer| {
                let start = self.start_of(offer.lane);
                (start, offer.lane, offer.weight, offer.jobs.into_iter())
            })
            .collect();
        let mut picked = Vec::with_capacity(room);
        while picked.len() < room {
            let next = waiting
                .iter_mut()
                .filter(|(.., jobs)| jobs.len() > 0)
                .min_by(|a, b| a.0.total_cmp(&b.0));
            let Some((start, lane, weight, jobs)) = next else {
                break;
            };
            picked.extend(jobs.next().map(|job| (*lane, job)));
            self.present = *start;
            *start += 1.0 / f64::from((*weight).max(1));
            self.ends.insert(*lane, *start);
        }
        let present = self.present;
        self.ends.retain(|_, end| *end > present);
        picked
    }

    fn start_of(&self, lane: Uuid) -> f64 {
        self.ends
            .get(&lane)
            .map_or(self.present, |end| end.max(self.present))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn offer(number: u128, weight: i16, jobs: usize) -> Offer {
        Offer {
            lane: lane(number),
            weight,
            jobs: (0..jobs).map(|_| Uuid::now_v7()).collect(),
        }
    }

    fn count(picked: &[(Uuid, Uuid)], number: u128) -> usize {
        picked.iter().filter(|(of, _)| *of == lane(number)).count()
    }

    #[test]
    fn shares_follow_the_weights_over_rounds_of_any_size() {
        let mut shares = Shares::default();
        let mut served = [0; 3];
        for round in 0..600 {
            let offers = vec![offer(1, 3, 20), offer(2, 2, 20), offer(3, 1, 20)];
            let picked = shares.pick(offers, 1 + round % 7);
            for (lane, served) in served.iter_mut().enumerate() {
                *served += count(&picked, lane as u128 + 1);
            }
        }
        assert!(served[0].abs_diff(3 * served[2]) <= 6, "{served:?}");
        assert!(served[1].abs_diff(2 * served[2]) <= 6, "{served:?}");
    }

    #[test]
    fn who_was_idle_is_served_at_once_and_has_saved_nothing_up() {
        let mut shares = Shares::default();
        for _ in 0..100 {
            shares.pick(vec![offer(1, 1, 10)], 10);
        }
        let picked = shares.pick(vec![offer(1, 1, 10), offer(2, 1, 10)], 10);
        assert!(picked[..2].iter().any(|(of, _)| *of == lane(2)));
        assert!(count(&picked, 1) >= 4, "{}", count(&picked, 1));
    }

    #[test]
    fn a_lanes_jobs_keep_their_order_and_none_is_picked_twice() {
        let offered = offer(1, 2, 9);
        let jobs = offered.jobs.clone();
        let picked = Shares::default().pick(vec![offered, offer(2, 1, 3)], 100);
        let of_one: Vec<Uuid> = picked
            .iter()
            .filter(|(of, _)| *of == lane(1))
            .map(|(_, job)| *job)
            .collect();
        assert_eq!(of_one, jobs);
        assert_eq!(picked.len(), 12);
    }
}
