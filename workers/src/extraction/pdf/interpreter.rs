//! Runs a page's content stream for its text: which glyphs stand where.
//!
//! Everything that paints is skipped, images are never decoded and scripts are never looked at.

use std::collections::HashMap;
use std::rc::Rc;

use hayro_syntax::content::{Instruction, UntypedIter};
use hayro_syntax::object::dict::keys;
use hayro_syntax::object::{Array, Dict, Name, Number, Object, Stream, String as PdfString};
use hayro_syntax::page::{Page, Resources};

use super::fonts::{Fonts, TextFont, TextGlyph};
use super::glyphs::{Glyph, GlyphSink, PageWords};
use super::marked::marked_content;
use super::matrix::Matrix;
use super::page::{page_content, page_matrix};
use crate::extraction::Refusal;

/// Forms in forms: deeper than any producer nests, shallow enough for the stack.
const MAX_FORM_DEPTH: u32 = 20;

/// `q` without `Q`: what is saved beyond is forgotten.
const MAX_SAVED_STATES: usize = 512;

/// A bound on a document's operators: forms that show forms that show forms grow as a power.
const MAX_OPERATIONS: u64 = 30_000_000;

/// What showing a form costs, in operators: it is looked up, decoded and begun each time.
const FORM_COST: u64 = 200;

/// Interprets the pages of one document.
pub(super) struct Interpreter<'a> {
    fonts: Fonts<'a>,
    operations: u64,
}

#[derive(Clone)]
struct State<'a> {
    matrix: Matrix,
    font: Option<Rc<TextFont<'a>>>,
    size: f64,
    char_spacing: f64,
    word_spacing: f64,
    scale: f64,
    leading: f64,
    rise: f64,
}

struct Run<'i, 'a> {
    interpreter: &'i mut Interpreter<'a>,
    sink: &'i mut GlyphSink,
    state: State<'a>,
    saved: Vec<State<'a>>,
    text: Matrix,
    line: Matrix,
    depth: u32,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new() -> Self {
        Self {
            fonts: Fonts::new(),
            operations: 0,
        }
    }

    /// The words of `page`, in the order they are shown.
    pub(super) fn words(&mut self, page: &Page<'a>) -> Result<PageWords, Refusal> {
        let (matrix, width, height) = page_matrix(page);
        let mut sink = GlyphSink::new(width, height);
        let content = page_content(page);
        let state = State {
            matrix,
            font: None,
            size: 0.0,
            char_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        let mut run = Run::new(self, &mut sink, state, 0);
        run.content(&content, page.resources())?;
        Ok(sink.finish())
    }
}

impl<'i, 'a> Run<'i, 'a> {
    fn new(
        interpreter: &'i mut Interpreter<'a>,
        sink: &'i mut GlyphSink,
        state: State<'a>,
        depth: u32,
    ) -> Self {
        let (text, line) = (Matrix::IDENTITY, Matrix::IDENTITY);
        Self {
            interpreter,
            sink,
            state,
            saved: Vec::new(),
            text,
            line,
            depth,
        }
    }

    fn content(&mut self, content: &[u8], resources: &Resources<'a>) -> Result<(), Refusal> {
        let mut fonts = HashMap::new();
        let mut operations = UntypedIter::new(content);
        while let Some(instruction) = operations.next() {
            self.interpreter.operations += 1;
            if self.interpreter.operations > MAX_OPERATIONS {
                return Err(Refusal::too_complex("it has too many drawing operations"));
            }
            match instruction.operator.as_ref() {
                b"Tf" => self.set_font(&instruction, resources, &mut fonts),
                b"Do" => self.form(&instruction, resources)?,
                b"BDC" => self
                    .sink
                    .begin_marked(marked_content(&instruction, resources)),
                b"BMC" => self.sink.begin_marked(None),
                b"EMC" => self.sink.end_marked(),
                operator => self.operate(operator, &instruction),
            }
        }
        Ok(())
    }

    fn operate(&mut self, operator: &[u8], instruction: &Instruction<'_, '_>) {
        match operator {
            b"q" if self.saved.len() < MAX_SAVED_STATES => self.saved.push(self.state.clone()),
            b"Q" => {
                if let Some(state) = self.saved.pop() {
                    self.state = state;
                }
            }
            b"cm" => {
                if let Some(matrix) = numbers(instruction).map(Matrix) {
                    self.state.matrix = matrix.then(self.state.matrix);
                }
            }
            b"BT" => self.set_line(Matrix::IDENTITY),
            b"Tm" => {
                if let Some(matrix) = numbers(instruction).map(Matrix) {
                    self.set_line(matrix);
                }
            }
            b"Td" | b"TD" => {
                if let Some([x, y]) = numbers(instruction) {
                    if operator == b"TD" {
                        self.state.leading = -y;
                    }
                    self.move_line(x, y);
                }
            }
            b"T*" => self.move_line(0.0, -self.state.leading),
            b"Tc" | b"Tw" | b"Tz" | b"TL" | b"Ts" => self.set_spacing(operator, instruction),
            b"Tj" | b"TJ" | b"'" | b"\"" => self.show(operator, instruction),
            _ => {}
        }
    }

    fn set_spacing(&mut self, operator: &[u8], instruction: &Instruction<'_, '_>) {
        let Some([value]) = numbers(instruction) else {
            return;
        };
        match operator {
            b"Tc" => self.state.char_spacing = value,
            b"Tw" => self.state.word_spacing = value,
            b"Tz" => self.state.scale = value / 100.0,
            b"TL" => self.state.leading = value,
            _ => self.state.rise = value,
        }
    }

    fn set_line(&mut self, matrix: Matrix) {
        self.line = matrix;
        self.text = matrix;
    }

    fn move_line(&mut self, x: f64, y: f64) {
        self.set_line(Matrix::translation(x, y).then(self.line));
    }

    fn set_font(
        &mut self,
        instruction: &Instruction<'_, '_>,
        resources: &Resources<'a>,
        fonts: &mut HashMap<Vec<u8>, Option<Rc<TextFont<'a>>>>,
    ) {
        let mut operands = instruction.operands();
        let (Some(Object::Name(name)), Some(Object::Number(size))) =
            (operands.next(), operands.next())
        else {
            return;
        };
        self.state.size = size.as_f64();
        if let Some(font) = fonts.get(name.as_ref()) {
            self.state.font.clone_from(font);
            return;
        }
        let font = resources
            .get_font(name)
            .and_then(|dict| self.interpreter.fonts.load(&dict));
        self.state.font.clone_from(&font);
        fonts.insert(name.to_vec(), font);
    }

    fn show(&mut self, operator: &[u8], instruction: &Instruction<'_, '_>) {
        if operator == b"\"" {
            let mut operands = instruction.operands();
            if let (Some(Object::Number(word)), Some(Object::Number(char))) =
                (operands.next(), operands.next())
            {
                (self.state.word_spacing, self.state.char_spacing) = (word.as_f64(), char.as_f64());
            }
        }
        if matches!(operator, b"'" | b"\"") {
            self.move_line(0.0, -self.state.leading);
        }
        match instruction.operands().last() {
            Some(Object::String(text)) => self.show_text(text),
            Some(Object::Array(array)) => self.show_array(array),
            _ => {}
        }
    }

    fn show_array(&mut self, array: &Array<'_>) {
        for item in array.iter::<Object<'_>>() {
            match item {
                Object::String(text) => self.show_text(&text),
                Object::Number(adjustment) => {
                    let x = -adjustment.as_f64() / 1000.0 * self.state.size * self.state.scale;
                    self.text = Matrix::translation(x, 0.0).then(self.text);
                }
                _ => {}
            }
        }
    }

    fn show_text(&mut self, text: &PdfString<'_>) {
        let Some(font) = self.state.font.clone() else {
            return;
        };
        self.interpreter.operations += text.as_bytes().len() as u64;
        let state = &self.state;
        let to_page = self.text.then(state.matrix);
        let mut x = 0.0;
        font.decode(text.as_bytes(), |glyph, is_space| {
            let width = glyph.advance * state.size * state.scale;
            self.sink
                .push(&place(glyph, &to_page, x, width, state, font.bold));
            let word_spacing = if is_space { state.word_spacing } else { 0.0 };
            x += width + (state.char_spacing + word_spacing) * state.scale;
        });
        self.text = Matrix::translation(x, 0.0).then(self.text);
    }

    fn form(
        &mut self,
        instruction: &Instruction<'_, '_>,
        resources: &Resources<'a>,
    ) -> Result<(), Refusal> {
        let Some(Object::Name(name)) = instruction.operands().next() else {
            return Ok(());
        };
        let Some(stream) = resources.get_x_object(name).filter(is_form) else {
            return Ok(());
        };
        if self.depth >= MAX_FORM_DEPTH {
            return Ok(());
        }
        self.interpreter.operations += FORM_COST;
        let Ok(content) = stream.decoded_data() else {
            return Ok(());
        };
        let own = stream
            .dict()
            .get::<Dict<'a>>(keys::RESOURCES)
            .map(Resources::new);
        let mut state = self.state.clone();
        if let Some(matrix) = stream.dict().get::<[f64; 6]>(keys::MATRIX) {
            state.matrix = Matrix(matrix).then(state.matrix);
        }
        let mut run = Run::new(self.interpreter, self.sink, state, self.depth + 1);
        run.content(&content, own.as_ref().unwrap_or(resources))
    }
}

fn place<'g>(
    glyph: &'g TextGlyph,
    to_page: &Matrix,
    x: f64,
    width: f64,
    state: &State<'_>,
    bold: bool,
) -> Glyph<'g> {
    Glyph {
        text: &glyph.text,
        origin: to_page.apply(x, state.rise),
        advance: to_page.apply_vector(width, 0.0),
        spacing: to_page.apply_vector(state.char_spacing * state.scale, 0.0),
        direction: to_page.apply_vector(1.0, 0.0),
        size: to_page.vertical_scale() * state.size.abs(),
        bold,
    }
}

fn is_form(stream: &Stream<'_>) -> bool {
    stream
        .dict()
        .get::<Name<'_>>(keys::SUBTYPE)
        .is_some_and(|subtype| subtype.as_ref() == b"Form")
}

fn numbers<const N: usize>(instruction: &Instruction<'_, '_>) -> Option<[f64; N]> {
    let mut values = [0.0; N];
    let mut operands = instruction.operands();
    for value in &mut values {
        let Some(Object::Number(number)) = operands.next() else {
            return None;
        };
        *value = Number::as_f64(number);
    }
    Some(values)
}
