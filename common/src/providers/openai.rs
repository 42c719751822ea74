//! OpenAI and any server that speaks its API, through async-openai.
//!
//! Requests and answers are JSON values, not the crate's types: compatible servers add fields and leave others out. The
//! crate's own retries are off (they obey any `Retry-After`, however long; the queue retries), and statuses are read
//! before it sees the response, since it loses them where an error body is not OpenAI's.

use std::time::{Duration, Instant};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    ChatEvent, ChatModel, ChatRequest, ChatRole, DIMENSIONS, Embedder, FinishReason, ProviderError,
    Usage, http, prompt,
};

const PROVIDER: &str = "openai";

/// What one embeddings request may hold: inputs, tokens in all, tokens each (OpenAI's API reference, embeddings).
const EMBED_LIMITS: (usize, usize, usize) = (2_048, 300_000, 8_192);

/// Bytes that make a token, at least: more in every language's prose.
const BYTES_A_TOKEN: usize = 2;

/// An OpenAI-compatible server.
#[derive(Clone)]
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    api_key: SecretString,
    chat_model: String,
    embedding_model: String,
    timeout: Duration,
}

impl OpenAi {
    /// A client of the server at `base_url` (which keeps its path, such as `/v1`).
    ///
    /// `timeout` bounds the wait for the next piece of an answer, not the whole of it.
    pub fn new(
        base_url: &str,
        api_key: &SecretString,
        chat_model: String,
        embedding_model: String,
        timeout: Duration,
    ) -> Self {
        // Both are always given: the crate would take them from the environment and send one provider's key to another.
        let config = OpenAIConfig::new()
            .with_api_base(base_url)
            .with_api_key(api_key.expose_secret());
        let (http, key) = (http::client(timeout), api_key.clone());
        let service = tower::service_fn(move |request: HttpRequestFactory| {
            let (http, key) = (http.clone(), key.clone());
            async move {
                let request = request.build().await?;
                let response = http
                    .execute(request)
                    .await
                    .map_err(|error| boxed(http::send_error(PROVIDER, &error)))?;
                http::accepted(PROVIDER, response, &key)
                    .await
                    .map_err(boxed)
            }
        });
        let client = Client::with_config(config).with_http_service(service);
        Self {
            client,
            api_key: api_key.clone(),
            chat_model,
            embedding_model,
            timeout,
        }
    }

    async fn embed_batch(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ProviderError> {
        let texts: Vec<&str> = texts.iter().map(|text| cut(text)).collect();
        let request = json!({
            "model": self.embedding_model,
            "input": texts,
            "dimensions": DIMENSIONS,
            "encoding_format": "float",
        });
        let started = Instant::now();
        let answer: Result<Value, _> = self.client.embeddings().create_byot(request).await;
        record("embed", started, answer.is_ok());
        let answer = answer.map_err(|error| provider_error(error, &self.api_key))?;
        embeddings(&answer, texts.len())
            .ok_or_else(|| unavailable("its embeddings are not what was asked for"))
    }
}

#[async_trait]
impl Embedder for OpenAi {
    fn model(&self) -> &str {
        &self.embedding_model
    }

    #[tracing::instrument(name = "openai.embed", skip_all, fields(texts = texts.len()), err(level = "debug"))]
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ProviderError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(texts) {
            vectors.extend(self.embed_batch(batch).await?);
        }
        Ok(vectors)
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    #[tracing::instrument(name = "openai.chat", skip_all, err(level = "debug"))]
    async fn stream(
        &self,
        request: &ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ProviderError>>, ProviderError> {
        let model = request
            .model
            .clone()
            .unwrap_or_else(|| self.chat_model.clone());
        let started = Instant::now();
        let events = self
            .client
            .chat()
            .create_stream_byot(body(request, &model))
            .await;
        record("chat", started, events.is_ok());
        let events: BoxStream<'static, Result<Value, OpenAIError>> =
            Box::pin(events.map_err(|error| provider_error(error, &self.api_key))?);
        let answer = Answer {
            api_key: self.api_key.clone(),
            patience: self.timeout,
            model,
            usage: None,
            finish: None,
            characters: 0,
            input: prompt::estimated_tokens(request),
        };
        Ok(Box::pin(read(events, answer)))
    }
}

fn body(request: &ChatRequest, model: &str) -> Value {
    let mut messages = vec![json!({ "role": "system", "content": prompt::system(request) })];
    messages.extend(request.turns.iter().map(|turn| {
        let role = match turn.role {
            ChatRole::User => "user",
            ChatRole::Assistant => "assistant",
        };
        json!({ "role": role, "content": turn.content })
    }));
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(temperature) = request.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(max_tokens) = request.max_tokens {
        // The older name: servers that only know the newer one are OpenAI's own reasoning models, the others know this.
        body["max_tokens"] = json!(max_tokens);
    }
    body
}

/// What is known of an answer while it streams.
struct Answer {
    api_key: SecretString,
    /// How long its next piece may take.
    patience: Duration,
    model: String,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    characters: usize,
    input: u32,
}

/// Chunks to events. Usage comes in a last chunk without choices, or not at all; an error may come in any chunk.
fn read(
    events: BoxStream<'static, Result<Value, OpenAIError>>,
    answer: Answer,
) -> impl futures::Stream<Item = Result<ChatEvent, ProviderError>> {
    futures::stream::unfold(Some((events, answer)), |state| async move {
        let (mut events, mut answer) = state?;
        loop {
            // Comments that keep the line open are no piece of an answer, and the connection's own limit counts them.
            match tokio::time::timeout(answer.patience, events.next()).await {
                Ok(Some(Ok(chunk))) => match answer.take(&chunk) {
                    Ok(Some(delta)) => {
                        return Some((Ok(ChatEvent::Delta(delta)), Some((events, answer))));
                    }
                    Ok(None) => {}
                    Err(error) => return Some((Err(error), None)),
                },
                // After the reason only the usage can be lost.
                Ok(Some(Err(_))) | Err(_) if answer.finish.is_some() => {
                    return Some((answer.end(), None));
                }
                Ok(Some(Err(error))) => {
                    return Some((Err(provider_error(error, &answer.api_key)), None));
                }
                Ok(None) => return Some((answer.end(), None)),
                Err(_) => return Some((Err(timed_out()), None)),
            }
        }
    })
}

impl Answer {
    fn take(&mut self, chunk: &Value) -> Result<Option<String>, ProviderError> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let words = http::quote(&error.to_string(), &self.api_key);
            return Err(unavailable(&words));
        }
        if let Some(model) = chunk["model"].as_str() {
            model.clone_into(&mut self.model);
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let count =
                |name: &str| u32::try_from(usage[name].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
            self.usage = Some(Usage {
                input_tokens: count("prompt_tokens"),
                output_tokens: count("completion_tokens"),
            });
        }
        let Some(choice) = chunk["choices"].get(0) else {
            return Ok(None);
        };
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(match reason {
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::Filtered,
                _ => FinishReason::Stop,
            });
        }
        let delta = choice["delta"]["content"]
            .as_str()
            .filter(|delta| !delta.is_empty())
            .map(str::to_owned);
        self.characters += delta.as_ref().map_or(0, |delta| delta.chars().count());
        Ok(delta)
    }

    fn end(self) -> Result<ChatEvent, ProviderError> {
        let Some(finish_reason) = self.finish else {
            return Err(unavailable("the answer broke off"));
        };
        let estimated = Usage {
            input_tokens: self.input,
            output_tokens: prompt::tokens_of(self.characters),
        };
        Ok(ChatEvent::End {
            finish_reason,
            usage: self.usage.unwrap_or(estimated),
            model: self.model,
        })
    }
}

/// Cuts `texts` so that each request stays inside [`EMBED_LIMITS`], by a token count that errs on the high side.
fn batches(texts: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        let cost = cut(text).len() / BYTES_A_TOKEN;
        if at > start && (at - start == EMBED_LIMITS.0 || tokens + cost > EMBED_LIMITS.1) {
            batches.push(&texts[start..at]);
            (start, tokens) = (at, 0);
        }
        tokens += cost;
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

/// The start of a text that is too long for one vector: refused, it would take all the others with it.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(EMBED_LIMITS.2 * BYTES_A_TOKEN)]
}

/// The vectors of an answer in the order of their indexes; `None` unless there are `expected`, each as long as ours are.
fn embeddings(answer: &Value, expected: usize) -> Option<Vec<Vec<f32>>> {
    let mut vectors = vec![Vec::new(); expected];
    for (position, item) in answer["data"].as_array()?.iter().enumerate() {
        let index = item["index"]
            .as_u64()
            .map_or(Some(position), |index| usize::try_from(index).ok())?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "vectors are kept in single precision"
        )]
        let vector: Vec<f32> = item["embedding"]
            .as_array()?
            .iter()
            .map(|x| x.as_f64().map(|x| x as f32))
            .collect::<Option<_>>()?;
        *vectors.get_mut(index)? = vector;
    }
    vectors
        .iter()
        .all(|vector| vector.len() == DIMENSIONS)
        .then_some(vectors)
}

fn provider_error(error: OpenAIError, api_key: &SecretString) -> ProviderError {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<ProviderError>() {
            Ok(error) => *error,
            Err(error) => unavailable(&http::quote(&error.to_string(), api_key)),
        },
        OpenAIError::Reqwest(error) => http::send_error(PROVIDER, &error),
        // Never the body: it can hold what the person wrote.
        OpenAIError::JSONDeserialize(error, _) => {
            unavailable(&format!("its answer does not read: {error}"))
        }
        other => unavailable(&http::quote(&other.to_string(), api_key)),
    }
}

fn boxed(error: ProviderError) -> OpenAIError {
    OpenAIError::Boxed(Box::new(error))
}

fn unavailable(reason: &str) -> ProviderError {
    ProviderError::Unavailable {
        provider: PROVIDER,
        reason: reason.to_owned(),
    }
}

fn timed_out() -> ProviderError {
    ProviderError::Unknown {
        provider: PROVIDER,
        reason: "timed out".to_owned(),
    }
}

fn record(call: &'static str, started: Instant, ok: bool) {
    let outcome = if ok { "ok" } else { "error" };
    metrics::histogram!("relais_provider_seconds", "provider" => PROVIDER, "call" => call, "outcome" => outcome)
        .record(started.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_requests_stay_inside_the_limits() {
        let small = vec!["a".to_owned(); 5_000];
        assert_eq!(
            batches(&small)
                .iter()
                .map(|batch| batch.len())
                .collect::<Vec<_>>(),
            [2_048, 2_048, 904]
        );

        let large = vec!["x".repeat(10_000); 130];
        assert!(
            batches(&large)
                .iter()
                .all(|batch| batch.len() * 5_000 <= EMBED_LIMITS.1)
        );
        assert_eq!(
            batches(&large)
                .iter()
                .map(|batch| batch.len())
                .sum::<usize>(),
            130
        );
        assert!(batches(&[]).is_empty());
    }
}
