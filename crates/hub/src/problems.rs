//! What is wrong with a `config.json`: every key by itself, in the names of the file.
//!
//! A problem is a line `key = found: expected …`. Of a key the first one is told; what is found later may come of it.

use std::collections::BTreeSet;

use locus_encoder::ConfigProblem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What a family calls keys of ours; several names where one is another's second, or where layers differ.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// The names that most families have.
const COMMON: Names = &[
    ("d_model", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("d_ff", "intermediate_size"),
    ("max_seq_len", "max_position_embeddings"),
    ("n_segments", "type_vocab_size"),
    ("norm_eps", "layer_norm_eps"),
    ("init_std", "initializer_range"),
    ("dropout", "hidden_dropout_prob"),
    ("attention_dropout", "attention_probs_dropout_prob"),
    ("score_cap", "attn_logit_softcapping"),
    ("attention_scale.value", "query_pre_attn_scalar"),
    ("embedding_projection.width", "embedding_size"),
    ("layer_sharing.groups", "num_hidden_groups"),
    ("n_labels", "id2label"),
    ("n_labels", "num_labels"),
    ("tied", "tie_word_embeddings"),
    ("learned.pad_row", "pad_token_id"),
    ("learned.max_positions", "max_position_embeddings"),
    ("shaw.max_distance", "max_position_embeddings"),
    ("t5.n_buckets", "relative_attention_num_buckets"),
    ("t5.max_distance", "relative_attention_max_distance"),
    ("rotary.base", "rope_theta"),
    ("rotary.base", "rope_parameters.rope_theta"),
    ("rotary.fraction", "partial_rotary_factor"),
    ("rotary.fraction", "rope_parameters.partial_rotary_factor"),
    ("rotary.window", "sliding_window"),
    ("rotary.scaling.original_max_positions", "rope_scaling.original_max_position_embeddings"),
    ("rotary.scaling.original_max_positions", "rope_parameters.original_max_position_embeddings"),
    ("rotary.scaling.original_max_positions", "original_max_position_embeddings"),
    ("rotary.scaling.original_max_positions", "max_position_embeddings"),
];

/// Reads the part of a configuration that a struct describes. A key with a value of another type is a problem and is left out,
/// so that the others are looked at too.
pub(crate) fn parse<T: DeserializeOwned + Default>(
    json: &Map<String, Value>,
    problems: &mut Vec<String>,
) -> T {
    parse_with_nulls(json, &[], problems)
}

/// The same with keys where null says something else than silence: those that have a default and may be none.
pub(crate) fn parse_with_nulls<T: DeserializeOwned + Default>(
    json: &Map<String, Value>,
    nulls: &[&str],
    problems: &mut Vec<String>,
) -> T {
    // A key that is null is one that is not set.
    let mut set: Map<String, Value> = json
        .iter()
        .filter(|(key, value)| !value.is_null() || nulls.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Ok(config) = serde_json::from_value(Value::Object(set.clone())) {
        return config;
    }
    set.retain(|key, value| sift::<T>(key, value, problems));
    serde_json::from_value(Value::Object(set)).unwrap_or_else(|error| {
        problems.push(error.to_string());
        T::default()
    })
}

/// Takes what is wrong out of the value of a key; false where nothing of it is left.
fn sift<T: DeserializeOwned>(key: &str, value: &mut Value, problems: &mut Vec<String>) -> bool {
    let error_of = |value: Value| serde_json::from_value::<T>(alone(key, value)).err();
    let Some(error) = error_of(value.clone()) else { return true };
    let before = problems.len();
    if let Value::Object(table) = value {
        table.retain(|name, inner| {
            let error = error_of(alone(name, inner.clone()));
            problems.extend(error.iter().map(|error| wrong(&format!("{key}.{name}"), inner, error)));
            error.is_none()
        });
    }
    if problems.len() == before {
        problems.push(wrong(key, value, &error));
        return false;
    }
    error_of(value.clone()).is_none()
}

/// A table of one key.
fn alone(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

fn wrong(key: &str, found: &Value, error: &serde_json::Error) -> String {
    let error = error.to_string();
    // Of a list the error is that of an entry.
    let of_entry = found.is_array() && !error.starts_with("invalid type: sequence");
    let found = shown(found);
    let asked = error.rsplit_once(", expected ").map_or(error.as_str(), |(_, asked)| asked);
    let asked = plain(asked);
    if error.starts_with("unknown field") {
        return format!("{key} = {found}: expected another key, {asked}");
    }
    let of_entry = if of_entry { "for each entry " } else { "" };
    format!("{key} = {found}: expected {of_entry}{asked}")
}

/// What is asked for, without the names of Rust's types.
fn plain(asked: &str) -> String {
    match asked {
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "u8" => "a whole number from 0 to 255",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string or map" | "map with a single key" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => return other.replace('`', ""),
    }
    .to_owned()
}

/// A value as the file has it; the beginning of a long one.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

/// A value that must be one of those that are understood.
pub(crate) fn only<T: PartialEq + Serialize>(
    problems: &mut Vec<String>,
    key: &str,
    found: &T,
    allowed: &[T],
) {
    if allowed.contains(found) {
        return;
    }
    let written = |value: &T| serde_json::to_value(value).unwrap_or_default().to_string();
    let allowed: Vec<String> = allowed.iter().map(written).collect();
    let (found, allowed) = (written(found), allowed.join(" or "));
    problems.push(format!("{key} = {found}: expected {allowed}; anything else is another computation"));
}

/// Whether a key has a problem: what would be compared with it is no problem then.
pub(crate) fn is_wrong(problems: &[String], key: &str) -> bool {
    problems.iter().any(|problem| key_of(problem) == key)
}

fn key_of(problem: &str) -> &str {
    problem.split([' ', ':']).next().unwrap_or_default()
}

/// Problems in the names of a family.
pub(crate) struct Speaker<'a> {
    pub(crate) names: Names,
    pub(crate) json: &'a Map<String, Value>,
}

impl Speaker<'_> {
    /// All problems that reading found and our own check of the model, `found_here`. What the latter says of keys that the file
    /// does not have, or compares with keys that are wrong anyway, follows from the others where there are any.
    pub(crate) fn all(&self, read: &[String], found_here: &[ConfigProblem]) -> Vec<String> {
        let mut all: Vec<String> = read.iter().map(|problem| self.as_written(problem)).collect();
        let (mut said, mut silent) = (Vec::new(), Vec::new());
        for problem in found_here {
            let (key, line) = self.line(problem);
            let compares = |wrong: &String| words(&line).any(|word| word == key_of(wrong));
            let is_told = self.named(&below_scheme(&problem.key)).any(|name| is_wrong(&all, name));
            if !is_told && !all.iter().any(compares) {
                let place = if self.get(&key).is_some() { &mut said } else { &mut silent };
                place.push(line);
            }
        }
        all.extend(said);
        if all.is_empty() {
            all = silent;
        }
        let mut seen = BTreeSet::new();
        all.retain(|problem| seen.insert(key_of(problem).to_owned()));
        all
    }

    /// A problem of our own configuration, and its key in the file.
    fn line(&self, problem: &ConfigProblem) -> (String, String) {
        let ConfigProblem { key, found, allowed } = problem;
        let key = self.name(&below_scheme(key), Some(found));
        // What stands in the file, which ours may be made of.
        let own = self.get(&key).filter(|value| !value.is_object() && !value.is_array());
        let found = own.map_or_else(|| found.clone(), shown);
        let line = format!("{key} = {found}: expected {}", self.in_names(allowed));
        (key, line)
    }

    /// A text with the family's names for ours.
    fn in_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if self.named("d_head").next().is_none() {
            let head = format!("{} / {}", self.name("d_model", None), self.name("n_heads", None));
            text = text.replace(" (or set d_head)", "").replace("d_head", &head);
        }
        if self.named("n_kv_heads").next().is_none() {
            text = text.replace(", without n_kv_heads", "");
        }
        let of_word = |word: &str| {
            let end = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            format!("{}{}", self.name(end, None), &word[end.len()..])
        };
        text.split(' ').map(of_word).collect::<Vec<_>>().join(" ")
    }

    /// The names of a key of ours; those of the family come in place of the common ones.
    fn named(&self, ours: &str) -> impl Iterator<Item = &'static str> {
        let own = self.names.iter().any(|(key, _)| *key == ours);
        let names = if own { self.names } else { COMMON };
        names.iter().filter(move |(key, _)| *key == ours).map(|(_, theirs)| *theirs)
    }

    /// The name of a key of ours: the one whose value is the one that was found, else one that the file has, else the first.
    fn name(&self, ours: &str, found: Option<&str>) -> String {
        if let (Some(below), None) = (ours.strip_prefix("rotary.scaling."), self.named(ours).next()) {
            let tables = ["rope_scaling", "rope_parameters"].map(|table| format!("{table}.{below}"));
            let is_there = |name: &&String| self.get(name).is_some();
            return tables.iter().find(is_there).unwrap_or(&tables[0]).clone();
        }
        let has_found = |name: &&str| self.get(name).is_some_and(|own| found.is_some_and(|it| is(own, it)));
        let name = self.named(ours).find(has_found);
        let name = name.or_else(|| self.named(ours).find(|name| self.get(name).is_some()));
        name.or_else(|| self.named(ours).next()).unwrap_or(ours).to_owned()
    }

    /// A problem of a key that reading gave another name: that which the file has.
    fn as_written(&self, problem: &str) -> String {
        let (key, rest) = problem.split_at(key_of(problem).len());
        if self.get(key).is_some() {
            return problem.to_owned();
        }
        let in_table = key.strip_prefix("rope_scaling.").filter(|_| self.get("rope_parameters").is_some());
        if let Some(below) = in_table {
            return format!("rope_parameters.{below}{rest}");
        }
        let mut all = self.names.iter().chain(COMMON);
        let ours = all.find(|(_, theirs)| *theirs == key).map_or("", |(ours, _)| *ours);
        let found = rest.strip_prefix(" = ").unwrap_or_default();
        let is_same = |name: &&str| self.get(name).is_some_and(|own| found.starts_with(&shown(own)));
        let name = self.named(ours).find(is_same).unwrap_or(key);
        format!("{name}{rest}")
    }

    /// What the file has at a key, which may lie in a table.
    fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.json.get(parts.next()?)?;
        parts.try_fold(first, |table, part| table.get(part)).filter(|value| !value.is_null())
    }
}

/// The key of a scheme, wherever it stands. Spread and floor of what it holds are those of the model.
fn below_scheme(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    let below = match parts.as_slice() {
        ["layer_positions", _, below @ ..] | ["position" | "embedding_position", below @ ..] => below,
        all => all,
    };
    match below.last() {
        Some(&last) if ["init_std", "norm_eps"].contains(&last) => last.to_owned(),
        _ => below.join("."),
    }
}

fn is(own: &Value, found: &str) -> bool {
    own.as_f64().is_some_and(|own| found.parse::<f64>() == Ok(own)) || own.as_str() == Some(found)
}

/// The words of a problem, dots and underscores included.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', ',', ':', '(', ')'])
}
