//! Memory over time: of every process, and of Redis.

use std::collections::BTreeMap;

use common::queue::QueueName;
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface};
use fred::types::InfoKind;
use secrecy::SecretString;

use super::facts::Memory;

/// What a process may take more than early on: buffers and caches that fill once.
const PROCESS_ALLOWANCE_KB: u64 = 48 * 1_024;

/// Keys that consumers leave until they are buried: several a consumer, several consumers a worker.
const KEYS_ALLOWANCE: u64 = 40;

/// The same for each worker that was started meanwhile.
const KEYS_A_START: u64 = 24;

/// Redis's own buffers come and go.
const REDIS_ALLOWANCE: u64 = 8 << 20;

/// What was measured, by name and process id: the first and the last.
pub struct Samples {
    redis_url: SecretString,
    measured: BTreeMap<(String, u32), (u64, u64)>,
}

impl Samples {
    /// Nothing yet.
    pub fn new(redis_url: String) -> Self {
        Self {
            redis_url: redis_url.into(),
            measured: BTreeMap::new(),
        }
    }

    /// Measures the processes and Redis.
    pub async fn take(&mut self, processes: &[(String, u32)]) {
        for (name, pid) in processes {
            if let Some(resident) = resident_kb(*pid) {
                self.note(format!("{name}, KB resident"), *pid, resident);
            }
        }
        if let Some((keys, bytes)) = self.redis().await {
            self.note("entries in Redis".to_owned(), 0, keys);
            self.note("bytes in Redis".to_owned(), 0, bytes);
        }
    }

    fn note(&mut self, what: String, pid: u32, value: u64) {
        let entry = self.measured.entry((what, pid)).or_insert((value, value));
        entry.1 = value;
    }

    /// Keys without an end, with the entries of the tables of tasks; and bytes.
    async fn redis(&self) -> Option<(u64, u64)> {
        let client = common::redis::connect(&self.redis_url).ok()?;
        client.wait_for_connect().await.ok()?;
        let counted = count(&client).await;
        client.quit().await.ok();
        counted
    }

    /// Early beside late; `worker_starts` after the first sample explain some keys.
    pub fn memory(&self, worker_starts: u64) -> Vec<Memory> {
        let compare = |((what, pid), (early, late)): (&(String, u32), &(u64, u64))| Memory {
            what: what.clone(),
            early: *early,
            late: *late,
            allowance: match (*pid, what.as_str()) {
                (0, "bytes in Redis") => REDIS_ALLOWANCE,
                (0, _) => KEYS_ALLOWANCE + KEYS_A_START * worker_starts,
                _ => PROCESS_ALLOWANCE_KB,
            },
        };
        self.measured.iter().map(compare).collect()
    }
}

async fn count(client: &Client) -> Option<(u64, u64)> {
    let memory: String = client.info(Some(InfoKind::Memory)).await.ok()?;
    let keyspace: String = client.info(Some(InfoKind::Keyspace)).await.ok()?;
    let field = |text: &str, name: &str| {
        let value = text
            .split(['\n', ',', ':'])
            .skip_while(|it| *it != name)
            .nth(1);
        value.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let keyspace = keyspace.replace('=', ":");
    let kept = field(&keyspace, "keys").unwrap_or(0) - field(&keyspace, "expires").unwrap_or(0);
    let mut entries = kept;
    for queue in QueueName::ALL {
        let data: u64 = client
            .hlen(format!("{}:data", queue.redis_name()))
            .await
            .ok()?;
        entries += data;
    }
    Some((entries, field(&memory, "used_memory")?))
}

/// What a process has in memory.
fn resident_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
