//! What the character codes of a PDF's fonts mean, and how far they advance.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hayro_cmap::BfString;
use hayro_font::{CMapResolverFn, Font, FontCache, FontGlyph, FontQuery, FontResolverFn};
use hayro_syntax::object::dict::keys;
use hayro_syntax::object::{Dict, Name, ObjectIdentifier};

/// The fonts of one document, each loaded once.
pub(super) struct Fonts<'a> {
    cache: FontCache<'a>,
    loaded: HashMap<ObjectIdentifier, Option<Rc<TextFont<'a>>>>,
    programs: FontResolverFn,
    cmaps: CMapResolverFn,
}

/// A font, as far as text needs it.
pub(super) struct TextFont<'a> {
    font: Font<'a>,
    is_type3: bool,
    is_simple: bool,
    pub(super) bold: bool,
    glyphs: std::cell::RefCell<HashMap<u32, Rc<TextGlyph>>>,
}

/// A character code's meaning.
pub(super) struct TextGlyph {
    /// What it stands for; empty where the file does not say.
    pub(super) text: Box<str>,
    /// Its advance in ems.
    pub(super) advance: f64,
}

impl<'a> Fonts<'a> {
    pub(super) fn new() -> Self {
        Self {
            cache: FontCache::new(),
            loaded: HashMap::new(),
            programs: Arc::new(|query| {
                Some(match query {
                    FontQuery::Standard(font) => font.get_font_data(),
                    FontQuery::Fallback(query) => query.pick_standard_font().get_font_data(),
                })
            }),
            cmaps: Arc::new(hayro_cmap::load_embedded),
        }
    }

    /// The font a dictionary describes, `None` where it cannot be loaded.
    pub(super) fn load(&mut self, dict: &Dict<'a>) -> Option<Rc<TextFont<'a>>> {
        let id = dict.obj_id();
        if let Some(loaded) = id.and_then(|id| self.loaded.get(&id)) {
            return loaded.clone();
        }
        let font = self
            .cache
            .font(dict, &self.programs, &self.cmaps)
            .map(|font| Rc::new(TextFont::new(font, dict)));
        if let Some(id) = id {
            self.loaded.insert(id, font.clone());
        }
        font
    }
}

impl<'a> TextFont<'a> {
    fn new(font: Font<'a>, dict: &Dict<'a>) -> Self {
        let subtype = dict.get::<Name<'_>>(keys::SUBTYPE);
        let subtype = subtype.as_ref().map(Name::as_str).unwrap_or_default();
        Self {
            font,
            is_type3: subtype == "Type3",
            is_simple: subtype != "Type0",
            bold: is_bold(dict),
            glyphs: std::cell::RefCell::default(),
        }
    }

    /// Calls `visit` with every glyph of `bytes`, and whether it is the single-byte space that word spacing widens.
    pub(super) fn decode(&self, bytes: &[u8], mut visit: impl FnMut(&TextGlyph, bool)) {
        let mut offset = 0;
        while offset < bytes.len() {
            let (code, length) = self.font.read_code(bytes, offset);
            offset += length.max(1);
            visit(&self.glyph(code), length == 1 && code == 32);
        }
    }

    fn glyph(&self, code: u32) -> Rc<TextGlyph> {
        if let Some(glyph) = self.glyphs.borrow().get(&code) {
            return Rc::clone(glyph);
        }
        let advance = self.font.code_advance(code);
        let advance = if self.font.is_horizontal() {
            advance.x
        } else {
            0.0
        } / f64::from(hayro_font::UNITS_PER_EM);
        let glyph = Rc::new(TextGlyph {
            text: self.meaning(code).into(),
            advance,
        });
        self.glyphs.borrow_mut().insert(code, Rc::clone(&glyph));
        glyph
    }

    fn meaning(&self, code: u32) -> String {
        let mapped = match self.font.glyph(self.font.map_code(code), code) {
            FontGlyph::Outline(glyph) => glyph.as_unicode(),
            FontGlyph::Type3(glyph) => glyph.as_unicode(),
        };
        let mapped = match mapped {
            Some(BfString::Char(c)) => String::from(c),
            Some(BfString::String(text)) => text,
            None => String::new(),
        };
        let known: String = mapped.chars().filter_map(known_char).collect();
        if known.is_empty() && self.is_simple {
            self.guess(code)
        } else {
            known
        }
    }

    /// Simple fonts without names mostly keep to ASCII, and TeX's bitmap fonts to its own encoding of ligatures.
    fn guess(&self, code: u32) -> String {
        match (u8::try_from(code), self.is_type3) {
            (Ok(byte @ 0x20..=0x7E), _) => char::from(byte).to_string(),
            (Ok(0x0B), true) => "ff".to_owned(),
            (Ok(0x0C), true) => "fi".to_owned(),
            (Ok(0x0D), true) => "fl".to_owned(),
            (Ok(0x0E), true) => "ffi".to_owned(),
            (Ok(0x0F), true) => "ffl".to_owned(),
            _ => String::new(),
        }
    }
}

/// Private characters mean nothing outside their font, but for the bullets of Word's symbol fonts.
fn known_char(c: char) -> Option<char> {
    match c {
        '\u{F0B7}' | '\u{F0A7}' | '\u{F0D8}' | '\u{F0FC}' | '\u{F076}' | '\u{F0A8}' => Some('•'),
        '\u{F020}' => Some(' '),
        // Windows fonts call their hyphen a soft one; it is on the page, so it is seen.
        '\u{AD}' => Some('-'),
        '\u{E000}'..='\u{F8FF}' | '\u{F0000}'.. | '\0' | '\u{FFFD}' | '\u{FFFE}' | '\u{FFFF}' => {
            None
        }
        _ => Some(c),
    }
}

fn is_bold(dict: &Dict<'_>) -> bool {
    // LaTeX's bold fonts: cmbx12, SFBX1095, LMRoman12-Bold, NimbusRomNo9L-Medi.
    const WORDS: [&str; 8] = [
        "bold", "black", "heavy", "-medi", "demi", "cmbx", "sfbx", "cmssbx",
    ];
    let name = dict.get::<Name<'_>>(keys::BASE_FONT);
    let name = name
        .as_ref()
        .map(Name::as_str)
        .unwrap_or_default()
        .to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}
