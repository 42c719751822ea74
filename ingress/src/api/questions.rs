//! Questions to the documents: asked here, answered by a worker, awaited here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Error;
use common::database::jobs::JobState;
use common::database::jobs::view::{self, JobView};
use common::database::{self, documents};
use common::domain::{BusinessId, DocumentId, JobId};
use common::queue::jobs::AnswerQuestion;
use common::queue::replies::Expected;
use common::queue::{self, NewJob};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::Tag;
use crate::auth::{Allowed, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

const LONGEST_QUESTION: usize = 2_000;
const DEFAULT_TOP_K: u32 = 5;
const HIGHEST_TOP_K: u32 = 20;
const MOST_DOCUMENTS: usize = 100;

/// How long an answer is awaited before the caller is told to ask for the job.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between looks at the job's row, where Redis tells nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A question to the business's documents.
#[derive(Debug, Object, Deserialize)]
struct QueryRequest {
    /// 1 to 2,000 characters.
    question: String,
    /// How many passages to find: 1 to 20, 5 by default.
    top_k: Option<u32>,
    /// Only in these documents, at most 100; absent: in all.
    document_ids: Option<Vec<Uuid>>,
}

/// An answer and what it rests on.
#[derive(Debug, Object, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the API's names")]
struct Answer {
    answer: String,
    /// Best first; cited as `[1]`, `[2]`, ….
    sources: Vec<Source>,
    usage: Usage,
}

/// What was found.
#[derive(Debug, Object, Deserialize)]
struct Hits {
    /// Best first.
    sources: Vec<Source>,
}

/// A passage of a document.
#[derive(Debug, Object, Deserialize)]
struct Source {
    document_id: Uuid,
    filename: String,
    /// From 1; null: the document has no pages.
    page: Option<i32>,
    /// Its place in the document, from 0.
    chunk_index: i32,
    /// Vector and lexical score, fused.
    score: f64,
    /// How near it is to the question's meaning; only in searches.
    #[oai(skip_serializing_if_is_none)]
    vector_score: Option<f64>,
    /// How well it matches the question's words; only in searches.
    #[oai(skip_serializing_if_is_none)]
    lexical_score: Option<f64>,
    excerpt: String,
}

/// What the model read and wrote, in tokens.
#[derive(Debug, Object, Deserialize)]
struct Usage {
    /// Who answered.
    #[oai(skip_serializing_if_is_none)]
    provider: Option<String>,
    /// The model that answered, as the provider names it.
    #[oai(skip_serializing_if_is_none)]
    model: Option<String>,
    input_tokens: u32,
    output_tokens: u32,
}

/// The job that goes on.
#[derive(Debug, Object)]
struct JobAccepted {
    /// Ask `GET /jobs/{id}` for its result.
    job_id: Uuid,
}

#[derive(ApiResponse)]
enum Answered {
    /// The answer.
    #[oai(status = 200)]
    InTime(Json<Answer>),
    /// It takes longer: the job goes on.
    #[oai(status = 202)]
    Later(Json<JobAccepted>),
}

#[derive(ApiResponse)]
enum Found {
    /// The passages.
    #[oai(status = 200)]
    InTime(Json<Hits>),
    /// It takes longer: the job goes on.
    #[oai(status = 202)]
    Later(Json<JobAccepted>),
}

/// The operations on questions.
pub(crate) struct Questions;

#[OpenApi(tag = "Tag::Questions")]
impl Questions {
    /// Answer a question from the documents, with sources.
    #[oai(path = "/query", method = "post", operation_id = "query")]
    async fn query(
        &self,
        caller: Allowed<can::Ask>,
        context: Data<&Arc<Context>>,
        request: JsonBody<QueryRequest>,
    ) -> Result<Answered, ApiError> {
        let outcome = ask(&context, caller.business_id, request.0, true).await?;
        Ok(match outcome {
            Outcome::InTime(answer) => Answered::InTime(Json(answer)),
            Outcome::Later(job_id) => Answered::Later(Json(JobAccepted { job_id: job_id.0 })),
        })
    }

    /// Find passages in the documents, without an answer.
    #[oai(path = "/search", method = "post", operation_id = "search")]
    async fn search(
        &self,
        caller: Allowed<can::Ask>,
        context: Data<&Arc<Context>>,
        request: JsonBody<QueryRequest>,
    ) -> Result<Found, ApiError> {
        let outcome = ask(&context, caller.business_id, request.0, false).await?;
        Ok(match outcome {
            Outcome::InTime(hits) => Found::InTime(Json(hits)),
            Outcome::Later(job_id) => Found::Later(Json(JobAccepted { job_id: job_id.0 })),
        })
    }
}

enum Outcome<T> {
    InTime(T),
    Later(JobId),
}

async fn ask<T: DeserializeOwned>(
    context: &Context,
    business_id: BusinessId,
    request: QueryRequest,
    answer: bool,
) -> Result<Outcome<T>, ApiError> {
    let question = parse(business_id, request, answer)?;
    let job = NewJob::new(&question).replying_to(context.replies.channel().to_owned());
    // Before the commit: afterwards the end may already have been told.
    let mut expected = context.replies.expect(job.id.0);

    let mut tx = database::business(&context.pool, business_id).await?;
    if let Some(ids) = &question.document_ids {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        if documents::count_of(&mut tx, business_id, &ids).await?
            < i64::try_from(ids.len()).unwrap_or(i64::MAX)
        {
            return Err(ApiError::not_found("document"));
        }
    }
    let enqueued = queue::enqueue(&mut tx, &job, context.clock.now()).await?;
    tx.commit().await?;
    context.dispatch.push(enqueued.as_slice()).await;
    wait(context, business_id, job.id, &mut expected).await
}

fn parse(
    business_id: BusinessId,
    request: QueryRequest,
    answer: bool,
) -> Result<AnswerQuestion, ApiError> {
    let question = request.question.trim();
    if question.is_empty() || question.chars().count() > LONGEST_QUESTION {
        return Err(ApiError::invalid(
            "question",
            format!("must have 1 to {LONGEST_QUESTION} characters"),
        ));
    }
    if question
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(ApiError::invalid(
            "question",
            "must not have control characters",
        ));
    }
    let top_k = request.top_k.unwrap_or(DEFAULT_TOP_K);
    if !(1..=HIGHEST_TOP_K).contains(&top_k) {
        return Err(ApiError::invalid(
            "top_k",
            format!("must be 1 to {HIGHEST_TOP_K}"),
        ));
    }
    let document_ids = request.document_ids.map(|mut ids| {
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(DocumentId).collect::<Vec<_>>()
    });
    if document_ids
        .as_ref()
        .is_some_and(|ids| !(1..=MOST_DOCUMENTS).contains(&ids.len()))
    {
        return Err(ApiError::invalid(
            "document_ids",
            format!("must name 1 to {MOST_DOCUMENTS} documents"),
        ));
    }
    Ok(AnswerQuestion {
        business_id,
        question: question.to_owned(),
        top_k: top_k as usize,
        document_ids,
        answer,
    })
}

async fn wait<T: DeserializeOwned>(
    context: &Context,
    business_id: BusinessId,
    id: JobId,
    expected: &mut Expected,
) -> Result<Outcome<T>, ApiError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        expected.told_within(LOOK_EVERY).await;
        match look(context, business_id, id).await {
            Ok(job) => {
                if let Some(result) = result_of(job.ok_or_else(ApiError::internal)?)? {
                    return Ok(Outcome::InTime(result));
                }
            }
            // The job goes on whether we can look or not.
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline || context.stopping.is_cancelled() {
            return Ok(Outcome::Later(id));
        }
    }
}

async fn look(
    context: &Context,
    business_id: BusinessId,
    id: JobId,
) -> Result<Option<JobView>, Error> {
    let mut tx = database::business(&context.pool, business_id).await?;
    let job = view::find(&mut tx, business_id, id).await?;
    tx.commit().await?;
    Ok(job)
}

/// What the job brought; `None` while it goes on.
fn result_of<T: DeserializeOwned>(job: JobView) -> Result<Option<T>, ApiError> {
    match job.state {
        JobState::Succeeded => {
            let result = serde_json::from_value(job.result.unwrap_or_default()).map_err(|error| {
                tracing::error!(%error, job.id = %job.id, "the result of a question does not decode");
                ApiError::internal()
            })?;
            Ok(Some(result))
        }
        JobState::Dead | JobState::Cancelled => {
            Err(ApiError::job_failed(json!({ "job_id": job.id })))
        }
        JobState::Queued | JobState::Running | JobState::Failed => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(request: QueryRequest) -> String {
        parse(BusinessId::new(), request, true)
            .unwrap_err()
            .to_string()
    }

    fn request(question: &str) -> QueryRequest {
        QueryRequest {
            question: question.to_owned(),
            top_k: None,
            document_ids: None,
        }
    }

    #[test]
    fn a_question_has_1_to_2000_characters() {
        assert_eq!(
            parse(BusinessId::new(), request(" Où ? "), true)
                .unwrap()
                .question,
            "Où ?"
        );
        assert!(parse(BusinessId::new(), request(&"é".repeat(2_000)), true).is_ok());
        for wrong in ["", " \n ", &"é".repeat(2_001), "a\0b"] {
            assert!(refusal(request(wrong)).contains("question"), "{wrong:?}");
        }
    }

    #[test]
    fn top_k_is_1_to_20_and_5_by_default() {
        assert_eq!(
            parse(BusinessId::new(), request("a"), true).unwrap().top_k,
            5
        );
        for top_k in [0, 21] {
            assert!(
                refusal(QueryRequest {
                    top_k: Some(top_k),
                    ..request("a")
                })
                .contains("top_k")
            );
        }
    }

    #[test]
    fn documents_are_named_once_each() {
        let id = Uuid::now_v7();
        let asked = QueryRequest {
            document_ids: Some(vec![id, id]),
            ..request("a")
        };
        assert_eq!(
            parse(BusinessId::new(), asked, true).unwrap().document_ids,
            Some(vec![DocumentId(id)])
        );
        assert!(
            refusal(QueryRequest {
                document_ids: Some(vec![]),
                ..request("a")
            })
            .contains("document_ids")
        );
    }
}
