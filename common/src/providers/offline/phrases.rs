//! What the offline provider says in its own words.

use crate::domain::Language;
use crate::domain::text::words;

/// A message that only observes the forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Courtesy {
    /// Hello.
    Greeting,
    /// Thank you.
    Thanks,
    /// Goodbye.
    Farewell,
}

const GREETINGS: [&str; 12] = [
    "bonjour",
    "bonsoir",
    "salut",
    "coucou",
    "hello",
    "hi",
    "hey",
    "greetings",
    "good",
    "morning",
    "evening",
    "afternoon",
];
const THANKS: [&str; 5] = ["merci", "thanks", "thank", "thx", "remercie"];
const FAREWELLS: [&str; 6] = ["revoir", "bye", "goodbye", "bientot", "adieu", "tchao"];

/// Words that may stand beside those without asking anything.
const FILLERS: [&str; 30] = [
    "a", "all", "au", "beaucoup", "bien", "ca", "comment", "day", "everyone", "for", "help", "je",
    "journee", "la", "le", "madame", "monde", "monsieur", "much", "ok", "parfait", "pour", "so",
    "there", "to", "tous", "tout", "va", "very", "vous",
];
const MORE_FILLERS: [&str; 9] = [
    "aide", "bonne", "et", "great", "soiree", "super", "the", "votre", "you",
];

/// Words that ask rather than name what is asked about.
const GENERIC: [&str; 34] = [
    "besoin",
    "dire",
    "dis",
    "dites",
    "donne",
    "donnez",
    "explain",
    "explique",
    "expliquer",
    "expliquez",
    "find",
    "fonctionne",
    "get",
    "give",
    "help",
    "know",
    "make",
    "mean",
    "means",
    "need",
    "needs",
    "parle",
    "parlez",
    "please",
    "savoir",
    "sert",
    "servent",
    "signifie",
    "tell",
    "use",
    "used",
    "utilise",
    "want",
    "work",
];

/// Whether a folded word asks rather than names.
pub(super) fn is_generic(word: &str) -> bool {
    GENERIC.contains(&word)
}

/// What the message is, if it is nothing but forms.
pub(super) fn courtesy(message: &str) -> Option<Courtesy> {
    let words = words(message);
    let of = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let only_forms = words.iter().all(|word| {
        let word = word.as_str();
        [&GREETINGS[..], &THANKS, &FAREWELLS, &FILLERS, &MORE_FILLERS]
            .iter()
            .any(|list| list.contains(&word))
    });
    if !only_forms {
        None
    } else if of(&THANKS) {
        Some(Courtesy::Thanks)
    } else if of(&FAREWELLS) {
        Some(Courtesy::Farewell)
    } else if of(&GREETINGS) {
        Some(Courtesy::Greeting)
    } else {
        None
    }
}

/// The answer to a courtesy.
pub(super) fn reply(courtesy: Courtesy, language: Language) -> &'static str {
    match (courtesy, language) {
        (Courtesy::Greeting, Language::French) => {
            "Bonjour ! Que souhaitez-vous savoir ? Je cherche la réponse dans les documents."
        }
        (Courtesy::Greeting, Language::English) => {
            "Hello! What would you like to know? I look for the answer in the documents."
        }
        (Courtesy::Thanks, Language::French) => "Avec plaisir !",
        (Courtesy::Thanks, Language::English) => "You're welcome!",
        (Courtesy::Farewell, Language::French) => "Au revoir, et à bientôt !",
        (Courtesy::Farewell, Language::English) => "Goodbye!",
    }
}

/// What is said when the documents do not answer.
pub(super) fn unknown(language: Language) -> &'static str {
    match language {
        Language::French => {
            "Je ne trouve pas la réponse dans les documents. Pouvez-vous reformuler votre question ou la préciser ?"
        }
        Language::English => {
            "I don't know: I can't find the answer in the documents. Could you rephrase or be more specific?"
        }
    }
}

/// What introduces an answer.
pub(super) fn according_to_documents(language: Language) -> &'static str {
    match language {
        Language::French => "D'après les documents :",
        Language::English => "According to the documents:",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_from_questions() {
        assert_eq!(courtesy("Bonjour !"), Some(Courtesy::Greeting));
        assert_eq!(courtesy("hello there"), Some(Courtesy::Greeting));
        assert_eq!(
            courtesy("Merci beaucoup, bonne journée"),
            Some(Courtesy::Thanks)
        );
        assert_eq!(courtesy("Au revoir"), Some(Courtesy::Farewell));
        for question in [
            "Bonjour, quels sont vos horaires ?",
            "hi, how much is it?",
            "comment ?",
            "👍",
            "",
        ] {
            assert_eq!(courtesy(question), None, "{question}");
        }
    }
}
