//! `added_tokens.json`: tokens that a vocabulary got later, each with its id; and the special ones that have no role.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

use super::load::CONVERT;
use super::settings::Settings;
use crate::DataError;
use crate::error::Problems;
use crate::read::source::Source;

/// The tokens of the file beside a vocabulary; none where there is no such file.
pub(super) struct Added {
    path: PathBuf,
    /// By id, then by token.
    tokens: Vec<(u32, String)>,
}

impl Added {
    pub(super) fn beside(vocab: &Path) -> Result<Self, DataError> {
        let path = vocab.with_file_name("added_tokens.json");
        if !path.is_file() {
            return Ok(Self { path, tokens: Vec::new() });
        }
        let source = Source::open(&path)?;
        let map: Map<String, Value> = serde_json::from_str(&source.text).map_err(|error| {
            Problems::only(&path, error.line(), format!("expected an object of tokens with ids: {error}"))
        })?;
        let mut problems = Problems::new(&path);
        let mut tokens = Vec::with_capacity(map.len());
        for (token, id) in map {
            match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                Some(id) if !token.is_empty() => tokens.push((id, token)),
                Some(id) => problems.at(0, format!("id {id} has no token")),
                None => problems.at(0, format!("`{token}`: expected an id, found {id}")),
            }
        }
        tokens.sort();
        problems.finish(Self { path, tokens })
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.tokens.iter().find(|(_, known)| known == token).map(|(id, _)| *id)
    }

    /// Gives a tokenizer these tokens under their ids, and makes those special that the settings call special.
    pub(super) fn add_to(&self, tokenizer: &mut HfTokenizer, settings: &Settings) -> Result<(), DataError> {
        self.check(tokenizer)?;
        let tokens: Vec<AddedToken> = self
            .tokens
            .iter()
            .map(|(_, token)| AddedToken::from(token.as_str(), settings.is_special(token)))
            .collect();
        tokenizer.add_tokens(&tokens);
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            settings.roleless().into_iter().partition(|token| tokenizer.token_to_id(token).is_some());
        settings.not_in_vocabulary(
            &unknown.iter().map(|token| (Settings::ROLELESS, *token)).collect::<Vec<_>>(),
        )?;
        let special: Vec<AddedToken> = known.iter().map(|token| AddedToken::from(*token, true)).collect();
        tokenizer.add_special_tokens(&special);
        Ok(())
    }

    /// Ids that contradict the vocabulary or one another. New ones go on where the vocabulary ends.
    fn check(&self, tokenizer: &HfTokenizer) -> Result<(), DataError> {
        let n_known = tokenizer.get_vocab_size(false);
        let mut problems = Problems::new(&self.path);
        let mut taken: BTreeMap<u32, &str> = BTreeMap::new();
        let mut next = n_known;
        for (id, token) in &self.tokens {
            let known = tokenizer.token_to_id(token);
            if let Some(known) = known.filter(|known| known != id) {
                problems.at(0, format!("`{token}` is {id} here, and {known} in the vocabulary"));
            } else if let Some(other) = tokenizer.id_to_token(*id).filter(|other| other != token) {
                problems.at(0, format!("`{token}` is {id}, which is `{other}` in the vocabulary"));
            } else if let Some(other) = taken.insert(*id, token) {
                problems.at(0, format!("`{other}` and `{token}` are both {id}"));
            } else if known.is_none() && *id as usize != next {
                problems.at(
                    0,
                    format!(
                        "`{token}` is {id}, expected {next}: added tokens go on where the vocabulary of {n_known} ends, \
                         without gaps; {CONVERT}"
                    ),
                );
                next = *id as usize + 1;
            } else if known.is_none() {
                next += 1;
            }
        }
        problems.finish(())
    }
}
