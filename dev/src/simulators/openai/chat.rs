//! Completions, whole and streamed.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use poem::http::{StatusCode, header};
use poem::web::{Data, Json};
use poem::{Body, IntoResponse, Request, Response, handler};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fault, Shared, UnderWay, admit, refuse, tokens};

/// Characters of an answer in one event of its stream.
const DELTA: usize = 5;

/// Between two pieces of an answer that drips.
const DRIP: Duration = Duration::from_millis(100);

#[handler]
pub(super) async fn chat(request: &Request, body: Body, shared: Data<&Arc<Shared>>) -> Response {
    let (body, fault, under_way) = match admit("chat", request, body, &shared).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    let completion = match Completion::of(&body, &shared) {
        Ok(completion) => completion,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, reason, None),
    };
    if body["stream"] == true {
        streamed(&completion, &body["stream_options"], fault, under_way)
    } else {
        let usage = completion.usage();
        let mut whole = completion.object("chat.completion");
        let message = json!({ "role": "assistant", "content": completion.text, "refusal": null, "annotations": [] });
        whole["choices"] =
            json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }]);
        if !matches!(fault, Some(Fault::NoUsage)) {
            whole["usage"] = usage;
        }
        whole["service_tier"] = json!("default");
        Json(whole).into_response()
    }
}

/// An answer to be told whole or in pieces.
struct Completion {
    id: String,
    model: String,
    created: i64,
    text: String,
    prompt_tokens: usize,
}

impl Completion {
    fn of(body: &Value, shared: &Shared) -> Result<Self, &'static str> {
        let model = body["model"]
            .as_str()
            .ok_or("you must provide a model parameter")?;
        let messages = body["messages"]
            .as_array()
            .filter(|messages| !messages.is_empty())
            .ok_or("Invalid 'messages': empty array. Expected an array with minimum length 1.")?;
        let texts = |role: &'static str| {
            let messages = messages
                .iter()
                .filter(move |message| message["role"] == role);
            messages.filter_map(|message| message["content"].as_str())
        };
        let cites =
            texts("system").any(|text| text.contains("[1]") && text.contains("number=\"1\""));
        let question = texts("user").next_back().unwrap_or_default();
        let repeated = format!("You asked: {question}{}", if cites { " [1]" } else { "" });
        Ok(Self {
            id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
            // The snapshot that answers has a longer name than the alias that is asked.
            model: format!("{model}-2024-07-18"),
            created: shared.clock.now().timestamp(),
            text: shared.state().answers.pop_front().unwrap_or(repeated),
            prompt_tokens: messages
                .iter()
                .map(|message| 3 + tokens(message["content"].as_str().unwrap_or_default()))
                .sum(),
        })
    }

    fn object(&self, object: &str) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": "fp_simulated",
        })
    }

    fn usage(&self) -> Value {
        let written = tokens(&self.text);
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        })
    }

    fn chunk(&self, choices: &Value, usage: Option<&Value>, obfuscated: bool) -> String {
        let mut chunk = self.object("chat.completion.chunk");
        chunk["choices"] = choices.clone();
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        if obfuscated {
            chunk["obfuscation"] = json!("aGJ8zuQ");
        }
        format!("data: {chunk}\n\n")
    }
}

/// The answer as events: the role, the words, the reason, the usage without a choice, the end.
fn streamed(
    completion: &Completion,
    options: &Value,
    fault: Option<Fault>,
    under_way: UnderWay,
) -> Response {
    let counts = options["include_usage"] == true && !matches!(fault, Some(Fault::NoUsage));
    let obfuscated = options["include_obfuscation"] != false;
    let no_usage = counts.then_some(&Value::Null);
    let event = |delta: Value, reason: Value| {
        let choice =
            json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        completion.chunk(&choice, no_usage, obfuscated)
    };
    let characters: Vec<char> = completion.text.chars().collect();
    let mut events = vec![
        ": a comment is legal anywhere\n\n".to_owned(),
        event(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            Value::Null,
        ),
    ];
    events.extend(
        characters
            .chunks(DELTA)
            .map(|delta| event(json!({ "content": String::from_iter(delta) }), Value::Null)),
    );
    let middle = events.len().div_ceil(2);
    events.push(event(json!({}), json!("stop")));
    if counts {
        events.push(completion.chunk(&json!([]), Some(&completion.usage()), false));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let drips = matches!(fault, Some(Fault::Drips));
    let breaks = match fault {
        Some(Fault::BreaksOff) => {
            events.truncate(middle);
            events.push("data: {\"id\":\"chatcmpl".to_owned());
            true
        }
        Some(Fault::BreaksBeforeUsage) => {
            events.truncate(events.len() - 2);
            true
        }
        Some(Fault::EndsEarly) => {
            events.truncate(middle);
            false
        }
        Some(Fault::Event(text)) => {
            events.truncate(middle);
            events.push(format!("data: {text}\n\n"));
            false
        }
        _ => false,
    };
    let pieces = stream::iter(pieces(events)).then(move |piece| {
        // The call ends with the last of it.
        let _ = &under_way;
        async move {
            // Lets what was written before leave on its own.
            tokio::task::yield_now().await;
            if drips {
                tokio::time::sleep(DRIP).await;
            }
            Ok::<_, std::io::Error>(piece)
        }
    });
    let response = Body::from_bytes_stream(pieces)
        .with_content_type("text/event-stream; charset=utf-8")
        .into_response();
    if breaks {
        // The server closes the line on a body that is shorter than it said. It ends one that fails as if it were whole.
        response
            .with_header(header::CONTENT_LENGTH, 1_000_000)
            .into_response()
    } else {
        response
    }
}

/// Events in pieces that end anywhere, even inside a character.
fn pieces(events: Vec<String>) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for event in events {
        let mut event = event.into_bytes();
        let inside = event.iter().position(|byte| byte & 0xC0 == 0x80);
        let rest = event.split_off(inside.unwrap_or(event.len() / 2));
        pieces.extend([event, rest]);
    }
    pieces
}
