//! Text for people: aligned columns, times, durations.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Columns under their headings, as wide as they must be; the last is not padded.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| heading.to_uppercase());
        Self {
            rows: vec![headings.collect()],
        }
    }

    /// Another row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines; without rows, `nothing`.
    pub(super) fn render(&self, nothing: &str) -> String {
        if self.rows.len() == 1 {
            return nothing.to_owned();
        }
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| width(row, column)).max())
            .map(Option::unwrap_or_default)
            .collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn width(row: &[String], column: usize) -> usize {
    row.get(column).map_or(0, |cell| cell.chars().count())
}

/// `2026-11-21T10:00:00Z`; nothing: `-`.
pub(super) fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(dash, |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// What is missing.
pub(super) fn dash() -> String {
    "-".to_owned()
}

/// `4 s`, `3 m 12 s`, `2 h 5 m`, `4 d 3 h`
pub(super) fn duration(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours} h")
    } else if hours > 0 {
        format!("{hours} h {minutes} m")
    } else if minutes > 0 {
        format!("{minutes} m {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_an_empty_table_says_so() {
        let mut table = Table::new(&["queue", "jobs"]);
        assert_eq!(table.render("none"), "none");
        table.row(["délivré".to_owned(), "1".to_owned()]);
        table.row(["chat".to_owned(), "12".to_owned()]);
        assert_eq!(
            table.render("none"),
            "QUEUE    JOBS\ndélivré  1\nchat     12"
        );
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (192, "3 m 12 s"),
            (7_500, "2 h 5 m"),
            (356_400, "4 d 3 h"),
        ] {
            assert_eq!(duration(TimeDelta::seconds(seconds)), text);
        }
    }
}
