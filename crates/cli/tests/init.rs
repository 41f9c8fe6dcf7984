//! `[model.init]`: tables of a new model from files.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Place, json};

const TRAIN: &str = "Mira B-PER\nsaw O\nLisbon B-LOC\n\nBern B-LOC\nsleeps O\n\n";

fn place() -> Place {
    let place = Place::new();
    place.write("train.conll", TRAIN).write("dev.conll", TRAIN);
    place
}

/// Trains words under `[model.init]` keys.
fn train(place: &Place, out: &str, sets: &[&str]) -> common::Run {
    let base = ["data.train=train.conll", "data.dev=dev.conll", "tokenizer.kind=word", "train.epochs=1"];
    let sets = base.iter().chain(sets).flat_map(|set| ["--set", *set]);
    let args: Vec<&str> = ["ner", "--out", out].into_iter().chain(sets).collect();
    place.train(&args)
}

/// A matrix of a safetensors file of 32-bit floats.
fn matrix(place: &Place, file: &str, end: &str) -> (String, Vec<Vec<f32>>) {
    let bytes = std::fs::read(place.path(file)).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let (name, entry) = header.as_object().unwrap().iter().find(|(name, _)| name.ends_with(end)).unwrap();
    let number = |key: &str, at: usize| entry[key][at].as_u64().unwrap() as usize;
    let (start, stop, width) = (number("data_offsets", 0), number("data_offsets", 1), number("shape", 1));
    let data = &bytes[8 + header_len + start..8 + header_len + stop];
    let values: Vec<f32> = data.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    (name.clone(), values.chunks(width).map(<[f32]>::to_vec).collect())
}

/// What `events.jsonl` says of tables from files.
fn initialization(place: &Place, out: &str) -> Option<serde_json::Value> {
    let events = std::fs::read_to_string(place.path(&format!("{out}/events.jsonl"))).unwrap();
    let mut events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.find(|event| event["event"] == "initialization")
}

fn vector(seed: u32) -> Vec<f32> {
    (0..16).map(|at| ((seed * 31 + at * 7) % 23) as f32 / 8.0 - 1.0).collect()
}

fn vector_file(words: &[&str]) -> String {
    let lines = words.iter().zip(1..).map(|(word, seed)| {
        let numbers: Vec<String> = vector(seed).iter().map(ToString::to_string).collect();
        format!("{word} {}\n", numbers.join(" "))
    });
    lines.collect()
}

#[test]
fn word_vectors_become_the_token_table_and_stay_when_frozen() {
    let place = place();
    place.write("vectors.txt", vector_file(&["saw", "Oslo", "LISBON", "sleeps"]));
    let sets = ["model.init.word_vectors=vectors.txt", "model.init.freeze_tokens=true"];
    let run = train(&place, "out", &sets);
    run.says(
        0,
        &["3 of 12 tokens found (1 by another case), 60.0 % of the tokens in train", "is not trained"],
    );
    let report = json(&place.path("out/report.json"));
    let found = &report["init"]["word_vectors"];
    assert_eq!((found["words"].as_u64(), found["not_found"].as_u64()), (Some(4), Some(9)));
    let event = initialization(&place, "out").unwrap();
    assert_eq!((event["step"].as_u64(), &event["tables"]), (Some(0), &report["init"]));
    let counts = ["found", "found_by_case"].map(|key| event["tables"]["word_vectors"][key].as_u64());
    assert_eq!(counts, [Some(3), Some(1)]);
    let vocab = json(&place.path("out/model/tokenizer.json"))["model"]["vocab"].clone();
    let (_, table) = matrix(&place, "out/model/model.safetensors", "embeddings.tokens");
    for (token, seed) in [("saw", 1), ("Lisbon", 3), ("sleeps", 4)] {
        assert_eq!(table[vocab[token].as_u64().unwrap() as usize], vector(seed), "{token}");
    }
    // Without freezing, training moves them.
    train(&place, "free", &sets[..1]).succeeds();
    let (_, moved) = matrix(&place, "free/model/model.safetensors", "embeddings.tokens");
    let row = vocab["saw"].as_u64().unwrap() as usize;
    assert_ne!(moved[row], table[row]);
    assert!(moved[row].iter().zip(&table[row]).all(|(a, b)| (a - b).abs() < 0.05), "{:?}", moved[row]);
    // The written run file runs again.
    place.run(&["train", "out/run.toml", "--out", "again"]).succeeds();
    assert_eq!(matrix(&place, "again/model/model.safetensors", "embeddings.tokens").1, table);
}

#[test]
fn scaled_vectors_have_the_spread_of_the_table() {
    let place = place();
    place.write("vectors.vec", format!("3 16\n{}", vector_file(&["saw", "Bern", "sleeps"])));
    let sets = [
        "model.init.word_vectors=vectors.vec",
        "model.init.freeze_tokens=true",
        "model.init.vector_scale=init_std",
        "model.init_std=0.05",
    ];
    train(&place, "out", &sets).succeeds();
    let vocab = json(&place.path("out/model/tokenizer.json"))["model"]["vocab"].clone();
    let (_, table) = matrix(&place, "out/model/model.safetensors", "embeddings.tokens");
    let all: Vec<f32> = (1..=3).flat_map(vector).collect();
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    let std = (all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / all.len() as f32).sqrt();
    let row = &table[vocab["Bern"].as_u64().unwrap() as usize];
    for (found, raw) in row.iter().zip(vector(2)) {
        assert!((found - raw * 0.05 / std).abs() < 1e-6, "{found} {raw}");
    }
}

#[test]
fn vectors_of_another_width_name_both_and_the_key() {
    let place = place();
    place.write("vectors.txt", "saw 1 2 3\n");
    train(&place, "out", &["model.init.word_vectors=vectors.txt"])
        .says(2, &["vectors.txt", "3 numbers", "16", "model.d_model"]);
    train(&place, "out", &["model.init.word_vectors=vector.txt"]).says(1, &["did you mean `vectors.txt`?"]);
}

#[test]
fn positions_of_another_model_are_copied_cut_or_interpolated() {
    let place = place();
    let learned = "model.position=learned";
    // A learning rate of almost nothing leaves the tables as they began.
    let still = "train.learning_rate=1e-30";
    train(&place, "first", &[learned, "model.max_seq_len=9"]).succeeds();
    assert_eq!(initialization(&place, "first"), None);
    let (name, source) = matrix(&place, "first/model/model.safetensors", ".table");
    let table = |out: &str| matrix(&place, &format!("{out}/model/model.safetensors"), ".table").1;
    let from = "model.init.positions=first/model";
    train(&place, "same", &[learned, still, "model.max_seq_len=9", from]).says(0, &["9 rows from 9", &name]);
    assert_eq!(table("same"), source);
    let named = format!("model.init.positions=first/model/model.safetensors:{name}");
    let cut = "model.init.position_fit=cut";
    train(&place, "cut", &[learned, still, "model.max_seq_len=7", &named, cut]).succeeds();
    assert_eq!(table("cut"), source[..7]);
    let event = initialization(&place, "cut").unwrap();
    let rows = ["rows_in_source", "rows"].map(|key| event["tables"]["positions"][key].as_u64());
    assert_eq!(rows, [Some(9), Some(7)]);
    let offset = "model.init.position_offset=2";
    train(&place, "offset", &[learned, still, "model.max_seq_len=7", from, offset]).succeeds();
    assert_eq!(table("offset"), source[2..]);
    let interpolate = "model.init.position_fit=interpolate";
    train(&place, "long", &[learned, still, "model.max_seq_len=17", from, interpolate]).succeeds();
    let long = table("long");
    assert_eq!((long.len(), &long[0], &long[16]), (17, &source[0], &source[8]));
    for (column, middle) in long[5].iter().enumerate() {
        let expected = (source[2][column] + source[3][column]) / 2.0;
        assert!((middle - expected).abs() < 1e-6, "{middle} {expected}");
    }
    let other = [learned, "model.max_seq_len=17", from];
    train(&place, "no", &other).says(2, &["9 rows of 16", "17 of 16", "position_fit"]);
    train(&place, "no", &[&other[..], &[cut]].concat()).says(2, &["9 rows of 16", "17 of 16"]);
}

#[test]
fn a_random_projection_begins_with_that_of_another_model_or_with_a_learned_table() {
    let place = place();
    let still = "train.learning_rate=1e-30";
    let scheme = "model.position.random_projection.m=5";
    train(&place, "first", &[scheme, "model.max_seq_len=9", "train.seed=3"]).succeeds();
    let from = "model.init.positions=first/model";
    train(&place, "second", &[scheme, still, "model.max_seq_len=9", from]).succeeds();
    for end in [".vectors", ".projection"] {
        let of = |out: &str| matrix(&place, &format!("{out}/model/model.safetensors"), end).1;
        assert_eq!(of("second"), of("first"), "{end}");
    }
    train(&place, "learned", &["model.position=learned", "model.max_seq_len=9"]).succeeds();
    let (name, table) = matrix(&place, "learned/model/model.safetensors", ".table");
    let named = format!("model.init.positions=learned/model/model.safetensors:{name}");
    let wide = "model.position.random_projection.m=16";
    train(&place, "third", &[wide, still, "model.max_seq_len=9", &named]).succeeds();
    assert_eq!(matrix(&place, "third/model/model.safetensors", ".vectors").1, table);
    train(&place, "no", &[scheme, "model.max_seq_len=9", &named])
        .says(2, &["16", "5", "random_projection: m"]);
}

#[test]
fn contradictions_are_problems_of_the_run_file() {
    let place = place();
    let no_table = ["model.position=alibi", "model.init.positions=x.safetensors:y"];
    train(&place, "no", &no_table).says(2, &["model.init.positions", "alibi", "learned"]);
    train(&place, "no", &["model.init.freeze_tokens=true"]).says(2, &["model.init.word_vectors"]);
    train(&place, "no", &["model.from=x", "model.init.word_vectors=y"]).says(2, &["model.from = x"]);
    train(&place, "no", &["model.init.wordvectors=y"]).says(2, &["model.init", "word_vectors"]);
    train(&place, "no", &["model.position=learned", "model.init.positions=nowhere"]).says(1, &["nowhere"]);
}
