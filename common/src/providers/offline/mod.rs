//! The offline provider: embeds and answers with no model, no key and no network.
//!
//! A real provider with real limits. It finds by words and parts of words, not by meaning, and it answers in the
//! documents' own sentences; it does not reason, converse or translate. The same input gives the same output, always.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{
    ChatEvent, ChatModel, ChatRequest, Embedder, FinishReason, ProviderError, Usage, prompt,
};

mod answer;
mod extract;
mod features;
mod phrases;

/// Names the embedder's features: changes when a text would get another vector.
const EMBEDDING_MODEL: &str = "offline-hash-1";

/// The name answers carry.
const CHAT_MODEL: &str = "offline-extract-1";

/// [`Embedder`] by hashing: stems and character n-grams to dimensions, with signs.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfflineEmbedder;

#[async_trait]
impl Embedder for OfflineEmbedder {
    fn model(&self) -> &str {
        EMBEDDING_MODEL
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ProviderError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(features::vector(text));
            // Half a millisecond each: let others on this thread have their turn.
            tokio::task::yield_now().await;
        }
        Ok(vectors)
    }
}

/// [`ChatModel`] by extraction: the passages' sentences that meet the question best, cited.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfflineChatModel;

#[async_trait]
impl ChatModel for OfflineChatModel {
    fn provider(&self) -> &'static str {
        "offline"
    }

    async fn stream(
        &self,
        request: &ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ProviderError>>, ProviderError> {
        Ok(stream::iter(events(request)).map(Ok).boxed())
    }
}

/// The answer word by word, cut at the request's limit, and its end.
fn events(request: &ChatRequest) -> Vec<ChatEvent> {
    let answer = answer::answer(request);
    let mut events = Vec::new();
    let mut characters = 0;
    let mut finish_reason = FinishReason::Stop;
    for word in answer.split_inclusive(' ') {
        let longer = characters + word.chars().count();
        if request
            .max_tokens
            .is_some_and(|limit| prompt::tokens_of(longer) > limit)
        {
            finish_reason = FinishReason::Length;
            break;
        }
        characters = longer;
        events.push(ChatEvent::Delta(word.to_owned()));
    }
    let usage = Usage {
        input_tokens: prompt::estimated_tokens(request),
        output_tokens: prompt::tokens_of(characters),
    };
    events.push(ChatEvent::End {
        finish_reason,
        usage,
        model: CHAT_MODEL.to_owned(),
    });
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{ChatRole, ChatTurn, DIMENSIONS};

    #[tokio::test]
    async fn vectors_are_unit_and_the_same_every_time() {
        let texts = ["L'école est fermée".to_owned(), String::new()];
        let vectors = OfflineEmbedder.embed(&texts).await.unwrap();
        assert_eq!(vectors, OfflineEmbedder.embed(&texts).await.unwrap());
        assert_eq!(vectors[0].len(), DIMENSIONS);
        assert!((vectors[0].iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(vectors[1].iter().all(|value| *value == 0.0));
    }

    #[tokio::test]
    async fn a_misspelt_text_is_nearer_than_another() {
        let texts = [
            "restitution des œuvres du Bénin",
            "restitusion des oeuvres du benin",
            "prix de la livraison",
        ];
        let vectors = OfflineEmbedder
            .embed(&texts.map(ToOwned::to_owned))
            .await
            .unwrap();
        let cosine = |a: usize, b: usize| {
            vectors[a]
                .iter()
                .zip(&vectors[b])
                .map(|(a, b)| a * b)
                .sum::<f32>()
        };
        assert!(cosine(0, 1) > 0.7, "{}", cosine(0, 1));
        assert!(cosine(0, 2) < 0.2, "{}", cosine(0, 2));
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_ends_for_its_length() {
        let turns = vec![ChatTurn {
            role: ChatRole::User,
            content: "hello".to_owned(),
        }];
        let request = ChatRequest {
            turns,
            max_tokens: Some(3),
            ..ChatRequest::default()
        };
        let completion = OfflineChatModel.complete(&request).await.unwrap();
        assert_eq!(completion.finish_reason, FinishReason::Length);
        assert!(completion.usage.output_tokens <= 3);
    }
}
