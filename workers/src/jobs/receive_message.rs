//! Writes what a contact sent into their chat, and sees to it that a turn is due.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use common::database::conversation::receive::{self, LockedChat};
use common::database::jobs::run::{self, ClaimedJob};
use common::database::{self};
use common::domain::{BusinessId, JobId};
use common::faults::{self, Mutant};
use common::queue::jobs::{ReceiveMessage, TakeTurn};
use common::queue::{self, Enqueued, NewJob};
use sqlx::PgConnection;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

/// However long a burst goes on, it is answered after this.
const LONGEST_BURST: TimeDelta = TimeDelta::seconds(5);

#[async_trait]
impl Handler for ReceiveMessage {
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Takes every message of the contact that was accepted and not written yet, in order, this one among them: so no
    /// message overtakes another that a dead worker still holds.
    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        let now = context.clock.now();
        // Nothing outside sees this commit before the turn's, which waits for the disk and thereby for this one too.
        let mut tx = database::business_relaxed(&context.pool, self.business_id).await?;
        let contact_id =
            receive::upsert_contact(&mut tx, self.business_id, self.channel, &self.contact, now)
                .await?;
        let chat =
            receive::upsert_chat(&mut tx, self.business_id, self.channel, contact_id, now).await?;
        let expires_at = now + context.job_retention;
        let taken = receive::absorb(
            &mut tx,
            self.business_id,
            &self.group_key(),
            expires_at,
            now,
        )
        .await?;
        if taken.is_empty() {
            return Ok(Outcome::Superseded);
        }
        let messages: Vec<ReceiveMessage> = taken.into_iter().map(|(_, message)| message).collect();
        let new = receive::insert_messages(&mut tx, self.business_id, &chat, contact_id, &messages)
            .await?;
        let last_seq = chat.last_seq + i64::try_from(messages.len()).unwrap_or(i64::MAX);

        let since = chat.waiting_since.unwrap_or(now);
        let turn = if new == 0 {
            Turn::Kept(chat.turn_job_id)
        } else {
            see_to_turn(context, &mut tx, self.business_id, &chat, since, now).await?
        };
        let waiting_since = if new == 0 {
            chat.waiting_since
        } else {
            Some(since)
        };
        receive::update_chat(
            &mut tx,
            self.business_id,
            chat.id,
            last_seq,
            turn.job_id(),
            waiting_since,
            now,
        )
        .await?;
        tx.commit().await?;

        Ok(match turn {
            Turn::Kept(_) => Outcome::committed(),
            Turn::Due(turn) => Outcome::Committed {
                follow: vec![turn],
                next: None,
            },
            Turn::Here(turn) => Outcome::Committed {
                follow: Vec::new(),
                next: Some(turn),
            },
        })
    }
}

/// What became of the chat's turn.
enum Turn {
    /// The one there is will take the messages.
    Kept(Option<JobId>),
    /// A new one waits for its time.
    Due(Enqueued),
    /// A new one runs in this slot.
    Here(Box<ClaimedJob>),
}

impl Turn {
    fn job_id(&self) -> Option<JobId> {
        match self {
            Self::Kept(id) => *id,
            Self::Due(turn) => Some(turn.id),
            Self::Here(turn) => Some(turn.id),
        }
    }
}

/// A turn that has not begun waits for the burst to end; one that runs looks for newer messages at its end, behind
/// the lock this transaction holds; where there is none, or it is dead, there is a new one.
async fn see_to_turn(
    context: &Context,
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat: &LockedChat,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> common::Result<Turn> {
    let quiet_at = now + context.burst_quiet;
    let run_at = quiet_at.min(since + LONGEST_BURST).max(now);
    let turn_job_id = chat
        .turn_job_id
        .filter(|_| !faults::planted(Mutant::SharedTurn));
    if let Some(job_id) = turn_job_id {
        let state = receive::turn_state(conn, business_id, job_id).await?;
        if state.is_some_and(|state| !state.is_final()) {
            let rest = (run_at - now).to_std().unwrap_or_default();
            receive::postpone_turn(conn, business_id, job_id, rest).await?;
            return Ok(Turn::Kept(Some(job_id)));
        }
    }
    let job = NewJob::new(&TakeTurn {
        business_id,
        chat_id: chat.id,
    })
    .at(run_at);
    let turn = queue::enqueue(conn, &job, now)
        .await?
        .ok_or(common::Error::Conflict("a new job's id is taken"))?;
    if run_at > now {
        return Ok(Turn::Due(turn));
    }
    let claimed = run::claim_inserted(conn, turn.id, &context.worker).await?;
    Ok(claimed.map_or(Turn::Due(turn), |claimed| Turn::Here(Box::new(claimed))))
}
