//! What processes use, as Linux counts it.

use super::Failure;
use crate::testing::Platform;

/// How many ticks of CPU time a second has (`USER_HZ`), whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// CPU time of a process so far, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let [user, system, ..] = times(pid)?;
    Ok((user + system) / TICKS)
}

/// CPU time of a server so far, in seconds, with its child processes: those that run, and those that ended.
pub(super) fn cpu_seconds_of_family(pid: u32) -> Result<f64, Failure> {
    let all = |pid| times(pid).map(|times| times.iter().sum::<f64>());
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    // A child that ended meanwhile counts next time, as one of those that ended.
    let running: f64 = children.filter_map(|pid| all(pid).ok()).sum();
    Ok((all(pid)? + running) / TICKS)
}

/// User and system time in ticks: its own, then that of the children it has waited for.
fn times(pid: u32) -> Result<[f64; 4], Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; behind it these are the 12th to the 15th field.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/…/stat does not read")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse);
    let mut next = || ticks.next().ok_or("/proc/…/stat is too short");
    Ok([next()??, next()??, next()??, next()??])
}

/// Memory of a process now, in MB.
pub(super) fn resident_mb(pid: u32) -> Result<f64, Failure> {
    memory_mb(pid, "VmRSS:")
}

/// Memory of a process at its peak, in MB.
pub(super) fn peak_mb(pid: u32) -> Result<f64, Failure> {
    memory_mb(pid, "VmHWM:")
}

fn memory_mb(pid: u32, name: &str) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.ok_or_else(|| format!("/proc/{pid}/status has no {name}"))?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1_024.0)
}

/// CPU time of the stores of a platform, in seconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Stores {
    /// PostgreSQL, with all its processes.
    pub(super) postgres: f64,
    /// Redis.
    pub(super) redis: f64,
}

impl Stores {
    /// So far.
    pub(super) fn used(platform: &Platform) -> Result<Self, Failure> {
        let postgres = platform
            .postgres
            .as_ref()
            .and_then(crate::servers::Postgres::pid);
        let redis = platform.redis.pid();
        Ok(Self {
            postgres: cpu_seconds_of_family(postgres.ok_or("PostgreSQL has ended")?)?,
            redis: cpu_seconds(redis.ok_or("Redis has ended")?)?,
        })
    }

    /// Since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            postgres: self.postgres - before.postgres,
            redis: self.redis - before.redis,
        }
    }
}
