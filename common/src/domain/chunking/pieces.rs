//! Takes pages apart at their joints.

use super::{Heading, PageText, quarter_tokens};

/// Longer sentences come apart between words, and longer words inside: small pieces let chunks end close to where they
/// should, and overlap.
const MAX_PIECE_TOKENS: u64 = 50;

/// Titles longer than this are cut in a section's path.
const MAX_TITLE_CHARS: usize = 100;

/// What parts a piece from the one before it, from the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Joint {
    /// Nothing: one endless word.
    Inside,
    Word,
    Sentence,
    /// A line of its own, such as a list item.
    Line,
    Paragraph,
    /// The piece is a heading.
    Heading,
}

/// A stretch of a page's text without white space around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) page: u32,
    pub(super) text: &'t str,
    pub(super) tokens: u32,
    pub(super) joint: Joint,
    /// Its section's index in the list of paths.
    pub(super) section: Option<usize>,
    after_heading: bool,
}

impl Piece<'_> {
    /// What stands between it and the piece before.
    pub(super) fn separator(&self) -> &'static str {
        match self.joint {
            Joint::Inside => "",
            Joint::Word | Joint::Sentence => " ",
            Joint::Line if self.after_heading => "\n\n",
            Joint::Line => "\n",
            Joint::Paragraph | Joint::Heading => "\n\n",
        }
    }
}

struct Taker<'t> {
    pieces: Vec<Piece<'t>>,
    /// The titles that lead to where we are.
    path: Vec<(u8, String)>,
    sections: Vec<String>,
    page: u32,
}

/// The pieces of a document and the paths of its sections.
pub(super) fn pieces(pages: &[PageText]) -> (Vec<Piece<'_>>, Vec<String>) {
    let mut taker = Taker {
        pieces: Vec::new(),
        path: Vec::new(),
        sections: Vec::new(),
        page: 1,
    };
    for page in pages {
        taker.page = page.number;
        taker.page(page);
    }
    (taker.pieces, taker.sections)
}

impl<'t> Taker<'t> {
    fn page(&mut self, page: &'t PageText) {
        let found = if page.headings.is_empty() {
            markdown_headings(&page.text)
        } else {
            page.headings.clone()
        };
        let first = self.pieces.len();
        let mut done = 0;
        for heading in found {
            // Bounds that are not in the text, or not between characters, are nobody's heading.
            let (Some(before), Some(title)) = (
                page.text.get(done..heading.start),
                page.text.get(heading.start..heading.end),
            ) else {
                continue;
            };
            self.blocks(before);
            self.heading(title.trim(), heading.level);
            done = heading.end;
        }
        self.blocks(&page.text[done..]);
        self.continue_sentence(first);
    }

    fn heading(&mut self, text: &'t str, level: u8) {
        let title: String = text
            .trim_matches('#')
            .trim()
            .chars()
            .take(MAX_TITLE_CHARS)
            .collect();
        if title.is_empty() {
            return self.blocks(text);
        }
        self.path.retain(|(above, _)| *above < level);
        self.path.push((level, title));
        let titles: Vec<&str> = self.path.iter().map(|(_, title)| title.as_str()).collect();
        self.sections.push(titles.join(" > "));
        self.sentence(text, Joint::Heading);
    }

    fn blocks(&mut self, text: &'t str) {
        let mut joint = Joint::Paragraph;
        for line in text.split('\n') {
            if line.trim().is_empty() {
                joint = Joint::Paragraph;
                continue;
            }
            for sentence in sentences(line.trim()) {
                self.sentence(sentence, joint);
                joint = Joint::Sentence;
            }
            joint = Joint::Line;
        }
    }

    fn sentence(&mut self, text: &'t str, mut joint: Joint) {
        let mut rest = text;
        while !rest.is_empty() {
            let (end, next) = piece_end(rest);
            self.push(&rest[..end], joint);
            let remainder = &rest[end..];
            rest = remainder.trim_start();
            joint = if next == Joint::Inside && rest.len() == remainder.len() {
                Joint::Inside
            } else {
                Joint::Word
            };
        }
    }

    fn push(&mut self, text: &'t str, joint: Joint) {
        let text = text.trim_end();
        let quarters: u64 = text.chars().map(quarter_tokens).sum();
        // What joins it to the piece before counts as well: a token for two of them is more than enough.
        let tokens = u32::try_from(quarters.div_ceil(4)).unwrap_or(u32::MAX);
        let after_heading = self
            .pieces
            .last()
            .is_some_and(|piece| piece.joint == Joint::Heading);
        let section = self.sections.len().checked_sub(1);
        self.pieces.push(Piece {
            page: self.page,
            text,
            tokens,
            joint,
            section,
            after_heading,
        });
    }

    /// A sentence that goes on over the page's end is no paragraph's beginning.
    fn continue_sentence(&mut self, first: usize) {
        let Some(before) = first.checked_sub(1).and_then(|last| self.pieces.get(last)) else {
            return;
        };
        let ended = before
            .text
            .ends_with(['.', '!', '?', ':', ';', '…', '»', '"', '”'])
            || before.joint == Joint::Heading;
        let Some(piece) = self
            .pieces
            .get_mut(first)
            .filter(|piece| piece.joint == Joint::Paragraph)
        else {
            return;
        };
        if !ended && piece.text.starts_with(char::is_lowercase) {
            piece.joint = Joint::Word;
        }
    }
}

/// Where the first piece of a sentence ends, and what parts it from the next.
fn piece_end(text: &str) -> (usize, Joint) {
    let (mut quarters, mut space) = (0, None);
    for (at, c) in text.char_indices() {
        quarters += quarter_tokens(c);
        if c.is_whitespace() {
            space = Some(at);
        }
        if quarters > 4 * MAX_PIECE_TOKENS && at > 0 {
            return match space {
                Some(space) if space > 0 => (space, Joint::Word),
                _ => (inside(text, at), Joint::Inside),
            };
        }
    }
    (text.len(), Joint::Word)
}

/// A place in an endless word at or shortly before `at` that does not part a letter from its accents, or an emoji from
/// its parts.
fn inside(text: &str, at: usize) -> usize {
    let joins = |c: char| matches!(c, '\u{300}'..='\u{36F}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}');
    text[..at]
        .char_indices()
        .rev()
        .take(16)
        .map(|(start, c)| (start + c.len_utf8(), c))
        .find(|&(end, c)| c != '\u{200D}' && !text[end..].starts_with(joins))
        .map_or(at, |(end, _)| end)
}

/// The sentences of a line.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let text = rest.trim_start();
        if text.is_empty() {
            return None;
        }
        let end = sentence_end(text);
        rest = &text[end..];
        Some(text[..end].trim_end())
    })
}

fn sentence_end(text: &str) -> usize {
    for (at, c) in text
        .char_indices()
        .filter(|&(_, c)| matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？'))
    {
        let closed = after_closing(&text[at + c.len_utf8()..]);
        // French sets a space before the quotation mark that closes.
        let closed = closed.strip_prefix(" »").unwrap_or(closed);
        let end = text.len() - closed.len();
        let next = closed.trim_start();
        let is_wide = matches!(c, '。' | '！' | '？');
        let parted =
            is_wide || (next.len() < closed.len() && !next.starts_with(char::is_lowercase));
        if parted && !next.is_empty() && !(c == '.' && is_abbreviation(&text[..at])) {
            return end;
        }
    }
    text.len()
}

/// What follows the marks that close a sentence; a few, so that endless ones take no endless time.
fn after_closing(text: &str) -> &str {
    let closing =
        |&(_, c): &(usize, char)| matches!(c, '"' | '”' | '’' | ')' | ']' | '»' | '.' | '!' | '?');
    let end = text
        .char_indices()
        .take(4)
        .take_while(closing)
        .last()
        .map_or(0, |(at, c)| at + c.len_utf8());
    &text[end..]
}

/// `M.`, `p.`, `Dr.`, `1.`: a dot after so short a word ends no sentence.
fn is_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    word.chars().nth(2).is_none() && !word.is_empty()
}

/// The lines that Markdown calls headings (<https://spec.commonmark.org/0.31.2/#atx-headings>), outside code.
fn markdown_headings(text: &str) -> Vec<Heading> {
    let (mut headings, mut start, mut in_code) = (Vec::new(), 0, false);
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.starts_with("```") || content.starts_with("~~~") {
            in_code = !in_code;
        }
        let level = content.bytes().take_while(|&byte| byte == b'#').count();
        if !in_code && (1..=6).contains(&level) && content[level..].starts_with([' ', '\t']) {
            let level = u8::try_from(level).unwrap_or(6);
            headings.push(Heading {
                start,
                end: start + line.trim_end().len(),
                level,
            });
        }
        start += line.len();
    }
    headings
}
