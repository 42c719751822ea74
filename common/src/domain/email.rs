//! E-mail addresses.

use std::fmt;

use crate::error::{Error, Result};

/// The longest address a mail server takes (RFC 5321, with the erratum that counts the brackets).
const LONGEST: usize = 254;

/// The longest part in front of the `@`.
const LONGEST_LOCAL: usize = 64;

/// The longest word between two dots of a domain.
const LONGEST_LABEL: usize = 63;

/// An e-mail address in lower case: so written, one person has one.
///
/// The usual ASCII form, without quoted parts, comments or addresses in brackets: what people type, and nothing that means
/// something else to a mail server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads `text`, without spaces around it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for `field`.
    pub fn new(text: &str, field: &'static str) -> Result<Self> {
        let address = text.trim().to_ascii_lowercase();
        if address.len() > LONGEST {
            return Err(Error::invalid(
                field,
                format!("must have at most {LONGEST} characters"),
            ));
        }
        match address.split_once('@') {
            Some((local, domain)) if is_local(local) && is_domain(domain) => Ok(Self(address)),
            _ => Err(Error::invalid(field, "must be like name@example.org")),
        }
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    local.len() <= LONGEST_LOCAL && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_lower_case() {
        for (text, read) in [
            ("a@b.fr", "a@b.fr"),
            (" Ana.Maria+x@Example.ORG ", "ana.maria+x@example.org"),
            ("o'neil@sub.domain-1.example", "o'neil@sub.domain-1.example"),
        ] {
            assert_eq!(EmailAddress::new(text, "email").unwrap().as_str(), read);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b.fr",
            "a@b",
            "a@b..fr",
            "a@.fr",
            "a@-b.fr",
            "a..b@c.fr",
            ".a@c.fr",
            "a b@c.fr",
            "a@b.fr\r\nBcc: c@d.fr",
            "a@b@c.fr",
            "\"a\"@b.fr",
            "a@[127.0.0.1]",
            "é@b.fr",
            "a@é.fr",
            "a\0@b.fr",
            "<a@b.fr>",
            &format!("{}@b.fr", "a".repeat(65)),
            &format!("a@{}.fr", "b".repeat(64)),
            &format!("a@{}fr", "b.".repeat(200)),
        ] {
            assert!(EmailAddress::new(text, "email").is_err(), "{text}");
        }
    }
}
