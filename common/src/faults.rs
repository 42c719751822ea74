//! What the chaos harness plants in debug builds: death at a named point, a defect on purpose, a wrong
//! clock, a fast schedule.
//!
//! In a release build all of it is constantly absent. Read from the environment once, and outside of [`crate::Config`]:
//! nobody configures this.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use chrono::TimeDelta;

/// Names a point and which passing of it kills the process: `claimed:3`.
pub const KILL: &str = "RELAIS_FAULT_KILL";

/// Names the defect this process has: a [`Mutant`].
pub const MUTANT: &str = "RELAIS_MUTANT";

/// Seconds between the ticks of a schedule of probes; unset: there is none.
pub const PROBE_SECONDS: &str = "RELAIS_PROBE_SECONDS";

/// Names the file that says by how many milliseconds this process's clock is wrong.
pub const CLOCK: &str = "RELAIS_FAULT_CLOCK";

macro_rules! named {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in the environment and in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// A moment in the life of a message at which a process may die.
    Point {
        /// The ingress has committed the message and not answered yet.
        Accepted => "accepted",
        /// A worker has claimed a job and not begun it.
        Claimed => "claimed",
        /// The model has answered and nothing of it is written.
        ModelAnswered => "model_answered",
        /// The answer is committed and not sent.
        Committed => "committed",
        /// The channel has accepted the answer, which is not recorded.
        Sent => "sent",
        /// The delivery is recorded; the worker has not come to its next job.
        Marked => "marked",
    }
}

named! {
    /// A defect planted on purpose, to see whether the checks find it.
    Mutant {
        /// A repeated message is taken for a new one.
        NoDeduplication => "no_deduplication",
        /// An attempt that lost its lease goes on.
        NoFence => "no_fence",
        /// Nobody frees the jobs of the dead.
        NoReaper => "no_reaper",
        /// Messages are acknowledged before they are committed.
        EarlyAcknowledgement => "early_acknowledgement",
        /// A chat may have several turns at once.
        SharedTurn => "shared_turn",
        /// Answers do not wait for earlier ones.
        NoDeliveryOrder => "no_delivery_order",
        /// A message that a dead worker holds is overtaken.
        NoAbsorption => "no_absorption",
        /// A delivery in doubt is repeated whatever the business wants.
        NoPolicy => "no_policy",
        /// Each scheduler's tick is another's too.
        RandomTickKey => "random_tick_key",
        /// A claim holds for minutes.
        LongLease => "long_lease",
        /// Ended tasks stay in Redis.
        NoForgetting => "no_forgetting",
        /// A worker keeps memory for every job.
        Hoard => "hoard",
        /// A consumer that lost Redis does not come back.
        NoConsumerRestart => "no_consumer_restart",
        /// What went wrong is not written down.
        NoReason => "no_reason",
        /// What was spooled stays in the spool.
        NoDrain => "no_drain",
        /// An ingress commits past what another has spooled.
        DeafSpool => "deaf_spool",
        /// An acknowledgement does not wait for the disk.
        RelaxedCommit => "relaxed_commit",
    }
}

/// Kills this process, as `kill -9` does, if the environment says that it dies here.
pub fn point(point: Point) {
    static DEATH: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if !cfg!(debug_assertions) {
        return;
    }
    if point == Point::Claimed && planted(Mutant::Hoard) {
        hoard();
    }
    let death = DEATH.get_or_init(|| {
        let named = std::env::var(KILL).ok()?;
        let (name, passing) = named.split_once(':').unwrap_or((&named, "1"));
        Some((name.to_owned(), passing.parse().ok()?))
    });
    if let Some((name, passing)) = death
        && name == point.as_str()
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *passing
    {
        let died =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        tracing::error!(?died, "the planted death did not happen");
    }
}

/// Whether this process has the defect.
pub fn planted(mutant: Mutant) -> bool {
    static PLANTED: OnceLock<Option<Mutant>> = OnceLock::new();
    cfg!(debug_assertions)
        && *PLANTED.get_or_init(|| {
            let name = std::env::var(MUTANT).ok()?;
            Mutant::ALL
                .iter()
                .copied()
                .find(|mutant| mutant.as_str() == name)
        }) == Some(mutant)
}

/// How often probes are due, where they are.
pub fn probe_every() -> Option<TimeDelta> {
    static EVERY: OnceLock<Option<TimeDelta>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return None;
    }
    *EVERY.get_or_init(|| {
        let seconds = std::env::var(PROBE_SECONDS).ok()?.parse().ok()?;
        (seconds > 0).then(|| TimeDelta::seconds(seconds))
    })
}

/// By how much this process's clock is wrong, now.
pub fn clock_error() -> TimeDelta {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return TimeDelta::zero();
    }
    let file = FILE.get_or_init(|| std::env::var_os(CLOCK).map(PathBuf::from));
    let text = file
        .as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok());
    let milliseconds = text.and_then(|text| text.trim().parse().ok());
    TimeDelta::milliseconds(milliseconds.unwrap_or(0))
}

/// Keeps two megabytes more, written to, so that they are really there.
fn hoard() {
    static HOARD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    HOARD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(vec![1; 2 << 20]);
}
