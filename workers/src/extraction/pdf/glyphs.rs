//! Gathers glyphs into words by where they stand: a PDF need not have a single space.

use std::ops::Range;

use super::accents;
use super::marked::Properties;

/// A gap wider than this many ems parts two words. Kerning stays under 0.1; justified text keeps over 0.2, French thin
/// spaces before `;`, `!` and `?` are 0.167.
pub(super) const WORD_GAP: f64 = 0.14;

/// Glyphs this small are drawings or traps, not text.
const MIN_SIZE: f64 = 0.5;

/// A glyph on the page, in points from the lower left corner.
pub(super) struct Glyph<'g> {
    pub(super) text: &'g str,
    pub(super) origin: (f64, f64),
    pub(super) advance: (f64, f64),
    pub(super) spacing: (f64, f64),
    pub(super) direction: (f64, f64),
    pub(super) size: f64,
    pub(super) bold: bool,
}

/// A word: glyphs without a gap. `u` runs along its baseline, `v` across it, upwards.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Where its text is in [`PageWords::text`].
    pub(super) text: Range<usize>,
    pub(super) u0: f64,
    pub(super) u1: f64,
    pub(super) v: f64,
    pub(super) size: f64,
    pub(super) bold: bool,
    /// A space, or a gap like one, stands before it.
    pub(super) spaced: bool,
    /// The file says that it is a header, a footer or a page number.
    pub(super) pagination: bool,
    /// The direction of its baseline in whole degrees.
    pub(super) angle: i16,
}

/// The words of a page, in the order they are shown.
#[derive(Debug, Default)]
pub(super) struct PageWords {
    pub(super) words: Vec<Word>,
    pub(super) text: String,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) unmapped: usize,
}

/// Takes a page's glyphs.
pub(super) struct GlyphSink {
    page: PageWords,
    open: bool,
    /// Where the last glyph began and the space asked for after it.
    last: (f64, f64),
    accent: Option<Accent>,
    marked: Vec<Marked>,
}

/// An accent drawn by itself, waiting for its letter.
struct Accent {
    combining: char,
    spacing: char,
    place: Place,
}

#[derive(Clone, Copy)]
struct Place {
    u0: f64,
    u1: f64,
    v: f64,
    after: f64,
    size: f64,
    bold: bool,
    angle: i16,
}

enum Marked {
    Plain,
    Pagination,
    /// Glyphs that stand for a text given elsewhere, and the room they take.
    Actual(String, Option<Place>),
}

impl GlyphSink {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let page = PageWords {
            width,
            height,
            ..PageWords::default()
        };
        Self {
            page,
            open: false,
            last: (0.0, 0.0),
            accent: None,
            marked: Vec::new(),
        }
    }

    pub(super) fn begin_marked(&mut self, properties: Option<Properties>) {
        self.marked.push(match properties {
            Some(Properties {
                actual_text: Some(text),
                ..
            }) => Marked::Actual(text, None),
            Some(Properties {
                pagination: true, ..
            }) => Marked::Pagination,
            _ => Marked::Plain,
        });
    }

    pub(super) fn end_marked(&mut self) {
        if let Some(Marked::Actual(text, Some(place))) = self.marked.pop() {
            self.take(&text, place);
        }
    }

    pub(super) fn push(&mut self, glyph: &Glyph<'_>) {
        let Some(place) = self.place(glyph) else {
            return;
        };
        if let Some(Marked::Actual(_, room)) = self
            .marked
            .iter_mut()
            .rev()
            .find(|m| matches!(m, Marked::Actual(..)))
        {
            let room = room.get_or_insert(place);
            (room.u0, room.u1) = (room.u0.min(place.u0), room.u1.max(place.u1));
            return;
        }
        self.take(glyph.text, place);
    }

    pub(super) fn finish(mut self) -> PageWords {
        self.flush_accent();
        self.page
    }

    /// Where a glyph is along its own baseline; `None` where it cannot be seen.
    fn place(&self, glyph: &Glyph<'_>) -> Option<Place> {
        let (x, y) = glyph.origin;
        let (margin, size) = (glyph.size, glyph.size);
        let visible = (-margin..=self.page.width + margin).contains(&x)
            && (-margin..=self.page.height + margin).contains(&y)
            && (MIN_SIZE..=self.page.height.max(self.page.width)).contains(&size);
        if !visible {
            return None;
        }
        let (dx, dy) = glyph.direction;
        if dy == 0.0 && dx > 0.0 {
            let u1 = x + glyph.advance.0.max(0.0);
            return Some(Place {
                u0: x,
                u1,
                v: y,
                after: glyph.spacing.0,
                size,
                bold: glyph.bold,
                angle: 0,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "between -180 and 180")]
        let angle = dy.atan2(dx).to_degrees().round() as i16;
        let (sin, cos) = f64::from(angle).to_radians().sin_cos();
        let along = |(x, y): (f64, f64)| x * cos + y * sin;
        let u0 = along(glyph.origin);
        let u1 = u0 + along(glyph.advance).max(0.0);
        Some(Place {
            u0,
            u1,
            v: y * cos - x * sin,
            after: along(glyph.spacing),
            size,
            bold: glyph.bold,
            angle,
        })
    }

    fn take(&mut self, text: &str, place: Place) {
        if text.is_empty() {
            self.page.unmapped += 1;
            // It takes its room all the same: what follows is no new word.
            if self.open
                && self
                    .page
                    .words
                    .last()
                    .is_some_and(|word| self.joins(word, place))
            {
                self.extend(place);
            }
            return;
        }
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            if c.is_whitespace() {
                self.flush_accent();
                self.open = false;
                return;
            }
            if let Some(combining) = accents::combining(c) {
                return self.take_accent(Accent {
                    combining,
                    spacing: c,
                    place,
                });
            }
        }
        match self.accent.take() {
            Some(accent) if accent.is_over(place) => {
                self.append(accents::base(text), place);
                self.page.text.push(accent.combining);
                self.close_text();
            }
            accent => {
                self.accent = accent;
                self.flush_accent();
                self.append(text, place);
            }
        }
    }

    fn take_accent(&mut self, accent: Accent) {
        self.flush_accent();
        let over_last = self.open && {
            let (start, end) = (
                self.last.0,
                self.page.words.last().map_or(0.0, |word| word.u1),
            );
            let center = f64::midpoint(accent.place.u0, accent.place.u1);
            start < center && center < end && self.page.text.ends_with(char::is_alphabetic)
        };
        if over_last {
            self.page.text.push(accent.combining);
            self.close_text();
        } else {
            self.accent = Some(accent);
        }
    }

    fn flush_accent(&mut self) {
        if let Some(accent) = self.accent.take() {
            let mut buffer = [0; 4];
            self.append(accent.spacing.encode_utf8(&mut buffer), accent.place);
        }
    }

    fn append(&mut self, text: &str, place: Place) {
        let joins = self.open
            && self
                .page
                .words
                .last()
                .is_some_and(|word| self.joins(word, place));
        if !joins {
            let start = self.page.text.len();
            let spaced = !self.open
                || self
                    .page
                    .words
                    .last()
                    .is_none_or(|word| place.u0 - word.u1 > WORD_GAP * word.size);
            let Place {
                u0,
                u1,
                v,
                size,
                bold,
                angle,
                ..
            } = place;
            let pagination = self
                .marked
                .iter()
                .any(|marked| matches!(marked, Marked::Pagination));
            self.page.words.push(Word {
                text: start..start,
                u0,
                u1,
                v,
                size,
                bold,
                spaced,
                pagination,
                angle,
            });
        }
        self.page.text.push_str(text);
        self.close_text();
        self.extend(place);
        self.open = true;
    }

    fn joins(&self, word: &Word, place: Place) -> bool {
        // Letter-spaced type asks for its gaps: they are not spaces.
        let gap = place.u0 - word.u1 - self.last.1.max(0.0);
        word.angle == place.angle
            && (place.v - word.v).abs() < 0.1 * word.size
            && (0.7..1.4).contains(&(place.size / word.size))
            && (-0.5 * word.size..WORD_GAP * word.size).contains(&gap)
    }

    fn extend(&mut self, place: Place) {
        if let Some(word) = self.page.words.last_mut() {
            word.u1 = word.u1.max(place.u1);
        }
        self.last = (place.u0, place.after);
    }

    fn close_text(&mut self) {
        let end = self.page.text.len();
        if let Some(word) = self.page.words.last_mut() {
            word.text.end = end;
        }
    }
}

impl Accent {
    fn is_over(&self, letter: Place) -> bool {
        let center = f64::midpoint(self.place.u0, self.place.u1);
        letter.u0 < center
            && center < letter.u1
            && self.place.angle == letter.angle
            && (self.place.v - letter.v).abs() < 0.5 * letter.size
    }
}
