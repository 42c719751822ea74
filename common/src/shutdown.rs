//! Stopping when asked to.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at SIGTERM or SIGINT. A second signal ends the process at once.
///
/// # Errors
///
/// Where the system refuses a signal handler.
pub fn token() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = shutdown.clone();
    tokio::spawn(async move {
        for asked in 1.. {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if asked > 1 {
                tracing::warn!("stopping at once");
                std::process::exit(130);
            }
            tracing::info!("stopping");
            cancelled.cancel();
        }
    });
    Ok(shutdown)
}
