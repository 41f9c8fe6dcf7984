//! Candidates of queries: trained, scored, answered.

use crate::common::{Place, json};

const WORDS: [&str; 5] = ["tea", "rain", "snow", "sun", "wind"];

/// A query in three rows; the second row is the right one, and its text and its number say so.
fn shop() -> String {
    let query = |at: usize| {
        let (word, other) = (WORDS[at % 5], WORDS[(at + 2) % 5]);
        format!(
            "{at},{word},bad {other},0,{}\n{at},{word},good {word},1,{}\n{at},{word},poor {other},0,1\n",
            at % 3,
            7 + at % 2
        )
    };
    "group,query,item,gain,price\n".to_owned() + &(0..13).map(query).collect::<String>()
}

fn sets<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    sets.iter().flat_map(|set| ["--set", *set]).collect()
}

#[test]
fn candidates_are_ranked_as_the_report_says() {
    let place = Place::new();
    place.write("shop.csv", shop());
    let keys = [
        "data.train=shop.csv",
        "data.dev=shop.csv",
        "data.columns.features=[\"price\"]",
        "tokenizer.kind=word",
        "train.epochs=30",
        "train.learning_rate=1e-2",
        "train.ranking.loss=pairwise",
        "train.ranking.candidates=2",
    ];
    place.train(&[&["rank", "--out", "out"][..], &sets(&keys)[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    assert!(report["metrics"]["ndcg@10"].as_f64() > Some(0.9), "{report}");
    for key in ["mrr", "map", "hit_rate@1", "hit_rate@10"] {
        assert!(report["metrics"][key].is_number(), "{key}");
    }
    let eval = |more: &[&str]| {
        place.run(&[&["eval", "--model", "out/model", "--data", "shop.csv", "--json"][..], more].concat())
    };
    let scored = eval(&["--read", "columns.features=[\"price\"]"]).succeeds().stdout();
    let scored: serde_json::Value = serde_json::from_str(&scored).unwrap();
    assert_eq!(scored["metrics"], report["metrics"]);
    assert_eq!(scored["n_examples"], 13);
    eval(&[]).says(1, &["line 2: expected 1 features of each candidate", "found 0", "columns.features"]);
    let head = &json(&place.path("out/model/config.json"))["head"]["ranking"];
    assert_eq!(head["loss"], "pairwise");
    assert!(head["features"][0]["mean"].as_f64() > Some(2.0), "{head}");
    place.write("pairs.tsv", "tea\tgood tea\ntea\tbad snow\n");
    let answers = place
        .run(&["predict", "--model", "out/model", "--input", "pairs.tsv", "--pairs", "--json"])
        .succeeds()
        .stdout();
    let values: Vec<f64> = answers
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["value"].as_f64().unwrap())
        .collect();
    assert!(values.len() == 2 && values.iter().all(|value| value.is_finite()), "{answers}");
    place
        .run(&["config", "check", "rank", "--set", "data.train=a.csv", "--set", "train.ranking.candidates=1"])
        .says(2, &["train.ranking.candidates = 1", "2 or more"]);
    place
        .run(&["config", "check", "first-news", "--set", "train.ranking.loss=listnet"])
        .says(2, &["train.ranking", "only for rank and multiple_choice"]);
}

#[test]
fn choices_are_scored_by_accuracy() {
    let place = Place::new();
    let row = |at: usize| {
        let (word, other) = (WORDS[at % 5], WORDS[(at + 1) % 5]);
        format!(
            "{{\"question\": \"{word} ?\", \"choices\": [\"bad {other}\", \"good {word}\", \"poor {word}\"], \"label\": 1}}\n"
        )
    };
    place.write("quiz.jsonl", (0..11).map(row).collect::<String>());
    let keys = [
        "data.train=quiz.jsonl",
        "data.dev=quiz.jsonl",
        "tokenizer.kind=word",
        "train.epochs=30",
        "train.learning_rate=1e-2",
    ];
    place.train(&[&["multiple-choice", "--out", "out"][..], &sets(&keys)[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    assert!(report["metrics"]["accuracy"].as_f64() > Some(0.9), "{report}");
    let eval = place.run(&["eval", "--model", "out/model", "--data", "quiz.jsonl", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    assert_eq!(eval["metrics"], report["metrics"]);
}
