//! What is wrong with a `config.json`, told all together and in its own names; and what only looks wrong.

use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use locus_heads::{HeadConfig, TaskModel};
use locus_hub::{HubError, is_checkpoint, load, read_config};
use serde_json::{Value, json};

use super::case::{Case, cases};
use crate::B;

fn case(name: &str) -> Option<Case> {
    cases().into_iter().find(|case| case.name == name)
}

/// The configuration of a golden with these keys set; null takes one out.
fn with(case: &Case, edits: &Value) -> Value {
    let mut config = case.config.clone();
    for (key, value) in edits.as_object().unwrap() {
        let all = config.as_object_mut().unwrap();
        if value.is_null() {
            all.remove(key);
            continue;
        }
        match (value, all.entry(key.clone()).or_insert(Value::Null)) {
            (Value::Object(inner), Value::Object(table)) => table.extend(inner.clone()),
            (value, slot) => *slot = value.clone(),
        }
    }
    config
}

fn read(dir: &Path, config: &Value) -> Result<locus_hub::Checkpoint, HubError> {
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    read_config(dir, None)
}

/// Asserts that exactly these problems are told, each beginning so. None of them has a name of ours that the family lacks.
#[track_caller]
fn assert_problems(name: &str, edits: &Value, want: &[&str]) {
    let Some(case) = case(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Err(HubError::Config { problems, .. }) = read(folder.path(), &with(&case, edits)) else {
        panic!("{name}, {edits}: read, or another error")
    };
    assert_eq!(problems.len(), want.len(), "{name}, {edits}: {problems:#?}");
    for start in want {
        assert!(problems.iter().any(|found| found.starts_with(start)), "{name}: {start} in {problems:#?}");
    }
    for ours in ["usize", "Some(", "None", "layer_sharing", "position.", "max_seq_len =", "d_head"] {
        let is_theirs = case.config.get(ours.trim_end_matches(" =")).is_some();
        assert!(is_theirs || problems.iter().all(|found| !found.contains(ours)), "{ours} in {problems:#?}");
    }
}

#[test]
fn every_key_of_a_wrong_type_is_told_beside_the_other_problems() {
    assert_problems(
        "bert-masked_lm",
        &json!({ "hidden_size": "x", "hidden_act": "foo", "is_decoder": true, "num_attention_heads": -3 }),
        &[
            "hidden_size = \"x\": expected a whole number, 0 or more",
            "num_attention_heads = -3: expected a whole number, 0 or more",
            "is_decoder = true: expected false; anything else is another computation",
            "hidden_act = \"foo\": expected one of gelu, ",
        ],
    );
    assert_problems(
        "bert-sequence_classification",
        &json!({ "layer_norm_eps": [], "hidden_act": 3, "problem_type": "odd", "architectures": "x" }),
        &[
            "layer_norm_eps = []: expected a number",
            "hidden_act = 3: expected a text",
            "problem_type = \"odd\": expected one of regression, ",
            "architectures = \"x\": expected a list",
        ],
    );
    assert_problems(
        "mpt-causal_lm",
        &json!({ "attn_config": { "attn_pdrop": "x", "alibi": 3, "clip_qkv": 1.0 }, "n_layers": 0.5 }),
        &[
            "attn_config.attn_pdrop = \"x\": expected a number",
            "attn_config.alibi = 3: expected true or false",
            "attn_config.clip_qkv = 1.0: expected null",
            "n_layers = 0.5: expected a whole number, 0 or more",
        ],
    );
    assert_problems(
        "mpt-causal_lm",
        &json!({ "attn_config": { "clip_qkv": 1.0 } }),
        &["attn_config.clip_qkv = 1.0: expected null"],
    );
    assert_problems(
        "llama-causal_lm",
        &json!({ "rope_scaling": { "rope_type": 5, "factor": "2", "odd": 1 } }),
        &[
            "rope_scaling.rope_type = 5: expected a text",
            "rope_scaling.factor = \"2\": expected a number",
            "rope_scaling.odd = 1: expected another key, one of rope_type, ",
        ],
    );
    assert_problems(
        "llama-causal_lm",
        &json!({ "rope_parameters": { "rope_type": "linear", "factor": "2" } }),
        &["rope_parameters.factor = \"2\": expected a number"],
    );
    assert_problems(
        "qwen2-causal_lm",
        &json!({ "layer_types": [1, 2] }),
        &["layer_types = [1,2]: expected for each entry a text"],
    );
    assert_problems(
        "bloom-causal_lm",
        &json!({ "hidden_size": null, "n_embed": "x" }),
        &["n_embed = \"x\": expected a whole number"],
    );
}

/// What would be compared with a key that is wrong anyway is no problem of its own.
#[test]
fn no_problem_follows_from_another() {
    for (name, key) in [
        ("qwen2-causal_lm", "num_hidden_layers"),
        ("gemma2-causal_lm", "hidden_size"),
        ("deberta-v2-masked_lm", "hidden_size"),
        ("marian-seq2seq_lm", "vocab_size"),
        ("distilbert-masked_lm", "dim"),
        ("llama-causal_lm", "num_attention_heads"),
        ("albert-masked_lm", "num_hidden_layers"),
    ] {
        assert_problems(name, &json!({ key: "x" }), &[&format!("{key} = \"x\": expected a whole number")]);
    }
    let far = json!({ "num_labels": 1_u64 << 60 });
    assert_problems(
        "bert-sequence_classification",
        &far,
        &["num_labels = 1152921504606846976: expected at most"],
    );
}

#[test]
fn our_own_check_speaks_in_the_names_of_the_family() {
    assert_problems(
        "bert-masked_lm",
        &json!({ "num_attention_heads": 5, "intermediate_size": 0, "hidden_dropout_prob": 2.5, "hidden_act": "foo" }),
        &[
            "num_attention_heads = 5: expected a divisor of hidden_size = 18",
            "intermediate_size = 0: expected 1 to ",
            "hidden_dropout_prob = 2.5: expected 0 or more and below 1",
            "hidden_act = \"foo\": expected one of ",
        ],
    );
    let one = |name: &str, edits: Value, want: &str| assert_problems(name, &edits, &[want]);
    one("distilbert-masked_lm", json!({ "n_heads": 5 }), "n_heads = 5: expected a divisor of dim = 18");
    one("gpt2-causal_lm", json!({ "n_head": 5 }), "n_head = 5: expected a divisor of n_embd = 18");
    one(
        "albert-masked_lm",
        json!({ "num_hidden_groups": 7 }),
        "num_hidden_groups = 7: expected 1 to num_hidden_layers = 2, with one scheme",
    );
    one("t5-seq2seq_lm", json!({ "d_kv": 0 }), "d_kv = 0: expected 1 to ");
    one(
        "t5-seq2seq_lm",
        json!({ "relative_attention_num_buckets": 3 }),
        "relative_attention_num_buckets = 3: expected a positive multiple of 4",
    );
    one(
        "bart-seq2seq_lm",
        json!({ "decoder_attention_heads": 5 }),
        "decoder_attention_heads = 5: expected a divisor of d_model = 18",
    );
    one(
        "roberta-masked_lm",
        json!({ "max_position_embeddings": 2 }),
        "max_position_embeddings = 2: expected more than pad_token_id + 1 = 2",
    );
    one(
        "bert-relative_key-masked_lm",
        json!({ "max_position_embeddings": 1 }),
        "max_position_embeddings = 1: expected 2 or more",
    );
    one(
        "deberta-v2-masked_lm",
        json!({ "position_buckets": 3 }),
        "position_buckets = 3: expected at least 4",
    );
    let linear = json!({ "rope_type": "linear", "factor": 0.5 });
    for key in ["rope_scaling", "rope_parameters"] {
        one("llama-causal_lm", json!({ key: linear }), &format!("{key}.factor = 0.5: expected 1 or more"));
    }
    one("llama-causal_lm", json!({ "rope_theta": 0.5 }), "rope_theta = 0.5: expected a number above 1");
    one(
        "llama-causal_lm",
        json!({ "num_key_value_heads": 4 }),
        "num_key_value_heads = 4: expected a divisor of num_attention_heads = 6",
    );
    // Of a key that the file does not have.
    one(
        "bert-masked_lm",
        json!({ "num_attention_heads": null, "hidden_size": 17 }),
        "num_attention_heads = 12: expected a divisor of hidden_size = 17",
    );
}

#[test]
fn a_damaged_file_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert!(!is_checkpoint(dir));
    for (bytes, says) in [
        (&b"{\"model_type\": \"bert\","[..], "EOF"),
        (&b"{\"model_type\": \"b\xE4rt\"}"[..], "not UTF-8 from byte 17 on"),
        (&b"\xEF\xBB\xBF{}"[..], "begins with a byte order mark"),
        (&b"{\"layer_norm_eps\": NaN}"[..], "line 1"),
        (&b"[]"[..], "a map"),
    ] {
        fs::write(dir.join("config.json"), bytes).unwrap();
        assert!(is_checkpoint(dir), "{says}");
        let error = read_config(dir, None).unwrap_err().to_string();
        for part in ["config.json", "expected a table of JSON", says, "write or fetch the file again"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    fs::write(dir.join("config.json"), "{\"model_type\": \"locus\"}").unwrap();
    assert!(!is_checkpoint(dir));
}

#[test]
fn keys_that_a_class_does_not_read_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    if let Some(case) = case("mpnet-masked_lm") {
        case.write(dir);
        let plain = load::<B>(dir, &Default::default()).unwrap().checkpoint.config;
        let ignored = json!({ "type_vocab_size": 2, "position_embedding_type": "relative_key" });
        fs::write(dir.join("config.json"), with(&case, &ignored).to_string()).unwrap();
        assert_eq!(load::<B>(dir, &Default::default()).unwrap().checkpoint.config, plain);
    }
    // Another name of the same function.
    let Some(case) = case("bert-masked_lm") else { return };
    let plain = read(dir, &case.config).unwrap().config;
    assert_eq!(read(dir, &with(&case, &json!({ "hidden_act": "gelu_python" }))).unwrap().config, plain);
}

#[test]
fn a_model_without_its_pooler_gives_the_same_vectors() {
    for name in ["bert-bare", "albert-bare"] {
        let Some(mut case) = case(name) else { return };
        let hidden = |case: &Case| {
            let folder = tempfile::tempdir().unwrap();
            case.write(folder.path());
            let loaded = load::<B>(folder.path(), &Default::default()).map_err(|error| error.to_string())?;
            let HeadConfig::Bare { pooler, .. } = &loaded.checkpoint.config.head else { panic!("a head") };
            let TaskModel::Bare(bare) = &loaded.model else { panic!("a head") };
            let hidden: Tensor<B, 3> = bare.hidden(&case.tokens(), None).unwrap();
            Ok::<_, String>((pooler.is_some(), hidden.into_data()))
        };
        let (has_pooler, whole) = hidden(&case).unwrap();
        assert!(has_pooler, "{name}");
        // A part of it is a damaged file.
        let bias = case.params.keys().find(|name| name.starts_with("pooler.") && name.ends_with("bias"));
        let bias = bias.unwrap().clone();
        case.params.remove(&bias);
        assert!(hidden(&case).unwrap_err().contains(&format!("{bias} is missing")), "{name}");
        case.params.retain(|name, _| !name.starts_with("pooler."));
        assert_eq!(hidden(&case).unwrap(), (false, whole), "{name}");
    }
}
