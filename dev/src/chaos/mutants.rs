//! Defects planted on purpose, each in the smallest scene that shows it: what the checks do not find here, they would not
//! find anywhere.

use std::time::{Duration, Instant};

use common::faults::Mutant;
use futures::StreamExt;
use futures::stream;

use super::checks::Check;
use super::facts::Facts;
use super::scenes::{self, Scene};
use super::world::Plan;

/// Scenes played at once: they wait most of the time.
const AT_ONCE: usize = 4;

/// How often a scene is played whose defect was not found: on a machine that stalls, the moment in which it shows may be
/// missed, and nothing is judged that a stall may have caused.
const ATTEMPTS: u32 = 3;

/// A defect, and who must find it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What is planted in the processes; `None`: something in the database.
    pub mutant: Option<Mutant>,
    /// Who must find it.
    pub check: Check,
    /// Where it shows.
    pub scene: Scene,
}

/// What became of a case.
pub struct Caught {
    /// Which.
    pub case: Case,
    /// Every check that found something, and what it found first.
    pub by: Vec<(Check, String)>,
    /// Every check that judged something.
    pub judged: Vec<Check>,
    /// Why it could not be played.
    pub failed: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// How often it was played.
    pub attempts: u32,
}

impl Caught {
    /// What the check that had to find it said.
    pub fn example(&self) -> Option<&str> {
        let found = self.by.iter().find(|(check, _)| *check == self.case.check);
        found.map(|(_, example)| example.as_str())
    }
}

/// Every defect.
pub fn cases() -> Vec<Case> {
    use Mutant as M;
    // The longest scenes first: the others are played beside them.
    let planted = [
        (M::RelaxedCommit, Check::Answered, Scene::PowerCut),
        (
            M::NoConsumerRestart,
            Check::Throughput,
            Scene::RedisRestarts,
        ),
        (M::EarlyAcknowledgement, Check::Answered, Scene::IngressDies),
        (M::NoDrain, Check::Answered, Scene::DatabaseAway),
        (M::NoDeduplication, Check::Once, Scene::Repeats),
        (M::NoFence, Check::Once, Scene::WorkerWakes),
        (M::NoPolicy, Check::Once, Scene::ChannelSilent),
        (M::NoDeliveryOrder, Check::Order, Scene::ChannelRefuses),
        (M::DeafSpool, Check::Order, Scene::OneSpools),
        (M::NoAbsorption, Check::Order, Scene::WorkerDiesWithTheFirst),
        (M::SharedTurn, Check::Turns, Scene::SlowModel),
        (M::RandomTickKey, Check::Ticks, Scene::TwoSchedulers),
        (M::NoReaper, Check::Takeover, Scene::WorkerDies),
        (M::LongLease, Check::Takeover, Scene::WorkerDies),
        (M::NoForgetting, Check::Memory, Scene::ManyMessages),
        (M::Hoard, Check::Memory, Scene::ManyMessages),
        (M::NoReason, Check::Reasons, Scene::ModelRefuses),
    ];
    let row_security = Case {
        name: "no_row_security",
        mutant: None,
        check: Check::Tenants,
        scene: Scene::TableOpen,
    };
    planted
        .into_iter()
        .map(|(mutant, check, scene)| Case {
            name: mutant.as_str(),
            mutant: Some(mutant),
            check,
            scene,
        })
        .chain([row_security])
        .collect()
}

/// Plays the cases; `planted`: with their defects, else as a control, in which nobody may find anything.
pub async fn play(cases: Vec<Case>, plan: &Plan, planted: bool) -> Vec<Caught> {
    let playing = cases.into_iter().map(|case| {
        let plan = plan.clone();
        async move {
            let begun = Instant::now();
            let mutant = case.mutant.filter(|_| planted);
            let opened = planted && case.mutant.is_none();
            let mut attempt = 1;
            loop {
                let plan = plan.clone().with(mutant);
                let facts = Box::pin(scenes::play(case.scene, plan, opened)).await;
                let caught = caught(case, facts, begun.elapsed(), attempt);
                if !planted || caught.example().is_some() || attempt == ATTEMPTS {
                    return caught;
                }
                attempt += 1;
            }
        }
    });
    stream::iter(playing)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn caught(case: Case, facts: Result<Facts, String>, took: Duration, attempts: u32) -> Caught {
    let (mut by, mut judged, mut failed) = (Vec::new(), Vec::new(), None);
    match facts {
        Ok(facts) => {
            for check in Check::ALL {
                let verdict = check.judge(&facts);
                if verdict.judged > 0 {
                    judged.push(check);
                }
                by.extend(verdict.violations.into_iter().next().map(|it| (check, it)));
            }
        }
        Err(error) => failed = Some(error),
    }
    Caught {
        case,
        by,
        judged,
        failed,
        took,
        attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_defect_to_find_and_every_defect_a_check() {
        let cases = cases();
        for check in Check::ALL {
            assert!(cases.iter().any(|case| case.check == check), "{check:?}");
        }
        for mutant in Mutant::ALL {
            assert!(cases.iter().any(|case| case.mutant == Some(*mutant)));
        }
    }
}
