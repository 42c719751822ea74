//! The text of a PDF, in reading order.
//!
//! The library parses the file and its fonts; the reading is ours, step by step: [`interpreter`] (which glyphs stand
//! where), [`glyphs`] (words), [`segments`] (lines without wide gaps), [`furniture`] (headers and footers go),
//! [`columns`] (reading order), [`lines`], [`paragraphs`], [`hyphens`], and here the pages with their headings.

mod accents;
mod columns;
mod fonts;
mod furniture;
mod glyphs;
mod hyphens;
mod interpreter;
mod lines;
mod marked;
mod matrix;
mod page;
mod paragraphs;
mod segments;

use std::collections::{BTreeMap, BTreeSet};

use common::domain::chunking::{Heading, PageText};
use common::domain::document_kind::has_pdf_header;
use hayro_syntax::object::Dict;
use hayro_syntax::object::dict::keys;
use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use self::glyphs::PageWords;
use self::interpreter::Interpreter;
use self::lines::{Line, Measures};
use self::paragraphs::Block;
use super::{ExtractedDocument, Limits, Refusal};

/// The upright text of a page, and what is written in other directions.
struct Read {
    upright: furniture::Page,
    others: Vec<segments::Segment>,
}

pub(super) fn extract(bytes: Vec<u8>, limits: &Limits) -> Result<ExtractedDocument, Refusal> {
    if !has_pdf_header(&bytes) {
        return Err(Refusal::NotAPdf);
    }
    let pdf = Pdf::new(bytes).map_err(refuse)?;
    check_pages(&pdf, limits)?;
    let (mut pages, unmapped_glyphs) = read(&pdf, limits)?;
    let dropped_lines = remove_furniture(&mut pages);
    let pages = compose(pages);
    let empty_pages: Vec<u32> = pages
        .iter()
        .filter(|page| page.text.is_empty())
        .map(|page| page.number)
        .collect();
    if empty_pages.len() == pages.len() {
        return Err(if pages.is_empty() {
            Refusal::Damaged
        } else {
            Refusal::NoText
        });
    }
    Ok(ExtractedDocument {
        page_count: pages.len(),
        pages,
        empty_pages,
        dropped_lines,
        unmapped_glyphs,
    })
}

fn refuse(error: LoadPdfError) -> Refusal {
    match error {
        LoadPdfError::Decryption(
            DecryptionError::PasswordProtected | DecryptionError::UnsupportedAlgorithm,
        ) => Refusal::Encrypted,
        LoadPdfError::Decryption(_) | LoadPdfError::Invalid => Refusal::Damaged,
    }
}

/// Refuses by what the file declares and by what it has, before a page is read.
fn check_pages(pdf: &Pdf, limits: &Limits) -> Result<(), Refusal> {
    let xref = pdf.xref();
    let root = xref
        .get::<Dict<'_>>(xref.root_id())
        .and_then(|catalog| catalog.get::<Dict<'_>>(keys::PAGES));
    let declared = root
        .and_then(|pages| pages.get::<i32>(keys::COUNT))
        .unwrap_or_default();
    let pages = pdf
        .pages()
        .len()
        .max(usize::try_from(declared).unwrap_or_default());
    if pages > limits.pages {
        Err(Refusal::TooManyPages {
            pages,
            limit: limits.pages,
        })
    } else {
        Ok(())
    }
}

fn read(pdf: &Pdf, limits: &Limits) -> Result<(Vec<Read>, usize), Refusal> {
    let mut interpreter = Interpreter::new();
    let (mut pages, mut unmapped, mut text_bytes) = (Vec::new(), 0, 0);
    for page in pdf.pages().iter() {
        let words = interpreter.words(page)?;
        unmapped += words.unmapped;
        text_bytes += words.text.len();
        if text_bytes > limits.text_bytes {
            return Err(Refusal::too_complex("its text is too long"));
        }
        pages.push(Read::new(&words));
    }
    Ok((pages, unmapped))
}

impl Read {
    fn new(page: &PageWords) -> Self {
        let mut weights: BTreeMap<i16, usize> = BTreeMap::new();
        for word in &page.words {
            *weights.entry(word.angle).or_default() += word.text.len();
        }
        // Most text's direction is upright, whatever the page's rotation should have been.
        let main = weights
            .iter()
            .max_by_key(|&(_, &weight)| weight)
            .map_or(0, |(&angle, _)| angle);
        let others = weights.keys().filter(|&&angle| angle != main);
        Self {
            upright: furniture::Page {
                segments: segments::segments(page, main),
                height: page.height,
            },
            others: others
                .flat_map(|&angle| segments::segments(page, angle))
                .collect(),
        }
    }
}

fn remove_furniture(pages: &mut [Read]) -> usize {
    let mut upright: Vec<_> = pages
        .iter_mut()
        .map(|page| std::mem::replace(&mut page.upright, furniture::Page::empty()))
        .collect();
    let dropped = furniture::remove(&mut upright);
    for (page, upright) in pages.iter_mut().zip(upright) {
        page.upright = upright;
    }
    dropped
}

fn compose(pages: Vec<Read>) -> Vec<PageText> {
    let pages: Vec<Vec<Vec<Line>>> = pages.into_iter().map(page_parts).collect();
    let measures = Measures::of(pages.iter().flatten());
    let mut pages: Vec<Vec<Block>> = pages
        .iter()
        .map(|parts| page_blocks(parts, &measures))
        .collect();
    hyphens::resolve(
        &mut pages
            .iter_mut()
            .flatten()
            .map(|block| &mut block.text)
            .collect::<Vec<_>>(),
    );
    let levels = heading_levels(pages.iter().flatten(), &measures);
    (1..)
        .zip(pages)
        .map(|(number, blocks)| page_text(number, blocks, &measures, &levels))
        .collect()
}

fn page_parts(page: Read) -> Vec<Vec<Line>> {
    let mut parts = columns::parts(page.upright.segments);
    parts.push(page.others);
    parts.into_iter().map(lines::lines).collect()
}

fn page_blocks(parts: &[Vec<Line>], measures: &Measures) -> Vec<Block> {
    let mut page: Vec<Block> = Vec::new();
    for part in parts {
        for (index, block) in paragraphs::blocks(part, measures).into_iter().enumerate() {
            match page
                .last_mut()
                .filter(|last| index == 0 && last.goes_on_with(&block))
            {
                Some(last) => last.append(&block.text, false, false),
                None => page.push(block),
            }
        }
    }
    page
}

/// A heading's rank by its size: the largest of the document is 1; headings that are only bold come last.
fn heading_levels<'b>(
    blocks: impl Iterator<Item = &'b Block>,
    measures: &Measures,
) -> BTreeMap<i32, u8> {
    let sizes: BTreeSet<i32> = blocks
        .filter(|block| block.is_heading(measures))
        .map(rank_size)
        .collect();
    sizes.into_iter().rev().zip(1..=u8::MAX).collect()
}

/// In half points: what differs less is one size.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the size of a page at most"
)]
fn rank_size(block: &Block) -> i32 {
    (block.size * 2.0).round() as i32
}

fn page_text(
    number: u32,
    blocks: Vec<Block>,
    measures: &Measures,
    levels: &BTreeMap<i32, u8>,
) -> PageText {
    let mut page = PageText::new(number, "");
    for mut block in blocks {
        if !page.text.is_empty() {
            page.text.push_str("\n\n");
        }
        let start = page.text.len();
        let level = levels
            .get(&rank_size(&block))
            .filter(|_| block.is_heading(measures));
        if level.is_some() {
            block.text = block.text.replace('\n', " ");
        }
        page.text.push_str(&block.text);
        page.headings.extend(level.map(|&level| Heading {
            start,
            end: page.text.len(),
            level,
        }));
    }
    page
}
