//! The OpenAPI document as it is told: who may call each operation, and how to sign in.
//!
//! poem-openapi writes down the name of each operation's security scheme, which for us is what the operation asks (see
//! [`crate::auth`]): `public`, `signed-in`, or a permission. Here those names become `x-access`, a sentence in the
//! description, and the two ways to be somebody. What poem-openapi leaves out is added: which members may be null, and the
//! bounds of a page.

use std::fmt;

use common::domain::Permission;
use common::domain::roles::{Holder, Reach};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::api::HIGHEST_LIMIT;
use crate::auth::{PUBLIC, SIGNED_IN};

/// Signing in on the page itself, with e-mail and password.
const PASSWORD: &str = "Password";

/// A token from elsewhere.
const BEARER: &str = "Bearer";

/// Where [`PASSWORD`] signs in.
const TOKEN_URL: &str = "/api/v1/auth/token";

/// The document, from what poem-openapi wrote.
///
/// # Panics
///
/// Where that is no OpenAPI document, which a test would have found.
pub(crate) fn document(spec: &str) -> String {
    let mut document = read(spec);
    let paths = document["paths"].as_object_mut().expect("there are paths");
    for operation in paths.values_mut().flat_map(operations) {
        declare_access(operation);
        declare_page_limit(operation);
    }
    declare_nulls(&mut document);
    declare_schemes(&mut document);
    serde_json::to_string_pretty(&document).expect("what was read can be written")
}

/// What poem-openapi wrote. It writes a path that two groups of operations share once for each: they are one path.
///
/// # Panics
///
/// As [`document`].
pub(crate) fn read(spec: &str) -> Value {
    let written: Written = serde_json::from_str(spec).expect("poem-openapi writes JSON");
    let mut document = written.rest;
    document.insert("paths".to_owned(), written.paths.0.into());
    document.into()
}

#[derive(serde::Deserialize)]
struct Written {
    paths: Paths,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The operations by path, of which one may be written several times.
struct Paths(Map<String, Value>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Merging;

        impl<'de> Visitor<'de> for Merging {
            type Value = Paths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("paths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut written: A) -> Result<Paths, A::Error> {
                let mut paths = Map::new();
                while let Some((path, operations)) = written.next_entry::<String, Map<_, _>>()? {
                    let known = paths.entry(path).or_insert_with(|| json!({}));
                    if let Some(known) = known.as_object_mut() {
                        known.extend(operations);
                    }
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_map(Merging)
    }
}

/// A page of poem-openapi's with the document as it is told, after `change`.
pub(crate) fn page(html: &str, spec: &str, change: impl Fn(&str) -> String) -> String {
    change(&html.replacen(spec, &document(spec), 1))
}

fn operations(path: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let members = path.as_object_mut().into_iter().flatten();
    members
        .filter_map(|(_, member)| member.as_object_mut())
        .filter(|member| member.contains_key("responses"))
}

fn declare_access(operation: &mut Map<String, Value>) {
    let Some(asked) = asked(operation) else {
        return;
    };
    let sentence = match asked.as_str() {
        PUBLIC => "For everybody.".to_owned(),
        SIGNED_IN => "For every user; not for API keys.".to_owned(),
        name => match Permission::of_name(name) {
            Some(permission) => sentence(permission),
            // A webhook's own secret stays as it is.
            None => return,
        },
    };
    let ways = if asked == PUBLIC {
        json!([])
    } else {
        json!([{ PASSWORD: [] }, { BEARER: [] }])
    };
    operation.insert("security".to_owned(), ways);
    operation.insert("x-access".to_owned(), asked.into());
    let description = operation
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let description = [description, &sentence].join("\n\n");
    operation.insert("description".to_owned(), description.trim().into());
}

/// The name an operation's security scheme has in what poem-openapi wrote.
fn asked(operation: &Map<String, Value>) -> Option<String> {
    let first = operation.get("security")?.as_array()?.first()?;
    first.as_object()?.keys().next().cloned()
}

fn sentence(permission: Permission) -> String {
    let holder = match permission.holder() {
        Holder::Member(role) => format!("{}s of the business", role.name()),
        Holder::Staff => "support and admins of the platform".to_owned(),
        Holder::PlatformAdmin => "admins of the platform".to_owned(),
    };
    let others = match permission.reach() {
        Reach::Delegable | Reach::ApiKeys => ", and API keys with this scope",
        Reach::InPerson => ", in person",
    };
    format!("Needs `{}`: {holder}{others}.", permission.name())
}

/// `limit` of a list, whichever.
fn declare_page_limit(operation: &mut Map<String, Value>) {
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["name"] == "limit" {
            parameter["schema"]["minimum"] = 1.into();
            parameter["schema"]["maximum"] = HIGHEST_LIMIT.into();
        }
    }
}

/// Members that need not be there may be null as well, and in answers are; unless something else stands for nothing.
fn declare_nulls(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(Map::values_mut) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        for (name, property) in properties {
            if required.iter().any(|required| required == name.as_str())
                || property.get("default").is_some()
            {
                continue;
            }
            // Beside a reference nothing else counts.
            if let Some(reference) = property.as_object_mut().and_then(|it| it.remove("$ref")) {
                property["allOf"] = json!([{ "$ref": reference }]);
            }
            property["nullable"] = true.into();
        }
    }
}

fn declare_schemes(document: &mut Value) {
    let schemes = &mut document["components"]["securitySchemes"];
    schemes[PASSWORD] = json!({
        "type": "oauth2",
        "description": "E-mail and password.",
        "flows": { "password": { "tokenUrl": TOKEN_URL, "refreshUrl": TOKEN_URL, "scopes": {} } },
    });
    schemes[BEARER] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An access token, an API key (`rl_live_…`), or an ID token of an issuer that is accepted here, such as \
                        Firebase or Google.",
    });
}

/// Swagger UI, which forgets who signed in at each reload by default.
pub(crate) fn with_kept_login(html: &str) -> String {
    html.replacen(
        "deepLinking: true,\n    })",
        "deepLinking: true,\n        persistAuthorization: true,\n    })",
        1,
    )
}

/// Redoc's page without the fonts it fetches from elsewhere.
pub(crate) fn without_foreign_fonts(html: &str) -> String {
    html.lines()
        .filter(|line| !line.contains("<link href=\"https://fonts.googleapis.com"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_written_twice_keeps_all_its_operations() {
        let spec =
            r#"{"openapi": "3.0.0", "paths": {"/a": {"get": {}}, "/b": {}, "/a": {"post": {}}}}"#;
        let paths = json!({ "/a": { "get": {}, "post": {} }, "/b": {} });
        assert_eq!(read(spec), json!({ "openapi": "3.0.0", "paths": paths }));
    }

    /// An operation that declares nothing would be open to everybody, by an oversight nobody sees.
    #[test]
    fn every_operation_says_who_may_call_it() {
        let mut told: Value =
            serde_json::from_str(&document(&crate::api::service().spec())).unwrap();
        let paths = told["paths"].as_object_mut().unwrap();
        for (path, members) in paths {
            for operation in operations(members) {
                let access = operation.get("x-access").and_then(Value::as_str);
                let webhook = operation["security"] == json!([{ "WebhookSecret": [] }]);
                assert!(access.is_some() || webhook, "{path}: {operation:?}");
            }
        }
    }
}
