//! `generation_config.json`, and what early checkpoints have of it in `config.json`.

use std::fs;
use std::path::Path;

use locus_model::{Generation, TokenIds};
use serde_json::{Map, Value, json};

use crate::HubError;
use crate::config::CONFIG_FILE;

pub(crate) const GENERATION_FILE: &str = "generation_config.json";

/// How a checkpoint generates, and the ids of tokens that it names. Those of `generation_config.json` come before those of
/// `config.json`; tokens that generation is forced to say are where the rest of generation is.
pub(crate) fn read(
    dir: &Path,
    config: &Map<String, Value>,
    vocab_size: usize,
) -> Result<(Map<String, Value>, TokenIds), HubError> {
    let file = file(dir)?;
    let mut generation = file.clone().unwrap_or_else(|| former(config));
    let ends = config.get("eos_token_id").filter(|ends| ends.is_array());
    if let (Some(ends), None | Some(Value::Null)) = (ends, generation.get("eos_token_id")) {
        generation.insert("eos_token_id".to_owned(), ends.clone());
    }
    if let Err(problem) = Generation::read(&generation) {
        let path = dir.join(if file.is_some() { GENERATION_FILE } else { CONFIG_FILE });
        return Err(HubError::Config { path, problems: vec![problem] });
    }
    // Where several ids end a text, the first.
    let of = |json: &Map<String, Value>, key: &str| {
        let value = json.get(key)?;
        let value = value.as_array().map_or(Some(value), |list| list.first())?;
        value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < vocab_size)
    };
    let id = |key: &str| file.as_ref().and_then(|file| of(file, key)).or_else(|| of(config, key));
    let forced = |key: &str| of(file.as_ref().unwrap_or(config), key);
    let ids = TokenIds {
        pad: id("pad_token_id"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        cls: id("cls_token_id"),
        sep: id("sep_token_id"),
        decoder_start: id("decoder_start_token_id"),
        forced_bos: forced("forced_bos_token_id"),
        forced_eos: forced("forced_eos_token_id"),
    };
    Ok((generation, ids))
}

/// The file to write for a model that has options of generation: these, and the ids that the model has by now.
pub(crate) fn written(generation: &Map<String, Value>, ids: &TokenIds) -> Option<Map<String, Value>> {
    if generation.is_empty() {
        return None;
    }
    let mut json = generation.clone();
    // Those of texts that are read are no matter of generation.
    let of_texts = ["cls_token_id", "sep_token_id"];
    for (key, id) in ids.named().into_iter().filter(|(key, _)| !of_texts.contains(key)) {
        if let (Some(id), None | Some(Value::Null)) = (id, json.get(key)) {
            json.insert(key.to_owned(), id.into());
        }
    }
    Some(json)
}

/// What `generation_config.json` holds, where there is one.
fn file(dir: &Path) -> Result<Option<Map<String, Value>>, HubError> {
    let path = dir.join(GENERATION_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
    let wrong = |error: serde_json::Error| HubError::Config { path, problems: vec![error.to_string()] };
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

/// The options of generation in `config.json`, where they were kept before they had a file of their own; `transformers` still
/// reads them there. Those that say what is so anyway are left out.
fn former(config: &Map<String, Value>) -> Map<String, Value> {
    let unset = [
        ("max_length", json!(20)),
        ("min_length", json!(0)),
        ("do_sample", json!(false)),
        ("early_stopping", json!(false)),
        ("num_beams", json!(1)),
        ("temperature", json!(1.0)),
        ("top_k", json!(50)),
        ("top_p", json!(1.0)),
        ("repetition_penalty", json!(1.0)),
        ("length_penalty", json!(1.0)),
        ("no_repeat_ngram_size", json!(0)),
        ("bad_words_ids", json!(null)),
        ("suppress_tokens", json!(null)),
        ("begin_suppress_tokens", json!(null)),
    ];
    let same = |a: &Value, b: &Value| a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64());
    let set = unset.into_iter().filter_map(|(key, unset)| {
        let value = config.get(key).filter(|value| !value.is_null() && !same(value, &unset))?;
        Some((key.to_owned(), value.clone()))
    });
    set.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::fs;

    use locus_model::TokenIds;
    use serde_json::{Map, Value, json};

    use super::{GENERATION_FILE, read, written};

    fn map(json: &Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    /// What is read of both files, for a vocabulary of 29.
    fn both(config: &Value, file: Option<&Value>) -> Result<(Map<String, Value>, TokenIds), String> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(file) = file {
            fs::write(folder.path().join(GENERATION_FILE), file.to_string()).unwrap();
        }
        read(folder.path(), &map(config), 29).map_err(|error| error.to_string())
    }

    #[test]
    fn its_own_file_comes_first() {
        let config = json!({
            "eos_token_id": 3, "pad_token_id": 5, "forced_eos_token_id": 3, "num_beams": 4, "max_length": 20
        });
        let (generation, ids) = both(&config, None).unwrap();
        assert_eq!(generation, map(&json!({ "num_beams": 4 })));
        let former = TokenIds { pad: Some(5), eos: Some(3), forced_eos: Some(3), ..TokenIds::default() };
        assert_eq!(ids, former);

        let file = json!({ "eos_token_id": [7, 3], "top_p": 0.9, "bos_token_id": 29 });
        let (generation, ids) = both(&config, Some(&file)).unwrap();
        assert_eq!(generation, map(&file));
        // An id past the vocabulary is none.
        assert_eq!(ids, TokenIds { pad: Some(5), eos: Some(7), ..TokenIds::default() });
    }

    #[test]
    fn several_ends_in_the_configuration_are_kept() {
        let (generation, ids) = both(&json!({ "eos_token_id": [11, 13] }), Some(&json!({}))).unwrap();
        assert_eq!(generation, map(&json!({ "eos_token_id": [11, 13] })));
        assert_eq!(ids.eos, Some(11));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let error = both(&json!({}), Some(&json!({ "num_beams": "many" }))).unwrap_err();
        assert!(error.contains(GENERATION_FILE) && error.contains("num_beams = \"many\""), "{error}");
        let error = both(&json!({}), Some(&json!([1]))).unwrap_err();
        assert!(error.contains(GENERATION_FILE), "{error}");
        let error = both(&json!({ "suppress_tokens": [-1] }), None).unwrap_err();
        assert!(error.contains("config.json") && error.contains("suppress_tokens"), "{error}");
    }

    #[test]
    fn it_is_written_with_the_ids_that_the_model_has_by_now() {
        let ids = TokenIds { pad: Some(5), eos: Some(7), sep: Some(3), ..TokenIds::default() };
        assert_eq!(written(&Map::new(), &ids), None);
        let generation = map(&json!({ "eos_token_id": [7, 3], "pad_token_id": null, "top_p": 0.9 }));
        let expected = json!({ "eos_token_id": [7, 3], "pad_token_id": 5, "top_p": 0.9 });
        assert_eq!(written(&generation, &ids), Some(map(&expected)));
    }
}
