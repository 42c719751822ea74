//! A question to the documents: its result is what `POST /query` and `POST /search` answer.

use std::time::Duration;

use async_trait::async_trait;
use common::database::conversation::turns::{self, ModelCall};
use common::database::jobs::run::{self, ClaimedJob};
use common::database::{self};
use common::domain::{BusinessId, text};
use common::providers::{ChatRole, ChatTurn};
use common::queue::jobs::AnswerQuestion;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Question};
use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

/// Who answers where no persona is in play.
const SYSTEM_PROMPT: &str =
    "You answer questions from a business's documents: exactly, briefly, with citations.";

#[async_trait]
impl Handler for AnswerQuestion {
    const TIMEOUT: Duration = Duration::from_mins(2);

    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let hits = answer::retrieve(
            context,
            self.business_id,
            &self.question,
            self.top_k,
            self.document_ids.clone(),
        )
        .await?;
        if !self.answer {
            let sources: Vec<Value> = hits
                .iter()
                .map(|hit| {
                    let mut source = answer::source(hit, &self.question);
                    source["vector_score"] = json!(hit.vector_score);
                    source["lexical_score"] = json!(hit.lexical_score);
                    source
                })
                .collect();
            return Ok(Outcome::Finished(Some(json!({ "sources": sources }))));
        }
        let answer = answer::compose_from(context, question(&self.question), &hits).await?;
        commit(context, job, self.business_id, &answer).await
    }
}

fn question(question: &str) -> Question {
    Question {
        text: question.to_owned(),
        turns: vec![ChatTurn {
            role: ChatRole::User,
            content: question.to_owned(),
        }],
        system: SYSTEM_PROMPT.to_owned(),
        model: None,
        temperature: None,
        language: text::detect_language(question).unwrap_or_default(),
        uses_knowledge: true,
    }
}

/// The result and what it cost: one commit.
async fn commit(
    context: &Context,
    job: &ClaimedJob,
    business_id: BusinessId,
    answer: &Answer,
) -> Result<Outcome, JobError> {
    let result = json!({
        "answer": answer.completion.text.trim(),
        "sources": answer.sources,
        "usage": {
            "provider": answer.provider,
            "model": answer.completion.model,
            "input_tokens": answer.completion.usage.input_tokens,
            "output_tokens": answer.completion.usage.output_tokens,
        },
    });
    let call = ModelCall {
        provider: answer.provider,
        model: answer.completion.model.clone(),
        usage: answer.completion.usage,
        duration_ms: i32::try_from(answer.took.as_millis()).unwrap_or(i32::MAX),
    };
    let now = context.clock.now();
    let mut tx = database::business(&context.pool, business_id).await?;
    turns::insert_model_call(&mut tx, business_id, job.id, &call, now).await?;
    if !run::succeed(&mut tx, job, Some(&result), context.job_retention).await? {
        return Ok(Outcome::Superseded);
    }
    tx.commit().await?;
    Ok(Outcome::committed())
}
