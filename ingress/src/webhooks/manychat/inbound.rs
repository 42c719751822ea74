//! Reading what ManyChat sends: a body the flow's author wrote, so any of it may be missing, empty or of another type.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// WhatsApp's own limit of a text.
const LONGEST_TEXT: usize = 4_096;

/// Anything longer is no name, number or id.
const LONGEST_FIELD: usize = 256;

const LONGEST_URL: usize = 2_048;

/// A message as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Inbound {
    /// ManyChat's id of the contact: as text, since it may exceed 2^53.
    pub(super) subscriber_id: String,
    pub(super) text: String,
    pub(super) media_url: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) language: Option<String>,
    pub(super) last_interaction: Option<String>,
    /// Everything else.
    pub(super) attributes: Map<String, Value>,
}

impl Inbound {
    /// Reads a body, or says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields: Map<String, Value> = crate::body::parse(bytes)?;
        let subscriber_id = subscriber_id(&mut fields)?;
        let text = match take_text(&mut fields, "text", LONGEST_TEXT)? {
            Some(text) => Some(text),
            None => take_text(&mut fields, "last_input_text", LONGEST_TEXT)?,
        };
        let media_url = media_url(&mut fields)?;
        if text.is_none() && media_url.is_none() {
            return Err(ApiError::invalid(
                "text",
                "is missing or empty, and there is no media_url",
            ));
        }
        let phone = match take_text(&mut fields, "whatsapp_phone", LONGEST_FIELD)? {
            Some(phone) => Some(phone),
            None => take_text(&mut fields, "phone", LONGEST_FIELD)?,
        };
        Ok(Self {
            subscriber_id,
            text: text.unwrap_or_default(),
            media_url,
            message_id: take_text(&mut fields, "message_id", LONGEST_FIELD)?,
            first_name: take_text(&mut fields, "first_name", LONGEST_FIELD)?,
            last_name: take_text(&mut fields, "last_name", LONGEST_FIELD)?,
            phone,
            language: take_text(&mut fields, "language", LONGEST_FIELD)?,
            last_interaction: take_text(&mut fields, "last_interaction", LONGEST_FIELD)?,
            attributes: attributes(fields)?,
        })
    }
}

/// An id is a whole number, as such or as text: what ManyChat's API takes back.
fn subscriber_id(fields: &mut Map<String, Value>) -> Result<String, ApiError> {
    for name in ["subscriber_id", "id"] {
        let number = match fields.remove(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if text.trim().is_empty() => continue,
            Some(Value::String(text)) => whole_number(text.trim()),
            Some(Value::Number(number)) => number.as_u64(),
            Some(_) => None,
        };
        let number = number
            .ok_or_else(|| ApiError::invalid(name, "must be a whole number, 0 to 2^64 - 1"))?;
        return Ok(number.to_string());
    }
    Err(ApiError::invalid("subscriber_id", "is missing"))
}

fn whole_number(text: &str) -> Option<u64> {
    // Rust also reads `+1`.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn media_url(fields: &mut Map<String, Value>) -> Result<Option<String>, ApiError> {
    let url = take_text(fields, "media_url", LONGEST_URL)?;
    if url
        .as_ref()
        .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
    {
        return Err(ApiError::invalid(
            "media_url",
            "must begin with https:// or http://",
        ));
    }
    Ok(url)
}

/// A field as text; `None`: missing, null or blank, as a variable that ManyChat has nothing for.
fn take_text(
    fields: &mut Map<String, Value>,
    name: &'static str,
    longest: usize,
) -> Result<Option<String>, ApiError> {
    let text = match fields.remove(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(ApiError::invalid(name, "must be a text"));
        }
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    // Bytes first: there are at least as many, and counting them costs nothing.
    if text.len() > longest && text.chars().count() > longest {
        return Err(ApiError::invalid(
            name,
            format!("must have at most {longest} characters"),
        ));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(ApiError::invalid(name, "must not have control characters"));
    }
    Ok(Some(text))
}

/// The rest is kept with the contact; PostgreSQL alone decides what it may be, and takes all but NUL.
fn attributes(fields: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    if let Some((name, _)) = fields
        .iter()
        .find(|(name, value)| name.contains('\0') || has_nul(value))
    {
        return Err(ApiError::invalid(
            &name.replace('\0', ""),
            "must not have NUL characters",
        ));
    }
    Ok(fields)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<Inbound, ApiError> {
        Inbound::parse(body.to_string().as_bytes())
    }

    fn refusal(body: &Value) -> String {
        parse(body).unwrap_err().to_string()
    }

    #[test]
    fn both_forms_are_read() {
        let own = json!({
            "subscriber_id": "18446744073709551615", "text": "Bonjour\n!", "message_id": 12, "whatsapp_phone": "+33 6",
            "phone": "other", "first_name": "Zoé", "last_name": "", "custom_fields": {"city": "Lyon"},
        });
        let inbound = parse(&own).unwrap();
        assert_eq!(inbound.subscriber_id, u64::MAX.to_string());
        assert_eq!(inbound.text, "Bonjour\n!");
        assert_eq!(inbound.message_id.as_deref(), Some("12"));
        assert_eq!(inbound.phone.as_deref(), Some("+33 6"));
        assert_eq!(inbound.last_name, None);
        assert_eq!(inbound.attributes["custom_fields"]["city"], "Lyon");

        let full = json!({"id": 123, "key": "user:123", "last_input_text": "Hi", "language": "fr", "text": null});
        let inbound = parse(&full).unwrap();
        assert_eq!(
            (inbound.subscriber_id.as_str(), inbound.text.as_str()),
            ("123", "Hi")
        );
        assert_eq!(inbound.attributes["key"], "user:123");
    }

    #[test]
    fn an_id_is_a_whole_number() {
        for id in [
            json!(1.5),
            json!(-1),
            json!(1e30),
            json!("abc"),
            json!("-1"),
            json!("+1"),
            json!(true),
            json!([1]),
        ] {
            assert!(
                refusal(&json!({"subscriber_id": id, "text": "a"})).contains("subscriber_id"),
                "{id}"
            );
        }
        assert!(
            Inbound::parse(br#"{"subscriber_id": 18446744073709551616, "text": "a"}"#).is_err()
        );
        assert!(refusal(&json!({"text": "a"})).contains("subscriber_id: is missing"));
    }

    #[test]
    fn empty_text_needs_a_medium() {
        for body in [
            json!({"id": 1}),
            json!({"id": 1, "text": " \n"}),
            json!({"id": 1, "text": null}),
        ] {
            assert!(refusal(&body).contains("text:"), "{body}");
        }
        let inbound =
            parse(&json!({"id": 1, "text": "", "media_url": "https://example.com/a.jpg"})).unwrap();
        assert_eq!(inbound.text, "");
        assert!(
            refusal(&json!({"id": 1, "media_url": "file:///etc/passwd"})).contains("media_url")
        );
    }

    #[test]
    fn text_is_bounded_in_characters() {
        assert!(parse(&json!({"id": 1, "text": "é".repeat(4_096)})).is_ok());
        assert!(refusal(&json!({"id": 1, "text": "é".repeat(4_097)})).contains("4096"));
        assert!(
            refusal(&json!({"id": 1, "text": "a", "message_id": "x".repeat(257)}))
                .contains("message_id")
        );
        assert!(refusal(&json!({"id": 1, "text": ["a"]})).contains("text"));
    }

    #[test]
    fn nul_and_other_control_characters_are_refused_anywhere() {
        for text in ["a\0b", "a\u{1b}b", "a\u{85}b"] {
            assert!(
                refusal(&json!({"id": 1, "text": text})).contains("control"),
                "{text:?}"
            );
        }
        assert!(
            refusal(&json!({"id": 1, "text": "a", "custom_fields": {"x": ["\0"]}})).contains("NUL")
        );
        assert!(
            refusal(&json!({"id": 1, "text": "a", "custom_fields": {"\0": 1}})).contains("NUL")
        );
        assert!(parse(&json!({"id": 1, "text": "a\tb\r\nc"})).is_ok());
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for bytes in [
            &b""[..],
            b"{",
            b"[]",
            b"\"a\"",
            b"{\"id\": 1, \"text\": \"\xff\"}",
            b"{\"id\":1,\"text\":\"\\ud800\"}",
        ] {
            assert!(Inbound::parse(bytes).is_err(), "{bytes:?}");
        }
        let deep = format!(
            "{{\"id\":1,\"text\":\"a\",\"x\":{}{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert!(Inbound::parse(deep.as_bytes()).is_err());
    }
}
