//! Text to folded words.

use super::fold;

/// What French glues before a word: `l'école` is found by `école`.
const ELISIONS: [&str; 15] = [
    "c", "d", "j", "l", "m", "n", "s", "t", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu", "quelqu",
    "presqu",
];

/// What English glues after one: `company's`, `doesn't`.
const CONTRACTIONS: [&str; 7] = ["s", "t", "ll", "re", "ve", "d", "m"];

/// The folded words of a text, in order: runs of letters and digits, without elisions and contractions.
pub fn words(text: &str) -> Vec<String> {
    let folded = fold(text).replace("aujourd'hui", "aujourdhui");
    let mut words = Vec::new();
    for group in folded.split(|c: char| !c.is_alphanumeric() && c != '\'') {
        let parts: Vec<&str> = group.split('\'').filter(|part| !part.is_empty()).collect();
        for (index, part) in parts.iter().enumerate() {
            let elided = index + 1 < parts.len() && ELISIONS.contains(part);
            let contracted = index > 0 && CONTRACTIONS.contains(part);
            if !elided && !contracted {
                words.push((*part).to_owned());
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_elisions_and_contractions_and_splits_compounds() {
        assert_eq!(
            words("Qu'est-ce que l’Alliance d'Abomey ?"),
            ["est", "ce", "que", "alliance", "abomey"]
        );
        assert_eq!(
            words("The company's chain doesn't fork"),
            ["the", "company", "chain", "doesn", "fork"]
        );
        assert_eq!(words("aujourd’hui, 'oui'"), ["aujourdhui", "oui"]);
    }

    #[test]
    fn a_letter_alone_is_a_word() {
        assert_eq!(words("vitamine C, plan d"), ["vitamine", "c", "plan", "d"]);
    }
}
