//! The scripts we add to apalis-redis's own: its key layout is the contract.
//!
//! Every push is a task of its own with an id of its own, which carries the job's id: the same job offered twice is two
//! tasks, of which the second finds the row claimed. (A task's keys are removed when it ends; were the id shared, the
//! second would be met without its data, which ends apalis-redis's worker.)

use fred::types::scripts::Script;

/// Takes a creator's jobs: at the end of a short list; else, one of a business now and then, ahead of it.
///
/// - `KEYS`: active list, data hash
/// - `ARGV`: meta key prefix, wake channel, how long a short list is, key prefix of who went ahead, for how many milliseconds
///   that counts, how many may go ahead meanwhile, then triples of task id, payload and lane
///
/// Answers how many were taken.
pub(super) const PUSH: &str = r#"
local length = redis.call("LLEN", KEYS[1])
local ahead = nil
local taken = 0
for i = 7, #ARGV, 3 do
    local place = nil
    if length < tonumber(ARGV[3]) then
        place = "RPUSH"
    else
        ahead = ahead or tonumber(redis.call("GET", ARGV[4]) or 0)
        if ahead < tonumber(ARGV[6]) and redis.call("SET", ARGV[4] .. ":" .. ARGV[i + 2], 1, "NX", "PX", ARGV[5]) then
            place = "LPUSH"
            ahead = redis.call("INCR", ARGV[4])
            if ahead == 1 then redis.call("PEXPIRE", ARGV[4], ARGV[5]) end
        end
    end
    if place then
        redis.call("HSET", KEYS[2], ARGV[i], ARGV[i + 1])
        redis.call("HSET", ARGV[1] .. ":" .. ARGV[i], "attempts", 0, "max_attempts", 1, "status", "Pending")
        redis.call(place, KEYS[1], ARGV[i])
        length = length + 1
        taken = taken + 1
    end
end
if taken > 0 then redis.call("PUBLISH", ARGV[2], taken) end
return taken
"#;

/// Takes the dispatcher's jobs, which it has counted.
///
/// - `KEYS`: active list, data hash
/// - `ARGV`: meta key prefix, wake channel, the task before which those ahead go (gone: at the front), then triples of task
///   id, payload and whether it goes ahead
pub(super) const OFFER: &str = r#"
local front = {}
for i = 4, #ARGV, 3 do
    redis.call("HSET", KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call("HSET", ARGV[1] .. ":" .. ARGV[i], "attempts", 0, "max_attempts", 1, "status", "Pending")
    if ARGV[i + 2] == "0" then
        redis.call("RPUSH", KEYS[1], ARGV[i])
    elseif redis.call("LINSERT", KEYS[1], "BEFORE", ARGV[3], ARGV[i]) <= 0 then
        table.insert(front, ARGV[i])
    end
end
for i = #front, 1, -1 do redis.call("LPUSH", KEYS[1], front[i]) end
redis.call("PUBLISH", ARGV[2], 1)
return 0
"#;

/// Removes what apalis-redis keeps of ended tasks, which is everything, for ever.
///
/// - `KEYS`: data hash
/// - `ARGV`: meta key prefix, in-flight key prefix, then pairs of a consumer and a task of it
pub(super) const FORGET: &str = r#"
for i = 3, #ARGV, 2 do
    redis.call("SREM", ARGV[2] .. ":" .. ARGV[i], ARGV[i + 1])
    redis.call("HDEL", KEYS[1], ARGV[i + 1])
    redis.call("DEL", ARGV[1] .. ":" .. ARGV[i + 1])
end
return 0
"#;

/// Removes consumers that stopped answering, with the tasks they held: PostgreSQL still has the jobs.
///
/// - `KEYS`: consumers set, data hash
/// - `ARGV`: in-flight key prefix, meta key prefix, consumers' metadata prefix, then pairs of a consumer and its last heartbeat:
///   who gave another since is left alone
///
/// Answers how many consumers were removed.
pub(super) const BURY: &str = r#"
local buried = 0
for i = 4, #ARGV, 2 do
    local worker = ARGV[i]
    if redis.call("ZSCORE", KEYS[1], worker) == ARGV[i + 1] then
        local inflight = ARGV[1] .. ":" .. worker
        for _, id in ipairs(redis.call("SMEMBERS", inflight)) do
            redis.call("HDEL", KEYS[2], id)
            redis.call("DEL", ARGV[2] .. ":" .. id)
        end
        redis.call("DEL", inflight, ARGV[3] .. ":" .. worker)
        redis.call("ZREM", KEYS[1], worker)
        buried = buried + 1
    end
end
return buried
"#;

/// The scripts, hashed once.
#[derive(Clone)]
pub(super) struct Scripts {
    pub(super) push: Script,
    pub(super) offer: Script,
    pub(super) forget: Script,
    pub(super) bury: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            push: Script::from_lua(PUSH),
            offer: Script::from_lua(OFFER),
            forget: Script::from_lua(FORGET),
            bury: Script::from_lua(BURY),
        }
    }
}
