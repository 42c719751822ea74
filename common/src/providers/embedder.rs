//! Text to vectors.

use async_trait::async_trait;

use super::ProviderError;

/// The length of every stored vector.
pub const DIMENSIONS: usize = 1536;

/// Turns text into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Names the model: vectors of two models are never compared.
    fn model(&self) -> &str;

    /// Embeds `texts`: one unit vector of [`DIMENSIONS`] each, in order. Any number of texts: splits them into requests itself.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ProviderError>;
}
