//! Text to sentences.

use unicode_segmentation::UnicodeSegmentation;

/// A "sentence" longer than this is a table or a list without full stops: cut at its lines.
const MAX_SENTENCE_CHARS: usize = 400;

/// What ends in a full stop without ending a sentence.
const ABBREVIATIONS: [&str; 24] = [
    "m.", "mm.", "mr.", "mrs.", "ms.", "dr.", "st.", "etc.", "cf.", "p.", "pp.", "vol.", "no.",
    "n°.", "art.", "fig.", "e.g.", "i.e.", "ex.", "env.", "av.", "inc.", "ltd.", "vs.",
];

/// The sentences of a text, trimmed, lines joined; blank lines always end one.
pub fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in text.replace("\r\n", "\n").split("\n\n") {
        for sentence in merged(paragraph) {
            if sentence.chars().count() <= MAX_SENTENCE_CHARS {
                push_joined(&mut found, &sentence);
            } else {
                sentence
                    .lines()
                    .for_each(|line| push_joined(&mut found, line));
            }
        }
    }
    found
}

/// Unicode's sentences, glued again where only an abbreviation or a line's end parted them.
fn merged(paragraph: &str) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for part in paragraph.split_sentence_bounds() {
        match merged.last_mut() {
            Some(last) if !ends_sentence(last) => last.push_str(part),
            // A spaced French quotation mark closes the sentence before it.
            Some(last) if part.starts_with('»') => {
                last.push('»');
                merged.push(part['»'.len_utf8()..].to_owned());
            }
            _ => merged.push(part.to_owned()),
        }
    }
    merged
}

fn ends_sentence(text: &str) -> bool {
    let text = text.trim_end();
    let text = text.trim_end_matches(['"', '»', '”', '’', ')', ']', ' ', '\u{a0}', '\u{202f}']);
    let last_word = text
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default()
        .trim_start_matches(['(', '«', '"']);
    // An initial: `S. Nakamoto`.
    let initial = last_word.chars().count() == 2
        && last_word.ends_with('.')
        && last_word.starts_with(char::is_uppercase);
    text.ends_with(['.', '!', '?', '…'])
        && !ABBREVIATIONS.contains(&last_word.to_lowercase().as_str())
        && !initial
}

fn push_joined(found: &mut Vec<String>, text: &str) {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !joined.is_empty() {
        found.push(joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_lines_and_keeps_abbreviations_together() {
        let text = "Dr. Nakamoto wrote\nit in 2008. It works, e.g. for cash!\n\nTitle without stop\n\nVoilà « fini. » Oui ?";
        assert_eq!(
            sentences(text),
            [
                "Dr. Nakamoto wrote it in 2008.",
                "It works, e.g. for cash!",
                "Title without stop",
                "Voilà « fini. »",
                "Oui ?"
            ]
        );
    }

    #[test]
    fn a_list_without_full_stops_is_cut_at_its_lines() {
        let text = vec!["one line of a long table that goes on"; 20].join("\n");
        assert_eq!(sentences(&text).len(), 20);
    }
}
