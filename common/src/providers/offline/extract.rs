//! Which sentences of the passages answer a question.

use std::collections::HashSet;

use super::phrases;
use crate::domain::text::{
    QueryWord, coverage, misspellings, sentences, term_set, word_weight, words,
};
use crate::providers::Passage;

/// How much of the question, by weight, one passage must hold for it to be about the question.
///
/// Of questions with an answer in the passages, 19 in 20 have a passage with more (French and English); of questions about
/// other things, 1 in 20.
const ABOUT: f64 = 0.45;

/// The same for questions of one or two words, which chance meets more easily: within two neighbouring sentences.
const ABOUT_SHORT: f64 = 0.56;

/// Passages beyond these are further off than an answer can use.
const MAX_PASSAGES: usize = 5;

/// An answer has so many sentences at most.
const MAX_SENTENCES: usize = 3;

/// A sentence from elsewhere joins the best one if it scores at least this share of it.
const NEARLY_AS_GOOD: f64 = 0.8;

/// One that goes on from the best needs less.
const GOES_ON: f64 = 0.4;

/// What the sentence after adds to a sentence's score.
const GOING_ON: f64 = 0.1;

/// What a word counts that only the section's title has.
const BY_SECTION: f64 = 0.3;

/// What a word counts that asks rather than names: `need`, `tell`.
const GENERIC: f64 = 0.3;

/// A sentence with this share of its terms in one already chosen says it again.
const REPEATED: f64 = 0.8;

/// Shorter "sentences" are headings, captions and crumbs.
const MIN_SENTENCE_WORDS: usize = 4;

/// A sentence of a passage.
#[derive(Clone)]
pub(super) struct Sentence {
    /// The number of its passage, from 0.
    pub(super) passage: usize,
    place: usize,
    /// Its text.
    pub(super) text: String,
    terms: HashSet<String>,
    section: HashSet<String>,
}

impl Sentence {
    /// Whether it says what `other` says; passages overlap.
    fn repeats(&self, other: &Self) -> bool {
        let shared = self.terms.intersection(&other.terms).count();
        #[expect(clippy::cast_precision_loss, reason = "a sentence has few words")]
        let share = shared as f64 / self.terms.len().max(1) as f64;
        share >= REPEATED
    }
}

/// The sentences that answer, in the order of the passages; none if no passage is about the question.
pub(super) fn choose(words: &[QueryWord], passages: &[Passage]) -> Vec<Sentence> {
    let terms: Vec<HashSet<String>> = passages
        .iter()
        .take(MAX_PASSAGES)
        .map(|passage| term_set(&titled(passage)))
        .collect();
    let words = corrected(words, &terms);
    let about = passages
        .iter()
        .zip(&terms)
        .enumerate()
        .filter(|(_, (_, terms))| coverage(&words, terms) >= ABOUT);
    let sentences: Vec<Sentence> = about
        .map(|(number, (passage, _))| split(number, passage))
        .filter(|sentences| words.len() > 2 || neighbours_cover(&words, sentences) >= ABOUT_SHORT)
        .flatten()
        .collect();
    let weights = weights(&words, &sentences);
    let alone: Vec<f64> = sentences
        .iter()
        .map(|sentence| score(&weights, sentence))
        .collect();
    // Overlapping passages hold the same sentence: prefer the one that goes on.
    let next = |place: usize| {
        sentences
            .get(place + 1)
            .filter(|next| next.passage == sentences[place].passage)
    };
    let scores: Vec<f64> = (0..alone.len())
        .map(|place| {
            alone[place]
                + next(place).map_or(0.0, |_| alone[place].min(alone[place + 1]) * GOING_ON)
        })
        .collect();
    let mut chosen: Vec<Sentence> = places(&sentences, &scores)
        .into_iter()
        .map(|place| sentences[place].clone())
        .collect();
    chosen.sort_by_key(|sentence| (sentence.passage, sentence.place));
    chosen
}

/// The places of the best sentence, of those that go on from it, and of others nearly as good.
fn places(sentences: &[Sentence], scores: &[f64]) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..sentences.len())
        .filter(|place| scores[*place] > 0.0)
        .collect();
    // Of equals, the one of the better passage.
    ranked.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let Some(&best) = ranked.first() else {
        return Vec::new();
    };

    let going_on = (best + 1..sentences.len()).take_while(|place| {
        sentences[*place].passage == sentences[best].passage
            && scores[*place] >= scores[best] * GOES_ON
    });
    let others = ranked
        .iter()
        .copied()
        .filter(|place| scores[*place] >= scores[best] * NEARLY_AS_GOOD);
    let mut chosen = vec![best];
    for place in going_on.chain(others) {
        if chosen.len() < MAX_SENTENCES
            && !chosen
                .iter()
                .any(|other| sentences[place].repeats(&sentences[*other]))
        {
            chosen.push(place);
        }
    }
    chosen
}

/// The question's words, those that no passage has read as what they are one typing mistake away from.
fn corrected(words: &[QueryWord], passages: &[HashSet<String>]) -> Vec<QueryWord> {
    let known = |term: &String| passages.iter().any(|terms| terms.contains(term));
    let correct = |word: &QueryWord| {
        let mut word = word.clone();
        if !word.terms.iter().any(known) {
            let guesses: Vec<String> = word
                .terms
                .iter()
                .flat_map(|term| misspellings(term))
                .filter(known)
                .collect();
            word.terms.extend(guesses);
        }
        word
    };
    words.iter().map(correct).collect()
}

/// The most of the question that two neighbouring sentences hold.
fn neighbours_cover(words: &[QueryWord], sentences: &[Sentence]) -> f64 {
    let both = |place: usize| {
        let pair = &sentences[place..sentences.len().min(place + 2)];
        pair.iter()
            .flat_map(|sentence| sentence.terms.iter().cloned())
            .collect::<HashSet<String>>()
    };
    (0..sentences.len())
        .map(|place| coverage(words, &both(place)))
        .fold(0.0, f64::max)
}

fn titled(passage: &Passage) -> String {
    format!(
        "{}\n{}",
        passage.section.as_deref().unwrap_or_default(),
        passage.text
    )
}

fn split(number: usize, passage: &Passage) -> Vec<Sentence> {
    let section = term_set(passage.section.as_deref().unwrap_or_default());
    let sentences = sentences(&passage.text).into_iter().enumerate();
    sentences
        .filter(|(_, text)| says_something(text))
        .map(|(place, text)| Sentence {
            passage: number,
            place,
            terms: term_set(&text),
            section: section.clone(),
            text,
        })
        .collect()
}

/// Headings, captions and the words of diagrams do not: they are short, repeat themselves or are made of numbers.
fn says_something(text: &str) -> bool {
    let words = words(text);
    let distinct: HashSet<&String> = words.iter().collect();
    let letters = words
        .iter()
        .filter(|word| word.chars().all(char::is_alphabetic))
        .count();
    words.len() >= MIN_SENTENCE_WORDS
        && distinct.len() * 2 > words.len()
        && letters * 2 >= words.len()
}

/// What each word counts among these sentences: the rarer, the more; and the longer.
fn weights<'a>(words: &'a [QueryWord], sentences: &[Sentence]) -> Vec<(&'a [String], f64)> {
    let weight = |word: &QueryWord| {
        let with = sentences
            .iter()
            .filter(|sentence| meets(&word.terms, &sentence.terms))
            .count();
        #[expect(clippy::cast_precision_loss, reason = "there are few sentences")]
        let rarity = (1.0 + sentences.len() as f64 / (1.0 + with as f64)).ln();
        let asked = if phrases::is_generic(&word.word) {
            GENERIC
        } else {
            1.0
        };
        asked * rarity * word_weight(&word.word)
    };
    words
        .iter()
        .map(|word| (word.terms.as_slice(), weight(word)))
        .collect()
}

/// The weight of the words a sentence meets, a little held back where it is long.
fn score(weights: &[(&[String], f64)], sentence: &Sentence) -> f64 {
    let share = |terms: &[String]| match () {
        () if meets(terms, &sentence.terms) => 1.0,
        () if meets(terms, &sentence.section) => BY_SECTION,
        () => 0.0,
    };
    let met: f64 = weights
        .iter()
        .map(|(terms, weight)| weight * share(terms))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a sentence has few words")]
    let length = sentence.terms.len() as f64;
    met / (1.0 + length / 60.0)
}

fn meets(terms: &[String], held: &HashSet<String>) -> bool {
    terms.iter().any(|term| held.contains(term))
}
