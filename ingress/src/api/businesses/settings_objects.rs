//! What is told of a business's settings, and what may be said of them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use common::database::access::WebhookSecret;
use common::database::businesses::settings::Settings;
use common::domain::business_hours::{BusinessHours, Slot, Weekday};
use common::domain::outbound_url::OutboundUrl;
use common::domain::{CharacterId, DeliveryPolicy, Language, text};
use poem_openapi::Object;
use poem_openapi::types::MaybeUndefined;
use secrecy::SecretString;
use serde::Deserialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::api::change::{change, uncleared};
use crate::api::named::Named;
use crate::api::text::{line, lines};
use crate::error::ApiError;

const LONGEST_ACKNOWLEDGEMENT: usize = 1_000;
const LONGEST_WORD: usize = 40;
const MOST_WORDS: usize = 50;
const LONGEST_KEY: usize = 256;

/// How a business wants its messages handled. Secrets are never told.
#[derive(Debug, Object)]
#[oai(rename = "Settings")]
pub(super) struct SettingsResponse {
    language: Named<Language>,
    /// How webhooks are acknowledged; null: without a text.
    acknowledgement: Option<String>,
    /// Who answers; null: the platform's default character.
    default_character_id: Option<Uuid>,
    /// What to do with a delivery whose outcome is unknown.
    delivery_policy: Named<DeliveryPolicy>,
    /// A contact who writes one of them gets no more messages. Lower case, without accents.
    opt_out_words: Vec<String>,
    /// Where events are sent; null: nowhere.
    outbound_webhook_url: Option<String>,
    /// Null: always open.
    business_hours: Option<BusinessHoursObject>,
    /// Whether ManyChat's API key is set.
    manychat_connected: bool,
    /// When it was set; null: it is not, or it was set by a version that did not note when.
    manychat_connected_at: Option<DateTime<Utc>>,
    /// The webhook secrets that work: the current one, and for a while the one before.
    webhook_secrets: Vec<WebhookSecretObject>,
    updated_at: DateTime<Utc>,
}

/// A webhook secret, without what it is.
#[derive(Debug, Object)]
#[oai(rename = "WebhookSecretInfo")]
struct WebhookSecretObject {
    created_at: DateTime<Utc>,
    /// When it stops working; null: it is the current one.
    expires_at: Option<DateTime<Utc>>,
}

/// When a business is open.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "BusinessHours", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct BusinessHoursObject {
    /// Of the IANA database: in which the rest is meant.
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: String,
    weekly: WeekObject,
    /// Closed all day.
    #[serde(default)]
    #[oai(default, validator(max_items = 100))]
    holidays: Vec<NaiveDate>,
}

/// Each day's slots; none: closed.
#[derive(Debug, Default, Object, Deserialize)]
#[oai(rename = "WeeklyHours", deny_unknown_fields)]
#[serde(deny_unknown_fields, default)]
struct WeekObject {
    #[oai(default, validator(max_items = 6))]
    monday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    tuesday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    wednesday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    thursday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    friday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    saturday: Vec<SlotObject>,
    #[oai(default, validator(max_items = 6))]
    sunday: Vec<SlotObject>,
}

/// A time of day from `opens` up to `closes`; `24:00` is the day's end.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "OpenSlot", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct SlotObject {
    /// `HH:MM`
    #[oai(validator(pattern = "^([01][0-9]|2[0-4]):[0-5][0-9]$"))]
    opens: String,
    /// `HH:MM`
    #[oai(validator(pattern = "^([01][0-9]|2[0-4]):[0-5][0-9]$"))]
    closes: String,
}

/// What is to change: what is absent stays, what is null is cleared.
#[derive(Default, Object, Deserialize)]
#[oai(rename = "UpdateSettings", deny_unknown_fields)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpdateSettingsRequest {
    language: MaybeUndefined<Named<Language>>,
    #[oai(validator(min_length = 1, max_length = 1000))]
    acknowledgement: MaybeUndefined<String>,
    default_character_id: MaybeUndefined<Uuid>,
    delivery_policy: MaybeUndefined<Named<DeliveryPolicy>>,
    /// At least one: everybody must be able to stop.
    #[oai(validator(min_items = 1, max_items = 50))]
    opt_out_words: MaybeUndefined<Vec<String>>,
    /// `https`, and outside of private networks.
    #[oai(validator(min_length = 1, max_length = 2048))]
    outbound_webhook_url: MaybeUndefined<String>,
    business_hours: MaybeUndefined<BusinessHoursObject>,
    /// Connects ManyChat; null disconnects it. Never told again.
    #[oai(validator(min_length = 3, max_length = 256))]
    manychat_api_key: MaybeUndefined<String>,
}

/// What a change is about, beyond the settings' own row.
#[derive(Default)]
pub(super) struct Told {
    /// The names of the fields.
    pub(super) fields: Vec<&'static str>,
    /// Where `manychat_api_key` is told of; `None`: ManyChat is to be disconnected.
    pub(super) manychat_key: Option<SecretString>,
    /// A character that was named.
    pub(super) character_id: Option<CharacterId>,
}

impl SettingsResponse {
    pub(super) fn new(
        settings: Settings,
        secrets: Vec<WebhookSecret>,
    ) -> Result<Self, common::Error> {
        let secret = |secret: WebhookSecret| WebhookSecretObject {
            created_at: secret.created_at,
            expires_at: secret.expires_at,
        };
        Ok(Self {
            language: Named::stored(&settings.language)?,
            acknowledgement: settings.acknowledgement,
            default_character_id: settings.default_character_id.map(|id| id.0),
            delivery_policy: Named::stored(&settings.delivery_policy)?,
            opt_out_words: settings.opt_out_words,
            outbound_webhook_url: settings.outbound_webhook_url,
            business_hours: settings.business_hours.map(|hours| hours.0.into()),
            manychat_connected: settings.manychat_connected,
            manychat_connected_at: settings.manychat_connected_at,
            webhook_secrets: secrets.into_iter().map(secret).collect(),
            updated_at: settings.updated_at,
        })
    }
}

impl UpdateSettingsRequest {
    /// Changes `settings`.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<Told, ApiError> {
        let mut told = Told::default();
        if let Some(language) = uncleared("language", self.language)? {
            language.0.code().clone_into(&mut settings.language);
            told.fields.push("language");
        }
        let check = |value: String| lines("acknowledgement", &value, LONGEST_ACKNOWLEDGEMENT);
        if change(&mut settings.acknowledgement, self.acknowledgement, check)? {
            told.fields.push("acknowledgement");
        }
        let (character, id) = (
            &mut settings.default_character_id,
            self.default_character_id,
        );
        if change(character, id, |id| Ok(CharacterId(id)))? {
            told.character_id = *character;
            told.fields.push("default_character_id");
        }
        if let Some(policy) = uncleared("delivery_policy", self.delivery_policy)? {
            policy.0.name().clone_into(&mut settings.delivery_policy);
            told.fields.push("delivery_policy");
        }
        if let Some(words) = uncleared("opt_out_words", self.opt_out_words)? {
            settings.opt_out_words = opt_out_words(&words)?;
            told.fields.push("opt_out_words");
        }
        let url = &mut settings.outbound_webhook_url;
        if change(url, self.outbound_webhook_url, |url| outbound_url(&url))? {
            told.fields.push("outbound_webhook_url");
        }
        if change(
            &mut settings.business_hours,
            self.business_hours,
            business_hours,
        )? {
            told.fields.push("business_hours");
        }
        if change(&mut told.manychat_key, self.manychat_api_key, manychat_key)? {
            told.fields.push("manychat_api_key");
        }
        Ok(told)
    }
}

/// Folded as a turn folds what it compares with them, each once.
fn opt_out_words(words: &[String]) -> Result<Vec<String>, ApiError> {
    if !(1..=MOST_WORDS).contains(&words.len()) {
        let reason = format!("1 to {MOST_WORDS}: everybody must be able to stop");
        return Err(ApiError::invalid("opt_out_words", reason));
    }
    let mut kept = Vec::new();
    for word in words {
        let word = line("opt_out_words", word, LONGEST_WORD)?;
        let word = text::fold(word.trim_end_matches(['.', '!']).trim());
        if word.is_empty() {
            return Err(ApiError::invalid("opt_out_words", "must have letters"));
        }
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    Ok(kept)
}

fn outbound_url(url: &str) -> Result<String, ApiError> {
    match OutboundUrl::new(url) {
        Ok(url) => Ok(url.as_str().to_owned()),
        Err(reason) => Err(ApiError::invalid("outbound_webhook_url", reason)),
    }
}

/// ManyChat's keys are `<page>:<key>`.
fn manychat_key(key: String) -> Result<SecretString, ApiError> {
    let reads = key.len() <= LONGEST_KEY
        && key.split_once(':').is_some_and(|(page, key)| {
            !page.is_empty()
                && page.bytes().all(|byte| byte.is_ascii_digit())
                && !key.is_empty()
                && key.bytes().all(|byte| byte.is_ascii_graphic())
        });
    if reads {
        Ok(key.into())
    } else {
        let reason = "is no ManyChat API key, which is like 123456:0a1b2c…";
        Err(ApiError::invalid("manychat_api_key", reason))
    }
}

fn business_hours(hours: BusinessHoursObject) -> Result<Json<BusinessHours>, ApiError> {
    let hours = BusinessHours::from(hours).checked();
    hours
        .map(Json)
        .map_err(|reason| ApiError::invalid("business_hours", reason))
}

impl From<BusinessHoursObject> for BusinessHours {
    fn from(hours: BusinessHoursObject) -> Self {
        let week = hours.weekly;
        let days = [
            (Weekday::Monday, week.monday),
            (Weekday::Tuesday, week.tuesday),
            (Weekday::Wednesday, week.wednesday),
            (Weekday::Thursday, week.thursday),
            (Weekday::Friday, week.friday),
            (Weekday::Saturday, week.saturday),
            (Weekday::Sunday, week.sunday),
        ];
        let slot = |slot: SlotObject| Slot {
            opens: slot.opens,
            closes: slot.closes,
        };
        let weekly: BTreeMap<_, _> = days
            .into_iter()
            .map(|(day, slots)| (day, slots.into_iter().map(slot).collect()))
            .collect();
        Self {
            time_zone: hours.time_zone,
            weekly,
            holidays: hours.holidays,
        }
    }
}

impl From<BusinessHours> for BusinessHoursObject {
    fn from(mut hours: BusinessHours) -> Self {
        let mut slots = |day| {
            let slots = hours.weekly.remove(&day).unwrap_or_default().into_iter();
            let slot = |slot: Slot| SlotObject {
                opens: slot.opens,
                closes: slot.closes,
            };
            slots.map(slot).collect()
        };
        Self {
            weekly: WeekObject {
                monday: slots(Weekday::Monday),
                tuesday: slots(Weekday::Tuesday),
                wednesday: slots(Weekday::Wednesday),
                thursday: slots(Weekday::Thursday),
                friday: slots(Weekday::Friday),
                saturday: slots(Weekday::Saturday),
                sunday: slots(Weekday::Sunday),
            },
            time_zone: hours.time_zone,
            holidays: hours.holidays,
        }
    }
}
