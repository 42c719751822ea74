//! Joins lines into paragraphs: where the white, an indent, a change of type or a line left short says so.

use super::hyphens::LINE_HYPHEN;
use super::lines::{Line, Measures, is_item};
use crate::extraction::clean::clean;

/// More white above a line than this many usual distances begins a paragraph.
const PARAGRAPH_PITCH: f64 = 1.25;

/// Type larger than the body by this factor is a heading's.
const HEADING_SIZE: f64 = 1.12;

/// How tagged files name the hyphen that only the end of the line made.
const SOFT_HYPHEN: char = '\u{AD}';

/// A paragraph, a heading or a list.
#[derive(Debug)]
pub(super) struct Block {
    /// Its text: one line, but for breaks that its author made.
    pub(super) text: String,
    pub(super) size: f64,
    pub(super) bold: bool,
    lines: usize,
}

/// The blocks of a part's lines.
pub(super) fn blocks(lines: &[Line], measures: &Measures) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut start = 0;
    for end in 1..=lines.len() {
        let is_whole = match lines.get(end) {
            Some(line) => begins_block(&lines[end - 1], line, lines.get(end + 1), measures),
            None => true,
        };
        if is_whole {
            blocks.extend(Block::of(&lines[start..end]));
            start = end;
        }
    }
    blocks
}

fn begins_block(previous: &Line, line: &Line, next: Option<&Line>, measures: &Measures) -> bool {
    let pitch = (previous.v - line.v) / line.size.max(previous.size);
    // The rows of a table stand apart.
    let cells = if previous.text.contains('\t') && line.text.contains('\t') {
        2.0
    } else {
        1.0
    };
    // A negative pitch: the line is above the last, in another column or band.
    let apart = pitch > cells * PARAGRAPH_PITCH * measures.pitch.max(1.0) || pitch < 0.0;
    let differs = !line.same_size(previous) || line.bold != previous.bold;
    apart || (differs && cells < 2.0) || is_indented(previous, line, next)
}

/// The first line of a paragraph set in, as books do, with the lines around it at the margin.
fn is_indented(previous: &Line, line: &Line, next: Option<&Line>) -> bool {
    let indented =
        |other: &Line| (0.8 * line.size..5.0 * line.size).contains(&(line.u0 - other.u0));
    indented(previous)
        && next.is_none_or(indented)
        && ends_sentence(&previous.text)
        && !is_item(&previous.text)
}

/// Whether the break before `line` was made by its author: its first word had room on the line before.
fn is_forced(previous: &Line, line: &Line, right: f64) -> bool {
    right - previous.u1 > line.first_word + line.size
}

fn has_cells(previous: &Line, line: &Line) -> bool {
    previous.text.contains('\t') || line.text.contains('\t')
}

pub(super) fn ends_sentence(text: &str) -> bool {
    let text = text
        .trim_end()
        .trim_end_matches(['"', '”', '’', ')', '»', ']', ' ']);
    text.ends_with(['.', '!', '?', ':', ';', '…'])
}

impl Block {
    fn of(lines: &[Line]) -> Option<Self> {
        let right = lines
            .iter()
            .map(|line| line.u1)
            .fold(f64::NEG_INFINITY, f64::max);
        let mut block: Option<Self> = None;
        let mut previous: Option<&Line> = None;
        for line in lines {
            let text = clean(&line.text);
            match (&mut block, previous) {
                (Some(block), Some(previous)) => {
                    let forced = is_forced(previous, line, right)
                        || is_item(&text)
                        || has_cells(previous, line);
                    block.append(
                        text.trim(),
                        forced,
                        previous.text.trim_end().ends_with(SOFT_HYPHEN),
                    );
                }
                _ if text.trim().is_empty() => continue,
                _ => {
                    block = Some(Self {
                        text: text.trim().to_owned(),
                        size: line.size,
                        bold: line.bold,
                        lines: 1,
                    });
                }
            }
            previous = Some(line);
        }
        block
    }

    /// Goes on with a line.
    pub(super) fn append(&mut self, line: &str, forced: bool, hyphenated: bool) {
        self.lines += 1;
        if hyphenated {
            // The file says so: nothing was between the two.
        } else if forced {
            self.text.push('\n');
        } else if let Some(hyphen) = line_hyphen(&self.text, line) {
            let keep = self.text.len() - hyphen.len_utf8();
            self.text.truncate(keep);
            let is_cut = line.starts_with(char::is_lowercase);
            self.text.push(if is_cut { LINE_HYPHEN } else { '-' });
        } else {
            self.text.push(' ');
        }
        self.text.push_str(line);
    }

    /// Whether it breaks off in a sentence that `next` goes on with, in the next column.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        let breaks_off = !ends_sentence(&self.text) && self.text.chars().count() > 40;
        breaks_off
            && next.text.starts_with(char::is_lowercase)
            && (self.size - next.size).abs() < 0.08 * self.size
            && self.bold == next.bold
    }

    /// Whether it is a heading, by its type and its length.
    pub(super) fn is_heading(&self, measures: &Measures) -> bool {
        let large = self.size > HEADING_SIZE * measures.body_size;
        let bold = self.bold
            && !measures.body_bold
            && self.lines <= 2
            && self.size > 0.95 * measures.body_size;
        let is_sentence = self.text.ends_with(['.', ',', ';']) && self.text.len() > 60;
        (large || bold)
            && self.lines <= 4
            && self.text.len() <= 200
            && !is_sentence
            && !self.text.contains('\t')
            && is_wordy(&self.text)
    }
}

/// Formulas are set large too.
fn is_wordy(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let all = text.chars().filter(|c| !c.is_whitespace()).count();
    let has_word = text
        .split(|c: char| !c.is_alphabetic())
        .any(|word| word.chars().nth(2).is_some());
    2 * letters > all && has_word
}

/// The hyphen that `text` ends with, where `line` may go on with its last word.
fn line_hyphen(text: &str, line: &str) -> Option<char> {
    let mut back = text.chars().rev();
    let hyphen = back
        .next()
        .filter(|c| matches!(c, '-' | '\u{2010}' | '\u{2011}'))?;
    (back.next()?.is_alphanumeric() && line.starts_with(char::is_alphanumeric)).then_some(hyphen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, u0: f64, u1: f64, v: f64) -> Line {
        let first_word = 20.0;
        Line {
            text: text.to_owned(),
            u0,
            u1,
            v,
            size: 10.0,
            bold: false,
            pagination: false,
            row: 0,
            first_word,
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        let measures = Measures {
            body_size: 10.0,
            body_bold: false,
            pitch: 1.2,
        };
        blocks(lines, &measures)
            .into_iter()
            .map(|block| block.text)
            .collect()
    }

    #[test]
    fn lines_flow_and_white_parts_paragraphs() {
        let lines = [
            line("A first line", 0.0, 200.0, 100.0),
            line("ends.", 0.0, 30.0, 88.0),
            line("Another.", 0.0, 50.0, 70.0),
        ];
        assert_eq!(texts(&lines), ["A first line ends.", "Another."]);
    }

    #[test]
    fn an_indent_begins_a_paragraph_after_a_sentence() {
        let lines = [
            line("One ends here.", 0.0, 200.0, 100.0),
            line("Two begins", 15.0, 200.0, 88.0),
            line("and goes on.", 0.0, 190.0, 76.0),
        ];
        assert_eq!(texts(&lines), ["One ends here.", "Two begins and goes on."]);
    }

    #[test]
    fn a_short_line_was_broken_on_purpose() {
        let lines = [
            line("12, rue des Lilas", 0.0, 80.0, 100.0),
            line("75000 Paris, France, Europe", 0.0, 200.0, 88.0),
        ];
        assert_eq!(
            texts(&lines),
            ["12, rue des Lilas\n75000 Paris, France, Europe"]
        );
    }
}
