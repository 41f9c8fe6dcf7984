//! Pairs of texts that are read apart: trained with numbers, with labels and with each other, scored, answered.

use crate::common::{Place, json};

const WORDS: [&str; 5] = ["tea", "rain", "snow", "sun", "wind"];

/// Three pairs for each word: near, further, far.
fn pairs(last: &str, label: impl Fn(usize) -> String) -> String {
    let of_word = |at: usize| {
        let (word, other) = (WORDS[at], WORDS[(at + 2) % 5]);
        let seconds = [format!("the {word}"), format!("no {word}"), format!("the {other}")];
        seconds
            .iter()
            .enumerate()
            .map(|(far, second)| format!("a {word}\t{second}\t{}\n", label(far)))
            .collect()
    };
    format!("sentence1\tsentence2\t{last}\n") + &(0..5).map(of_word).collect::<Vec<String>>().concat()
}

fn sets<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    sets.iter().flat_map(|set| ["--set", *set]).collect()
}

const LONG: [&str; 3] = ["tokenizer.kind=word", "train.epochs=60", "train.learning_rate=1e-2"];

fn train(place: &Place, out: &str, file: &str, keys: &[&str]) {
    let (train, dev) = (format!("data.train={file}"), format!("data.dev={file}"));
    let all = [&[&train[..], &dev][..], &LONG[..], keys].concat();
    place.train(&[&["embed", "--out", out][..], &sets(&all)[..]].concat()).succeeds();
}

fn eval(place: &Place, model: &str, file: &str, more: &[&str]) -> serde_json::Value {
    let args = ["eval", "--model", model, "--data", file, "--json"];
    let scored = place.run(&[&args[..], more].concat()).succeeds().stdout();
    serde_json::from_str(&scored).unwrap()
}

fn predict(place: &Place, model: &str) -> serde_json::Value {
    place.write("asked.tsv", "a tea\tthe tea\n");
    let args = ["predict", "--model", model, "--input", "asked.tsv", "--pairs", "--json"];
    serde_json::from_str(&place.run(&args).succeeds().stdout()).unwrap()
}

#[test]
fn numbers_of_pairs_are_learned() {
    let place = Place::new();
    place.write("alike.tsv", pairs("score", |far| ["5", "3", "0.5"][far].to_owned()));
    train(&place, "cosent", "alike.tsv", &["train.pair_loss=cosent", "train.cosent.scale=10"]);
    train(&place, "cosine", "alike.tsv", &["train.pair_loss=cosine", "train.cosine.scores=[0, 5]"]);
    for name in ["cosent", "cosine"] {
        let report = json(&place.path(&format!("{name}/report.json")));
        assert_eq!(report["score_name"], "spearman");
        assert!(report["metrics"]["spearman"].as_f64() > Some(0.5), "{name}: {report}");
        assert!(report["metrics"]["pearson"].is_number() && report["interval"].is_array(), "{name}");
        assert_eq!(report["metrics"]["loss"].is_number(), name == "cosine");
        let model = format!("{name}/model");
        let scored = eval(&place, &model, "alike.tsv", &[]);
        assert_eq!(scored["metrics"], report["metrics"], "{name}");
        let answer = predict(&place, &model);
        assert!(answer["cosine"].as_f64().is_some_and(|cosine| cosine.abs() <= 1.0 + 1e-6), "{answer}");
        assert!(answer["label"].is_null(), "{answer}");
    }
    let head = &json(&place.path("cosent/model/config.json"))["head"]["sentence_embedding"];
    assert_eq!(head["pair_loss"]["cosent"]["scale"], 10.0);
    place.write("high.tsv", "sentence1\tsentence2\tscore\na tea\tthe tea\t1\na tea\tthe sun\t7\n");
    place.run(&["eval", "--model", "cosine/model", "--data", "high.tsv"]).says(
        1,
        &[
            "1 of the pairs",
            "outside [0, 5], the first 7 on line 3",
            "bounds of the model",
            "train.cosine.scores",
        ],
    );
    place
        .run(&["train", "embed", "--set", "data.train=high.tsv", "--out", "without"])
        .says(1, &["no column for the pairs", "train.pair_loss = \"cosent\""]);
    place.write("one.tsv", "sentence1\tscore\na tea\t1\n");
    place
        .run(&["eval", "--model", "cosine/model", "--data", "one.tsv"])
        .says(1, &["line 2: expected a pair of texts", "data.columns.pair", "--read columns.pair="]);
}

#[test]
fn labels_of_pairs_are_learned() {
    let place = Place::new();
    let names = |far: usize| ["same", "not", "other"][far].to_owned();
    place.write("labels.tsv", pairs("label", names));
    train(&place, "out", "labels.tsv", &["train.pair_loss=softmax"]);
    let report = json(&place.path("out/report.json"));
    assert_eq!(report["score_name"], "accuracy");
    assert!(report["score"].as_f64() > Some(0.5) && report["metrics"]["macro_f1"].is_number(), "{report}");
    assert!(report["class_report"].is_array());
    let scored = eval(&place, "out/model", "labels.tsv", &[]);
    assert_eq!(scored["metrics"], report["metrics"]);
    let answer = predict(&place, "out/model");
    assert!(answer["cosine"].is_number() && answer["scores"]["other"].is_number(), "{answer}");
    assert!(["same", "not", "other"].contains(&answer["label"].as_str().unwrap()), "{answer}");
    let config = json(&place.path("out/model/config.json"));
    assert_eq!(config["head"]["sentence_embedding"]["pair_loss"]["softmax"]["n_labels"], 3);
    assert_eq!(config["labels"].as_array().map(Vec::len), Some(3));
    // Another loss goes on from the same vectors, without the layer of labels.
    place.write("alike.tsv", pairs("score", |far| ["5", "3", "0.5"][far].to_owned()));
    train(&place, "next", "alike.tsv", &["train.pair_loss=cosent", "model.from=out/model"]);
    let config = json(&place.path("next/model/config.json"));
    assert!(
        config["labels"].is_null() && config["head"]["sentence_embedding"]["pair_loss"]["cosent"].is_object()
    );
}

#[test]
fn a_search_is_reported_beside_that_of_words() {
    let place = Place::new();
    let pair = |(at, word): (usize, &&str)| format!("where is {word} {at}\t{word} {at} is there\n");
    let all: String = WORDS.iter().enumerate().map(pair).collect();
    place.write("pairs.tsv", "source\ttarget\n".to_owned() + &all);
    train(&place, "out", "pairs.tsv", &[]);
    let report = json(&place.path("out/report.json"));
    assert_eq!(report["baseline"]["bm25"]["mrr@10"], 1.0);
    assert!(report["baseline"]["bm25"]["recall@5"].is_number());
    let text = place.read("out/report.txt");
    assert!(
        text.contains("\nbaseline bm25: mrr@10 1.0000 · ") && text.contains("; mrr@10 of the model is"),
        "{text}"
    );
    let scored = eval(&place, "out/model", "pairs.tsv", &[]);
    assert_eq!(scored["baseline"], report["baseline"]);
    // However it was trained, numbers of pairs say how its cosines follow them.
    place.write("alike.tsv", pairs("score", |far| ["5", "3", "0.5"][far].to_owned()));
    let scored = eval(&place, "out/model", "alike.tsv", &["--read", "kind=scored"]);
    assert!(scored["metrics"]["spearman"].is_number() && scored["baseline"].is_null(), "{scored}");
}

#[test]
fn losses_of_pairs_that_do_not_fit_are_told_together() {
    let place = Place::new();
    let check = |recipe: &str, keys: &[&str], parts: &[&str]| {
        let keys = [&["data.train=a.tsv"][..], keys].concat();
        place.run(&[&["config", "check", recipe][..], &sets(&keys)[..]].concat()).says(2, parts);
    };
    check(
        "embed",
        &["train.pair_loss=cosent", "train.cosine.scores=[0, 5]", "train.in_batch_negatives.scale=10"],
        &[
            "2 problems",
            "train.cosine = ",
            "train.in_batch_negatives = ",
            "only for embed with train.pair_loss",
        ],
    );
    check(
        "embed",
        &["train.pair_loss=cosine", "train.cosine.scores=[5, 0]", "train.cosine.cosines=[0, 2]"],
        &["2 problems", "train.cosine.scores = [5.0, 0.0]", "train.cosine.cosines = [0.0, 2.0]"],
    );
    check("embed", &["train.pair_loss=cosent", "train.cosent.scale=0"], &["train.cosent.scale = 0"]);
    check("embed", &["train.pair_loss=mnrl"], &["train.pair_loss", "in_batch_negatives", "cosent"]);
    check(
        "embed",
        &["train.pair_loss=softmax", "data.format=squad"],
        &["train.pair_loss = \"softmax\"", "squad"],
    );
    check("regression", &["train.pair_loss=cosine"], &["train.pair_loss = \"cosine\"", "only for embed"]);
    check("seq2seq", &["train.eval_score=rouge1"], &["train.eval_score = rouge1", "data.target_language"]);
    let chinese = ["train.eval_score=rougeL", "data.target_language=zh"];
    check("seq2seq", &chinese, &["train.eval_score = rougeL", "bleu and chrf score these"]);
    let russian = ["train.eval_score=rouge2", "data.target_language=ru"];
    check("seq2seq", &russian, &["train.eval_score = rouge2", "targets in Latin letters"]);
}
