//! What happened, as the harness saw it: kept in its own memory, outside of every store that it breaks.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use common::Clock;
use serde::{Serialize, Serializer};

/// A message's name, which its text is: the contact and the message's number, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker {
    /// Who wrote it.
    pub contact: u64,
    /// Which of theirs.
    pub number: u32,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m-{}-{}", self.contact, self.number)
    }
}

impl FromStr for Marker {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (contact, number) = text
            .strip_prefix("m-")
            .and_then(|rest| rest.split_once('-'))
            .ok_or(())?;
        Ok(Self {
            contact: contact.parse().map_err(|_| ())?,
            number: number.parse().map_err(|_| ())?,
        })
    }
}

impl Serialize for Marker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The messages a text names, in order.
pub fn markers(text: &str) -> Vec<Marker> {
    let words = text.split(|c: char| c != '-' && !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Their names, for people.
pub fn list(markers: &[Marker]) -> String {
    let names: Vec<String> = markers.iter().map(Marker::to_string).collect();
    names.join(" ")
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A copy of a message left.
    Sent {
        /// Which message.
        marker: Marker,
        /// To which ingress.
        ingress: usize,
    },
    /// The sender saw a 200.
    Acknowledged {
        /// Which message.
        marker: Marker,
    },
    /// The sender saw something else; no status: no answer.
    NotAcknowledged {
        /// Which message.
        marker: Marker,
        /// What came instead.
        status: Option<u16>,
    },
    /// A process was started.
    Started {
        /// Its name.
        process: String,
        /// Its id.
        pid: u32,
    },
    /// A process was killed, or killed itself where that was planted.
    Killed {
        /// Its name.
        process: String,
    },
    /// A process was stopped with SIGSTOP.
    Stopped {
        /// Its name.
        process: String,
    },
    /// A stopped process goes on.
    Continued {
        /// Its name.
        process: String,
    },
    /// Something outside of the processes went wrong, on purpose.
    Injected {
        /// What.
        fault: &'static str,
    },
    /// It is well again.
    Healed {
        /// What.
        fault: &'static str,
    },
    /// The machine did not run this program, or its disk did not settle, for a while.
    Stalled {
        /// How long, in milliseconds.
        milliseconds: u128,
    },
}

/// When what happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// All that happened in a run. Cheap to clone.
#[derive(Clone, Default)]
pub struct History {
    entries: Arc<Mutex<Vec<Entry>>>,
    clock: Clock,
}

impl History {
    /// Records that `event` happens now.
    pub fn record(&self, event: Event) {
        let at = self.clock.now();
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Entry { at, event });
    }

    /// Everything so far, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The time, by the clock of the history.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// Writes `lines` as JSON, one a line.
pub fn write_lines(path: &Path, lines: &[serde_json::Value]) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_which_messages_it_answers() {
        let found = markers("You asked: m-17-3\nm-17-4 [1], m-x-1 m-2");
        let marker = |contact, number| Marker { contact, number };
        assert_eq!(found, [marker(17, 3), marker(17, 4)]);
        assert_eq!(marker(17, 3).to_string().parse(), Ok(marker(17, 3)));
    }
}
