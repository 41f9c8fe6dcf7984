//! That the comparison sees an error: in every case one thing is changed, and it must fail. Then configurations that say the
//! same in other words, and such that must be refused.

use locus_hub::load;
use serde_json::{Map, Value, json};

use super::{compare, output};
use crate::B;
use crate::parity::case::{Case, Param, cases};

const EPSILONS: [&str; 4] = ["layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_eps"];
const BASES: [&str; 3] = ["rope_theta", "rotary_emb_base", "global_rope_theta"];
const ACTIVATIONS: [&str; 4] = ["hidden_act", "hidden_activation", "activation_function", "activation"];

/// The largest difference of a folder's model from the golden; the outer error where it does not load.
fn difference<'a>(
    case: &'a Case,
    config: &Value,
    source: impl Fn(&'a str) -> &'a str,
) -> Result<Result<f64, String>, String> {
    let folder = tempfile::tempdir().unwrap();
    case.write_as(folder.path(), config, source);
    let loaded = load::<B>(folder.path(), &Default::default()).map_err(|error| error.to_string())?;
    let (_, logits) = output(case, &loaded.model)?;
    Ok(compare(&logits, &case.values, &case.keep(), 1e-5))
}

/// The configuration with each of these keys changed, if there is one and a change of it shows.
fn changed(config: &Value, keys: &[&str], change: impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    let mut other = config.clone();
    for key in keys {
        if let Some(value) = config.get(key).and_then(&change) {
            other[*key] = value;
        }
    }
    (other != *config).then_some(other)
}

/// Twice a number; none of one that is too small for that to show.
fn twice(value: &Value) -> Option<Value> {
    value.as_f64().filter(|x| *x > 1e-4).map(|x| (2.0 * x).into())
}

fn other_activation(value: &Value) -> Option<Value> {
    let name = value.as_str()?;
    let gated = if name.starts_with("gated-") { "gated-" } else { "" };
    let other = if name.ends_with("relu") { "silu" } else { "relu" };
    Some(format!("{gated}{other}").into())
}

/// The two tensors of equal shape that matter most.
fn pair(case: &Case) -> Option<(&str, &str)> {
    let norm = |param: &Param| param.grad.map_or(0.0, |(norm, _)| norm);
    let mut best = (0.0, None);
    for (name, param) in &case.params {
        for (other, twin) in case.params.range(name.clone()..).skip(1) {
            let matters = norm(param).min(norm(twin));
            if param.shape == twin.shape && matters > best.0 {
                best = (matters, Some((name.as_str(), other.as_str())));
            }
        }
    }
    best.1
}

#[test]
fn a_planted_error_is_seen_in_every_case() {
    let mut failures = Vec::new();
    let cases = cases();
    for case in &cases {
        let mut seen = |what: &str, found: Result<Result<f64, String>, String>| match found {
            Ok(Err(_)) => {}
            Ok(Ok(largest)) => failures.push(format!("{}, {what}: {largest:.1e}", case.name)),
            Err(problem) => failures.push(format!("{}, {what}: {problem}", case.name)),
        };
        let config = &case.config;
        let configs = [
            ("epsilon", changed(config, &EPSILONS, twice)),
            ("base", changed(config, &BASES, twice)),
            ("activation", changed(config, &ACTIVATIONS, other_activation)),
            ("feed-forward layer", changed(config, &["feed_forward_proj"], other_activation)),
        ];
        for (what, config) in configs {
            if let Some(config) = config {
                seen(what, difference(case, &config, |name| name));
            }
        }
        match pair(case) {
            Some((a, b)) => {
                let found = difference(case, config, |name| match name {
                    _ if name == a => b,
                    _ if name == b => a,
                    _ => name,
                });
                seen(&format!("{a} for {b}"), found);
            }
            None => seen("two tensors", Err("no two of equal shape".to_owned())),
        }
    }
    assert!(failures.is_empty(), "{} not seen\n{}", failures.len(), failures.join("\n"));
}

/// The configuration of a case with some keys replaced; null takes one out.
fn edited(config: &Value, edits: &Value) -> Value {
    let mut table: Map<String, Value> = config.as_object().unwrap().clone();
    for (key, value) in edits.as_object().unwrap() {
        match value {
            Value::Null => drop(table.remove(key)),
            value => drop(table.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(table)
}

#[test]
fn the_same_in_other_words_is_the_same_model() {
    let all = cases();
    let find = |name: &str| all.iter().find(|case| case.name == name).unwrap();
    let inside = |name: &str, key: &str, value: Value| {
        let mut scaling = find(name).config["rope_scaling"].clone();
        scaling[key] = value;
        scaling
    };
    let (llama3, linear, longrope) =
        ("llama-llama3-causal_lm", "llama-linear-causal_lm", "llama-longrope_short-causal_lm");
    let rows = [
        ("llama-causal_lm", json!({ "rope_theta": null, "rope_parameters": { "rope_theta": 100.0 } })),
        (
            llama3,
            json!({
                "rope_theta": null,
                "rope_scaling": null,
                "rope_parameters": inside(llama3, "rope_theta", json!(10_000.0)),
            }),
        ),
        (linear, json!({ "rope_scaling": inside(linear, "type", json!("linear")) })),
        // Neither a factor nor a length in the scaling counts where the length stands beside it.
        (longrope, json!({ "rope_scaling": inside(longrope, "factor", json!(9.0)) })),
        (longrope, json!({ "rope_scaling": inside(longrope, "original_max_position_embeddings", json!(3)) })),
        (
            "gemma3_text-causal_lm",
            json!({
                "rope_theta": null,
                "rope_local_base_freq": null,
                "rope_parameters": {
                    "full_attention": { "rope_theta": 100.0, "rope_type": "default" },
                    "sliding_attention": { "rope_theta": 10.0, "rope_type": "default" },
                },
            }),
        ),
        ("gemma3_text-causal_lm", json!({ "layer_types": null, "sliding_window_pattern": 2 })),
        (
            "modernbert-bare",
            json!({
                "global_rope_theta": null,
                "local_rope_theta": null,
                "rope_parameters": {
                    "full_attention": { "rope_theta": 160_000.0, "rope_type": "default" },
                    "sliding_attention": { "rope_theta": 10_000.0, "rope_type": "default" },
                },
            }),
        ),
        (
            "phi-causal_lm",
            json!({
                "partial_rotary_factor": null,
                "rope_parameters": { "partial_rotary_factor": 0.5, "rope_type": "default" },
            }),
        ),
        // It says in which precision and order the same is computed.
        ("gpt2-causal_lm", json!({ "reorder_and_upcast_attn": true })),
        ("mt5-seq2seq_lm", json!({ "feed_forward_proj": null })),
        // As early BARTs write it, with keys of other programs, and an end in a list.
        ("bart-sequence_classification", json!({ "normalize_before": false, "_num_labels": 3 })),
        ("bart-sequence_classification", json!({ "decoder_start_token_id": null, "eos_token_id": [2, 5] })),
        ("t5-sequence_classification", json!({ "eos_token_id": null })),
        ("bloom-causal_lm", json!({ "num_hidden_layers": 2, "num_attention_heads": 6, "n_embed": 18 })),
        ("deberta-v2-bare", json!({ "pos_att_type": "P2C | c2p" })),
        // Tensors go by the authors' names also where the file does not say so.
        ("deberta-v2-new_head-masked_lm", json!({ "legacy": null, "tie_word_embeddings": null })),
    ];
    for (name, edits) in rows {
        let case = find(name);
        let found = difference(case, &edited(&case.config, &edits), |name| name);
        assert!(matches!(found, Ok(Ok(_))), "{name} with {edits}: {found:?}");
    }
}

#[test]
fn what_would_be_another_model_is_refused() {
    let all = cases();
    let find = |name: &str| all.iter().find(|case| case.name == name).unwrap();
    let scaling = |key: &str, value: Value| {
        let mut scaling = json!({ "rope_type": "linear", "factor": 2.5 });
        scaling[key] = value;
        json!({ "rope_scaling": scaling })
    };
    let by_kind = json!({ "rope_parameters": { "full_attention": { "rope_theta": 7.0 } } });
    let rows = [
        ("llama-causal_lm", by_kind, "rope_parameters.full_attention"),
        (
            "llama-causal_lm",
            json!({ "rope_parameters": { "rope_theta": 7.0 } }),
            "rope_parameters.rope_theta",
        ),
        ("llama-causal_lm", json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor"),
        ("llama-causal_lm", scaling("rope_theta", json!(7.0)), "rope_scaling.rope_theta"),
        ("llama-causal_lm", scaling("type", json!("yarn")), "rope_scaling.type"),
        ("llama-causal_lm", json!({ "num_hidden_layers": 1 << 19 }), "num_hidden_layers"),
        ("qwen2-causal_lm", json!({ "layer_types": ["full_attention"] }), "layer_types"),
        ("qwen2-causal_lm", json!({ "layer_types": ["full_attention", "chunked_attention"] }), "layer_types"),
        ("qwen2-causal_lm", json!({ "layer_types": ["full_attention", "sliding_attention"] }), "layer_types"),
        ("smollm3-causal_lm", json!({ "use_sliding_window": true }), "use_sliding_window"),
        ("bert-masked_lm", json!({ "hidden_act": "mish" }), "hidden_act"),
        ("modernbert-masked_lm", json!({ "classifier_activation": "mish" }), "classifier_activation"),
        ("deberta-v2-masked_lm", json!({ "pos_att_type": "c2p|p2p" }), "pos_att_type"),
        ("roberta-masked_lm", json!({ "pad_token_id": 1 << 21 }), "pad_token_id"),
        ("albert-masked_lm", json!({ "inner_group_num": "1" }), "inner_group_num"),
        ("bart-seq2seq_lm", json!({ "tie_word_embeddings": false }), "tie_word_embeddings"),
        ("bart-sequence_classification", json!({ "eos_token_id": 41 }), "eos_token_id"),
        ("bart-question_answering", json!({ "decoder_start_token_id": 37 }), "decoder_start_token_id"),
        ("bert-masked_lm", json!({ "position_embedding_type": "rotary" }), "position_embedding_type"),
        (
            "roberta-masked_lm",
            json!({ "position_embedding_type": "relative_key" }),
            "position_embedding_type",
        ),
        ("bert-masked_lm", json!({ "is_decoder": true }), "is_decoder"),
        ("electra-multiple_choice", json!({ "summary_type": "last" }), "summary_type"),
        ("bert-sequence_classification", json!({ "problem_type": "regression" }), "problem_type"),
        ("bert-sequence_classification", json!({ "problem_type": "ranking" }), "single_label_classification"),
        ("t5-seq2seq_lm", json!({ "is_encoder_decoder": false }), "is_encoder_decoder"),
        ("bloom-causal_lm", json!({ "num_hidden_layers": 3 }), "num_hidden_layers"),
    ];
    for (name, edits, key) in rows {
        let case = find(name);
        let error = difference(case, &edited(&case.config, &edits), |name| name).unwrap_err();
        assert!(error.contains(key) && error.contains("expected"), "{name} with {edits}: {error}");
    }
}

#[test]
fn an_output_without_its_bias_has_zeros() {
    let all = cases();
    let case = all.iter().find(|case| case.name == "bart-seq2seq_lm").unwrap();
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path());
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    let without = tensors.into_iter().filter(|(name, _)| name != "final_logits_bias");
    std::fs::write(&path, safetensors::serialize(without, None).unwrap()).unwrap();
    let loaded = load::<B>(folder.path(), &Default::default()).unwrap();
    assert!(loaded.new.is_empty(), "{:?}", loaded.new);
    let (_, mut logits) = output(case, &loaded.model).unwrap();
    let bias = case.params["final_logits_bias"].draw("final_logits_bias");
    logits.chunks_mut(bias.len()).flat_map(|row| row.iter_mut().zip(&bias)).for_each(|(x, b)| *x += b);
    compare(&logits, &case.values, &case.keep(), 1e-5).unwrap();
}

#[test]
fn a_table_of_tokens_is_found_by_its_other_names() {
    let all = cases();
    let case = all.iter().find(|case| case.name == "bart-seq2seq_lm").unwrap();
    for other in ["model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight"] {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path());
        let path = folder.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
        let renamed = tensors
            .into_iter()
            .map(|(name, view)| (if name == "model.shared.weight" { other.to_owned() } else { name }, view));
        std::fs::write(&path, safetensors::serialize(renamed, None).unwrap()).unwrap();
        let loaded = load::<B>(folder.path(), &Default::default()).unwrap();
        let (_, logits) = output(case, &loaded.model).unwrap();
        compare(&logits, &case.values, &case.keep(), 1e-5).unwrap();
    }
}
