//! An answer in the documents' own sentences.

use std::fmt::Write;

use super::{extract, phrases};
use crate::domain::text::{detect_language, query_words};
use crate::providers::{ChatRequest, ChatRole};

/// The whole answer to a request.
pub(super) fn answer(request: &ChatRequest) -> String {
    let question = last_question(request);
    let language = detect_language(&question).unwrap_or(request.language);
    if let Some(courtesy) = phrases::courtesy(&question) {
        return phrases::reply(courtesy, language).to_owned();
    }
    let words = query_words(&question, language);
    let chosen = extract::choose(&words, &request.passages);
    if chosen.is_empty() {
        return phrases::unknown(language).to_owned();
    }
    let mut answer = phrases::according_to_documents(language).to_owned();
    for sentence in chosen {
        let text = without_references(&sentence.text);
        let text = text.trim_start_matches(['•', '-', '–', '*', '·', ' ']);
        write!(answer, " {text} [{}]", sentence.passage + 1)
            .expect("a string takes all that is written to it");
    }
    answer
}

/// The sentence without its own `[7]` and `[2-5]`, which would read as citations of passages.
fn without_references(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let reference = after.split_once(']').filter(|(inside, _)| {
            inside
                .chars()
                .all(|c| c.is_ascii_digit() || ", -–".contains(c))
        });
        if let Some((_, after)) = reference {
            kept.push_str(before.trim_end());
            rest = after;
        } else {
            kept.push_str(before);
            kept.push('[');
            rest = after;
        }
    }
    kept.push_str(rest);
    kept
}

/// What the person wrote since the last answer.
fn last_question(request: &ChatRequest) -> String {
    let unanswered = request
        .turns
        .iter()
        .rev()
        .take_while(|turn| turn.role == ChatRole::User);
    let mut messages: Vec<&str> = unanswered.map(|turn| turn.content.as_str()).collect();
    messages.reverse();
    messages.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Language;
    use crate::providers::{ChatTurn, Passage};

    fn ask(question: &str, passages: &[&str]) -> String {
        let passage = |text: &&str| Passage {
            filename: "a.pdf".to_owned(),
            page: Some(1),
            section: None,
            text: (*text).to_owned(),
        };
        answer(&ChatRequest {
            turns: vec![ChatTurn {
                role: ChatRole::User,
                content: question.to_owned(),
            }],
            passages: passages.iter().map(passage).collect(),
            language: Language::French,
            ..ChatRequest::default()
        })
    }

    const SHOP: &str = "Notre boutique vend du café. Le magasin est ouvert du lundi au samedi de 9 h à 18 h. La livraison à Cotonou \
                        coûte 1 500 FCFA et prend deux jours.";
    const LEDGER: &str = "A timestamp server works by taking a hash of a block of items. The timestamp proves that the data must have \
                          existed at the time. Each timestamp includes the previous one, forming a chain. Nodes can leave at will.";

    #[test]
    fn answers_with_the_sentence_that_meets_the_question_and_cites_it() {
        assert_eq!(
            ask("Combien coute la livraison a Cotonou ?", &[LEDGER, SHOP]),
            "D'après les documents : La livraison à Cotonou coûte 1 500 FCFA et prend deux jours. [2]"
        );
        let english = ask(
            "What does the timestamp prove about the data?",
            &[LEDGER, SHOP],
        );
        assert_eq!(
            english,
            "According to the documents: The timestamp proves that the data must have existed at the time. [1]"
        );
    }

    #[test]
    fn goes_on_where_the_text_goes_on_and_reads_a_typing_mistake() {
        let answer = ask(
            "what is a timestmap server",
            &["We begin with a timestamp server. A timestamp server takes a hash of a block."],
        );
        assert_eq!(
            answer,
            "According to the documents: We begin with a timestamp server. [1] A timestamp server takes a hash of a block. [1]"
        );
    }

    #[test]
    fn two_words_met_far_apart_are_no_answer() {
        let text = "The system stays open to all changes. Nodes vote with their work. It averages so many blocks per hour.";
        assert!(ask("what are your opening hours?", &[text]).starts_with("I don't know"));
    }

    #[test]
    fn says_so_in_the_askers_language_when_nothing_matches() {
        for question in [
            "Quelle est la capitale de la Mongolie ?",
            "Qui a peint la Joconde ?",
            "Acceptez-vous les animaux ?",
        ] {
            assert!(
                ask(question, &[SHOP, LEDGER]).starts_with("Je ne trouve pas"),
                "{question}"
            );
        }
        assert!(ask("Who painted the Mona Lisa?", &[SHOP, LEDGER]).starts_with("I don't know"));
        assert!(ask("Combien coûte la livraison ?", &[]).starts_with("Je ne trouve pas"));
    }

    #[test]
    fn references_of_the_text_do_not_read_as_citations() {
        assert_eq!(
            without_references("a tree [7][2], or [2-5]. See [here]"),
            "a tree, or. See [here]"
        );
    }

    #[test]
    fn greets_back() {
        assert!(ask("Bonjour", &[SHOP]).starts_with("Bonjour"));
        assert!(ask("thanks!", &[SHOP]).starts_with("You're welcome"));
    }

    #[test]
    fn messages_of_a_burst_are_one_question() {
        let turn = |role, content: &str| ChatTurn {
            role,
            content: content.to_owned(),
        };
        let request = ChatRequest {
            turns: vec![
                turn(ChatRole::User, "le café"),
                turn(ChatRole::Assistant, "…"),
                turn(ChatRole::User, "la livraison"),
                turn(ChatRole::User, "à Cotonou c'est combien"),
            ],
            ..ChatRequest::default()
        };
        assert_eq!(
            last_question(&request),
            "la livraison\nà Cotonou c'est combien"
        );
    }
}
