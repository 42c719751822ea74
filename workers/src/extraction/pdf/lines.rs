//! Joins the segments of a part of a page into its lines, and measures the document by them.

use std::collections::HashMap;

use super::segments::Segment;

/// A gap wider than this many ems parts the cells of a table.
const CELL_GAP: f64 = 1.2;

/// A line of one column.
pub(super) type Line = Segment;

/// What most of a document looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measures {
    /// The size of most of its text.
    pub(super) body_size: f64,
    /// Most of its text is bold.
    pub(super) body_bold: bool,
    /// The usual distance of two baselines, in ems.
    pub(super) pitch: f64,
}

/// The lines of a part, from the top; the cells of a table's row are parted by tabs.
pub(super) fn lines(part: Vec<Segment>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for segment in part {
        match lines
            .last_mut()
            .filter(|line| line.row == segment.row && line.u0 <= segment.u0)
        {
            Some(line) => line.join(&segment),
            None => lines.push(segment),
        }
    }
    lines
}

impl Line {
    fn join(&mut self, cell: &Segment) {
        let is_cell = cell.u0 - self.u1 > CELL_GAP * self.size && !is_marker(&self.text);
        self.text.push(if is_cell { '\t' } else { ' ' });
        self.text.push_str(&cell.text);
        self.u1 = cell.u1;
        self.bold &= cell.bold;
        if cell.size > self.size {
            (self.size, self.v) = (cell.size, cell.v);
        }
    }

    /// Two sizes are the same type set with rounding errors.
    pub(super) fn same_size(&self, other: &Self) -> bool {
        (self.size - other.size).abs() < 0.08 * self.size.max(other.size)
    }
}

impl Measures {
    pub(super) fn of<'l>(parts: impl Iterator<Item = &'l Vec<Line>>) -> Self {
        let (mut sizes, mut pitches, mut bold, mut all) = (HashMap::new(), HashMap::new(), 0, 0);
        for lines in parts {
            for line in lines {
                *sizes.entry(key(line.size, 2.0)).or_insert(0_usize) += line.text.len();
                all += line.text.len();
                bold += if line.bold { line.text.len() } else { 0 };
            }
            for pair in lines.windows(2).filter(|pair| pair[0].same_size(&pair[1])) {
                let pitch = (pair[0].v - pair[1].v) / pair[0].size;
                if (0.8..3.5).contains(&pitch) {
                    *pitches.entry(key(pitch, 20.0)).or_insert(0_usize) += pair[1].text.len();
                }
            }
        }
        Self {
            body_size: most(&sizes).map_or(10.0, |size| size / 2.0),
            body_bold: 2 * bold > all,
            pitch: most(&pitches).map_or(1.2, |pitch| pitch / 20.0),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes and distances on a page"
)]
fn key(value: f64, parts: f64) -> i32 {
    (value * parts).round() as i32
}

/// The heaviest key; of two as heavy, the smaller, so that equal documents read equally.
fn most(weights: &HashMap<i32, usize>) -> Option<f64> {
    weights
        .iter()
        .max_by_key(|&(&key, &weight)| (weight, -key))
        .map(|(&key, _)| f64::from(key))
}

/// Whether a text is a list item's bullet or number and nothing else.
pub(super) fn is_marker(text: &str) -> bool {
    let text = text.trim();
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => is_bullet(c),
        (Some(_), Some(_)) => {
            let inner = text
                .strip_prefix('(')
                .unwrap_or(text)
                .strip_suffix(['.', ')', '°']);
            inner.is_some_and(|inner| {
                (1..=4).contains(&inner.len())
                    && (inner
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
                        || (inner.len() == 1
                            && inner.bytes().all(|byte| byte.is_ascii_alphabetic())))
            })
        }
        (None, _) => false,
    }
}

/// Whether a line begins a list item, or any line of its own.
pub(super) fn is_item(text: &str) -> bool {
    text.split_once([' ', '\t'])
        .is_some_and(|(marker, _)| is_marker(marker))
}

fn is_bullet(c: char) -> bool {
    matches!(
        c,
        '•' | '◦'
            | '▪'
            | '▫'
            | '‣'
            | '●'
            | '○'
            | '■'
            | '□'
            | '∙'
            | '·'
            | '–'
            | '—'
            | '-'
            | '*'
            | '➢'
            | '✓'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_items_are_told_from_sentences() {
        assert!(
            ["• One", "1. One", "(a) One", "2.1. One", "— Oui", "3) One"]
                .iter()
                .all(|text| is_item(text))
        );
        assert!(
            [
                "One two",
                "1984 was",
                "A man",
                "e.g. this",
                "•",
                "-5 degrees"
            ]
            .iter()
            .all(|text| !is_item(text))
        );
    }
}
