//! What a misspelt word may have been meant to be.

/// Shorter words have too many neighbours that are other words.
const MIN_CHARS: usize = 4;

/// Longer words are no words, and their neighbours would fill the memory: some fifty a letter, each as long.
const MAX_CHARS: usize = 24;

/// Everything one typing mistake away from a folded `term`: a letter left out, two swapped, one changed, one added.
///
/// A few hundred strings, to be looked up at once: exact, and with no index of similar words to keep. Empty for very short and very long terms.
pub fn misspellings(term: &str) -> Vec<String> {
    let letters: Vec<char> = term.chars().collect();
    if !(MIN_CHARS..=MAX_CHARS).contains(&letters.len())
        || !letters.iter().all(char::is_ascii_alphabetic)
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    for at in 0..=letters.len() {
        let (before, after) = letters.split_at(at);
        if let [first, rest @ ..] = after {
            found.push(joined(before, None, rest));
            found.extend(
                ('a'..='z')
                    .filter(|c| c != first)
                    .map(|c| joined(before, Some(c), rest)),
            );
        }
        if let [first, second, rest @ ..] = after {
            found.push(joined(before, Some(*second), &[&[*first], rest].concat()));
        }
        found.extend(('a'..='z').map(|c| joined(before, Some(c), after)));
    }
    found.sort_unstable();
    found.dedup();
    found.retain(|other| other != term);
    found
}

fn joined(before: &[char], between: Option<char>, after: &[char]) -> String {
    before
        .iter()
        .copied()
        .chain(between)
        .chain(after.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistake_of_each_kind_is_undone_and_two_are_not() {
        for meant in [
            "benin", "bein", "bnein", "benim", "abenin", "beninn", "enin", "beni",
        ] {
            assert_eq!(
                misspellings("benin").contains(&meant.to_owned()),
                meant != "benin",
                "{meant}"
            );
        }
        assert!(!misspellings("benin").contains(&"been".to_owned()));
    }

    #[test]
    fn short_words_and_numbers_are_taken_as_they_are() {
        assert!(misspellings("cat").is_empty());
        assert!(misspellings("20000").is_empty());
    }
}
