//! What Relais measures of itself, as ratios taken in one run.

pub mod retrieval;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {}

/// Measures.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(_: Options) -> Result<(), String> {
    Ok(())
}
