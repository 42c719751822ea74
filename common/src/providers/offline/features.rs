//! What the offline embedder sees in a text: stems and character n-grams, hashed to dimensions.

use std::collections::HashMap;

use crate::domain::Language;
use crate::domain::text::{is_stop_word, stem_word, words};
use crate::providers::DIMENSIONS;

/// Parts of words: what survives a typing mistake or an ending the stemmer does not know.
const GRAM_CHARS: std::ops::RangeInclusive<usize> = 3..=5;

/// What the n-grams of a word weigh together, where its stem weighs 1.
const GRAM_WEIGHT: f32 = 1.5;

/// What a stop word weighs, where a content word weighs 1 to 3.
const STOP_WORD_WEIGHT: f32 = 0.05;

/// The unit vector of a text; all zeros if it has no words.
pub(super) fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0_f32; DIMENSIONS];
    for (word, count) in counted(words(text)) {
        add_word(&mut vector, &word, weight(&word, count));
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }
    vector
}

fn counted(words: Vec<String>) -> Vec<(String, u16)> {
    let mut counts: HashMap<String, u16> = HashMap::new();
    for word in words {
        let count = counts.entry(word).or_default();
        *count = count.saturating_add(1);
    }
    // In a fixed order: sums of floats depend on it, and the same text must have the same vector.
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    counts
}

/// Sublinear in the count; without a corpus at hand, length stands in for rarity, and stop words hardly count.
fn weight(word: &str, count: u16) -> f32 {
    let stop_word = is_stop_word(word, Language::French) || is_stop_word(word, Language::English);
    #[expect(clippy::cast_precision_loss, reason = "a word is short")]
    let rarity = if stop_word {
        STOP_WORD_WEIGHT
    } else {
        (word.chars().count().min(10) as f32).sqrt()
    };
    rarity * (1.0 + f32::from(count).ln())
}

fn add_word(vector: &mut [f32], word: &str, weight: f32) {
    for language in [Language::French, Language::English] {
        add(
            vector,
            &format!("={}", stem_word(word, language)),
            weight / 2.0,
        );
    }
    let padded: Vec<char> = format!(" {word} ").chars().collect();
    let grams: Vec<String> = GRAM_CHARS
        .flat_map(|size| padded.windows(size))
        .map(|gram| gram.iter().collect())
        .collect();
    // Shared out, so that the squares of a word's n-grams sum to a constant whatever its length.
    #[expect(clippy::cast_precision_loss, reason = "a word has few n-grams")]
    let each = weight * GRAM_WEIGHT / (grams.len() as f32).sqrt();
    for gram in grams {
        add(vector, &gram, each);
    }
}

/// Adds a feature at its dimension, with its sign: collisions cancel out on average.
fn add(vector: &mut [f32], feature: &str, weight: f32) {
    let hash = hash(feature.as_bytes());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is below the number of dimensions"
    )]
    let dimension = (hash % DIMENSIONS as u64) as usize;
    vector[dimension] += if hash >> 63 == 0 { weight } else { -weight };
}

/// FNV-1a with a final mix: the same on every machine and in every release, which stored vectors rely on.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
