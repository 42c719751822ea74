//! From a question to a cited answer: retrieve, ask the model, keep what it cites.

use std::time::{Duration, Instant};

use common::domain::{BusinessId, DocumentId, Language};
use common::providers::{ChatRequest, ChatTurn, Completion, Passage};
use common::retrieval::{Hit, SearchOptions};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::JobError;
use crate::jobs::stage;

/// Passages a model is shown where nobody asks for another number.
pub const DEFAULT_TOP_K: usize = 5;

/// How long an excerpt is, in characters, at most.
const EXCERPT: usize = 300;

/// What is to be answered.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the documents are searched for.
    pub text: String,
    /// The conversation; its last item is the question.
    pub turns: Vec<ChatTurn>,
    /// Who answers.
    pub system: String,
    /// Which model; `None`: the configured one.
    pub model: Option<String>,
    /// `None`: the model's default.
    pub temperature: Option<f32>,
    /// The language of the answer.
    pub language: Language,
    /// Whether the documents are searched.
    pub uses_knowledge: bool,
}

/// An answer and what it is drawn from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's words; cite as `[1]`.
    pub completion: Completion,
    /// Who gave it.
    pub provider: &'static str,
    /// How long the model took.
    pub took: Duration,
    /// The cited passages in the API's form.
    pub sources: Value,
    /// A line a source, as people read it.
    footnotes: Vec<String>,
}

impl Answer {
    /// The answer with its sources below, for channels that show nothing but text.
    pub fn with_sources(&self) -> String {
        let text = self.completion.text.trim();
        if self.footnotes.is_empty() {
            text.to_owned()
        } else {
            format!("{text}\n\n{}", self.footnotes.join("\n"))
        }
    }
}

/// Searches the business's documents.
pub async fn retrieve(
    context: &Context,
    business_id: BusinessId,
    question: &str,
    top_k: usize,
    document_ids: Option<Vec<DocumentId>>,
) -> Result<Vec<Hit>, JobError> {
    let started = Instant::now();
    let options = SearchOptions {
        top_k,
        document_ids,
    };
    let hits = context
        .retriever
        .search(&context.pool, business_id, question, &options)
        .await?;
    stage("retrieve", started);
    Ok(hits)
}

/// Answers `question` from the business's documents.
pub async fn compose(
    context: &Context,
    business_id: BusinessId,
    question: Question,
) -> Result<Answer, JobError> {
    let hits = if question.uses_knowledge {
        retrieve(context, business_id, &question.text, DEFAULT_TOP_K, None).await?
    } else {
        Vec::new()
    };
    compose_from(context, question, &hits).await
}

/// Answers `question` from `hits`.
pub async fn compose_from(
    context: &Context,
    question: Question,
    hits: &[Hit],
) -> Result<Answer, JobError> {
    let request = ChatRequest {
        model: question.model,
        system: question.system,
        turns: question.turns,
        passages: hits.iter().map(passage).collect(),
        language: question.language,
        temperature: question.temperature,
        max_tokens: None,
    };
    let started = Instant::now();
    let (mut completion, provider) = context.models.complete(&request).await?;
    let took = started.elapsed();
    stage("model", started);
    completion.text = storable(&completion.text);
    let cited = cited(&completion.text, hits.len());
    Ok(Answer {
        provider,
        took,
        sources: cited
            .iter()
            .map(|number| source(&hits[number - 1], &question.text))
            .collect(),
        footnotes: cited
            .iter()
            .map(|number| footnote(*number, &hits[number - 1]))
            .collect(),
        completion,
    })
}

/// A hit in the API's form.
pub fn source(hit: &Hit, question: &str) -> Value {
    json!({
        "document_id": hit.document_id,
        "filename": hit.filename,
        "page": hit.page,
        "chunk_index": hit.chunk_index,
        "score": hit.score,
        "excerpt": hit.excerpt(question, EXCERPT),
    })
}

fn passage(hit: &Hit) -> Passage {
    Passage {
        filename: hit.filename.clone(),
        page: hit.page.and_then(|page| u32::try_from(page).ok()),
        section: hit.section.clone(),
        text: hit.text.clone(),
    }
}

/// Reads the same in French and in English.
fn footnote(number: usize, hit: &Hit) -> String {
    let page = hit
        .page
        .map(|page| format!(", p. {page}"))
        .unwrap_or_default();
    format!("[{number}] {}{page}", hit.filename)
}

/// The numbers an answer cites, each once, in order; a number no passage has is not a citation.
fn cited(text: &str, passages: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = text
        .split('[')
        .skip(1)
        .filter_map(|after| after.split_once(']')?.0.parse().ok())
        .filter(|number| (1..=passages).contains(number))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// PostgreSQL's text cannot hold NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passages_that_exist_are_cited_each_once() {
        assert_eq!(
            cited("Oui [2], et aussi [1][2]. Pas [9], ni [x], ni [ouvert", 3),
            [1, 2]
        );
        assert!(cited("Rien.", 3).is_empty());
    }
}
