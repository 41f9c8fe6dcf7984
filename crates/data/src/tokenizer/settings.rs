//! What a Hugging Face folder says beside the vocabulary: `tokenizer_config.json` and `special_tokens_map.json`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::frame::ROLES;
use crate::DataError;
use crate::error::Problems;
use crate::read::source::Source;

/// The file that says how a tokenizer is made.
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";
/// The file that says which token has which role.
pub(super) const SPECIALS_FILE: &str = "special_tokens_map.json";
/// In the order in which they are asked.
const FILES: [&str; 2] = [CONFIG_FILE, SPECIALS_FILE];

/// The settings beside a vocabulary; empty where there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    files: Vec<(PathBuf, Map<String, Value>)>,
}

/// The object that a file of JSON holds.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>, DataError> {
    let source = Source::open(path)?;
    match serde_json::from_str(&source.text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Problems::only(path, 1, "expected an object, {…}")),
        Err(error) => Err(Problems::only(path, error.line(), format!("not JSON: {error}"))),
    }
}

/// A token: a string, or an object with `content`.
fn token(value: &Value) -> Option<&str> {
    value.get("content").unwrap_or(value).as_str()
}

/// The token of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// Nothing is said.
    Unsaid,
    /// There is none.
    Without,
    /// This one.
    Token(&'a str),
}

impl Settings {
    /// The key of special tokens without a role.
    pub(super) const ROLELESS: &'static str = "additional_special_tokens";

    /// Reads the settings in the folder of `vocab`.
    pub(super) fn beside(vocab: &Path) -> Result<Self, DataError> {
        let paths = FILES.map(|name| vocab.with_file_name(name));
        let files = paths.into_iter().filter(|path| path.is_file());
        let files = files.map(|path| object(&path).map(|map| (path, map)));
        Ok(Self { files: files.collect::<Result<_, _>>()? })
    }

    /// The same, with these tokens in the roles of which the files say nothing.
    pub(super) fn or_roles<'a>(&self, roles: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let map = roles.into_iter().map(|(key, token)| (key.to_owned(), Value::from(token))).collect();
        let mut files = self.files.clone();
        files.push((PathBuf::new(), map));
        Self { files }
    }

    /// The value of a switch such as `do_lower_case`.
    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        self.value(key).and_then(Value::as_bool)
    }

    /// The value of a number such as `extra_ids`.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        self.value(key).and_then(Value::as_u64)
    }

    /// The value of a text such as `tokenizer_class`.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    /// The token under a key such as `pad_token`: a string, or an object with `content`.
    pub(super) fn role(&self, key: &str) -> Role<'_> {
        let Some(value) = self.value(key) else { return Role::Unsaid };
        token(value).map_or(Role::Without, Role::Token)
    }

    /// The special tokens without a role.
    pub(super) fn roleless(&self) -> Vec<&str> {
        let list = self.value(Self::ROLELESS).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(token).collect()
    }

    /// Whether a token has a role, or is named among those without.
    pub(super) fn is_special(&self, token: &str) -> bool {
        ROLES.iter().any(|(key, _)| self.role(key) == Role::Token(token)) || self.roleless().contains(&token)
    }

    /// The token under a key, or `usual`.
    pub(super) fn role_or<'a>(&'a self, key: &str, usual: &'a str) -> Option<&'a str> {
        match self.role(key) {
            Role::Token(token) => Some(token),
            Role::Unsaid => Some(usual),
            Role::Without => None,
        }
    }

    /// The error for tokens that are named here and not in the vocabulary.
    pub(super) fn not_in_vocabulary(&self, roles: &[(&str, &str)]) -> Result<(), DataError> {
        for (path, map) in &self.files {
            let mut problems = Problems::new(path);
            for (key, token) in roles.iter().filter(|(key, _)| map.contains_key(*key)) {
                problems.at(0, format!("{key} is `{token}`, but the vocabulary has no such token"));
            }
            if !problems.is_empty() {
                return problems.finish(());
            }
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.files.iter().find_map(|(_, map)| map.get(key))
    }
}
