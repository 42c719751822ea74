//! Cutting a long answer into messages a channel takes.

use unicode_segmentation::UnicodeSegmentation;

/// Cuts `text` into parts of at most `longest` characters: at paragraphs, else lines, else sentences, else words, and
/// inside a word only where it alone is too long. Joined again, nothing but white space at the cuts is lost.
pub fn split(text: &str, longest: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = cut(rest, longest.max(1));
        let (part, after) = rest.split_at(cut);
        parts.push(part.trim_end().to_owned());
        rest = after.trim_start();
    }
    parts
}

/// Where to cut: the end of the longest run of whole pieces, of the coarsest kind, that fills at least half of the room.
fn cut(text: &str, longest: usize) -> usize {
    let Some((room, _)) = text.char_indices().nth(longest) else {
        return text.len();
    };
    let head = &text[..room];
    let half = head.char_indices().nth(longest / 2).map_or(0, |(at, _)| at);
    let boundaries = [
        head.rfind("\n\n"),
        head.rfind('\n'),
        // The last sentence of the head may be cut off itself: take the start of it as the end of the one before.
        head.split_sentence_bound_indices().last().map(|(at, _)| at),
    ];
    boundaries
        .into_iter()
        .flatten()
        .find(|at| *at > half)
        .or_else(|| head.rfind(char::is_whitespace).filter(|at| *at > 0))
        .or_else(|| {
            head.grapheme_indices(true)
                .next_back()
                .map(|(at, _)| at)
                .filter(|at| *at > 0)
        })
        .unwrap_or(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_answer_stays_whole() {
        assert_eq!(split("  Bonjour.  ", 100), ["Bonjour."]);
        assert!(split(" \n ", 100).is_empty());
    }

    #[test]
    fn cuts_fall_between_paragraphs_then_sentences_then_words() {
        assert_eq!(
            split("Un paragraphe assez long.\n\nUn autre paragraphe.", 40),
            ["Un paragraphe assez long.", "Un autre paragraphe."]
        );
        assert_eq!(
            split("Une phrase. Une autre phrase. Une troisième.", 32),
            ["Une phrase. Une autre phrase.", "Une troisième."]
        );
        assert_eq!(
            split("des mots sans fin aucune", 10),
            ["des mots", "sans fin", "aucune"]
        );
    }

    #[test]
    fn nothing_but_white_space_is_lost_and_no_part_is_too_long() {
        let text = format!(
            "{} {}\n{}",
            "é".repeat(95),
            "Voilà. ".repeat(50),
            "🇫🇷".repeat(40)
        );
        for longest in [1, 7, 30, 64] {
            let parts = split(&text, longest);
            assert!(
                parts
                    .iter()
                    .all(|part| part.chars().count() <= longest && !part.is_empty()),
                "{longest}"
            );
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(squeeze(&parts.concat()), squeeze(&text));
        }
    }
}
