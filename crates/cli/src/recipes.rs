//! The recipes that are built into the program.

use std::fmt::Write as _;

/// A run file with a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// The name.
    pub(crate) name: &'static str,
    /// The run file.
    pub(crate) text: &'static str,
}

macro_rules! recipes {
    ($($name:literal),+ $(,)?) => {
        &[$(Recipe { name: $name, text: include_str!(concat!("../recipes/", $name, ".toml")) }),+]
    };
}

/// All recipes; the first is the one that `locus train` runs without an argument.
pub(crate) const RECIPES: &[Recipe] = recipes![
    "first-news",
    "first-reviews",
    "first-stories",
    "first-questions",
    "ner",
    "classify",
    "multilabel",
    "regression",
    "lm",
    "mlm",
    "replaced-tokens",
    "prefix-lm",
    "span-corruption",
    "denoising",
    "sentence-order",
    "seq2seq",
    "embed",
    "qa",
    "rank",
    "multiple-choice",
    "reverse",
    "slots-snips",
    "intent-snips",
    "intent-banking77",
    "intent-clinc150",
    "intent-bitext",
    "domain-crosswoz",
    "ner-uner-zh",
    "ner-wnut17",
    "ner-btc",
    "ner-wikigold",
    "topic-sib200-en",
    "topic-sib200-zh",
    "sentiment-polarity",
    "sentiment-pros-cons",
    "sentiment-subjectivity",
    "emotion-goemotions",
    "emotion-xed-en",
    "emotion-xed-zh",
    "nli-cad",
    "pairs-pawsx-zh",
    "qa-squad",
    "lm-tinyshakespeare",
    "lm-classic-books",
    "lm-wikitext2",
    "lm-chinese-poetry",
    "mlm-classic-books",
    "translate-tatoeba",
    "retrieval-bitext",
    "retrieval-squad",
    "recommend-ml-latest-small"
];

/// The recipe of this name.
pub(crate) fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

/// What to say where a name is neither a recipe nor a file.
pub(crate) fn unknown(name: &str) -> String {
    let nearest =
        RECIPES.iter().max_by(|a, b| strsim::jaro(a.name, name).total_cmp(&strsim::jaro(b.name, name)));
    let mut text = format!("'{name}' is neither a recipe nor a file");
    if let Some(nearest) = nearest {
        let _ = write!(text, ": did you mean the recipe '{}'?", nearest.name);
    }
    let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    let _ = write!(text, " Recipes: {}", names.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::RECIPES;
    use crate::run_file::{Source, load};

    #[test]
    fn every_recipe_is_a_valid_run_file() {
        for recipe in RECIPES {
            let source = Source { origin: recipe.name.to_owned(), text: recipe.text.to_owned() };
            // The generic ones lack files by design.
            let generic = !recipe.text.contains("set = ");
            let sets = if generic { vec!["data.train=mine.txt".to_owned()] } else { Vec::new() };
            let run = load(&source, &sets).unwrap_or_else(|error| panic!("{error}"));
            assert!(!run.description.is_empty(), "{} says what it is", recipe.name);
        }
    }
}
