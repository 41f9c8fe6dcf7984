//! `generation_config.json`: how those who made a checkpoint generate with it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// What is understood of `generation_config.json`, under the names of transformers; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// The tokens that end a text.
    pub eos_token_id: Option<OneOrMany>,
    /// Tokens that never come.
    pub suppress_tokens: Option<Vec<u32>>,
    /// Tokens that do not come first.
    pub begin_suppress_tokens: Option<Vec<u32>>,
    /// Runs of tokens that never come.
    pub bad_words_ids: Option<Vec<Vec<u32>>>,
    /// The most new tokens.
    pub max_new_tokens: Option<usize>,
    /// The most tokens, those given included.
    pub max_length: Option<usize>,
    /// The fewest new tokens.
    pub min_new_tokens: Option<usize>,
    /// The fewest tokens, those given included.
    pub min_length: Option<usize>,
    /// Whether tokens are drawn; the best one is taken otherwise.
    pub do_sample: Option<bool>,
    /// Scores are divided by it.
    pub temperature: Option<f64>,
    /// Only so many best tokens can be drawn.
    pub top_k: Option<usize>,
    /// Only the best tokens of this probability together can be drawn.
    pub top_p: Option<f64>,
    /// Only tokens at least so many times as probable as the best can be drawn.
    pub min_p: Option<f64>,
    /// The width of a beam search; 1 for none.
    pub num_beams: Option<usize>,
    /// The power of the length that sums of log-probabilities are divided by.
    pub length_penalty: Option<f64>,
    /// When a search ends.
    pub early_stopping: Option<SearchEnd>,
    /// Scores of tokens that have come are divided by it.
    pub repetition_penalty: Option<f64>,
    /// No sequence of so many tokens comes twice.
    pub no_repeat_ngram_size: Option<usize>,
}

/// An id, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(u32),
    /// Several.
    Many(Vec<u32>),
}

/// When a beam search ends, as transformers writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SearchEnd {
    /// With as many texts as there are beams (true), or when no open text would be better (false).
    Early(bool),
    /// `"never"`: when no open text can become better.
    Never(NeverEnd),
}

/// The word `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeverEnd {
    /// It.
    Never,
}

impl Generation {
    /// Reads what a file holds.
    ///
    /// # Errors
    /// If a key has a value of another type.
    pub fn read(json: &Map<String, Value>) -> Result<Self, String> {
        // Key by key, so that everything that is wrong is told.
        let wrong: Vec<String> = json
            .iter()
            .filter_map(|(key, value)| {
                let alone = Map::from_iter([(key.clone(), value.clone())]);
                let error = serde_json::from_value::<Self>(Value::Object(alone)).err()?;
                Some(format!("{key} = {value}: {error}"))
            })
            .collect();
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        serde_json::from_value(Value::Object(json.clone())).map_err(|error| error.to_string())
    }

    /// The tokens that end a text.
    pub fn ends(&self) -> Vec<u32> {
        match &self.eos_token_id {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![*id],
            Some(OneOrMany::Many(ids)) => ids.clone(),
        }
    }

    /// The tokens that never come: those that are suppressed, and bad words of one token that end no text.
    pub fn suppressed(&self) -> Vec<u32> {
        let ends = self.ends();
        let words = self.bad_words_ids.iter().flatten();
        let words = words.filter_map(|word| match word.as_slice() {
            [id] if !ends.contains(id) => Some(*id),
            _ => None,
        });
        self.suppress_tokens.iter().flatten().copied().chain(words).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Generation, NeverEnd, SearchEnd};

    fn map(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn ids_alone_and_in_lists() {
        let ends = |json| Generation::read(&map(json)).unwrap().ends();
        assert_eq!(ends(json!({ "eos_token_id": 7 })), [7]);
        assert_eq!(ends(json!({ "eos_token_id": [7, 3], "transformers_version": "4.57.6" })), [7, 3]);
        assert_eq!(ends(json!({ "eos_token_id": null })), [0; 0]);
        let early = |json| Generation::read(&map(json)).unwrap().early_stopping;
        assert_eq!(early(json!({ "early_stopping": "never" })), Some(SearchEnd::Never(NeverEnd::Never)));
        assert_eq!(early(json!({ "early_stopping": true })), Some(SearchEnd::Early(true)));
    }

    #[test]
    fn bad_words_of_one_token_are_suppressed() {
        let json = json!({ "bad_words_ids": [[23], [5, 2], [7]], "suppress_tokens": [3], "eos_token_id": 7 });
        assert_eq!(Generation::read(&map(json)).unwrap().suppressed(), [3, 23]);
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let wrong =
            map(json!({ "temperature": "hot", "num_beams": -1, "top_p": 0.9, "eos_token_id": "</s>" }));
        let error = Generation::read(&wrong).unwrap_err();
        for part in ["temperature = \"hot\"", "num_beams = -1", "eos_token_id = \"</s>\""] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("top_p"), "{error}");
    }
}
