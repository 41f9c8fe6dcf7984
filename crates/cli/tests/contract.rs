//! The contract: what a run leaves behind, and what the verbs answer.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "contract/known_sets.rs"]
mod known_sets;
#[path = "contract/labels.rs"]
mod labels;
#[path = "contract/pairs.rs"]
mod pairs;
#[path = "contract/pretraining.rs"]
mod pretraining;
#[path = "contract/questions.rs"]
mod questions;
#[path = "contract/ranking.rs"]
mod ranking;
#[path = "contract/runs.rs"]
mod runs;
#[path = "contract/spans.rs"]
mod spans;

use std::io::Write as _;
use std::process::Stdio;

use common::{Place, json};

#[test]
fn the_run_folder_holds_what_the_book_says() {
    let place = Place::new();
    let run = place.train(&["first-news", "--out", "out", "--seed", "7"]);
    assert!(run.succeeds().stdout().contains("entity_f1"));
    for name in ["run.toml", "events.jsonl", "checkpoints", "report.txt", "report.json", "samples.json"] {
        assert!(place.path("out").join(name).exists(), "{name}");
    }
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(place.path("out/model").join(name).exists(), "{name}");
    }
    let report = json(&place.path("out/report.json"));
    for key in ["entity_f1", "token_accuracy", "loss"] {
        assert!(report["metrics"][key].is_number() && report["dev_metrics"][key].is_number(), "{key}");
    }
    for table in ["entity_report", "token_report"] {
        let rows = report[table].as_array().unwrap();
        assert!(rows.iter().any(|row| row["label"] == "macro avg" && row["support"].as_u64() > Some(0)));
        assert!(
            rows.iter().all(|row| row["precision"].is_number()
                && row["recall"].is_number()
                && row["f1"].is_number())
        );
    }
    for key in ["steps", "tokens", "seconds", "tokens_per_second"] {
        assert!(report["train"][key].as_f64() > Some(0.0), "{key}");
    }
    assert_eq!((&report["backend"], &report["seed"]), (&"ndarray".into(), &7.into()));
    assert_eq!((&report["recipe"], &report["data_set"]), (&"first-news".into(), &"first-news".into()));
    let command = report["command"].as_str().unwrap();
    assert!(command.starts_with("locus train first-news --seed 7 --set model.d_model=16"), "{command}");
    assert_eq!((&report["score_name"], &report["n_examples"]), (&"entity_f1".into(), &50.into()));
    assert_eq!(report["score"], report["metrics"]["entity_f1"]);
    assert_eq!(report["dev_score"], report["dev_metrics"]["entity_f1"]);
    let end = |at: usize| report["interval"][at].as_f64().unwrap();
    assert!(end(0) <= report["score"].as_f64().unwrap() && report["score"].as_f64().unwrap() <= end(1));
    assert!(report["n_params"].as_u64() > Some(0) && report["threads"].as_u64() > Some(0));
    // The resolved run file runs again and gives the same numbers.
    let (file, dir) = (place.path("out/run.toml"), format!("data.dir={}", place.path("").display()));
    place.run(&["train", &file.to_string_lossy(), "--out", "again", "--set", &dir]).succeeds();
    let again = json(&place.path("again/report.json"));
    assert_eq!(again["command"], "locus train run.toml", "folders of the machine stay out");
    assert_eq!((&report["metrics"], &report["dev_metrics"]), (&again["metrics"], &again["dev_metrics"]));
    // The scores are those of the saved model.
    std::fs::create_dir_all(place.path("data")).unwrap();
    place.write("test.conll", include_bytes!("../../../datasets/first-news/test.conll"));
    let eval = place.run(&["eval", "--model", "out/model", "--data", "test.conll", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    assert_eq!(eval["metrics"]["entity_f1"], report["metrics"]["entity_f1"]);
    assert_eq!((&eval["interval"], &eval["n_examples"]), (&report["interval"], &report["n_examples"]));
}

#[test]
fn classification_reports_by_class_and_runs_compare() {
    let place = Place::new();
    place.train(&["first-reviews", "--out", "out"]).succeeds();
    place.train(&["first-reviews", "--out", "other", "--seed", "11"]).succeeds();
    let compared = place.run(&["compare", "out", "other", "--json"]).succeeds().stdout();
    let compared: serde_json::Value = serde_json::from_str(&compared).unwrap();
    let score = |run: &str| json(&place.path(run).join("report.json"))["score"].as_f64().unwrap();
    assert!((compared["score_a"].as_f64().unwrap() - score("out")).abs() < 1e-12);
    let difference = compared["difference"].as_f64().unwrap();
    assert!((difference - (score("out") - score("other"))).abs() < 1e-12);
    assert!(compared["interval"][0].as_f64() <= Some(difference));
    assert_eq!((&compared["part"], &compared["data_set"]), (&"test".into(), &"first-reviews".into()));
    let itself = place.run(&["compare", "out", "out"]).succeeds().stdout();
    assert!(itself.contains("p = 1.0000 by paired randomisation"), "{itself}");
    place.run(&["compare", "out", "nowhere"]).says(1, &["nowhere/report.json", "locus train"]);
    // As many other texts, and a report that does not say which.
    let mut other = json(&place.path("other/report.json"));
    assert_eq!(other["examples_hash"], json(&place.path("out/report.json"))["examples_hash"]);
    other["examples_hash"] = "0123456789abcdef".into();
    place.write("other/report.json", other.to_string());
    place.run(&["compare", "out", "other"]).says(2, &["texts or labels", "0123456789abcdef in B"]);
    other.as_object_mut().unwrap().remove("examples_hash");
    place.write("other/report.json", other.to_string());
    place.run(&["compare", "out", "other"]).says(0, &["is not checked"]);
    place.train(&["first-news", "--out", "ner"]).succeeds();
    place.run(&["compare", "out", "ner"]).says(2, &["entity_f1 in B", "data set: first-reviews in A"]);
    let report = json(&place.path("out/report.json"));
    assert!(report["metrics"]["accuracy"].is_number() && report["metrics"]["macro_f1"].is_number());
    assert!(report["class_report"].as_array().unwrap().len() >= 4);
}

/// The run file names tokens; the model knows their ids.
#[test]
fn tokens_that_positions_count_by_are_looked_up() {
    let place = Place::new();
    let bipe = r#"model.position.bipe.separators=[".", "no such token"]"#;
    place.train(&["first-reviews", "--out", "out", "--set", bipe]).succeeds();
    let config = json(&place.path("out/model/config.json"));
    let ids = config["stack"]["position"]["bipe"]["separator_ids"].as_array().unwrap();
    assert!(!ids.is_empty() && ids.iter().all(serde_json::Value::is_u64), "{config}");
    let none = r#"model.position.bipe.separators=["no such token"]"#;
    place
        .train(&["first-reviews", "--out", "other", "--set", none])
        .says(2, &["model.position.bipe.separators", "no such token", "in the vocabulary"]);
    assert!(!place.path("other").exists(), "nothing was trained");
}

/// Texts whose words tell their labels, some of them none, and how many there are.
fn rows(row: impl Fn(&str, &[&str]) -> String) -> String {
    let words = [("sun", "joy"), ("rose", "love"), ("storm", "fear")];
    let texts = (0..48).map(|idx| {
        let some: Vec<_> = (0..3).filter(|bit| idx >> bit & 1 == 1).map(|bit| words[bit]).collect();
        let text: Vec<&str> = ["the", "day"].into_iter().chain(some.iter().map(|(word, _)| *word)).collect();
        row(&text.join(" "), &some.iter().map(|(_, label)| *label).collect::<Vec<_>>())
    });
    texts.collect()
}

const AWKWARD: [&str; 5] = ["", "Mira 北京 \u{7} 👩‍👧", "\t", "rose ", "last without end"];

/// One answer per line, whatever the line.
fn answers(place: &Place, model: &str) -> Vec<serde_json::Value> {
    let mut lines = AWKWARD.map(str::to_owned);
    lines[3] = "rose ".repeat(500);
    place.write("lines.txt", lines.join("\n"));
    let run = place.run(&["predict", "--model", model, "--input", "lines.txt", "--json"]);
    let text = run.succeeds().stdout();
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(answers.iter().map(|answer| answer["text"].as_str().unwrap()).eq(lines.iter()));
    answers
}

#[test]
fn several_labels_are_chosen_by_thresholds_tuned_on_dev() {
    let place = Place::new();
    place.write(
        "rows.csv",
        "text,labels\n".to_owned() + &rows(|text, labels| format!("{text},\"{}\"\n", labels.join(","))),
    );
    let run = |out: &str, more: &[&str]| {
        let files =
            ["--set", "data.train=rows.csv", "--set", "data.dev=rows.csv", "--set", "data.test=rows.csv"];
        let long =
            ["--set", "train.epochs=15", "--set", "train.learning_rate=1e-2", "--set", "train.patience=15"];
        let args = [&["multilabel", "--out", out], &files[..], &long[..], more].concat();
        place.train(&args).succeeds().stdout()
    };
    let text = run("out", &["--set", "model.thresholds=per_label"]);
    assert!(text.contains("samples avg") && text.contains("micro_f1"), "{text}");
    let report = json(&place.path("out/report.json"));
    for key in ["macro_f1", "micro_f1", "subset_accuracy", "hamming_loss", "loss"] {
        assert!(report["metrics"][key].is_number() && report["dev_metrics"][key].is_number(), "{key}");
    }
    assert!(report["metrics"]["macro_f1"].as_f64() > Some(0.95), "{report}");
    assert!(report["label_report"].as_array().unwrap().iter().any(|row| row["label"] == "joy"));
    let thresholds = |out: &str| json(&place.path(&format!("{out}/model/config.json")))["thresholds"].clone();
    assert_eq!(thresholds("out").as_array().unwrap().len(), 3);

    // The saved model evaluates to the same scores with the same thresholds.
    let eval =
        place.run(&["eval", "--model", "out/model", "--data", "rows.csv", "--json"]).succeeds().stdout();
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert_eq!((&eval["metrics"], &eval["thresholds"]), (&report["metrics"], &thresholds("out")));

    assert_eq!(answers(&place, "out/model").len(), AWKWARD.len());
    place.write("in.txt", "the day rose sun\nthe day\n");
    let said = place.run(&["predict", "--model", "out/model", "--input", "in.txt"]).succeeds().stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("joy ") && lines[0].contains("love ") && !lines[0].contains("fear"), "{said}");
    assert_eq!(lines[1], "-\tthe day");

    run("global", &[]);
    let global = thresholds("global");
    assert!(global.as_array().unwrap().iter().all(|threshold| *threshold == global[0]), "{global}");
}

#[test]
fn losses_are_chosen_in_the_run_file() {
    let place = Place::new();
    let loss_of_step_one = |out: &str, recipe: &str, sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let first = [recipe, "--out", out, "--set", "train.log_every_steps=1", "--set", "train.max_steps=1"];
        place.train(&first.into_iter().chain(sets).collect::<Vec<_>>()).succeeds();
        let events = place.read(&format!("{out}/events.jsonl"));
        let step = events.lines().find(|line| line.contains("\"loss\"")).unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&step).unwrap()["loss"].as_f64().unwrap()
    };
    let plain = loss_of_step_one("plain", "first-news", &[]);
    for (out, set) in [
        ("auto", "train.class_weights=auto"),
        ("table", "train.class_weights={ O = 0.1 }"),
        ("focal", "train.focal_gamma=2"),
        ("smooth", "train.label_smoothing=0.3"),
    ] {
        assert!((loss_of_step_one(out, "first-news", &[set]) - plain).abs() > 1e-3, "{set}");
    }
    // The resolved file keeps them.
    place.run(&["config", "check", "table/run.toml"]).succeeds();
    assert!(place.read("table/run.toml").contains("O = 0.1"));
}

#[test]
fn a_tagger_learns_what_follows_what() {
    let place = Place::new();
    let run = |out: &str, sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        place.train(&["first-news", "--out", out].into_iter().chain(sets).collect::<Vec<_>>()).succeeds();
        json(&place.path(&format!("{out}/report.json")))
    };
    let report = run("out", &["model.decoding=crf"]);
    assert!(report["metrics"]["entity_f1"].is_number() && report["metrics"]["loss"].as_f64() > Some(0.0));
    place.write("test.conll", include_bytes!("../../../datasets/first-news/test.conll"));
    let eval = place.run(&["eval", "--model", "out/model", "--data", "test.conll", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    assert_eq!(eval["metrics"], report["metrics"]);
    for answer in answers(&place, "out/model") {
        let tags: Vec<&str> =
            answer["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        for (idx, kind) in
            tags.iter().enumerate().filter_map(|(idx, tag)| Some((idx, tag.strip_prefix("I-")?)))
        {
            let before = idx.checked_sub(1).and_then(|before| tags[before].split_once('-'));
            assert!(before.is_some_and(|(_, before)| before == kind), "{tags:?}");
        }
    }
    // Another model may start from it, with the transitions or without.
    for (out, from, decoding) in
        [("again", "out", "crf"), ("plain", "out", "independent"), ("learned", "plain", "crf")]
    {
        run(out, &[&format!("model.decoding={decoding}"), &format!("model.from={from}/model")]);
        let head = json(&place.path(&format!("{out}/model/config.json")))["head"].clone();
        assert_eq!(head["token_classification"]["decoding"], decoding);
    }
}

#[test]
fn a_regression_answers_in_the_unit_of_the_file() {
    let place = Place::new();
    place.write(
        "rows.tsv",
        "text\tscore\n".to_owned() + &rows(|text, labels| format!("{text}\t{}\n", 1000 + 100 * labels.len())),
    );
    let files = ["--set", "data.train=rows.tsv", "--set", "data.dev=rows.tsv"];
    let long = ["--set", "train.epochs=25", "--set", "train.learning_rate=1e-2"];
    place.train(&[&["regression", "--out", "out"], &files[..], &long[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    for key in ["loss", "mse", "rmse", "mae", "r2", "pearson", "spearman"] {
        assert!(report["metrics"][key].is_number(), "{key}");
    }
    assert!(report["metrics"]["pearson"].as_f64() > Some(0.9), "{report}");
    let eval =
        place.run(&["eval", "--model", "out/model", "--data", "rows.tsv", "--json"]).succeeds().stdout();
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert_eq!(eval["metrics"], report["metrics"]);
    assert!(answers(&place, "out/model").iter().all(|answer| answer["value"].as_f64() > Some(500.0)));
    let head = &json(&place.path("out/model/config.json"))["head"]["regression"];
    assert_eq!(head["mean"], 1150.0);

    place.write("same.tsv", "text\tscore\na b\t3\nc d\t3\n");
    let same = ["--set", "data.train=same.tsv", "--set", "data.dev=same.tsv"];
    place
        .train(&[&["regression", "--out", "same"], &same[..]].concat())
        .says(1, &["deviation 0", "numbers that differ"]);
}

#[test]
fn a_language_model_reports_perplexity_and_writes() {
    let place = Place::new();
    place.train(&["first-stories", "--out", "out"]).succeeds();
    let report = json(&place.path("out/report.json"));
    for key in ["loss", "perplexity", "bits_per_byte"] {
        assert!(report["metrics"][key].as_f64() > Some(0.0), "{key}");
    }
    let say = |seed| {
        let args = [
            "generate",
            "--model",
            "out/model",
            "--prompt",
            "The ",
            "--max-new-tokens",
            "30",
            "--seed",
            seed,
        ];
        place.run(&args).succeeds().stdout()
    };
    assert_eq!(say("1"), say("1"));
    assert_ne!(say("1"), say("2"));
}

#[test]
fn an_encoder_decoder_is_scored_by_exact_match() {
    let place = Place::new();
    let few = ["--set", "train.max_steps=5"];
    place.train(&[&["reverse", "--out", "out"], &few[..]].concat()).succeeds();
    assert!(json(&place.path("out/report.json"))["metrics"]["exact_match"].is_number());
    let run = place.run(&["generate", "--model", "out/model", "--prompt", "a b c", "--temperature", "0"]);
    run.succeeds();
}

/// With label smoothing and targets that are cut, the report still says what an evaluation of the model says.
#[test]
fn a_report_is_an_evaluation() {
    let place = Place::new();
    let smooth = ["--set", "train.label_smoothing=0.3"];
    place.train(&[&["first-stories", "--out", "lm"], &smooth[..]].concat()).succeeds();
    place.write("test.txt", include_bytes!("../../../datasets/first-stories/test.txt"));
    let eval =
        place.run(&["eval", "--model", "lm/model", "--data", "test.txt", "--json"]).succeeds().stdout();
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert_eq!(eval["metrics"], json(&place.path("lm/report.json"))["metrics"]);

    let row = |n: usize| format!("{{\"source\": \"a\", \"target\": \"{}\"}}\n", vec!["b"; n].join(" "));
    place.write("long.jsonl", (10..30).map(row).collect::<String>());
    let files =
        ["--set", "data.train=long.jsonl", "--set", "data.dev=long.jsonl", "--set", "model.max_seq_len=6"];
    let run = ["reverse", "--out", "cut", "--set", "data.set=copy"];
    place.train(&[&run[..], &files[..]].concat()).says(2, &["exactly one of"]);
    place.write("cut.toml", "task = 'seq2seq'\n[tokenizer]\nkind = 'word'\n");
    place.train(&[&["cut.toml", "--out", "cut"], &files[..]].concat()).says(0, &["were cut"]);
    let report = json(&place.path("cut/report.json"));
    assert_eq!(
        report["metrics"]["exact_match"], 0.0,
        "a target that is longer than the model cannot be right"
    );
}

#[test]
fn one_answer_per_line_whatever_the_line() {
    let place = Place::new();
    place.train(&["first-news", "--out", "out"]).succeeds();
    let lines = ["", "Mira 北京", "\t", &"long ".repeat(500), "last without end"];
    let mut command = place.command(&["predict", "--model", "out/model", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.join("\r\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len());
    assert!(answers.iter().zip(lines).all(|(answer, line)| answer["text"] == line));
    assert_eq!(answers[3]["tags"].as_array().unwrap().len(), 500);
}
