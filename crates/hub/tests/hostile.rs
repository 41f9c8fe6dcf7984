//! Folders that are damaged, or made to do harm: an error that says what is wrong, no crash, no large allocation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use locus_hub::{Checkpoint, load, read_config};
use serde_json::{Value, json};

use crate::B;
use crate::parity::case::cases;

const WEIGHTS: &str = "model.safetensors";

/// The error of a small BERT's folder after `harm` was done to it.
fn error_after(harm: impl FnOnce(&Path)) -> String {
    error_of("bert-sequence_classification", harm)
}

fn error_of(name: &str, harm: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let all = cases();
    all.iter().find(|case| case.name == name).unwrap().write(folder.path());
    harm(folder.path());
    load::<B>(folder.path(), &Default::default()).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part} in {error}");
    }
}

fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Rewrites the header of the weights.
fn edit_header(dir: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    change(&mut header);
    let header = header.to_string().into_bytes();
    let parts = [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + len..]];
    fs::write(dir.join(WEIGHTS), parts.concat()).unwrap();
}

#[test]
fn a_truncated_file() {
    let error = error_after(|dir| {
        let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
        fs::write(dir.join(WEIGHTS), &bytes[..bytes.len() - 100]).unwrap();
    });
    assert_says(&error, &[WEIGHTS, "no whole safetensors file", "download it again"]);
    for n in [0, 5] {
        let error = error_after(|dir| fs::write(dir.join(WEIGHTS), vec![7; n]).unwrap());
        assert_says(&error, &[WEIGHTS]);
    }
}

#[test]
fn a_header_of_2_to_the_60_bytes() {
    let error = error_after(|dir| {
        let mut bytes = fs::read(dir.join(WEIGHTS)).unwrap();
        bytes[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        fs::write(dir.join(WEIGHTS), bytes).unwrap();
    });
    assert_says(&error, &[WEIGHTS, "no whole safetensors file"]);
}

#[test]
fn overlapping_tensors() {
    let error = error_after(|dir| {
        edit_header(dir, |header| {
            let first = header["classifier.bias"]["data_offsets"].clone();
            header["bert.pooler.dense.bias"]["data_offsets"] = first;
        });
    });
    assert_says(&error, &[WEIGHTS, "no whole safetensors file"]);
}

#[test]
fn a_wrong_type() {
    let error =
        error_after(|dir| edit_header(dir, |header| header["classifier.bias"]["dtype"] = "I32".into()));
    assert_says(&error, &["classifier.bias", "I32", "expected F32, F16 or BF16"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let error = error_after(|dir| {
        let mut bytes = fs::read(dir.join(WEIGHTS)).unwrap();
        let n = bytes.len();
        bytes[n - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(dir.join(WEIGHTS), bytes).unwrap();
    });
    assert_says(&error, &["NaN at element", "damaged"]);
}

#[test]
fn an_index_that_leads_outside() {
    for path in ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", ".."] {
        let error = error_after(|dir| {
            fs::remove_file(dir.join(WEIGHTS)).unwrap();
            let index = json!({ "weight_map": { "classifier.bias": path } });
            fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        });
        assert_says(&error, &[path, "not the name of a file in the folder"]);
    }
}

#[test]
fn an_unknown_family_or_none() {
    let error = error_after(|dir| edit(dir, "config.json", |json| json["model_type"] = "mamba".into()));
    assert_says(&error, &["mamba", "bert", "llama", "t5"]);
    let error = error_after(|dir| fs::write(dir.join("config.json"), "{").unwrap());
    assert_says(&error, &["config.json"]);
    let error = error_after(|dir| fs::remove_file(dir.join("config.json")).unwrap());
    assert_says(&error, &["config.json"]);
}

#[test]
fn a_pickle() {
    let error = error_after(|dir| {
        fs::rename(dir.join(WEIGHTS), dir.join("pytorch_model.bin")).unwrap();
    });
    assert_says(&error, &["pytorch_model.bin", "can run code", "save_pretrained"]);
}

#[test]
fn sizes_far_above_any_model() {
    for key in ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"] {
        let error = error_after(|dir| edit(dir, "config.json", |json| json[key] = (1_u64 << 60).into()));
        assert_says(&error, &["config.json", "1152921504606846976"]);
    }
    let set = |key: &'static str, value: u64| {
        move |dir: &Path| edit(dir, "config.json", |json| json[key] = value.into())
    };
    for key in ["num_labels", "type_vocab_size"] {
        assert_says(&error_after(set(key, 1 << 60)), &["config.json", "1152921504606846976"]);
    }
    // Whoever reads the configuration alone is as safe.
    let error = error_of("bert-sequence_classification", |dir| {
        edit(dir, "config.json", |json| {
            json["num_labels"] = (1_u64 << 60).into();
            json.as_object_mut().unwrap().remove("id2label");
        });
        let error = Checkpoint::read(dir, None).unwrap_err().to_string();
        assert_says(&error, &["config.json", "num_labels = 1152921504606846976", "expected at most"]);
    });
    assert_says(&error, &["num_labels = 1152921504606846976"]);
    let error = error_of("bert-relative_key-masked_lm", set("max_position_embeddings", 1 << 20));
    assert_says(&error, &["config.json describes a model of at least", "numbers, the files have"]);
    for key in ["relative_attention_num_buckets", "num_decoder_layers"] {
        let error = error_of("t5-seq2seq_lm", set(key, 1 << 60));
        assert_says(&error, &["config.json", "1152921504606846976"]);
    }
    let error = error_of("t5-seq2seq_lm", set("num_decoder_layers", 1 << 19));
    assert_says(&error, &["config.json describes 524290 blocks, the files have"]);
    // Possible one by one, but not with this file.
    let error = error_after(set("type_vocab_size", 1 << 20));
    assert_says(&error, &["config.json describes a model of at least", "numbers, the files have"]);
    let error = error_after(|dir| {
        edit(dir, "config.json", |json| {
            json["hidden_size"] = (3 << 18).into();
            json["intermediate_size"] = (1 << 20).into();
        });
    });
    assert_says(&error, &["config.json describes a model of at least", "numbers, the files have"]);
}

#[test]
fn all_that_does_not_fit_is_one_error() {
    let error = error_after(|dir| {
        edit(dir, "config.json", |json| {
            json["intermediate_size"] = 31.into();
            json["num_hidden_layers"] = 3.into();
        });
        edit_header(dir, |header| {
            let entry = header.as_object_mut().unwrap().remove("classifier.bias").unwrap();
            header["classifier.extra"] = entry;
        });
    });
    assert_says(
        &error,
        &[
            "bert.encoder.layer.0.intermediate.dense.weight is [29, 18], expected [31, 18]",
            "bert.encoder.layer.2.attention.self.query.weight is missing",
            "classifier.bias is missing",
            "classifier.extra is not a tensor of this model",
        ],
    );
}

/// The keys of a configuration as pointers, those of tables within it too.
pub(crate) fn keys(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in config.as_object().unwrap() {
        found.push(format!("/{key}"));
        let inner = value.as_object().into_iter().flat_map(|table| table.keys());
        found.extend(inner.map(|inner| format!("/{key}/{inner}")));
    }
    found
}

/// Values that few keys can have.
pub(crate) fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(11),
        json!(1_u64 << 53),
        json!(u64::MAX),
        json!(0.5),
        json!(1e308),
        json!(-1e308),
        json!(1e-320),
        json!("odd"),
        json!([]),
        json!([0]),
        json!([[]]),
        json!({}),
        json!({ "0": {} }),
        json!({ "rope_type": "yarn" }),
    ]
}

/// Whatever a key holds, the outcome is an error or a configuration that can be, and comes at once.
#[test]
fn any_value_of_any_key_is_read_or_refused() {
    let odd = odd();
    let (folder, mut seen, mut failures) = (tempfile::tempdir().unwrap(), BTreeSet::new(), Vec::new());
    for case in cases() {
        let keys = keys(&case.config);
        // One for each set of keys: the values are changed anyway.
        if !seen.insert((case.model_type().to_owned(), keys.clone())) {
            continue;
        }
        for (key, value) in keys.iter().flat_map(|key| odd.iter().map(move |value| (key, value))) {
            let mut config = case.config.clone();
            *config.pointer_mut(key).unwrap() = value.clone();
            fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let read = std::panic::catch_unwind(|| match read_config(folder.path(), None) {
                Ok(checkpoint) => checkpoint.config.check().len(),
                Err(error) => error.to_string().is_empty().into(),
            });
            match read {
                Ok(0) => {}
                Ok(_) => failures.push(format!("{}, {key} = {value}: read, but it cannot be", case.name)),
                Err(_) => failures.push(format!("{}, {key} = {value}: a panic", case.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn options_of_generation_that_are_none() {
    for (options, says) in [
        (json!({ "num_beams": "many", "top_k": -1 }), "num_beams = \"many\""),
        (json!({ "suppress_tokens": 3 }), "suppress_tokens = 3"),
        (json!([]), "generation_config.json"),
    ] {
        let error =
            error_after(|dir| fs::write(dir.join("generation_config.json"), options.to_string()).unwrap());
        assert_says(&error, &["generation_config.json", says]);
    }
}
