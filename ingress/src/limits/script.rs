//! The count that all ingresses share: one script call to Redis, by Redis's own clock.

use std::time::Duration;

use fred::clients::Client;
use fred::types::scripts::Script;

use super::Ask;
use super::standing::{self, Standing};

/// How long Redis may take: a request is not held up for longer by being counted.
const TIMEOUT: Duration = Duration::from_millis(150);

/// Takes one of each limit, or none (the generic cell rate algorithm: what is kept is when all will be there again).
///
/// - `KEYS`: one a limit
/// - `ARGV`: for each, how many, and in how many microseconds
///
/// Answers for each: whether it has run out, how many are left, and the microseconds until all are there again, or until
/// one is where it has run out.
const TAKE: &str = r#"
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local told, full_at, refused = {}, {}, false
for i, key in ipairs(KEYS) do
    local count, period = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local full = math.max(tonumber(redis.call("GET", key) or now), now) + period / count
    -- The clock may have been set back: nobody waits longer than a period for that.
    if full - now > 2 * period then full = now + period / count end
    local wait = full - period - now
    full_at[i] = full
    if wait > 0 then
        refused = true
        told[i] = {1, 0, math.ceil(wait)}
    else
        told[i] = {0, math.floor((period - (full - now)) * count / period + 0.000001), math.ceil(full - now)}
    end
end
if not refused then
    for i, key in ipairs(KEYS) do
        redis.call("SET", key, string.format("%.0f", full_at[i]), "PX", math.ceil(told[i][3] / 1000) + 1)
    end
end
return told
"#;

/// The shared count.
pub(super) struct Shared {
    redis: Client,
    script: Script,
}

impl Shared {
    pub(super) fn new(redis: Client) -> Self {
        Self {
            redis,
            script: Script::from_lua(TAKE),
        }
    }

    /// Which of `asks` has run out, if one has; the tightest standing is told. Where Redis does not answer, none has.
    pub(super) async fn take(&self, asks: &[Ask]) -> Option<(&'static str, Standing)> {
        let key = |ask: &Ask| format!("relais:{{limits}}:{}:{}", ask.limit.name, ask.whose);
        let keys: Vec<String> = asks.iter().map(key).collect();
        let of_limit = |ask: &Ask| [u64::from(ask.limit.count), micros(ask.limit.period)];
        let args: Vec<String> = asks
            .iter()
            .flat_map(of_limit)
            .map(|number| number.to_string())
            .collect();
        let call = self.script.evalsha_with_reload(&self.redis, keys, args);
        let told: Vec<(u8, u32, u64)> = match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => {
                tracing::debug!(%error, "not counted");
                return None;
            }
            Err(_) => return None,
        };
        let mut refused = None;
        for (ask, (ran_out, remaining, reset)) in asks.iter().zip(told) {
            let standing = Standing {
                limit: ask.limit.count,
                remaining,
                reset: Duration::from_micros(reset),
            };
            standing::tell(standing);
            if ran_out == 1 && refused.is_none() {
                refused = Some((ask.limit.name, standing));
            }
        }
        refused
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
