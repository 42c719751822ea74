//! Which methods a path takes: a 405 has to say so (RFC 9110, section 15.5.6).

use std::sync::LazyLock;

use poem::http::HeaderValue;
use serde_json::Value;

use crate::{api, openapi};

/// Of what can only be read.
pub(crate) const READING: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Where the API begins.
const PREFIX: &str = "/api/v1";

/// A path of the API, with its parameters in braces, and what it takes.
type Taken = (String, HeaderValue);

/// From the API's own description, made when it is first asked for.
static PATHS: LazyLock<Vec<Taken>> = LazyLock::new(|| {
    let spec = openapi::read(&api::service().spec());
    let paths = spec["paths"].as_object().into_iter().flatten();
    let mut paths: Vec<Taken> = paths
        .filter_map(|(path, operations)| Some((path.clone(), methods(operations)?)))
        .collect();
    // `/users/me` comes before `/users/{id}`, as it does where requests are routed.
    paths.sort_by_key(|(path, _)| path.matches('{').count());
    paths
});

/// What a path of the API takes; `None`: there is nothing.
pub(crate) fn methods_of(path: &str) -> Option<HeaderValue> {
    let path = path.strip_prefix(PREFIX)?;
    let (_, methods) = PATHS.iter().find(|(template, _)| fits(template, path))?;
    Some(methods.clone())
}

fn methods(operations: &Value) -> Option<HeaderValue> {
    let mut methods: Vec<String> = operations
        .as_object()?
        .keys()
        .map(|method| method.to_uppercase())
        .collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.join(", ").parse().ok()
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given || part.starts_with('{') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_says_what_it_takes() {
        let told =
            |path: &str| methods_of(path).map(|methods| methods.to_str().unwrap().to_owned());
        assert_eq!(told("/api/v1/query").as_deref(), Some("POST"));
        assert_eq!(told("/api/v1/documents").as_deref(), Some("GET, HEAD"));
        let one = told("/api/v1/documents/01890000-0000-7000-8000-000000000000");
        assert_eq!(one.as_deref(), Some("DELETE, GET, HEAD"));
        assert_eq!(told("/api/v1/documents/a/b/c"), None);
        assert_eq!(told("/elsewhere"), None);
    }
}
