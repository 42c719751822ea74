//! Puts a page's words into rows, and rows into segments: stretches of a line without a wide gap.

use super::glyphs::{PageWords, WORD_GAP, Word};

/// A gap wider than this many ems ends a segment: between columns there is at least as much. Where justified text has
/// it too, its line is put together again.
const SEGMENT_GAP: f64 = 0.75;

/// How many rows back a word may still belong to: superscripts and fractions come before their line.
const ROWS_BACK: usize = 6;

/// A stretch of one line, in one column.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) text: String,
    pub(super) u0: f64,
    pub(super) u1: f64,
    pub(super) v: f64,
    pub(super) size: f64,
    /// All of it is.
    pub(super) bold: bool,
    pub(super) pagination: bool,
    /// Segments of one row stand on one line.
    pub(super) row: usize,
    /// The width of its first word.
    pub(super) first_word: f64,
}

struct Row {
    words: Vec<usize>,
    v: f64,
    size: f64,
}

/// The segments of the words written in one direction, from the top.
pub(super) fn segments(page: &PageWords, angle: i16) -> Vec<Segment> {
    let mut order: Vec<usize> = (0..page.words.len())
        .filter(|&index| page.words[index].angle == angle)
        .collect();
    order.sort_by(|&a, &b| page.words[b].v.total_cmp(&page.words[a].v));
    let mut segments = Vec::new();
    for (number, row) in rows(page, &order).iter_mut().enumerate() {
        row.words
            .sort_by(|&a, &b| page.words[a].u0.total_cmp(&page.words[b].u0));
        split(page, row, number, &mut segments);
    }
    segments
}

fn rows(page: &PageWords, order: &[usize]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for &index in order {
        let word = &page.words[index];
        let back = rows.len().saturating_sub(ROWS_BACK);
        match rows[back..].iter_mut().rev().find(|row| row.holds(word)) {
            Some(row) => {
                row.words.push(index);
                if word.size > row.size {
                    (row.v, row.size) = (word.v, word.size);
                }
            }
            None => rows.push(Row {
                words: vec![index],
                v: word.v,
                size: word.size,
            }),
        }
    }
    rows
}

impl Row {
    /// Whether at least half of the lower of the two is beside the other.
    fn holds(&self, word: &Word) -> bool {
        let (bottom, top) = extent(self.v, self.size);
        let (word_bottom, word_top) = extent(word.v, word.size);
        let shared = top.min(word_top) - bottom.max(word_bottom);
        shared >= 0.5 * (top - bottom).min(word_top - word_bottom)
    }
}

/// From descenders to capitals, of any usual typeface.
fn extent(v: f64, size: f64) -> (f64, f64) {
    (v - 0.2 * size, v + 0.75 * size)
}

fn split(page: &PageWords, row: &Row, number: usize, segments: &mut Vec<Segment>) {
    let mut open: Option<Segment> = None;
    let mut previous: Option<&Word> = None;
    for word in row.words.iter().map(|&index| &page.words[index]) {
        let text = &page.text[word.text.clone()];
        if previous.is_some_and(|previous| is_repeat(page, previous, word)) {
            continue;
        }
        let size = previous.map_or(word.size, |previous| word.size.min(previous.size));
        if let Some(segment) = open
            .as_mut()
            .filter(|segment| word.u0 - segment.u1 < SEGMENT_GAP * size)
        {
            segment.append(word, text);
        } else {
            segments.extend(open.replace(Segment::new(word, text, number)));
        }
        previous = Some(word);
    }
    segments.extend(open);
}

/// Bold type and shadows are made by drawing twice.
fn is_repeat(page: &PageWords, previous: &Word, word: &Word) -> bool {
    (word.u0 - previous.u0).abs() < 0.25 * word.size
        && (word.v - previous.v).abs() < 0.25 * word.size
        && page.text[word.text.clone()] == page.text[previous.text.clone()]
}

impl Segment {
    fn new(word: &Word, text: &str, row: usize) -> Self {
        let Word {
            u0,
            u1,
            v,
            size,
            bold,
            pagination,
            ..
        } = *word;
        Self {
            text: text.to_owned(),
            u0,
            u1,
            v,
            size,
            bold,
            pagination,
            row,
            first_word: u1 - u0,
        }
    }

    fn append(&mut self, word: &Word, text: &str) {
        if word.spaced || word.u0 - self.u1 > WORD_GAP * self.size.min(word.size) {
            self.text.push(' ');
        }
        self.text.push_str(text);
        // The line's size and baseline are those of its longest stretch, near enough: its tallest word misleads least.
        if word.size > self.size {
            (self.size, self.v) = (word.size, word.v);
        }
        self.u1 = self.u1.max(word.u1);
        self.bold &= word.bold;
        self.pagination &= word.pagination;
    }
}
