//! How a caller stands, on its way to the response's headers.

use std::cell::Cell;
use std::time::Duration;

use poem::Response;
use poem::http::HeaderValue;

/// How a caller stands with the limit that is tightest for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many there are.
    pub(super) limit: u32,
    /// How many are left.
    pub(super) remaining: u32,
    /// Until all are there again; where none is left, until one is.
    pub(super) reset: Duration,
}

tokio::task_local! {
    /// Set by the operation's limits, read by the edge.
    pub(crate) static STANDING: Cell<Option<Standing>>;
}

/// Keeps `standing` for the response unless a tighter one is kept already.
pub(crate) fn tell(standing: Standing) {
    // Outside a request nobody wants to know.
    let _ = STANDING.try_with(|kept| {
        if kept
            .get()
            .is_none_or(|kept| standing.remaining <= kept.remaining)
        {
            kept.set(Some(standing));
        }
    });
}

impl Standing {
    /// Writes the headers of `docs/operations.md`.
    pub(crate) fn write(self, response: &mut Response) {
        let headers = response.headers_mut();
        for (name, value) in [
            ("ratelimit-limit", u64::from(self.limit)),
            ("ratelimit-remaining", u64::from(self.remaining)),
            ("ratelimit-reset", whole_seconds(self.reset)),
        ] {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

/// Rounded up: who waits so long does not come too early.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
