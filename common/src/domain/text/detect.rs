//! French or English?

use whatlang::{Detector, Lang};

use super::stop_words::is_stop_word;
use super::words::words;
use crate::domain::Language;

/// Short messages have no stop words but these.
const FRENCH_CHAT: [&str; 35] = [
    "bonjour",
    "bonsoir",
    "salut",
    "coucou",
    "merci",
    "oui",
    "non",
    "svp",
    "stp",
    "voici",
    "quel",
    "quelle",
    "cest",
    "jai",
    "combien",
    "ouvert",
    "horaires",
    "prix",
    "commande",
    "livraison",
    "heure",
    "veux",
    "voudrais",
    "besoin",
    "avez",
    "pouvez",
    "revoir",
    "ca",
    "va",
    "daccord",
    "beaucoup",
    "demain",
    "aide",
    "ouvrez",
    "fermez",
];
const ENGLISH_CHAT: [&str; 33] = [
    "hello", "hi", "hey", "thanks", "thank", "yes", "please", "good", "morning", "evening", "im",
    "whats", "bye", "goodbye", "open", "hours", "price", "order", "delivery", "need", "want",
    "help", "like", "get", "dont", "much", "many", "tomorrow", "today", "there", "know", "tell",
    "cost",
];

/// What only French writes; `é` alone is in too many names and English loan words to settle it.
const FRENCH_LETTERS: [char; 12] = ['à', 'â', 'ç', 'è', 'ê', 'ë', 'î', 'ï', 'ô', 'ù', 'û', 'œ'];

/// Longer texts than this are left to statistics when the words do not decide.
const LONG_TEXT_CHARS: usize = 60;

/// The language of a text, be it a short chat message; `None`: neither, or too little to tell.
pub fn detect_language(text: &str) -> Option<Language> {
    // Enough to tell, however long the text is.
    let text: String = text.chars().take(2_000).collect();
    let (french, english) = evidence(&text);
    let long = text.chars().count() > LONG_TEXT_CHARS;
    if long && french.max(english) * 4 < text.split_whitespace().count() {
        // Fewer words of ours than prose has: perhaps a third language, or a table.
        match whatlang::detect(&text)
            .filter(whatlang::Info::is_reliable)
            .map(|info| info.lang())
        {
            Some(known @ (Lang::Fra | Lang::Eng)) => return ours(known),
            Some(_) => return None,
            None => {}
        }
    }
    match french.cmp(&english) {
        std::cmp::Ordering::Greater => Some(Language::French),
        std::cmp::Ordering::Less => Some(Language::English),
        std::cmp::Ordering::Equal => statistics(&text),
    }
}

/// How many words speak for French and for English.
fn evidence(text: &str) -> (usize, usize) {
    let (mut french, mut english) = (0, 0);
    for word in words(text) {
        let word = word.as_str();
        let says_french = is_stop_word(word, Language::French) || FRENCH_CHAT.contains(&word);
        let says_english = is_stop_word(word, Language::English) || ENGLISH_CHAT.contains(&word);
        french += usize::from(says_french && !says_english);
        english += usize::from(says_english && !says_french);
    }
    let lower = text.to_lowercase().replace('’', "'");
    let elided = ["l'", "d'", "qu'", "j'", "c'", "n'", "s'"]
        .iter()
        .any(|elision| {
            lower.match_indices(elision).any(|(at, _)| {
                lower[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|before| !before.is_alphanumeric())
            })
        });
    french += usize::from(elided) * 2
        + usize::from(lower.contains(FRENCH_LETTERS)) * 2
        + usize::from(lower.contains('é'));
    (french, english)
}

fn statistics(text: &str) -> Option<Language> {
    let info = Detector::with_allowlist(vec![Lang::Fra, Lang::Eng]).detect(text)?;
    if info.is_reliable() {
        ours(info.lang())
    } else {
        None
    }
}

fn ours(lang: Lang) -> Option<Language> {
    match lang {
        Lang::Fra => Some(Language::French),
        Lang::Eng => Some(Language::English),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_are_told_apart() {
        for text in [
            "bonjour",
            "Merci !",
            "quels sont vos horaires",
            "c'est combien ?",
            "je veux commander",
            "Où êtes-vous situés ?",
            "prix svp",
            "Quel est le rôle du CBRST?",
            "ok merci beaucoup",
            "vous livrez à Cotonou ?",
        ] {
            assert_eq!(detect_language(text), Some(Language::French), "{text}");
        }
        for text in [
            "hello",
            "Thanks!",
            "what are your opening hours",
            "how much is it?",
            "I want to order",
            "Where are you located?",
            "price please",
            "What does the network need a timestamp server for?",
            "ok thank you very much",
            "do you deliver to Cotonou?",
        ] {
            assert_eq!(detect_language(text), Some(Language::English), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_neither() {
        for text in ["", "12345", "👍", "ok", "Bitcoin"] {
            assert_ne!(detect_language(text), Some(Language::French), "{text}");
        }
        let spanish = "El perro come en la cocina mientras los niños juegan fuera con sus amigos y vecinos del barrio";
        assert_eq!(detect_language(spanish), None);
        let russian =
            "Собака ест на кухне, пока дети играют на улице со своими друзьями и соседями";
        assert_eq!(detect_language(russian), None);
    }
}
