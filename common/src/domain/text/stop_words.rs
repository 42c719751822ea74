//! Words too common to say what a text is about, folded as [`super::fold`] folds.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::domain::Language;

static FRENCH: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "a ai aie aient ait alors apres au aucun aucune aujourdhui aura aurait aussi autre autres aux avait avaient avec avez avoir avons ayant \
     bien c car ce ceci cela celle celles celui ces cet cette ceux chaque chez ci combien comme comment d dans de des depuis dernier donc dont \
     du elle elles en encore entre es est et etaient etait etant ete etes etre eu eux fait faire fois font furent fut il ils j je jusque \
     l la laquelle le lequel les lesquelles lesquels leur leurs lors lorsque lui m ma mais me meme memes mes moi moins mon n ne ni nos notre \
     nous on ont or ou par parce pas pendant permet peu peut peuvent plus plusieurs pour pourquoi pouvez puis qu quand que quel quelle quelles \
     quels quelque quelques quest qui quoi s sa sans se selon sera serait ses si soit son sont sous suis sur t ta te tel telle telles tels tes \
     toi ton tous tout toute toutes tres tu un une vers via voici voila vos votre vous vs y"
        .split_whitespace()
        .collect()
});

static ENGLISH: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "a about after again all also am an and any are aren as at be because been before being between both but by can cannot could couldn did didn \
     do does doesn doing don down during each few for from further had hadn has hasn have haven having he her here hers herself him himself his \
     how i if in into is isn it its itself just let ll may me might more most must my myself no nor not of off on once only or other our ours \
     out over own s same shall she should shouldn so some such t than that the their theirs them themselves then there these they this those \
     through to too under until up us ve very via was wasn we were weren what when where which while who whom why will with won would wouldn \
     you your yours yourself"
        .split_whitespace()
        .collect()
});

/// Whether a folded word says nothing in `language`.
pub fn is_stop_word(word: &str, language: Language) -> bool {
    match language {
        Language::French => FRENCH.contains(word),
        Language::English => ENGLISH.contains(word),
    }
}
