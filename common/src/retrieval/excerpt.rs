//! The part of a chunk worth showing.

use crate::domain::text::{coverage, detect_language, query_words, sentences, term_set};

/// The sentences that meet the question best, at most about `max_chars` of them.
pub(super) fn excerpt(text: &str, question: &str, max_chars: usize) -> String {
    let words = query_words(question, detect_language(question).unwrap_or_default());
    let sentences = sentences(text);
    let best = (0..sentences.len())
        .map(|start| (start, window(&sentences[start..], max_chars)))
        .map(|(start, length)| {
            (
                coverage(
                    &words,
                    &term_set(&sentences[start..start + length].join(" ")),
                ),
                start,
                length,
            )
        })
        // The first of the best: a later window that is no better starts past what matters.
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    let Some((_, start, length)) = best else {
        return String::new();
    };

    let mut shown = cut(&sentences[start..start + length].join(" "), max_chars);
    if start > 0 {
        shown.insert_str(0, "… ");
    }
    if start + length < sentences.len() && !shown.ends_with('…') {
        shown.push_str(" …");
    }
    shown
}

/// How many sentences fit; one at least.
fn window(sentences: &[String], max_chars: usize) -> usize {
    let mut chars = 0;
    let fitting = sentences.iter().take_while(|sentence| {
        chars += sentence.chars().count() + 1;
        chars <= max_chars + 1
    });
    fitting.count().max(1)
}

/// At a space, where one sentence alone is too long.
fn cut(text: &str, max_chars: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(max_chars) else {
        return text.to_owned();
    };
    let head = &text[..end];
    format!(
        "{}…",
        head.rsplit_once(' ').map_or(head, |(words, _)| words)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_sentences_that_meet_the_question() {
        let text = "Nothing here. The server hashes a block of items. A timestamp server proves the data existed. Then it ends.";
        assert_eq!(
            excerpt(text, "What is the timestamp server for?", 60),
            "… A timestamp server proves the data existed. Then it ends."
        );
    }

    #[test]
    fn cuts_one_long_sentence_at_a_word() {
        assert_eq!(excerpt("one two three four", "two?", 9), "one two…");
        assert_eq!(excerpt("", "two?", 9), "");
    }
}
