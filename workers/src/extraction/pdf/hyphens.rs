//! Joins words cut at the end of a line, keeping the hyphens that belong to them.

use std::collections::HashSet;

/// Stands for a hyphen at the end of a line until the whole document is known.
pub(super) const LINE_HYPHEN: char = '\u{1}';

/// What French joins with a hyphen to the word before it.
const ENCLITICS: [&str; 22] = [
    "je", "tu", "il", "elle", "on", "nous", "vous", "ils", "elles", "ce", "ci", "là", "le", "la",
    "les", "lui", "leur", "moi", "toi", "en", "y", "même",
];

/// Decides every [`LINE_HYPHEN`] of a document's texts: by the words the document has elsewhere, else by their form.
pub(super) fn resolve(texts: &mut [&mut String]) {
    let wanted: HashSet<String> = texts
        .iter()
        .filter(|text| text.contains(LINE_HYPHEN))
        .flat_map(|text| cuts(text))
        .collect();
    if wanted.is_empty() {
        return;
    }
    let known: HashSet<String> = texts
        .iter()
        .flat_map(|text| words(text))
        .map(str::to_lowercase)
        .filter(|word| wanted.contains(word))
        .collect();
    for text in texts.iter_mut().filter(|text| text.contains(LINE_HYPHEN)) {
        **text = join(text, &known);
    }
}

/// Both forms of every cut word.
fn cuts(text: &str) -> Vec<String> {
    let cut = text
        .match_indices(LINE_HYPHEN)
        .map(|(at, _)| around(text, at));
    cut.flat_map(|(before, after)| [format!("{before}{after}"), format!("{before}-{after}")])
        .map(|word| word.to_lowercase())
        .collect()
}

fn join(text: &str, known: &HashSet<String>) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut done = 0;
    for (at, hyphen) in text.match_indices(LINE_HYPHEN) {
        joined.push_str(&text[done..at]);
        done = at + hyphen.len();
        let (before, after) = around(text, at);
        if keeps_hyphen(before, after, known) {
            joined.push('-');
        }
    }
    joined.push_str(&text[done..]);
    joined
}

fn keeps_hyphen(before: &str, after: &str, known: &HashSet<String>) -> bool {
    if known.contains(&format!("{before}{after}").to_lowercase()) {
        return false;
    }
    known.contains(&format!("{before}-{after}").to_lowercase())
        // `peer-to-` goes on with another hyphen, `dit-` with a pronoun, `t-` with one too.
        || before.contains('-')
        || ENCLITICS.contains(&after.split('-').next().unwrap_or_default())
}

/// The word before and the word after a cut.
fn around(text: &str, at: usize) -> (&str, &str) {
    let (before, after) = (&text[..at], &text[at + LINE_HYPHEN.len_utf8()..]);
    (
        words_reversed(before),
        words(after)
            .next()
            .filter(|word| after.starts_with(word))
            .unwrap_or_default(),
    )
}

fn words_reversed(text: &str) -> &str {
    text.rsplit(|c| !is_word(c)).next().unwrap_or_default()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c))
        .map(|word| word.trim_matches('-'))
        .filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let mut text = text.replace('¬', "\u{1}");
        resolve(&mut [&mut text]);
        text
    }

    #[test]
    fn a_cut_word_is_joined() {
        assert_eq!(resolved("a transac¬tion is"), "a transaction is");
        assert_eq!(resolved("l'organi¬sation"), "l'organisation");
    }

    #[test]
    fn a_hyphen_of_its_own_stays() {
        assert_eq!(resolved("peer-to¬peer"), "peer-to-peer");
        assert_eq!(
            resolved("a well-known and well¬known thing"),
            "a well-known and well-known thing"
        );
        assert_eq!(
            resolved("dit¬il, a-t¬il, celui¬ci"),
            "dit-il, a-t-il, celui-ci"
        );
    }

    #[test]
    fn the_document_knows_its_words() {
        assert_eq!(resolved("re-use; reuse, re¬use"), "re-use; reuse, reuse");
        assert_eq!(
            resolved("Intermé¬diaire et l'intermédiaire"),
            "Intermédiaire et l'intermédiaire"
        );
    }
}
