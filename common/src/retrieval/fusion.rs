//! Two rankings to one.

use std::collections::HashMap;

use crate::database::chunks::{Candidate, ChunkKey};

/// What the lexical score counts in the fused one; the vector score has the rest. Measured: 0.5 to 0.8 by `dev`'s
/// retrieval benchmark, French and English.
const LEXICAL_WEIGHT: f64 = 0.75;

/// Below this fused score a chunk is not about the question.
pub const RELEVANT: f64 = 0.2;

/// How good a chunk is, by either side; 0 where the side did not find it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Of the words, by rarity.
    pub lexical: f64,
    /// The cosine.
    pub vector: f64,
}

impl Scores {
    /// Both in one. The scores as they are, not stretched to the best of each question: measured better than ranks
    /// (RRF) and than either stretching, and comparable between questions.
    pub fn fused(self) -> f64 {
        LEXICAL_WEIGHT * self.lexical + (1.0 - LEXICAL_WEIGHT) * self.vector
    }
}

/// All candidates of either side, best first.
pub(super) fn fuse(lexical: &[Candidate], vector: &[Candidate]) -> Vec<(ChunkKey, Scores)> {
    let mut scores: HashMap<ChunkKey, Scores> = HashMap::new();
    for candidate in lexical {
        scores.entry(candidate.key).or_default().lexical = candidate.score;
    }
    for candidate in vector {
        scores.entry(candidate.key).or_default().vector = candidate.score;
    }
    let mut ranked: Vec<_> = scores.into_iter().collect();
    ranked.sort_by(|(a_key, a), (b_key, b)| b.fused().total_cmp(&a.fused()).then(a_key.cmp(b_key)));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DocumentId;

    #[test]
    fn what_both_sides_find_comes_first() {
        let document = DocumentId::new();
        let candidate = |index, score| Candidate {
            key: (document, index),
            score,
        };
        let ranked = fuse(
            &[candidate(0, 0.5), candidate(1, 0.4)],
            &[candidate(2, 0.6), candidate(1, 0.5)],
        );
        let order: Vec<i32> = ranked.iter().map(|((_, index), _)| *index).collect();
        assert_eq!(order, [1, 0, 2]);
        assert!((ranked[0].1.fused() - 0.425).abs() < 1e-9);
    }
}
