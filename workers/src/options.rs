//! Which queues a process serves, and how much of each at once.

use std::collections::BTreeMap;
use std::str::FromStr;

use common::queue::QueueName;

/// The most jobs of one queue a process runs at once.
const MOST: usize = 10_000;

/// Jobs at once, by queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency(pub BTreeMap<QueueName, usize>);

impl Default for Concurrency {
    /// Every queue, as its latency class suggests.
    fn default() -> Self {
        Self(
            QueueName::ALL
                .into_iter()
                .map(|queue| (queue, queue.default_concurrency()))
                .collect(),
        )
    }
}

impl FromStr for Concurrency {
    type Err = String;

    /// `chat=64,delivery=32`; a queue without a number gets its default.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut queues = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, count) = part
                .split_once('=')
                .map_or((part, None), |(name, count)| (name, Some(count)));
            let queue: QueueName = name.trim().parse()?;
            let count = match count {
                Some(count) => count
                    .trim()
                    .parse()
                    .ok()
                    .filter(|count| (1..=MOST).contains(count))
                    .ok_or_else(|| format!("`{part}`: the number must be from 1 to {MOST}"))?,
                None => queue.default_concurrency(),
            };
            queues.insert(queue, count);
        }
        if queues.is_empty() {
            Err("no queue is named".to_owned())
        } else {
            Ok(Self(queues))
        }
    }
}

/// Runs Relais's worker pools.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(name = "relais-workers", version)]
pub struct Options {
    /// Queues to serve and jobs to run at once, as in `chat=64,delivery=32`. All of them, by default.
    #[arg(long)]
    pub queues: Option<Concurrency>,
    /// Check the configuration and stop.
    #[arg(long)]
    pub check_config: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_picked_by_name_and_number() {
        let picked: Concurrency = "chat=64, delivery".parse().unwrap();
        assert_eq!(
            picked.0,
            BTreeMap::from([(QueueName::Chat, 64), (QueueName::Delivery, 32)])
        );
    }

    #[test]
    fn what_does_not_read_is_refused_in_words() {
        for (text, word) in [
            ("mail=3", "no queue"),
            ("chat=0", "from 1"),
            ("chat=many", "from 1"),
            ("", "no queue"),
        ] {
            assert!(
                text.parse::<Concurrency>().unwrap_err().contains(word),
                "{text}"
            );
        }
    }
}
