//! Text to the terms it is found by: one analysis for what is stored and for what is asked.
//!
//! Folding comes before stemming, so that `élevé` typed as `eleve` is the same term. A word is stemmed by the language
//! of its text; a question, whose language may differ from the documents', is looked up under the stems of both.

use rust_stemmers::{Algorithm, Stemmer};

use crate::domain::Language;

mod detect;
mod fold;
mod relevance;
mod sentences;
mod similar;
mod stop_words;
mod weights;
mod words;

pub use detect::detect_language;
pub use fold::fold;
pub use relevance::{coverage, term_set, word_weight};
pub use sentences::sentences;
pub use similar::misspellings;
pub use stop_words::is_stop_word;
pub use weights::{TermWeight, guesses, weigh};
pub use words::words;

/// Changes with everything that changes a term: what was indexed by another version must be indexed again.
pub const ANALYSER_VERSION: i16 = 1;

/// Longer "words" are keys, digests and broken extractions: cut, since nobody types them whole.
const MAX_TERM_CHARS: usize = 40;

/// A word of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryWord {
    /// The folded word.
    pub word: String,
    /// The terms it may be stored under: its stem in each language, without repeats.
    pub terms: Vec<String>,
}

/// The terms of a text in `language`, in order, with repeats, without stop words.
pub fn terms(text: &str, language: Language) -> Vec<String> {
    let stemmer = stemmer(language);
    words(text)
        .iter()
        .filter(|word| !is_stop_word(word, language))
        .map(|word| stem(&stemmer, word))
        .collect()
}

/// The words of a question that are worth looking up, without repeats.
///
/// Stop words of the question's own language are dropped, unless nothing else is asked.
pub fn query_words(question: &str, language: Language) -> Vec<QueryWord> {
    let all = words(question);
    let mut kept: Vec<&String> = all
        .iter()
        .filter(|word| !is_stop_word(word, language))
        .collect();
    if kept.is_empty() {
        kept = all.iter().collect();
    }
    let (french, english) = (stemmer(Language::French), stemmer(Language::English));
    let mut found: Vec<QueryWord> = Vec::new();
    for word in kept {
        let mut terms = vec![stem(&french, word), stem(&english, word)];
        terms.dedup();
        if found.iter().all(|other| other.terms != terms) {
            found.push(QueryWord {
                word: word.clone(),
                terms,
            });
        }
    }
    found
}

/// The stem of one folded word.
pub fn stem_word(word: &str, language: Language) -> String {
    stem(&stemmer(language), word)
}

fn stemmer(language: Language) -> Stemmer {
    Stemmer::create(match language {
        Language::French => Algorithm::French,
        Language::English => Algorithm::English,
    })
}

fn stem(stemmer: &Stemmer, word: &str) -> String {
    stemmer.stem(word).chars().take(MAX_TERM_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_case_and_elisions_do_not_change_the_terms() {
        let typed = terms("L'ÉCOLE élevée, d’où qu'elle vienne", Language::French);
        assert_eq!(
            typed,
            terms("l'ecole elevee d'ou qu'elle vienne", Language::French)
        );
        assert_eq!(typed[0], "ecol");
    }

    #[test]
    fn a_french_question_finds_english_stems() {
        let question = query_words(
            "Pourquoi le réseau a-t-il besoin de timestamps ?",
            Language::French,
        );
        let stored = terms("a timestamp server", Language::English);
        let timestamps = question
            .iter()
            .find(|word| word.word == "timestamps")
            .unwrap();
        assert!(timestamps.terms.contains(&stored[0]));
    }

    #[test]
    fn a_question_of_stop_words_alone_is_still_asked() {
        assert!(!query_words("qui est-il", Language::French).is_empty());
        assert!(query_words(" ?! ", Language::French).is_empty());
    }
}
