//! Finds what repeats from page to page: running headers, footers, page numbers.

use std::collections::HashMap;

use super::segments::Segment;

/// How many rows from the top and from the bottom may be furniture.
const ROWS: usize = 3;

/// The part of the page's height, at either end, where furniture stands.
const MARGIN: f64 = 0.12;

/// Furniture keeps this many usual distances from the text, and a body's first line does not.
const DISTANCE: f64 = 1.3;

/// Type larger than the page's by this factor is no header's.
const LARGE: f64 = 1.3;

/// One page's segments, from the top.
pub(super) struct Page {
    pub(super) segments: Vec<Segment>,
    pub(super) height: f64,
}

impl Page {
    pub(super) fn empty() -> Self {
        Self {
            segments: Vec::new(),
            height: 0.0,
        }
    }
}

/// A row as furniture is recognised: the end of the page it stands at, and what it says without its numbers.
type Key = (End, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Top,
    Bottom,
}

struct Row {
    number: usize,
    v: f64,
    size: f64,
    text: String,
}

/// Removes the furniture; how many lines it was.
pub(super) fn remove(pages: &mut [Page]) -> usize {
    let mut seen: HashMap<Key, usize> = HashMap::new();
    for page in &*pages {
        let mut keys: Vec<Key> = Vec::new();
        for end in [End::Top, End::Bottom] {
            keys.extend(
                outermost(page, end)
                    .into_iter()
                    .filter_map(|row| page.key(end, &row)),
            );
        }
        keys.dedup();
        for key in keys {
            *seen.entry(key).or_default() += 1;
        }
    }
    // Twice is chance in a long document, and all there can be in a short one.
    let enough = if pages.len() > 3 { 3 } else { 2 };
    seen.retain(|_, times| *times >= enough);
    pages.iter_mut().map(|page| page.remove(&seen)).sum()
}

impl Page {
    fn remove(&mut self, known: &HashMap<Key, usize>) -> usize {
        let declared = self
            .segments
            .iter()
            .filter(|segment| segment.pagination)
            .map(|segment| segment.row);
        let mut numbers: Vec<usize> = declared.collect();
        for end in [End::Top, End::Bottom] {
            numbers.extend(self.furniture(end, known));
        }
        numbers.sort_unstable();
        numbers.dedup();
        self.segments
            .retain(|segment| numbers.binary_search(&segment.row).is_err());
        numbers.len()
    }

    /// The rows from one end on that repeat, as far as they keep their distance from the rest.
    fn furniture(&self, end: End, known: &HashMap<Key, usize>) -> Vec<usize> {
        let rows = outermost(self, end);
        let repeats = |row: &Row| {
            self.key(end, row)
                .is_some_and(|key| known.contains_key(&key))
        };
        let count = rows
            .iter()
            .take(ROWS)
            .take_while(|row| repeats(row))
            .count();
        let is_apart = match (
            count.checked_sub(1).map(|last| &rows[last]),
            rows.get(count),
        ) {
            (Some(last), Some(next)) => (last.v - next.v).abs() > DISTANCE * self.pitch(),
            (last, _) => last.is_some(),
        };
        if is_apart {
            rows[..count].iter().map(|row| row.number).collect()
        } else {
            Vec::new()
        }
    }

    fn key(&self, end: End, row: &Row) -> Option<Key> {
        let in_margin = match end {
            End::Top => row.v > (1.0 - MARGIN) * self.height,
            End::Bottom => row.v < MARGIN * self.height,
        };
        // A long row is prose, even if a form letter repeats it; a large one is the title that the header repeats.
        let modest = row.text.len() < 200 && row.size < LARGE * self.size();
        (in_margin && modest).then(|| (end, pattern(&row.text)))
    }

    /// The usual distance of two rows.
    fn pitch(&self) -> f64 {
        let rows = rows(&self.segments);
        median(rows.windows(2).map(|pair| pair[0].v - pair[1].v).collect())
    }

    /// The usual size of type.
    fn size(&self) -> f64 {
        median(self.segments.iter().map(|segment| segment.size).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The rows nearest to one end of the page, the outermost first, and one more.
fn outermost(page: &Page, end: End) -> Vec<Row> {
    let mut rows = rows(&page.segments);
    if end == End::Bottom {
        rows.reverse();
    }
    rows.truncate(ROWS + 1);
    rows
}

fn rows(segments: &[Segment]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for segment in segments {
        match rows.last_mut().filter(|row| row.number == segment.row) {
            Some(row) => {
                row.text.push(' ');
                row.text.push_str(&segment.text);
                row.size = row.size.max(segment.size);
            }
            None => rows.push(Row {
                number: segment.row,
                v: segment.v,
                size: segment.size,
                text: segment.text.clone(),
            }),
        }
    }
    rows
}

/// The text with every number as `#`, so that page 7's footer is page 8's.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    let is_roman = text.len() <= 5 && text.chars().all(|c| "ivxlIVXL".contains(c));
    if is_roman {
        return "#".to_owned();
    }
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        match c {
            c if c.is_ascii_digit() && pattern.ends_with('#') => {}
            c if c.is_ascii_digit() => pattern.push('#'),
            c => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_footers_differ() {
        assert_eq!(pattern("Page 9 sur 12"), pattern("Page 10 sur 12"));
        assert_eq!(pattern("xii"), pattern("7"));
        assert_ne!(pattern("Chapter 1 Birds"), pattern("Chapter 2 Bees"));
    }
}
