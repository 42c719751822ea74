//! Phone numbers.

use std::fmt;

use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, Type, country};

use crate::error::{Error, Result};

/// More is no number, whatever stands between its digits.
const LONGEST: usize = 40;

/// A phone number as E.164 writes it: `+33612345678`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PhoneNumber {
    number: String,
    country: Option<country::Id>,
}

impl PhoneNumber {
    /// Reads `text`: with its country's code behind a `+`, or as it is dialled in `country`, an ISO 3166 code.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is no number, or one that is billed to who is called.
    pub fn new(text: &str, country: Option<&str>) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid("phone", reason);
        let country = country.map(read_country).transpose()?;
        let digits: String = text
            .chars()
            .filter(|letter| !" -.()/\u{a0}\u{202f}".contains(*letter))
            .collect();
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > LONGEST || !is_number(digits.strip_prefix('+').unwrap_or(&digits)) {
            return Err(invalid("must be a phone number, such as +33612345678"));
        }
        if !digits.starts_with('+') && country.is_none() {
            return Err(invalid(
                "must begin with + and the country's code, unless `country` is told",
            ));
        }
        let read = phonenumber::parse(country, &digits)
            .ok()
            .filter(phonenumber::is_valid)
            .ok_or_else(|| invalid("is not a number anybody has"))?;
        if is_special(read.number_type(&DATABASE)) {
            return Err(invalid("is not a person's number"));
        }
        let number = read.format().mode(Mode::E164).to_string();
        Ok(Self {
            country: read.country().id(),
            number,
        })
    }

    /// In E.164.
    pub fn as_str(&self) -> &str {
        &self.number
    }

    /// Whether it is of one of these countries, by ISO 3166 code; of none there is a list of all.
    pub fn is_of(&self, countries: &[String]) -> bool {
        let is_its = |code: &String| {
            self.country
                .is_some_and(|country| country.as_ref().eq_ignore_ascii_case(code))
        };
        countries.is_empty() || countries.iter().any(is_its)
    }

    /// What may be shown where others see it.
    pub fn masked(&self) -> String {
        let last = self.number.len().saturating_sub(4);
        format!("… {}", &self.number[last..])
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.number)
    }
}

fn read_country(code: &str) -> Result<country::Id> {
    let unknown = || Error::invalid("country", "must be an ISO 3166 code, such as FR");
    code.to_ascii_uppercase().parse().map_err(|_| unknown())
}

/// Numbers that cost who calls them, or reach no person: attackers send codes to the former.
fn is_special(kind: Type) -> bool {
    matches!(
        kind,
        Type::TollFree
            | Type::PremiumRate
            | Type::SharedCost
            | Type::Pager
            | Type::Uan
            | Type::Emergency
            | Type::Voicemail
            | Type::ShortCode
            | Type::StandardRate
            | Type::Carrier
            | Type::NoInternational
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_e_164_however_it_is_written() {
        for (text, country, read) in [
            ("+33612345678", None, "+33612345678"),
            ("+33 6 12 34 56 78", None, "+33612345678"),
            ("+33 (0)6-12.34/56.78", None, "+33612345678"),
            ("06 12 34 56 78", Some("FR"), "+33612345678"),
            (
                "06\u{202f}12\u{202f}34\u{202f}56\u{202f}78",
                Some("fr"),
                "+33612345678",
            ),
            ("+33612345678", Some("US"), "+33612345678"),
            ("(415) 555-2671", Some("US"), "+14155552671"),
            ("+39 06 1234 5678", None, "+390612345678"),
        ] {
            assert_eq!(PhoneNumber::new(text, country).unwrap().as_str(), read);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, country) in [
            ("", None),
            ("+", None),
            ("06 12 34 56 78", None),
            ("0033612345678", None),
            ("+33", None),
            ("+336123", None),
            ("+3361234567890123", None),
            ("+99912345678", None),
            ("++33612345678", None),
            ("+33612345678;ext=1", None),
            ("+33612345678x", None),
            ("tel:+33612345678", None),
            ("+३३612345678", None),
            ("+33612345678\0", None),
            ("06 12 34 56 78", Some("XX")),
            ("06 12 34 56 78", Some("")),
            // Billed to who calls.
            ("+33 899 12 34 56", None),
            ("+33 800 12 34 56", None),
            (&"1".repeat(5_000), None),
        ] {
            assert!(PhoneNumber::new(text, country).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_knows_its_country() {
        let number = PhoneNumber::new("+33612345678", None).unwrap();
        assert!(number.is_of(&[]) && number.is_of(&["BE".to_owned(), "fr".to_owned()]));
        assert!(!number.is_of(&["BE".to_owned()]));
        assert_eq!(number.masked(), "… 5678");
    }
}
