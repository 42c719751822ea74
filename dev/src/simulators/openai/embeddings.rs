//! Embeddings, by hashing words.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{Body, IntoResponse, Request, Response, handler};
use serde_json::{Value, json};

use super::{Shared, admit, refuse, tokens};

/// What a request may hold: inputs, tokens in all, tokens each.
const LIMITS: (usize, usize, usize) = (2_048, 300_000, 8_192);

#[handler]
pub(super) async fn embeddings(
    request: &Request,
    body: Body,
    shared: Data<&Arc<Shared>>,
) -> Response {
    let (body, _, _under_way) = match admit("embeddings", request, body, &shared).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    match embedded(&body) {
        Ok(answer) => Json(answer).into_response(),
        Err(reason) => refuse(StatusCode::BAD_REQUEST, reason, None),
    }
}

fn embedded(body: &Value) -> Result<Value, &'static str> {
    let model = body["model"]
        .as_str()
        .ok_or("you must provide a model parameter")?;
    let inputs: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if inputs.is_empty() || inputs.len() > LIMITS.0 || inputs.contains(&"") {
        return Err("'$.input' is invalid. Please check the API reference.");
    }
    let counts: Vec<usize> = inputs.iter().map(|text| tokens(text)).collect();
    let total: usize = counts.iter().sum();
    if total > LIMITS.1 || counts.iter().any(|count| *count > LIMITS.2) {
        return Err("Invalid 'input': maximum context length is 8192 tokens.");
    }
    let native = if model.contains("large") {
        3_072
    } else {
        1_536
    };
    let dimensions = match body.get("dimensions").filter(|value| !value.is_null()) {
        None => native,
        Some(_) if model.contains("ada") => {
            return Err("This model does not support specifying dimensions.");
        }
        Some(asked) => asked
            .as_u64()
            .and_then(|asked| usize::try_from(asked).ok())
            .filter(|asked| (1..=native).contains(asked))
            .ok_or("Invalid value for 'dimensions'.")?,
    };
    let in_base64 = body["encoding_format"] == "base64";
    let item = |(index, text): (usize, &&str)| {
        let vector = vector(text, dimensions);
        let embedding = if in_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    // Last first: the order is the index's, not the list's.
    let data: Vec<Value> = inputs.iter().enumerate().map(item).rev().collect();
    let usage = json!({ "prompt_tokens": total, "total_tokens": total });
    Ok(json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

/// A unit vector: texts that share words are near each other.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let mut hasher = DefaultHasher::new();
        word.to_lowercase().hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % dimensions as u64).unwrap_or(0);
        vector[place] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
    } else {
        for x in &mut vector {
            *x /= length;
        }
    }
    vector
}
