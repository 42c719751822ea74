//! Cuts documents into the pieces that are embedded and found: about [`TARGET_TOKENS`] each, cut where the text itself
//! has its joints.
//!
//! Pages become small pieces (headings, list items, sentences, at need parts of them), pieces are packed into chunks
//! that end at the strongest joint within reach, and a chunk begins with the last sentence or so of the one before,
//! unless a heading parts them.

mod pieces;

use pieces::{Joint, Piece};

/// What a chunk's length aims at: long enough to answer from, short enough to be about one thing.
pub const TARGET_TOKENS: u32 = 400;

/// No chunk is longer, whatever the text.
pub const MAX_TOKENS: u32 = 600;

/// How much of a chunk the next one repeats at most: 15 %.
const OVERLAP_TOKENS: u32 = TARGET_TOKENS * 15 / 100;

/// From here on a heading ends a chunk: shorter sections share one.
const MIN_SECTION_TOKENS: u32 = TARGET_TOKENS / 2;

/// From here on any joint may end a chunk.
const MIN_TOKENS: u32 = TARGET_TOKENS * 6 / 10;

/// Up to here a stronger joint is waited for, and a document's last words are taken along.
const LATEST_TOKENS: u32 = TARGET_TOKENS * 11 / 10;

/// The text of one page.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PageText {
    /// From 1.
    pub number: u32,
    /// Paragraphs separated by blank lines; no control characters but line feeds and tabs.
    pub text: String,
    /// The headings in `text`, in order, where the extraction knows them. Empty: lines that begin like Markdown's
    /// headings (`# …`) are taken for such.
    #[serde(default)]
    pub headings: Vec<Heading>,
}

/// A heading of a page's text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heading {
    /// Where it starts in the text, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// From 1, the highest.
    pub level: u8,
}

impl PageText {
    /// A page whose headings are not known.
    pub fn new(number: u32, text: impl Into<String>) -> Self {
        Self {
            number,
            text: text.into(),
            headings: Vec::new(),
        }
    }
}

/// A piece of a document, before it has an embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftChunk {
    /// From 0, in the document's order.
    pub index: u32,
    /// The page its text stands on, from 1.
    pub page: u32,
    /// The titles it begins under, from the highest, joined by ` > `. `None` before the first heading.
    pub section: Option<String>,
    /// The text, in the document's words.
    pub text: String,
    /// Its length by [`estimate_tokens`].
    pub tokens: u32,
}

/// Cuts a document into chunks. Every character but white space is in one of them at least.
pub fn chunk(pages: &[PageText]) -> Vec<DraftChunk> {
    let (pieces, sections) = pieces::pieces(pages);
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < pieces.len() {
        let end = chunk_end(&pieces, start);
        let text = join(&pieces[start..end]);
        chunks.push(DraftChunk {
            index: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            page: pieces[start].page,
            section: pieces[start]
                .section
                .map(|section| sections[section].clone()),
            tokens: estimate_tokens(&text),
            text,
        });
        start = if end == pieces.len() {
            end
        } else {
            overlap_start(&pieces, start, end)
        };
    }
    chunks
}

/// Estimates how many tokens a language model counts.
///
/// English has about four characters a token (<https://help.openai.com/en/articles/4936856>); an accented letter costs
/// most of a token of its own, which gives French its 3.5, and a Chinese or Japanese character a little over one.
pub fn estimate_tokens(text: &str) -> u32 {
    u32::try_from(text.chars().map(quarter_tokens).sum::<u64>().div_ceil(4)).unwrap_or(u32::MAX)
}

fn quarter_tokens(c: char) -> u64 {
    match c {
        '\0'..='\x7F' => 1,
        '\u{2E80}'.. => 5,
        _ => 3,
    }
}

/// The piece the chunk that begins at `start` ends before.
fn chunk_end(pieces: &[Piece<'_>], start: usize) -> usize {
    let mut best: Option<(Joint, usize)> = None;
    let mut tokens = pieces[start].tokens;
    for (index, piece) in pieces.iter().enumerate().skip(start + 1) {
        // A source is cited by its page, so a chunk is of one.
        if piece.page != pieces[start].page {
            return index;
        }
        let after_heading = pieces[index - 1].joint == Joint::Heading;
        if piece.joint == Joint::Heading && tokens >= MIN_SECTION_TOKENS && !after_heading {
            return index;
        }
        // The last of the strongest joints; never between a heading and its text.
        if tokens >= MIN_TOKENS
            && !after_heading
            && best.is_none_or(|(joint, _)| piece.joint >= joint)
        {
            best = Some((piece.joint, index));
        }
        tokens += piece.tokens;
        if tokens > LATEST_TOKENS {
            return best.map_or(index, |(_, index)| index);
        }
    }
    pieces.len()
}

/// Where the chunk after the one from `start` to `end` begins.
fn overlap_start(pieces: &[Piece<'_>], start: usize, end: usize) -> usize {
    if pieces[end].joint == Joint::Heading || pieces[end].page != pieces[start].page {
        return end;
    }
    let mut tokens = 0;
    let mut first = end;
    let mut sentence = None;
    while first > start + 1 && pieces[first - 1].joint != Joint::Heading {
        tokens += pieces[first - 1].tokens;
        if tokens > OVERLAP_TOKENS {
            break;
        }
        first -= 1;
        if pieces[first].joint >= Joint::Sentence {
            sentence = Some(first);
        }
    }
    sentence.unwrap_or(first)
}

fn join(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    for piece in pieces {
        if !text.is_empty() {
            text.push_str(piece.separator());
        }
        text.push_str(piece.text);
    }
    text
}

#[cfg(test)]
mod tests;
