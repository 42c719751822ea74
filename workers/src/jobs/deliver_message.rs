//! Delivers an answer through its chat's channel: parts in order, answers of a chat in order, each call recorded before it
//! is made.

use std::time::Duration;

use async_trait::async_trait;
use common::Error;
use common::database::conversation::deliveries::{self, AttemptEnd, Destination, Unsent};
use common::database::conversation::turns;
use common::database::jobs::run::{self, ClaimedJob};
use common::database::{self};
use common::domain::{BusinessId, Channel, DeliveryId};
use common::faults::{self, Mutant, Point};
use common::providers::ProviderError;
use common::queue::jobs::DeliverMessage;
use common::queue::{Enqueued, Job};
use common::secret;
use secrecy::SecretString;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

/// How long an answer waits behind an earlier one that does not say when it is through.
const BEHIND: Duration = Duration::from_secs(5);

/// The policy under which a delivery in doubt is not repeated.
const AT_MOST_ONCE: &str = "at_most_once";

#[async_trait]
impl Handler for DeliverMessage {
    const TIMEOUT: Duration = Duration::from_mins(2);

    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let mut tx = database::business(&context.pool, self.business_id).await?;
        let Some(destination) =
            deliveries::find_destination(&mut tx, self.business_id, self.chat_id).await?
        else {
            return Ok(Outcome::Finished(None));
        };
        if deliveries::is_behind_another(&mut tx, self.business_id, self.chat_id, self.message_id)
            .await?
        {
            return Ok(Outcome::Waiting(
                BEHIND,
                "behind an earlier answer of the chat",
            ));
        }
        let parts = deliveries::list_unsent(&mut tx, self.business_id, self.message_id).await?;
        let Some(first) = parts.first() else {
            return Sending {
                work: &self,
                context,
                job,
            }
            .conclude(tx)
            .await;
        };
        if first.in_doubt
            && destination.delivery_policy.as_deref() == Some(AT_MOST_ONCE)
            && !faults::planted(Mutant::NoPolicy)
        {
            return Err(JobError::refused(
                "delivery",
                "an earlier call had no outcome, and the business's policy is at most once",
            ));
        }
        let route = Route::of(context, self.business_id, &destination)?;
        // From here to the commit nobody can take the job over.
        if !run::hold(&mut tx, job).await? {
            return Ok(Outcome::Superseded);
        }
        deliveries::begin_attempt(
            &mut tx,
            self.business_id,
            first.id,
            job.attempt,
            context.clock.now(),
        )
        .await?;
        tx.commit().await?;
        Sending {
            work: &self,
            context,
            job,
        }
        .send(&route, &parts)
        .await
    }

    /// What is not sent never will be, unless a person revives the job; the chat's next answer may go.
    async fn give_up(
        self,
        _: &Context,
        _: &ClaimedJob,
        error: &str,
        conn: &mut PgConnection,
    ) -> common::Result<Vec<Enqueued>> {
        turns::lock_chat(conn, self.business_id, self.chat_id).await?;
        let in_doubt = deliveries::list_unsent(conn, self.business_id, self.message_id)
            .await?
            .first()
            .is_some_and(|part| part.in_doubt);
        let status = if in_doubt { "unknown" } else { "failed" };
        deliveries::mark_dead(conn, self.business_id, self.message_id).await?;
        deliveries::mark_message(conn, self.business_id, self.message_id, status, Some(error))
            .await?;
        release_next(&self, conn).await
    }
}

/// One attempt under way.
struct Sending<'a> {
    work: &'a DeliverMessage,
    context: &'a Context,
    job: &'a ClaimedJob,
}

impl Sending<'_> {
    /// Sends the parts in order; the call for the first is recorded already.
    async fn send(&self, route: &Route, parts: &[Unsent]) -> Result<Outcome, JobError> {
        let business_id = self.work.business_id;
        let mut parts = parts.iter().peekable();
        while let Some(part) = parts.next() {
            self.context.manychat.wait_for_budget(business_id).await;
            // Asked last: a process that was frozen may wake up here long after another took over.
            if !self.context.leases.is_fresh(self.job) {
                return Ok(Outcome::Superseded);
            }
            let sent = route.send(self.context, &part.body).await;
            count(route.channel, &sent);
            if let Err(error) = sent {
                self.record_failure(part.id, &error).await?;
                return Err(error.into());
            }
            faults::point(Point::Sent);
            let now = self.context.clock.now();
            let mut tx = database::business(&self.context.pool, business_id).await?;
            if parts.peek().is_none() {
                // Chats are locked before what is in them.
                turns::lock_chat(&mut tx, business_id, self.work.chat_id).await?;
            }
            let accepted = AttemptEnd {
                outcome: "accepted",
                detail: None,
            };
            deliveries::end_attempt(
                &mut tx,
                business_id,
                part.id,
                self.job.attempt,
                &accepted,
                now,
            )
            .await?;
            deliveries::mark_sent(&mut tx, business_id, part.id, now).await?;
            let Some(next) = parts.peek() else {
                return self.conclude(tx).await;
            };
            if !run::hold(&mut tx, self.job).await? {
                tx.commit().await?;
                return Ok(Outcome::Superseded);
            }
            // The record of the next call rides on this commit.
            deliveries::begin_attempt(&mut tx, business_id, next.id, self.job.attempt, now).await?;
            tx.commit().await?;
        }
        Err(Error::Corrupt("deliveries").into())
    }

    async fn record_failure(
        &self,
        delivery_id: DeliveryId,
        error: &ProviderError,
    ) -> Result<(), JobError> {
        let outcome = match error {
            ProviderError::Refused { .. } => "refused",
            ProviderError::RateLimited { .. } | ProviderError::Unavailable { .. } => "unavailable",
            ProviderError::Unknown { .. } => "unknown",
        };
        let detail = error.to_string();
        let end = AttemptEnd {
            outcome,
            detail: Some(&detail),
        };
        let (business_id, now) = (self.work.business_id, self.context.clock.now());
        let mut tx = database::business(&self.context.pool, business_id).await?;
        deliveries::end_attempt(
            &mut tx,
            business_id,
            delivery_id,
            self.job.attempt,
            &end,
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Everything is sent: the message, the job and the chat's next answer in one commit.
    async fn conclude(&self, mut tx: Transaction<'static, Postgres>) -> Result<Outcome, JobError> {
        let DeliverMessage {
            business_id,
            chat_id,
            message_id,
        } = *self.work;
        turns::lock_chat(&mut tx, business_id, chat_id).await?;
        deliveries::mark_message(&mut tx, business_id, message_id, "sent", None).await?;
        let follow = release_next(self.work, &mut tx).await?;
        // The message went out whoever holds the lease now: keep the record of it.
        run::succeed(&mut tx, self.job, None, self.context.job_retention).await?;
        tx.commit().await?;
        faults::point(Point::Marked);
        Ok(Outcome::Committed { follow, next: None })
    }
}

async fn release_next(
    work: &DeliverMessage,
    conn: &mut PgConnection,
) -> common::Result<Vec<Enqueued>> {
    let next = deliveries::release_next(conn, work.business_id, work.chat_id).await?;
    Ok(next
        .map(|id| Enqueued {
            id,
            queue: DeliverMessage::QUEUE,
            business_id: Some(work.business_id),
            due: true,
        })
        .into_iter()
        .collect())
}

/// How an answer reaches its reader.
struct Route {
    channel: Channel,
    external_id: String,
    api_key: SecretString,
}

impl Route {
    /// The way to the chat's contact.
    ///
    /// # Errors
    ///
    /// Refused where there is none: opted out, not connected, or a channel that is fetched from.
    fn of(
        context: &Context,
        business_id: BusinessId,
        destination: &Destination,
    ) -> Result<Self, JobError> {
        let channel: Channel = destination.channel.parse()?;
        if destination.opted_out_at.is_some() {
            return Err(JobError::refused("delivery", "the contact opted out"));
        }
        let external_id = destination
            .external_id
            .clone()
            .ok_or(Error::NotFound("contact"))?;
        if channel != Channel::Manychat {
            return Err(JobError::refused(
                "delivery",
                format!("nothing is delivered through `{channel}`"),
            ));
        }
        let Some(sealed) = &destination.manychat_api_key else {
            return Err(JobError::refused(
                "manychat",
                "the business has not connected ManyChat: its API key is missing",
            ));
        };
        let api_key = context.sealer.open(
            destination.data_key.as_ref(),
            sealed,
            &secret::manychat_key_place(business_id),
        )?;
        Ok(Self {
            channel,
            external_id,
            api_key,
        })
    }

    async fn send(&self, context: &Context, body: &str) -> Result<(), ProviderError> {
        context
            .manychat
            .send_text(&self.api_key, &self.external_id, body)
            .await
    }
}

fn count(channel: Channel, sent: &Result<(), ProviderError>) {
    let outcome = match sent {
        Ok(()) => "accepted",
        Err(ProviderError::Refused { .. }) => "refused",
        Err(ProviderError::RateLimited { .. }) => "rate_limited",
        Err(ProviderError::Unavailable { .. }) => "unavailable",
        Err(ProviderError::Unknown { .. }) => "unknown",
    };
    metrics::counter!("relais_deliveries_total", "channel" => channel.as_str(), "outcome" => outcome).increment(1);
}
