//! Checkpoints of encoder–decoders: Marian with its tokenizer, and rows that BART's decoder reads once more.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::common::{self, Place, Run};
use crate::done;

const D_MODEL: usize = 8;
const D_FF: usize = 12;
const MAX_LEN: usize = 29;
const PAIRS: &str =
    "source\ttarget\n>>fra<< The boat was missing.\tle bateau\n>>fra<< the keeper\tle gardien\n";
const TEXTS: &str = ">>fra<< The boat was missing.\nthe lamp\n";

fn tokenizer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/tokenizers/marian")
}

/// The names and shapes of a layer that `transformers` writes for both families.
fn layer(name: &str, is_decoder: bool) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut linear = |part: &str, d_out: usize, d_in: usize| {
        all.push((format!("{name}.{part}.weight"), vec![d_out, d_in]));
        all.push((format!("{name}.{part}.bias"), vec![d_out]));
    };
    let attentions: &[&str] = if is_decoder { &["self_attn", "encoder_attn"] } else { &["self_attn"] };
    for attention in attentions {
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            linear(&format!("{attention}.{part}"), D_MODEL, D_MODEL);
        }
    }
    linear("fc1", D_FF, D_MODEL);
    linear("fc2", D_MODEL, D_FF);
    let norms = attentions.iter().map(|attention| format!("{attention}_layer_norm"));
    for norm in norms.chain(["final_layer_norm".to_owned()]) {
        all.extend(["weight", "bias"].map(|part| (format!("{name}.{norm}.{part}"), vec![D_MODEL])));
    }
    all
}

/// Writes a checkpoint of the family with drawn weights, and Marian's tokenizer beside it.
fn write(place: &Place, family: &str, architecture: &str) {
    let dir = place.path(family);
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["source.spm", "target.spm", "vocab.json", "tokenizer_config.json"] {
        std::fs::copy(tokenizer().join(name), dir.join(name)).unwrap();
    }
    let vocab_size = common::json(&tokenizer().join("vocab.json")).as_object().unwrap().len();
    let config = json!({
        "model_type": family,
        "architectures": [architecture],
        "vocab_size": vocab_size,
        "d_model": D_MODEL,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": D_FF,
        "decoder_ffn_dim": D_FF,
        "max_position_embeddings": MAX_LEN,
        "pad_token_id": vocab_size - 1,
        "decoder_start_token_id": vocab_size - 1,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
        "dropout": 0.0,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut tensors = vec![("model.shared.weight".to_owned(), vec![vocab_size, D_MODEL])];
    for side in ["encoder", "decoder"] {
        tensors.extend(layer(&format!("model.{side}.layers.0"), side == "decoder"));
        if family == "bart" {
            tensors.push((format!("model.{side}.embed_positions.weight"), vec![MAX_LEN + 2, D_MODEL]));
            let norm = format!("model.{side}.layernorm_embedding");
            tensors.extend(["weight", "bias"].map(|part| (format!("{norm}.{part}"), vec![D_MODEL])));
        }
    }
    let mut state = 7_u64;
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / 8_388_608.0 - 1.0) * 0.3
            };
            (0..shape.iter().product::<usize>()).flat_map(|_| draw().to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn train(place: &Place, recipe: &str, file: &str, out: &str, sets: &[&str]) -> Run {
    let files = [format!("data.train={file}"), format!("data.dev={file}"), "train.epochs=1".to_owned()];
    let sets = files.iter().map(String::as_str).chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["train", recipe, "--out", out].into_iter().chain(sets).collect();
    place.run(&args)
}

fn answers(place: &Place, model: &str) -> String {
    done(&place.run(&["predict", "--model", model, "--input", "texts.txt", "--json"]))
}

#[test]
fn marian_translates_is_trained_and_goes_out_again() {
    let place = Place::new();
    place.write("pairs.tsv", PAIRS).write("texts.txt", TEXTS);
    write(&place, "marian", "MarianMTModel");
    assert_eq!(answers(&place, "marian").lines().count(), 2);
    train(&place, "seq2seq", "pairs.tsv", "run", &["model.from=marian"]).succeeds();
    assert!(place.read("run/model/tokenizer.json").starts_with("{\"sentencepiece_pair\""));
    let export = done(&place.run(&["hub", "export", "--model", "run/model", "--out", "again"]));
    assert!(export.contains("wrote again as marian"), "{export}");
    for name in ["source.spm", "target.spm"] {
        let found = std::fs::read(place.path("again").join(name)).unwrap();
        assert_eq!(found, std::fs::read(tokenizer().join(name)).unwrap(), "{name}");
    }
    let vocab = common::json(&place.path("again/vocab.json"));
    assert_eq!(vocab, common::json(&tokenizer().join("vocab.json")));
    assert!(!place.path("again/tokenizer.json").exists());
    assert_eq!(answers(&place, "again"), answers(&place, "run/model"));
    // As it came it goes out, with its own files.
    done(&place.run(&["hub", "export", "--model", "marian", "--out", "copy"]));
    assert!(place.path("copy/target.spm").exists() && place.path("copy/tokenizer_config.json").exists());
    assert_eq!(answers(&place, "copy"), answers(&place, "marian"));
}

#[test]
fn rows_are_classified_by_a_decoder_that_reads_once_more() {
    let place = Place::new();
    place
        .write("rows.tsv", "text\tlabel\nThe boat was missing.\tbad\nthe lamp\tgood\n")
        .write("scores.tsv", "text\tscore\nThe boat was missing.\t1\nthe lamp\t3\n")
        .write("texts.txt", TEXTS);
    write(&place, "bart", "BartForConditionalGeneration");
    let run = train(&place, "classify", "rows.tsv", "rows", &["model.from=bart"]);
    run.succeeds();
    assert!(run.stderr().contains("transform.dense.weight"), "{}", run.stderr());
    let config = common::json(&place.path("rows/model/config.json"));
    let head = &config["head"]["sequence_classification"];
    let last = config["vocab_size"].as_u64().unwrap() - 1;
    assert_eq!(head["layers"]["decoder"], json!({ "start": last, "end": 0 }));
    assert_eq!(head["pooling"], "last");
    let export = done(&place.run(&["hub", "export", "--model", "rows/model", "--out", "again"]));
    assert!(export.contains("wrote again as bart"), "{export}");
    let written = common::json(&place.path("again/config.json"));
    assert_eq!(written["architectures"], json!(["BartForSequenceClassification"]));
    let labels: Vec<&Value> = written["id2label"].as_object().unwrap().values().collect();
    assert_eq!(labels, ["bad", "good"]);
    assert_eq!(answers(&place, "again"), answers(&place, "rows/model"));
    // On from both, to numbers.
    for (from, out) in [("rows/model", "numbers"), ("again", "more")] {
        let from = format!("model.from={from}");
        train(&place, "regression", "scores.tsv", out, &[&from]).succeeds();
        let config = common::json(&place.path(&format!("{out}/model/config.json")));
        assert_eq!(config["head"]["regression"]["layers"], head["layers"], "{out}");
    }
    let sets = ["model.from=bart", "train.gradient_checkpointing=block"];
    let run = train(&place, "classify", "rows.tsv", "blocks", &sets);
    assert!(run.code() != Some(0) && run.stderr().contains("token_tables"), "{}", run.stderr());
    // Labels of tokens have no decoder: BART has no such class.
    place.write("tags.conll", "boat O\nlamp B-X\n\n");
    let run = train(&place, "ner", "tags.conll", "tags", &["model.from=bart"]);
    assert!(run.code() != Some(0) && run.stderr().contains("TokenClassification"), "{}", run.stderr());
}
