//! The scripts we add to apalis-redis's own: its key layout is the contract.
//!
//! Every push is a task of its own with an id of its own, which carries the job's id: the same job offered twice is two
//! tasks, of which the second finds the row claimed. (A task's keys are removed when it ends; were the id shared, the
//! second would be met without its data, which ends apalis-redis's worker.)

use fred::types::scripts::Script;

/// Offers jobs to a queue while its list is short.
///
/// - `KEYS`: active list, data hash
/// - `ARGV`: longest list, meta key prefix, wake channel, then pairs of task id and payload
///
/// Answers how many of the pairs, from the first, were taken.
pub(super) const PUSH: &str = r#"
local room = tonumber(ARGV[1]) - redis.call("LLEN", KEYS[1])
local taken = 0
for i = 4, #ARGV, 2 do
    if taken >= room then break end
    redis.call("HSET", KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call("HSET", ARGV[2] .. ":" .. ARGV[i], "attempts", 0, "max_attempts", 1, "status", "Pending")
    redis.call("RPUSH", KEYS[1], ARGV[i])
    taken = taken + 1
end
if taken > 0 then redis.call("PUBLISH", ARGV[3], taken) end
return taken
"#;

/// Removes what apalis-redis keeps of ended tasks, which is everything, for ever.
///
/// - `KEYS`: done set, dead set, data hash
/// - `ARGV`: meta key prefix, then task ids
///
/// Answers the ids that are not acknowledged yet: ask again.
pub(super) const FORGET: &str = r#"
local left = {}
for i = 2, #ARGV do
    if redis.call("SREM", KEYS[1], ARGV[i]) + redis.call("SREM", KEYS[2], ARGV[i]) == 0 then
        table.insert(left, ARGV[i])
    else
        redis.call("HDEL", KEYS[3], ARGV[i])
        redis.call("DEL", ARGV[1] .. ":" .. ARGV[i])
    end
end
return left
"#;

/// Removes workers that stopped answering, with the tasks they held: PostgreSQL still has the jobs.
///
/// - `KEYS`: workers set, data hash
/// - `ARGV`: the time before which a heartbeat is too old, in-flight key prefix, meta key prefix, workers' metadata prefix
///
/// Answers how many workers were removed.
pub(super) const BURY: &str = r#"
local dead = redis.call("ZRANGEBYSCORE", KEYS[1], 0, ARGV[1], "LIMIT", 0, 50)
for _, worker in ipairs(dead) do
    local inflight = ARGV[2] .. ":" .. worker
    for _, id in ipairs(redis.call("SMEMBERS", inflight)) do
        redis.call("HDEL", KEYS[2], id)
        redis.call("DEL", ARGV[3] .. ":" .. id)
    end
    redis.call("DEL", inflight, ARGV[4] .. ":" .. worker)
    redis.call("ZREM", KEYS[1], worker)
end
return #dead
"#;

/// The scripts, hashed once.
#[derive(Clone)]
pub(super) struct Scripts {
    pub(super) push: Script,
    pub(super) forget: Script,
    pub(super) bury: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            push: Script::from_lua(PUSH),
            forget: Script::from_lua(FORGET),
            bury: Script::from_lua(BURY),
        }
    }
}
