//! `locus eval` on known sets, and what it writes for `locus compare`.

use crate::common::{Place, json};

#[test]
fn a_known_set_is_scored_as_training_scored_it() {
    let place = Place::new();
    place.train(&["first-reviews", "--out", "out"]).succeeds();
    let eval = |more: &[&str]| {
        let args = [&["eval", "--model", "out/model", "--data-set", "first-reviews"], more].concat();
        place.run(&args).succeeds().stdout()
    };
    let report = json(&place.path("out/report.json"));
    eval(&["--out", "set"]);
    let scored = json(&place.path("set/report.json"));
    for key in ["score_name", "score", "interval", "n_examples", "examples_hash", "metrics", "class_report"] {
        assert_eq!(scored[key], report[key], "{key}");
    }
    for key in ["data_set", "part", "position", "n_params", "backend", "threads"] {
        assert_eq!(scored[key], report[key], "{key}");
    }
    assert_eq!(scored["command"], "locus eval --model out/model --data-set first-reviews --part test");
    assert!(scored["seconds"].as_f64() > Some(0.0) && place.read("set/report.txt").contains("accuracy"));
    let dev: serde_json::Value = serde_json::from_str(&eval(&["--part", "dev", "--json"])).unwrap();
    assert_eq!(dev["metrics"], report["dev_metrics"]);

    // The same examples are the same, whether they come from a set or from a file.
    place.write("test.tsv", include_bytes!("../../../../datasets/first-reviews/test.tsv"));
    let written = place.run(&["eval", "--model", "out/model", "--data", "test.tsv", "--out", "file"]);
    written.says(0, &["report     file/report.txt"]);
    let compared = place.run(&["compare", "out", "file"]).succeeds().stdout();
    assert!(compared.contains("p = 1.0000 by paired randomisation"), "{compared}");
    place.run(&["compare", "file", "set"]).succeeds();
}

#[test]
fn either_a_file_or_a_set_is_scored() {
    let place = Place::new();
    place.train(&["first-reviews", "--out", "out"]).succeeds();
    let eval = |more: &[&str]| place.run(&[&["eval", "--model", "out/model"], more].concat());
    eval(&[]).says(2, &["--data", "--data-set"]);
    eval(&["--data", "x.tsv", "--data-set", "first-reviews"]).says(2, &["cannot be used with"]);
    eval(&["--data", "x.tsv", "--part", "dev"]).says(2, &["cannot be used with"]);
    eval(&["--data-set", "first-reviews", "--part", "all"]).says(2, &["train, dev or test"]);
    eval(&["--data-set", "first-reviews", "--out", "out"]).says(2, &["a run lies there"]);
    place.write("here", "");
    eval(&["--data-set", "first-reviews", "--out", "here/x"]).says(1, &["--out", "here/x"]);
    eval(&["--data-set", "first-review"]).says(2, &["did you mean 'first-reviews'"]);
    eval(&["--data-set", "first-news"]).says(1, &["label"]);
}

#[test]
fn other_windows_are_other_examples() {
    let place = Place::new();
    place.train(&["first-stories", "--out", "a"]).succeeds();
    place.train(&["first-stories", "--out", "b", "--set", "model.max_seq_len=32"]).succeeds();
    place.run(&["compare", "a", "b"]).says(2, &["examples: "]);
    place.write("other.txt", "It was late. Nobody came.\n".repeat(50));
    place.run(&["eval", "--model", "a/model", "--data", "other.txt", "--out", "c"]).succeeds();
    place.run(&["compare", "a", "c"]).says(2, &["in A", "in B"]);
}
