//! The API by its own description, so that a new operation cannot be forgotten.

use common::domain::Permission;
use dev::testing::Platform;
use reqwest::Method;
use serde_json::{Value, json};

/// An operation, as the API describes it.
pub(crate) struct Operation {
    /// Below `/api/v1`, its parameters in braces.
    pub(crate) path: String,
    pub(crate) method: Method,
    pub(crate) description: Value,
}

impl Operation {
    /// What it asks of its caller; `None`: a webhook's own secret.
    pub(crate) fn access(&self) -> Option<&str> {
        self.description["x-access"].as_str()
    }

    pub(crate) fn is_public(&self) -> bool {
        self.access() == Some("public")
    }

    /// Whether an API key with every scope may call it.
    pub(crate) fn takes_api_key(&self) -> bool {
        let permission = self.access().and_then(Permission::of_name);
        permission.is_some_and(Permission::suits_api_keys)
    }

    /// Whether it reads a body of JSON.
    pub(crate) fn takes_json(&self) -> bool {
        let kinds = self.description["requestBody"]["content"].as_object();
        kinds.is_some_and(|kinds| {
            kinds
                .keys()
                .any(|kind| kind.starts_with("application/json"))
        })
    }

    /// Something it takes; nothing where it takes no body.
    pub(crate) fn body(&self, case: &str) -> Option<Value> {
        if self.description["requestBody"].is_null() {
            return None;
        }
        let body = match self.description["operationId"].as_str().unwrap() {
            "update_business" => json!({ "name": "Mine" }),
            "move_business_to_stage" => json!({ "stage": "idea" }),
            "invite_member" => json!({ "email": "a@example.org", "role": "member" }),
            "update_member" => json!({ "role": "member" }),
            "update_settings" => json!({ "language": "en" }),
            "rotate_api_key" => json!({}),
            _ => panic!("{case}: there is no body to try it with: add it here"),
        };
        Some(body)
    }

    /// Its parameters in the path or the query.
    pub(crate) fn parameters(&self, place: &str) -> Vec<&str> {
        let parameters = self.description["parameters"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        parameters
            .iter()
            .filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect()
    }

    /// Its path with each id as `id` says from the resource it belongs to.
    pub(crate) fn path_with(&self, id: impl Fn(&str) -> String) -> String {
        let mut resource = "";
        let parts: Vec<String> = self
            .path
            .split('/')
            .map(|part| {
                let filled = if part.starts_with('{') {
                    id(resource)
                } else {
                    part.to_owned()
                };
                resource = part;
                filled
            })
            .collect();
        format!("/api/v1{}", parts.join("/").trim_end_matches('/'))
    }
}

/// Every operation.
pub(crate) async fn operations(platform: &Platform) -> Vec<Operation> {
    let document = platform.get_json("/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .iter()
            .map(move |(method, description)| Operation {
                path: path.clone(),
                method: method.to_uppercase().parse().unwrap(),
                description: description.clone(),
            })
    });
    operations.collect()
}
