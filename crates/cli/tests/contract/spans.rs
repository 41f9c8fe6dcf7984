//! Entities in one another, from the command line.

use crate::common::{Place, json};

const NESTED: &[u8] = include_bytes!("../../../../docs/files/nested-dev.jsonl");

/// A recipe of entities from these files, with more settings.
fn sets<'a>(file: &'a [&'a str; 2], more: &'a [&'a str]) -> Vec<&'a str> {
    let all = file.iter().chain(more).copied();
    all.flat_map(|set| ["--set", set]).collect()
}

const FILES: [&str; 2] = ["data.train=nested.jsonl", "data.dev=nested.jsonl"];

#[test]
fn entities_in_one_another_are_learned_scored_and_found() {
    let place = Place::new();
    place.write("nested.jsonl", NESTED);
    let more =
        ["model.decoding=span", "model.spans.head_size=8", "train.epochs=40", "train.learning_rate=1e-2"];
    let train = [&["ner", "--out", "out"][..], &sets(&FILES, &more)[..]].concat();
    assert!(place.train(&train).succeeds().stdout().contains("entity_f1"));
    let report = json(&place.path("out/report.json"));
    assert!(report["metrics"]["entity_f1"].as_f64() > Some(0.5), "{}", report["metrics"]);
    assert!(report["metrics"]["loss"].is_number() && report["metrics"]["token_accuracy"].is_null());
    let rows = report["entity_report"].as_array().unwrap();
    for (label, support) in [("ORG", 42), ("PERSON", 38), ("PLACE", 52), ("micro avg", 132)] {
        assert!(rows.iter().any(|row| row["label"] == label && row["support"] == support), "{rows:?}");
    }
    let head = json(&place.path("out/model/config.json"))["head"]["span_classification"].clone();
    assert_eq!((head["spans"]["head_size"].as_u64(), head["n_labels"].as_u64()), (Some(8), Some(3)));
    assert!(
        head["spans"]["position"]["rotary"].is_object() && head["spans"]["overlap"] == "nested",
        "{head}"
    );

    let eval = place.run(&["eval", "--model", "out/model", "--data", "nested.jsonl", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    for (name, value) in report["metrics"].as_object().unwrap() {
        // Sums over batches of another size are rounded otherwise.
        let off = (eval["metrics"][name].as_f64().unwrap() - value.as_f64().unwrap()).abs();
        assert!(off <= 1e-6, "{name}: {} and {value}", eval["metrics"][name]);
    }
    // The same lines, with what is found in them.
    let text = String::from_utf8(NESTED.to_vec()).unwrap();
    let texts = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["text"].as_str().unwrap().to_owned()
    });
    place.write("lines.txt", texts.collect::<Vec<_>>().join("\n"));
    let found =
        place.run(&["predict", "--model", "out/model", "--input", "lines.txt", "--json"]).succeeds().stdout();
    let place_of =
        |entity: &serde_json::Value| [&entity["start"], &entity["end"]].map(|at| at.as_u64().unwrap());
    let mut n_nested = 0;
    for answer in found.lines() {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        let entities = answer["entities"].as_array().unwrap();
        for (idx, [a, b]) in entities.iter().map(place_of).enumerate() {
            for [c, d] in entities[..idx].iter().map(place_of) {
                let crosses = a.max(c) < b.min(d) && !(a <= c && d <= b) && !(c <= a && b <= d);
                assert!(!crosses, "{answer}");
                n_nested += usize::from(c <= a && b <= d);
            }
        }
    }
    assert!(n_nested > 0, "{found}");

    // Another run may begin from it, also one of tags, and from a run of tags one of spans.
    let from = |out: &str, more: &[&str]| {
        let train = [&["ner", "--out", out][..], &sets(&FILES, more)[..]].concat();
        place.train(&train)
    };
    from("again", &["model.decoding=span", "model.from=out/model", "model.spans.overlap=none"]).succeeds();
    let head = json(&place.path("again/model/config.json"))["head"]["span_classification"].clone();
    assert_eq!((head["spans"]["head_size"].as_u64(), &head["spans"]["overlap"]), (Some(8), &"none".into()));
    place.train(&["first-news", "--out", "tags", "--set", "model.from=out/model"]).succeeds();
    from("spans", &["model.decoding=span", "model.from=tags/model", "model.spans.position=none"]).succeeds();
    // No family has such a model.
    place.run(&["hub", "export", "--model", "out/model", "--out", "exported"]).succeeds();
    assert_eq!(json(&place.path("exported/config.json"))["model_type"], "locus");
}

#[test]
fn what_spans_cannot_be_is_said_before_anything_runs() {
    let place = Place::new();
    place.write("nested.jsonl", NESTED);
    let check = |more: &[&str]| {
        let sets = more.iter().flat_map(|set| ["--set", *set]);
        place.run(&["config", "check", "first-news"].into_iter().chain(sets).collect::<Vec<_>>())
    };
    check(&["model.decoding=span"]).succeeds();
    check(&["model.decoding=span", "model.spans.position.rotary.base=500.0", "model.spans.overlap=any"])
        .succeeds();
    check(&["model.spans.max_words=3"])
        .says(2, &["model.spans", "only for ner with model.decoding = \"span\""]);
    check(&["model.decoding=span", "model.spans.head_size=7", "model.spans.max_words=0"])
        .says(2, &["2 problems", "model.spans.position.rotary", "model.spans.max_words = 0"]);
    check(&["model.decoding=span", "model.spans.position=alibi", "train.class_weights=auto"])
        .says(2, &["2 problems", "model.spans.position = alibi", "rotary or none", "model.decoding is span"]);
    // Tags cannot hold them, and the message says what can.
    let train = [&["ner", "--out", "out"][..], &sets(&FILES, &[])[..]].concat();
    place.train(&train).says(1, &["nested.jsonl", "a word can have one tag", "model.decoding = \"span\""]);
    let found = place.run(&["data", "check", "nested.jsonl", "--read", "kind=spans"]).succeeds().stdout();
    assert!(found.contains("ORG") && found.contains("no problems"), "{found}");
    let short = ["model.decoding=span", "model.spans.max_words=2"];
    let train = [&["ner", "--out", "short"][..], &sets(&FILES, &short)[..]].concat();
    place.train(&train).says(0, &["training entities have more than model.spans.max_words = 2 words"]);
    let words =
        |start: usize, end: usize| (start..end).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let (before, entity, behind) = (words(0, 7), words(7, 15), words(15, 30));
    let (start, end) = (before.len() + 1, before.len() + 1 + entity.len());
    let line = serde_json::json!({
        "text": format!("{before} {entity} {behind}"),
        "entities": [{"start": start, "end": end, "label": "ORG"}],
    });
    place.write("long.jsonl", format!("{line}\n"));
    let windows = [
        "data.train=long.jsonl",
        "data.dev=long.jsonl",
        "model.decoding=span",
        "model.max_seq_len=12",
        "tokenizer.kind=word",
    ];
    let sets = windows.iter().flat_map(|set| ["--set", *set]);
    let train: Vec<&str> = ["ner", "--out", "windows"].into_iter().chain(sets).collect();
    place
        .train(&train)
        .says(0, &["1 training entities reach beyond their window of model.max_seq_len = 12 tokens"]);
}
