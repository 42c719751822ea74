//! What a turn knows before it asks the model, and whether it asks at all.

use common::database::conversation::turns::{self, TurnMessage, TurnSetting};
use common::domain::text;
use common::domain::{BusinessId, Channel, ChatId, Language};
use common::providers::{ChatRole, ChatTurn};
use sqlx::PgConnection;

use crate::answer::Question;

/// Messages of the conversation a model is shown, and the characters they may have in all: a few thousand tokens.
const HISTORY: (i64, usize) = (20, 12_000);

/// Words by which a contact who opted out comes back, folded.
const OPT_IN_WORDS: [&str; 5] = ["start", "reprendre", "commencer", "subscribe", "unstop"];

/// Used where neither the business nor the platform has a persona.
const SYSTEM_PROMPT: &str = "You are the assistant of a business. Be helpful, brief and honest.";

/// What a turn reads.
pub struct Gathered {
    /// Chat, contact, settings, persona.
    pub setting: TurnSetting,
    /// Where the chat is.
    pub channel: Channel,
    /// What is to be answered, oldest first.
    pub unanswered: Vec<TurnMessage>,
    /// What was said before, oldest first.
    history: Vec<TurnMessage>,
}

/// What a turn should do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask the model.
    Answer,
    /// Take the messages and say nothing, for this reason.
    Ignore(&'static str),
    /// The contact wants no more messages.
    OptOut,
    /// The contact wants messages again.
    OptIn,
    /// There is nothing to take.
    Nothing,
}

impl Gathered {
    /// Reads what the chat's turn goes by.
    pub async fn read(
        conn: &mut PgConnection,
        business_id: BusinessId,
        chat_id: ChatId,
    ) -> common::Result<Self> {
        let setting = turns::find_setting(conn, business_id, chat_id).await?;
        let channel = setting.channel.parse()?;
        let unanswered = turns::list_unanswered(conn, business_id, chat_id).await?;
        let before = unanswered.first().map_or(i64::MAX, |first| first.seq);
        let history = turns::list_history(conn, business_id, chat_id, before, HISTORY.0).await?;
        Ok(Self {
            setting,
            channel,
            unanswered,
            history,
        })
    }

    /// What to do, decided before any model is asked. Of several words to stop or to start, the last one counts.
    pub fn verdict(&self) -> Verdict {
        if self.unanswered.is_empty() {
            return Verdict::Nothing;
        }
        let opt_out_words = self.setting.opt_out_words.as_deref().unwrap_or_default();
        let opted_out = self.setting.opted_out_at.is_some();
        let wish = self.unanswered.iter().rev().find_map(|message| {
            let word = text::fold(message.content.trim().trim_end_matches(['.', '!']));
            if opt_out_words.contains(&word) {
                Some(Verdict::OptOut)
            } else {
                (opted_out && OPT_IN_WORDS.contains(&word.as_str())).then_some(Verdict::OptIn)
            }
        });
        match wish {
            Some(wish) => wish,
            None if opted_out => Verdict::Ignore("opted_out"),
            None if self.setting.assistant_paused_at.is_some() => {
                Verdict::Ignore("assistant_paused")
            }
            None => Verdict::Answer,
        }
    }

    /// What the model is asked: the burst as one message, after what was said before.
    pub fn question(&self) -> Question {
        let burst: Vec<String> = self.unanswered.iter().map(readable).collect();
        let question = burst.join("\n");
        let mut turns: Vec<ChatTurn> = self.recent().map(to_turn).collect();
        turns.push(ChatTurn {
            role: ChatRole::User,
            content: question.clone(),
        });
        Question {
            language: self.language(&question),
            system: self
                .setting
                .system_prompt
                .clone()
                .unwrap_or_else(|| SYSTEM_PROMPT.to_owned()),
            model: self.setting.model.clone(),
            temperature: self.setting.temperature,
            uses_knowledge: self.setting.uses_knowledge.unwrap_or(true),
            text: question,
            turns,
        }
    }

    /// The newest part of the history that fits.
    fn recent(&self) -> impl Iterator<Item = &TurnMessage> {
        let mut room = HISTORY.1;
        let fitting = self.history.iter().rev().take_while(|message| {
            let fits = message.content.len() <= room;
            room = room.saturating_sub(message.content.len());
            fits
        });
        let count = fitting.count();
        self.history[self.history.len() - count..].iter()
    }

    /// The language of the message, else the contact's, else the business's.
    fn language(&self, question: &str) -> Language {
        let tag = |tag: &Option<String>| tag.as_deref().and_then(Language::from_tag);
        text::detect_language(question)
            .or_else(|| tag(&self.setting.contact_language))
            .or_else(|| tag(&self.setting.language))
            .unwrap_or_default()
    }
}

fn to_turn(message: &TurnMessage) -> ChatTurn {
    let role = if message.role == "user" {
        ChatRole::User
    } else {
        ChatRole::Assistant
    };
    ChatTurn {
        role,
        content: readable(message),
    }
}

/// A message as text; a medium without words is named, so that the answer can say that it was seen.
fn readable(message: &TurnMessage) -> String {
    match &message.media_url {
        Some(url) if message.content.is_empty() => format!("[file: {url}]"),
        _ => message.content.clone(),
    }
}
