//! When a business is open.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::business::is_time_zone;

/// Slots a day may have.
const MOST_SLOTS: usize = 6;

/// Holidays that are kept.
const MOST_HOLIDAYS: usize = 100;

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A time from `opens` up to `closes`, both `HH:MM`; `24:00` is the day's end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// From.
    pub opens: String,
    /// Up to, and without.
    pub closes: String,
}

/// When a business is open: a day that has no slot is closed, and so are holidays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessHours {
    /// Of the IANA database: in which the rest is meant.
    pub time_zone: String,
    /// The slots of each day, in order.
    pub weekly: BTreeMap<Weekday, Vec<Slot>>,
    /// Closed all day, in order.
    #[serde(default)]
    pub holidays: Vec<NaiveDate>,
}

impl BusinessHours {
    /// The hours as they are kept: slots and holidays in order.
    ///
    /// # Errors
    ///
    /// What is wrong with them, for people.
    pub fn checked(mut self) -> Result<Self, String> {
        if !is_time_zone(&self.time_zone) {
            return Err("time_zone: is no time zone of the IANA database".to_owned());
        }
        for (day, slots) in &mut self.weekly {
            slots.sort_unstable();
            check_slots(slots).map_err(|reason| format!("{day:?}: {reason}"))?;
        }
        self.weekly.retain(|_, slots| !slots.is_empty());
        self.holidays.sort_unstable();
        self.holidays.dedup();
        if self.holidays.len() > MOST_HOLIDAYS {
            return Err(format!("holidays: at most {MOST_HOLIDAYS}"));
        }
        Ok(self)
    }
}

fn check_slots(slots: &[Slot]) -> Result<(), String> {
    if slots.len() > MOST_SLOTS {
        return Err(format!("at most {MOST_SLOTS} slots"));
    }
    let mut free_from = 0;
    for Slot { opens, closes } in slots {
        let times = minutes(opens).zip(minutes(closes));
        let (opens, closes) = times.ok_or("times are HH:MM, from 00:00 to 24:00")?;
        if opens >= closes {
            return Err("a slot closes after it opens".to_owned());
        }
        if opens < free_from {
            return Err("slots do not overlap".to_owned());
        }
        free_from = closes;
    }
    Ok(())
}

/// Minutes since midnight.
fn minutes(time: &str) -> Option<u32> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(slots: &[(&str, &str)]) -> BusinessHours {
        let slot = |(opens, closes): &(&str, &str)| Slot {
            opens: (*opens).to_owned(),
            closes: (*closes).to_owned(),
        };
        BusinessHours {
            time_zone: "Europe/Paris".to_owned(),
            weekly: [(Weekday::Monday, slots.iter().map(slot).collect())].into(),
            holidays: Vec::new(),
        }
    }

    #[test]
    fn slots_are_put_in_order() {
        let kept = hours(&[("14:00", "24:00"), ("09:00", "12:30")]).checked();
        assert_eq!(kept, Ok(hours(&[("09:00", "12:30"), ("14:00", "24:00")])));
        assert!(hours(&[]).checked().unwrap().weekly.is_empty());
    }

    #[test]
    fn what_no_clock_shows_is_refused() {
        for slots in [
            &[("9:00", "12:00")][..],
            &[("09:00", "24:01")],
            &[("09:60", "12:00")],
            &[("12:00", "12:00")],
            &[("18:00", "02:00")],
            &[("09:00", "12:00"), ("11:59", "13:00")],
            &[("+9:00", "12:00")],
        ] {
            assert!(hours(slots).checked().is_err(), "{slots:?}");
        }
        let elsewhere = BusinessHours {
            time_zone: "Mars/Olympus".to_owned(),
            ..hours(&[])
        };
        assert!(elsewhere.checked().is_err());
    }
}
