//! What each term of a question weighs.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::{QueryWord, misspellings};

/// What a word that was guessed to be meant counts, where one that was typed counts 1.
const GUESSED: f64 = 0.7;

/// Words looked up under their possible misspellings, at most: each costs a few hundred look-ups.
const MAX_GUESSED_WORDS: usize = 4;

/// A term of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct TermWeight {
    /// Which word of the question it stands for: of the terms of one word, a chunk is given the best.
    pub word: i32,
    /// The term.
    pub term: String,
    /// How much it counts; the best terms of all words sum to 1 at most.
    pub weight: f64,
}

/// The terms to look up for the words of which no term is in `frequencies`: what may have been meant.
pub fn guesses<S: BuildHasher>(
    words: &[QueryWord],
    frequencies: &HashMap<String, i64, S>,
) -> Vec<String> {
    let unknown = words
        .iter()
        .filter(|word| !word.terms.iter().any(|term| frequencies.contains_key(term)));
    unknown
        .take(MAX_GUESSED_WORDS)
        .flat_map(guesses_of)
        .collect()
}

fn guesses_of(word: &QueryWord) -> impl Iterator<Item = String> {
    word.terms
        .iter()
        .chain([&word.word])
        .flat_map(|term| misspellings(term))
}

/// Weighs the terms of a question by how rare they are among `chunk_count` chunks (BM25's IDF).
///
/// A word in no chunk weighs as much as the rarest, and no term carries its share: the scores say what was not found.
pub fn weigh<S: BuildHasher>(
    words: &[QueryWord],
    chunk_count: i64,
    frequencies: &HashMap<String, i64, S>,
) -> Vec<TermWeight> {
    let mut weights = Vec::new();
    let mut total = 0.0;
    for (number, word) in (0..).zip(words) {
        let known = |terms: Vec<String>, factor: f64| -> Vec<TermWeight> {
            let found = terms
                .into_iter()
                .filter_map(|term| Some((*frequencies.get(&term)?, term)));
            found
                .map(|(count, term)| TermWeight {
                    word: number,
                    term,
                    weight: factor * idf(chunk_count, count),
                })
                .collect()
        };
        let mut terms = known(word.terms.clone(), 1.0);
        let mut factor = 1.0;
        if terms.is_empty() {
            let mut guessed: Vec<String> = guesses_of(word).collect();
            guessed.sort_unstable();
            guessed.dedup();
            (terms, factor) = (known(guessed, GUESSED), GUESSED);
        }
        let best = terms
            .iter()
            .map(|term| term.weight / factor)
            .fold(0.0, f64::max);
        total += if terms.is_empty() {
            idf(chunk_count, 0)
        } else {
            best
        };
        weights.extend(terms);
    }
    for weight in &mut weights {
        weight.weight /= total;
    }
    weights
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a logarithm needs no more digits"
)]
fn idf(chunk_count: i64, chunks_with_term: i64) -> f64 {
    let (all, with) = (chunk_count as f64, chunks_with_term as f64);
    (1.0 + (all - with + 0.5).max(0.0) / (with + 0.5)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Language;
    use crate::domain::text::query_words;

    fn weights(question: &str, known: &[(&str, i64)]) -> Vec<TermWeight> {
        let known: HashMap<String, i64> = known
            .iter()
            .map(|(term, count)| ((*term).to_owned(), *count))
            .collect();
        weigh(&query_words(question, Language::English), 100, &known)
    }

    #[test]
    fn rare_terms_weigh_more_and_all_sum_to_one() {
        let weights = weights("network timestamp", &[("network", 50), ("timestamp", 2)]);
        assert!(weights[1].weight > 3.0 * weights[0].weight);
        assert!((weights.iter().map(|weight| weight.weight).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_found_keeps_its_share() {
        let weights = weights("capital mongolia network", &[("network", 50)]);
        assert_eq!(weights.len(), 1);
        assert!(weights[0].weight < 0.1);
    }

    #[test]
    fn an_unknown_word_counts_as_what_it_is_close_to() {
        let weights = weights("timestmap", &[("timestamp", 2)]);
        assert_eq!(
            (weights[0].term.as_str(), weights[0].weight),
            ("timestamp", GUESSED)
        );
    }
}
