//! How well a piece of text meets a question, where no statistics are at hand.

use std::collections::HashSet;
use std::hash::BuildHasher;

use super::{QueryWord, stem_word, words};
use crate::domain::Language;

/// The terms a text holds, under the stems of both languages.
pub fn term_set(text: &str) -> HashSet<String> {
    words(text)
        .iter()
        .flat_map(|word| {
            [
                stem_word(word, Language::French),
                stem_word(word, Language::English),
            ]
        })
        .collect()
}

/// What a word counts: without statistics, its length stands in for its rarity.
pub fn word_weight(word: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a word is short")]
    let chars = word.chars().count().min(10) as f64;
    // A number is rarer than its length says.
    if word.contains(|c: char| c.is_ascii_digit()) {
        3.0
    } else {
        chars.sqrt()
    }
}

/// The share of the question's words, by weight, that are among `terms`; from 0 to 1.
pub fn coverage<S: BuildHasher>(question: &[QueryWord], terms: &HashSet<String, S>) -> f64 {
    let total: f64 = question.iter().map(|word| word_weight(&word.word)).sum();
    let met = question
        .iter()
        .filter(|word| word.terms.iter().any(|term| terms.contains(term)));
    if total > 0.0 {
        met.map(|word| word_weight(&word.word)).sum::<f64>() / total
    } else {
        0.0
    }
}
