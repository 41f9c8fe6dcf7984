//! Labels of texts and of pairs: what is out of scope, and probabilities that are what they say.

use crate::common::{Place, is_near, json};

#[test]
fn what_is_out_of_scope_is_not_learned_and_scored_apart() {
    let place = Place::new();
    let rows: String =
        (0..12).map(|n| format!("red {n},warm\nblue {n},cold\nfar {n},other\n")).collect::<String>();
    place.write("rows.csv", "text,label\n".to_owned() + &rows);
    let files = ["data.train=rows.csv", "data.dev=rows.csv", "data.test=rows.csv", "data.out_of_scope=other"];
    let sets: Vec<&str> = files.iter().flat_map(|set| ["--set", *set]).collect();
    place.train(&[&["classify", "--out", "out"][..], &sets[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    for key in ["in_scope_accuracy", "oos_auroc", "macro_f1", "loss"] {
        assert!(report["metrics"][key].is_number() && report["dev_metrics"][key].is_number(), "{key}");
    }
    assert_eq!((&report["score_name"], &report["n_examples"]), (&"in_scope_accuracy".into(), &24.into()));
    let config = json(&place.path("out/model/config.json"));
    assert_eq!(config["labels"], serde_json::json!(["cold", "warm"]));
    assert_eq!(config["out_of_scope"], "other");
    let eval = place.run(&["eval", "--model", "out/model", "--data", "rows.csv", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    assert_eq!(eval["metrics"]["in_scope_accuracy"], report["metrics"]["in_scope_accuracy"]);
    // Confidences that are all but equal may change places in another batch.
    for (key, tolerance) in [("loss", 1e-5), ("oos_auroc", 0.02)] {
        assert!(is_near(&eval["metrics"][key], &report["metrics"][key], tolerance), "{key}: {eval}");
    }
    let sets: Vec<&str> = files[..3].iter().flat_map(|set| ["--set", *set]).collect();
    place
        .train(&[&["classify", "--out", "no", "--set", "data.out_of_scope=oter"][..], &sets[..]].concat())
        .says(2, &["data.out_of_scope = 'oter'", "no example"]);
}

/// Expected calibration error by its definition: bins of a fifteenth, closed on the right.
fn ece(answers: &[(f64, bool)]) -> f64 {
    let gap = |bin: usize| {
        let (low, high) = (bin as f64 / 15.0, (bin + 1) as f64 / 15.0);
        let inside = answers.iter().filter(|(p, _)| *p > low && *p <= high);
        inside.map(|(p, right)| f64::from(u8::from(*right)) - p).sum::<f64>().abs()
    };
    (0..15).map(gap).sum::<f64>() / answers.len() as f64
}

#[test]
fn pairs_are_answered_as_they_are_scored() {
    let place = Place::new();
    let files = [
        ("train.jsonl", include_str!("../../../../docs/files/pairs-train.jsonl")),
        ("test.jsonl", include_str!("../../../../docs/files/pairs-test.jsonl")),
    ];
    for (name, text) in files {
        place.write(name, text);
    }
    let sets = ["data.train=train.jsonl", "data.test=test.jsonl", "model.n_segments=2"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let text = place.train(&[&["classify", "--out", "out"][..], &sets[..]].concat()).succeeds().stdout();
    assert!(text.contains("locus eval --model out/model --data test.jsonl"), "{text}");
    let rows: Vec<serde_json::Value> =
        files[1].1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let lines: Vec<String> =
        rows.iter().map(|row| field(row, "premise") + "\t" + &field(row, "hypothesis")).collect();
    place.write("pairs.txt", lines.join("\n"));
    let predict = ["predict", "--model", "out/model", "--pairs", "--input"];
    let run = place.run(&[&predict[..], &["pairs.txt", "--json"]].concat());
    let answers: Vec<serde_json::Value> =
        run.succeeds().stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), rows.len());
    let told: Vec<(f64, bool)> = answers
        .iter()
        .zip(&rows)
        .map(|(answer, row)| {
            assert_eq!((&answer["text"], &answer["pair"]), (&row["premise"], &row["hypothesis"]));
            (answer["score"].as_f64().unwrap(), answer["label"] == row["label"])
        })
        .collect();
    let eval = place.run(&["eval", "--model", "out/model", "--data", "test.jsonl", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    let accuracy = told.iter().filter(|(_, right)| *right).count() as f64 / told.len() as f64;
    assert_eq!(eval["metrics"]["accuracy"].as_f64(), Some(accuracy));
    let found = eval["metrics"]["ece"].as_f64().unwrap();
    assert!((found - ece(&told)).abs() < 1e-6, "{found} is not {}", ece(&told));
    // The second text is read.
    place.write(
        "other.txt",
        format!("{}\n{}\n", lines[0], field(&rows[0], "premise") + "\tAnd it was not so at all."),
    );
    let two = place.run(&[&predict[..], &["other.txt", "--json"]].concat()).succeeds().stdout();
    let scores: Vec<serde_json::Value> =
        two.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_ne!(scores[0]["score"], scores[1]["score"]);
    let plain = place.run(&[&predict[..], &["other.txt"]].concat()).succeeds().stdout();
    assert!(plain.lines().next().unwrap().ends_with(&format!("\t{}", lines[0])), "{plain}");
    place.write("other.txt", "a\tb\nonly one\n");
    place
        .run(&[&predict[..], &["other.txt"]].concat())
        .says(1, &["other.txt:2", "two texts with a tab between"]);
    place.train(&["first-news", "--out", "ner"]).succeeds();
    place.run(&["predict", "--model", "ner/model", "--pairs"]).says(2, &["--pairs", "token classification"]);
}
