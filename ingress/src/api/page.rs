//! Lists by cursor.

use std::convert::Infallible;

use poem_openapi::Object;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use uuid::Uuid;

use crate::error::ApiError;

const DEFAULT_LIMIT: u32 = 50;
/// The most a page has.
pub(crate) const HIGHEST_LIMIT: u32 = 100;

/// A page of a list.
#[derive(Debug, Object)]
pub(crate) struct Page<T: Type + ParseFromJSON + ToJSON + Send + Sync> {
    /// What is on it.
    data: Vec<T>,
    /// Send it back as `cursor` for the next page; null: this is the last.
    next_cursor: Option<String>,
}

/// Where a page ends and the next begins: opaque to callers.
pub(crate) trait Position: Sized {
    fn encode(&self) -> String;
    fn decode(cursor: &str) -> Option<Self>;
}

impl Position for Uuid {
    fn encode(&self) -> String {
        self.simple().to_string()
    }

    fn decode(cursor: &str) -> Option<Self> {
        (cursor.len() == 32).then(|| Uuid::try_parse(cursor).ok())?
    }
}

impl Position for i64 {
    fn encode(&self) -> String {
        format!("{self:016x}")
    }

    fn decode(cursor: &str) -> Option<Self> {
        let ours = cursor.len() == 16 && cursor.bytes().all(|byte| byte.is_ascii_hexdigit());
        ours.then(|| Self::from_str_radix(cursor, 16).ok())?
    }
}

/// What a caller asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageRequest<P> {
    limit: u32,
    /// Behind this.
    pub(crate) after: Option<P>,
}

impl<P: Position> PageRequest<P> {
    /// Checks `limit` and `cursor` as they came.
    pub(crate) fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=HIGHEST_LIMIT).contains(&limit) {
            return Err(ApiError::invalid(
                "limit",
                format!("must be 1 to {HIGHEST_LIMIT}"),
            ));
        }
        let after = match cursor {
            None | Some("") => None,
            Some(cursor) => Some(
                P::decode(cursor)
                    .ok_or_else(|| ApiError::invalid("cursor", "is not one of this list"))?,
            ),
        };
        Ok(Self { limit, after })
    }

    /// How many rows to read: one more than are shown, to know whether there is a next page.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page of `rows`; `position` tells where one stands.
    pub(crate) fn page<R, T>(self, rows: Vec<R>, position: impl Fn(&R) -> P) -> Page<T>
    where
        T: Type + ParseFromJSON + ToJSON + Send + Sync + From<R>,
    {
        let make = |row| Ok::<_, Infallible>(T::from(row));
        let Ok(page) = self.try_page(rows, position, make);
        page
    }

    /// The same where a row may not read as what is shown.
    pub(crate) fn try_page<R, T, E>(
        self,
        mut rows: Vec<R>,
        position: impl Fn(&R) -> P,
        make: impl FnMut(R) -> Result<T, E>,
    ) -> Result<Page<T>, E>
    where
        T: Type + ParseFromJSON + ToJSON + Send + Sync,
    {
        let limit = self.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|row| position(row).encode());
        Ok(Page {
            data: rows.into_iter().map(make).collect::<Result<_, E>>()?,
            next_cursor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_1_to_100_and_50_by_default() {
        let limit = |limit| {
            PageRequest::<Uuid>::new(limit, None)
                .map(|request| request.limit)
                .ok()
        };
        assert_eq!(limit(None), Some(50));
        assert_eq!(limit(Some(100)), Some(100));
        assert_eq!(limit(Some(0)), None);
        assert_eq!(limit(Some(101)), None);
    }

    #[test]
    fn a_cursor_is_one_of_ours_or_refused() {
        let id = Uuid::now_v7();
        let after = |cursor: &str| {
            PageRequest::<Uuid>::new(None, Some(cursor)).map(|request| request.after)
        };
        assert_eq!(after(&id.encode()).unwrap(), Some(id));
        for wrong in [
            "x",
            "0",
            &id.to_string(),
            "'; DROP TABLE documents; --",
            &7_i64.encode(),
        ] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            PageRequest::<i64>::new(None, Some(&7_i64.encode()))
                .unwrap()
                .after,
            Some(7)
        );
        assert!(PageRequest::<i64>::new(None, Some("+000000000000007")).is_err());
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = |rows: Vec<i64>| {
            PageRequest::<i64>::new(Some(2), None)
                .unwrap()
                .page::<i64, i64>(rows, |row| *row)
        };
        assert_eq!(page(vec![3, 2]).next_cursor, None);
        let more = page(vec![3, 2, 1]);
        assert_eq!(
            (more.data, more.next_cursor),
            (vec![3, 2], Some(2_i64.encode()))
        );
    }
}
