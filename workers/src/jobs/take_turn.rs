//! The assistant's turn: every unanswered message of a chat gets one answer.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use common::database::conversation::deliveries;
use common::database::conversation::receive::{self, LockedChat};
use common::database::conversation::turns::{self, ModelCall, Reply, TurnEnd};
use common::database::jobs::run::{self, ClaimedJob};
use common::database::{self};
use common::domain::{Channel, MessageId, splitting};
use common::faults::{self, Point};
use common::queue::jobs::{DeliverMessage, TakeTurn};
use common::queue::{self, Enqueued, NewJob};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::answer::{self, Answer};
use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};
use crate::jobs::stage;
use crate::turn::{Gathered, Verdict};

#[async_trait]
impl Handler for TakeTurn {
    // The model's own limits come first; this bounds what they do not.
    const TIMEOUT: Duration = Duration::from_mins(3);

    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let started = Instant::now();
        let turn = Turn {
            work: &self,
            context,
            job,
        };
        let Some(gathered) = turn.gather().await? else {
            return Ok(Outcome::Finished(None));
        };
        stage("gather", started);

        let end = match gathered.verdict() {
            Verdict::Answer => {
                let request = gathered.question();
                let answer = answer::compose(context, self.business_id, request).await?;
                faults::point(Point::ModelAnswered);
                End::Answer(answer)
            }
            Verdict::Ignore(reason) => End::Ignore(reason),
            Verdict::OptOut => End::OptOut,
            Verdict::OptIn => End::OptIn,
            Verdict::Nothing => End::Nothing,
        };

        let committing = Instant::now();
        let outcome = turn.commit(&gathered, end).await;
        stage("commit", committing);
        outcome
    }

    /// The messages that waited when the attempt began get no answer, and say why; later ones get a turn of their own.
    async fn give_up(
        self,
        context: &Context,
        job: &ClaimedJob,
        error: &str,
        conn: &mut PgConnection,
    ) -> common::Result<Vec<Enqueued>> {
        let TakeTurn {
            business_id,
            chat_id,
        } = self;
        let chat = turns::lock_chat(conn, business_id, chat_id).await?;
        let Some(chat) = chat.filter(|chat| chat.turn_job_id == Some(job.id)) else {
            return Ok(Vec::new());
        };
        turns::mark_failed(conn, business_id, chat_id, job.id, job.started_at, error).await?;
        let now = context.clock.now();
        let since = turns::waiting_since(conn, business_id, chat_id).await?;
        let turn = match since {
            Some(_) => queue::enqueue(conn, &NewJob::new(&self), now).await?,
            None => None,
        };
        let turn_id = turn.map(|turn| turn.id);
        receive::update_chat(
            conn,
            business_id,
            chat_id,
            chat.last_seq,
            turn_id,
            since,
            now,
        )
        .await?;
        Ok(turn.into_iter().collect())
    }
}

/// How long an answer waits behind an earlier one that does not say when it is through.
const BEHIND: TimeDelta = TimeDelta::seconds(5);

/// What a turn comes to.
enum End {
    Answer(Answer),
    Ignore(&'static str),
    OptOut,
    OptIn,
    Nothing,
}

/// A turn under way.
struct Turn<'a> {
    work: &'a TakeTurn,
    context: &'a Context,
    job: &'a ClaimedJob,
}

impl Turn<'_> {
    /// Reads what the turn goes by; `None`: the chat is gone, or another turn has it.
    async fn gather(&self) -> Result<Option<Gathered>, JobError> {
        let TakeTurn {
            business_id,
            chat_id,
        } = *self.work;
        let mut tx = database::business(&self.context.pool, business_id).await?;
        let Some(chat) = turns::lock_chat(&mut tx, business_id, chat_id).await? else {
            return Ok(None);
        };
        if !self.holds(&mut tx, &chat).await? {
            return Ok(None);
        }
        let gathered = Gathered::read(&mut tx, business_id, chat_id).await?;
        tx.commit().await?;
        Ok(Some(gathered))
    }

    /// Whether this job is the chat's turn; one that a person revived takes the chat where no other turn has it.
    async fn holds(&self, conn: &mut PgConnection, chat: &LockedChat) -> common::Result<bool> {
        let (business_id, job) = (self.work.business_id, self.job);
        let holder = match chat.turn_job_id {
            Some(holder) if holder == job.id => return Ok(true),
            Some(holder) => receive::turn_state(conn, business_id, holder).await?,
            None => None,
        };
        let free = holder.is_none_or(common::database::jobs::JobState::is_final);
        if free {
            turns::take_back(conn, business_id, chat.id, job.id).await?;
            let since = chat.waiting_since;
            let now = job.run_at;
            receive::update_chat(
                conn,
                business_id,
                chat.id,
                chat.last_seq,
                Some(job.id),
                since,
                now,
            )
            .await?;
        }
        Ok(free)
    }

    /// The answer, its delivery, what it cost, the messages it answers, the next turn, and the job's end: one commit.
    async fn commit(&self, gathered: &Gathered, end: End) -> Result<Outcome, JobError> {
        let Self {
            work: &TakeTurn {
                business_id,
                chat_id,
            },
            context,
            job,
        } = *self;
        let now = context.clock.now();
        let mut tx = database::business(&context.pool, business_id).await?;
        if let (End::OptOut | End::OptIn, Some(contact_id)) = (&end, gathered.setting.contact_id) {
            // Contacts are locked before chats, as where messages come in.
            turns::lock_contact(&mut tx, business_id, contact_id).await?;
        }
        let chat = turns::lock_chat(&mut tx, business_id, chat_id).await?;
        let Some(chat) = chat.filter(|chat| chat.turn_job_id == Some(job.id)) else {
            return Ok(Outcome::Finished(None));
        };
        let taken: Vec<Uuid> = gathered
            .unanswered
            .iter()
            .map(|message| message.id.0)
            .collect();
        let mut last_seq = chat.last_seq;
        let mut follow = Vec::new();
        let mut next = None;
        let mark = match &end {
            End::Answer(answer) => {
                last_seq += 1;
                match self
                    .write_answer(&mut tx, gathered, answer, last_seq, now)
                    .await?
                {
                    Some(Delivery::Here(delivery)) => next = Some(delivery),
                    Some(Delivery::Behind(delivery)) => follow.push(delivery),
                    None => {}
                }
                TurnEnd::Answered
            }
            End::Ignore(reason) => TurnEnd::Ignored(reason),
            End::OptOut => {
                self.opt(&mut tx, gathered, Some(now)).await?;
                TurnEnd::Ignored("opted_out")
            }
            End::OptIn => {
                self.opt(&mut tx, gathered, None).await?;
                TurnEnd::Ignored("opted_in")
            }
            End::Nothing => TurnEnd::Ignored("nothing_to_answer"),
        };
        turns::mark_taken(&mut tx, business_id, &taken, job.id, mark).await?;

        // Whoever writes a message into the chat does so under its lock: either this sees it, or they see no turn.
        let since = turns::waiting_since(&mut tx, business_id, chat_id).await?;
        let turn = match since {
            Some(_) => queue::enqueue(&mut tx, &NewJob::new(self.work), now).await?,
            None => None,
        };
        let turn_id = turn.map(|turn| turn.id);
        receive::update_chat(&mut tx, business_id, chat_id, last_seq, turn_id, since, now).await?;
        if !run::succeed(&mut tx, job, None, context.job_retention).await? {
            return Ok(Outcome::Superseded);
        }
        tx.commit().await?;
        faults::point(Point::Committed);
        follow.extend(turn);
        Ok(Outcome::Committed { follow, next })
    }

    async fn write_answer(
        &self,
        conn: &mut PgConnection,
        gathered: &Gathered,
        answer: &Answer,
        seq: i64,
        now: DateTime<Utc>,
    ) -> common::Result<Option<Delivery>> {
        let Self {
            work: &TakeTurn {
                business_id,
                chat_id,
            },
            context,
            job,
        } = *self;
        let message_id = MessageId::new();
        let content = answer.with_sources();
        let delivered = gathered.channel != Channel::Api;
        let reply = Reply {
            id: message_id,
            contact_id: gathered.setting.contact_id,
            seq,
            content: &content,
            sources: &answer.sources,
            job_id: job.id,
            status: if delivered { "pending" } else { "sent" },
        };
        turns::insert_reply(conn, business_id, chat_id, &reply, now).await?;
        let call = ModelCall {
            provider: answer.provider,
            model: answer.completion.model.clone(),
            usage: answer.completion.usage,
            duration_ms: i32::try_from(answer.took.as_millis()).unwrap_or(i32::MAX),
        };
        turns::insert_model_call(conn, business_id, job.id, &call, now).await?;
        if !delivered {
            return Ok(None);
        }
        let work = DeliverMessage {
            business_id,
            chat_id,
            message_id,
        };
        let behind = deliveries::is_behind_another(conn, business_id, chat_id, message_id).await?;
        let mut delivery = NewJob::new(&work);
        if behind {
            // The one before makes it due when it is through; this is for the case that it never says so.
            delivery = delivery.at(now + BEHIND);
        }
        let enqueued = queue::enqueue(conn, &delivery, now).await?;
        let parts = splitting::split(&content, gathered.channel.longest_text());
        let message = (message_id, seq);
        deliveries::insert(
            conn,
            business_id,
            chat_id,
            message,
            delivery.id,
            &parts,
            now,
        )
        .await?;
        if behind {
            return Ok(enqueued.map(Delivery::Behind));
        }
        // The first try is made in this slot: no second trip through Redis between an answer and its reader.
        let claimed = run::claim_inserted(conn, delivery.id, &context.worker).await?;
        Ok(claimed.map(|claimed| Delivery::Here(Box::new(claimed))))
    }

    async fn opt(
        &self,
        conn: &mut PgConnection,
        gathered: &Gathered,
        opted_out_at: Option<DateTime<Utc>>,
    ) -> common::Result<()> {
        match gathered.setting.contact_id {
            Some(contact_id) => {
                turns::set_opted_out(conn, self.work.business_id, contact_id, opted_out_at).await
            }
            None => Ok(()),
        }
    }
}

/// What becomes of an answer's delivery.
enum Delivery {
    /// It runs in this slot.
    Here(Box<ClaimedJob>),
    /// An earlier answer of the chat is still on its way.
    Behind(Enqueued),
}
