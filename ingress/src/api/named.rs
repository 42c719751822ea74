//! Values of a closed list that the domain knows by name, as JSON strings that the OpenAPI document lists.

use std::borrow::Cow;
use std::iter;

use common::domain::{Currency, DeliveryPolicy, Industry, Language, MemberRole, Stage};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value of a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<T>(pub(crate) T);

/// What can be told by name.
pub(crate) trait Name: Copy + Send + Sync + 'static {
    /// The schema's name.
    const SCHEMA: &'static str;

    fn all() -> impl Iterator<Item = Self>;

    fn name(self) -> &'static str;

    fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|one| one.name() == name)
    }
}

macro_rules! name {
    ($type:ident, $schema:literal, $all:expr, $name:ident) => {
        impl Name for $type {
            const SCHEMA: &'static str = $schema;

            fn all() -> impl Iterator<Item = Self> {
                $all
            }

            fn name(self) -> &'static str {
                $type::$name(self)
            }
        }
    };
}

name!(Stage, "Stage", Stage::ALL.into_iter(), name);
name!(Industry, "Industry", Industry::ALL.iter().copied(), name);
name!(Currency, "Currency", Currency::all(), code);
name!(Language, "Language", Language::ALL.into_iter(), code);
name!(MemberRole, "MemberRole", MemberRole::ALL.into_iter(), name);
name!(
    DeliveryPolicy,
    "DeliveryPolicy",
    DeliveryPolicy::ALL.iter().copied(),
    name
);

impl<T: Name> Named<T> {
    /// What a row says; for rows of another version the error is ours.
    pub(crate) fn stored(name: &str) -> Result<Self, common::Error> {
        T::of_name(name)
            .map(Self)
            .ok_or(common::Error::Corrupt(T::SCHEMA))
    }
}

impl Named<Language> {
    /// The language that was named; else French.
    pub(crate) fn or_default(named: Option<Self>) -> Language {
        named.map(|named| named.0).unwrap_or_default()
    }
}

impl<T: Name> Type for Named<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(T::SCHEMA.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(T::SCHEMA.to_owned(), |_| MetaSchema {
            enum_items: T::all().map(|one| one.name().into()).collect(),
            ..MetaSchema::new("string")
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(iter::once(self))
    }
}

impl<T: Name> ParseFromJSON for Named<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let found = value.as_str().and_then(T::of_name);
        found
            .map(Self)
            .ok_or_else(|| ParseError::expected_type(value))
    }
}

impl<T: Name> ToJSON for Named<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.name().into())
    }
}

impl<'de, T: Name> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        T::of_name(&name)
            .map(Self)
            .ok_or_else(|| Error::custom(format!("is no {} that is known", T::SCHEMA)))
    }
}
