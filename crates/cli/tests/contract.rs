//! The contract: what a run leaves behind, and what the verbs answer.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "contract/known_sets.rs"]
mod known_sets;
#[path = "contract/pairs.rs"]
mod pairs;
#[path = "contract/pretraining.rs"]
mod pretraining;
#[path = "contract/ranking.rs"]
mod ranking;
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

/// Whether two numbers differ by less than the tolerance.
fn is_near(a: &serde_json::Value, b: &serde_json::Value, tolerance: f64) -> bool {
    a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < tolerance)
}

#[test]
fn questions_are_answered_as_they_are_scored() {
    const TEST: &str = include_str!("../../../datasets/first-questions/test.json");
    let place = Place::new();
    let windows = ["--set", "model.questions.window_tokens=31", "--set", "model.questions.doc_stride=7"];
    place.train(&[&["first-questions", "--out", "out"][..], &windows[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    for key in ["em", "f1", "loss"] {
        assert!(report["metrics"][key].is_number() && report["dev_metrics"][key].is_number(), "{key}");
    }
    assert_eq!((&report["score_name"], &report["n_examples"]), (&"f1".into(), &30.into()));
    assert_eq!(json(&place.path("out/model/config.json"))["questions"]["doc_stride"], 7);
    place.write("test.json", TEST);
    let eval = place.run(&["eval", "--model", "out/model", "--data", "test.json", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    for key in ["em", "f1"] {
        assert_eq!(eval["metrics"][key], report["metrics"][key], "{key}");
    }
    assert!(is_near(&eval["metrics"]["loss"], &report["metrics"]["loss"], 1e-5));
    assert_eq!(eval["interval"], report["interval"]);

    let document: serde_json::Value = serde_json::from_str(TEST).unwrap();
    let paragraphs = document["data"][0]["paragraphs"].as_array().unwrap();
    let asked: Vec<serde_json::Value> = paragraphs
        .iter()
        .flat_map(|p| {
            p["qas"].as_array().unwrap().iter().map(move |q| (p["context"].clone(), q["question"].clone()))
        })
        .map(|(context, question)| serde_json::json!({"context": context, "question": question}))
        .collect();
    let long = "Where is the mill? ".repeat(10);
    let one = ["--question", long.as_str(), "--context", "The mill is at Low Weir."];
    place
        .run(&[&["predict", "--model", "out/model"], &one[..]].concat())
        .says(0, &["1 of 1 texts were longer"]);
    place.write("asked.jsonl", asked.iter().map(|line| format!("{line}\n")).collect::<String>());
    let predict = ["predict", "--model", "out/model", "--json"];
    let lines = place.run(&[&predict[..], &["--input", "asked.jsonl"]].concat()).succeeds().stdout();
    assert_eq!(lines.lines().count(), 30);
    for (line, asked) in lines.lines().zip(&asked) {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["question"], asked["question"]);
        let place = |key: &str| usize::try_from(answer[key].as_u64().unwrap()).unwrap();
        let context = asked["context"].as_str().unwrap();
        let there: String = context.chars().take(place("end")).skip(place("start")).collect();
        assert!(!there.is_empty() && answer["answer"] == there.as_str(), "{line}");
    }
    let text = |key: &str| asked[0][key].as_str().unwrap();
    let one = ["--question", text("question"), "--context", text("context")];
    let one = place.run(&[&predict[..], &one[..]].concat()).succeeds().stdout();
    // Alone in its batch the last digits of the score may differ.
    let answer = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["answer"].clone();
    assert_eq!(answer(&one), answer(lines.lines().next().unwrap()));
    let empty = place.run(&["predict", "--model", "out/model", "--question", "Who?", "--context", ""]);
    assert_eq!(empty.succeeds().stdout(), "- 0.00\tWho?\n");

    place.write("bad.jsonl", "{\"question\": \"Who?\"}\n");
    place
        .run(&["predict", "--model", "out/model", "--input", "bad.jsonl"])
        .says(1, &["bad.jsonl:1: expected a JSON object with the texts question and context"]);
    place.run(&["predict", "--model", "out/model", "--pairs"]).says(2, &["--pairs", "question answering"]);
    place.run(&["predict", "--model", "out/model", "--top-k", "3"]).says(2, &["no options of generation"]);
    place.run(&["predict", "--model", "out/model", "--question", "Who?"]).says(2, &["--context"]);
    place
        .train(&["first-questions", "--out", "wide", "--set", "model.questions.window_tokens=200"])
        .says(1, &["model.questions.window_tokens = 200", "max_seq_len = 128"]);
    assert!(!place.path("wide").exists(), "nothing was started");
}

#[test]
fn a_question_may_have_no_answer_where_train_has_such() {
    let place = Place::new();
    let line = |n: usize, answers: serde_json::Value| {
        let context = format!("Mira {n} saw Lisbon.");
        serde_json::json!({"context": context, "question": "Who?", "answers": answers}).to_string() + "\n"
    };
    let answered = |n| line(n, serde_json::json!([{"text": format!("Mira {n}"), "answer_start": 0}]));
    let rows: String = (0..8).map(|n| answered(n) + &line(n + 50, serde_json::json!([]))).collect();
    place.write("rows.jsonl", rows);
    let train = |out: &str, more: &[&str]| {
        let files = ["--out", out, "--set", "data.train=rows.jsonl", "--set", "data.dev=rows.jsonl"];
        place.train(&[&["qa"][..], &files[..], more].concat())
    };
    train("out", &[]).says(0, &["train has questions without an answer"]);
    let threshold = |out: &str| json(&place.path(out).join("model/config.json"))["questions"].clone();
    assert!(threshold("out")["no_answer_threshold"].is_number());
    let report = json(&place.path("out/report.json"));
    let metric = |name: &str| report["metrics"][name].as_f64().unwrap();
    // That nothing is answered is right for half of them.
    assert!(metric("best_f1") >= 0.5 && (metric("best_f1") - metric("f1")).abs() < 1e-9, "{report}");
    assert!((metric("has_answer_f1") + metric("no_answer_f1") - 2.0 * metric("f1")).abs() < 1e-9);
    // The saved model has the threshold that dev chose.
    let eval = place.run(&["eval", "--model", "out/model", "--data", "rows.jsonl", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval.succeeds().stdout()).unwrap();
    assert!(is_near(&eval["metrics"]["f1"], &report["metrics"]["f1"], 0.07), "{eval}");
    // What the run file says holds.
    train("given", &["--set", "model.questions.no_answer_threshold=-2.5"]).succeeds();
    assert_eq!(threshold("given")["no_answer_threshold"], -2.5);
}

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
        ("train.jsonl", include_str!("../../../docs/files/pairs-train.jsonl")),
        ("test.jsonl", include_str!("../../../docs/files/pairs-test.jsonl")),
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
fn a_refused_resume_leaves_the_run_as_it_was() {
    let place = Place::new();
    place.train(&["first-news", "--out", "out"]).succeeds();
    let before = place.read("out/run.toml");
    for set in ["model.d_model=32", "train.label_smoothing=0.2", "data.token_dropout=0.4"] {
        place
            .train(&["first-news", "--out", "out", "--resume", "auto", "--set", set])
            .says(1, &["another run"]);
    }
    assert_eq!(place.read("out/run.toml"), before);
    // Another score cannot be compared with the best one so far.
    place.write("pairs.tsv", "source\ttarget\n".to_owned() + &"a b\tb a\n".repeat(5));
    place.write(
        "pairs.toml",
        "task = 'seq2seq'\n[tokenizer]\nkind = 'word'\n[data]\ntrain = 'pairs.tsv'\ndev = 'pairs.tsv'\n",
    );
    place.train(&["pairs.toml", "--out", "pairs", "--set", "data.target_language=en"]).succeeds();
    let resume = ["pairs.toml", "--out", "pairs", "--resume", "auto", "--set", "data.target_language=en"];
    place.train(&[&resume[..], &["--set", "train.eval_score=chrf"]].concat()).says(1, &["another run"]);
    place.train(&resume).succeeds();
}

#[test]
fn sizes_come_with_the_model_that_a_run_starts_from() {
    let place = Place::new();
    place.train(&["first-news", "--out", "a", "--set", "model.position=alibi"]).succeeds();
    let sets = ["--set", "model.from=a/model", "--set", "model.position=none", "--set", "model.d_model=32"];
    place.train(&[&["first-news", "--out", "b"], &sets[..]].concat()).says(0, &["those of model.from"]);
    assert_eq!(json(&place.path("b/report.json"))["position"], "alibi");
    assert!(place.read("b/run.toml").contains("d_model = 16"));
}

#[test]
fn threads_are_as_many_as_are_asked_for() {
    let place = Place::new();
    let has = |run: &common::Run, n: usize| {
        let text = run.stdout();
        assert!(text.lines().any(|line| line == format!("threads    {n}")), "{text}");
    };
    has(place.run(&["doctor", "--threads", "3"]).succeeds(), 3);
    let of_environment = place.command(&["doctor"]).env("LOCUS_THREADS", "5").output().unwrap();
    has(common::Run(of_environment).succeeds(), 5);
    place.run(&["doctor", "--threads", "0"]).says(2, &["--threads", "0"]);
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

#[test]
fn a_run_starts_from_a_model() {
    let place = Place::new();
    place.train(&["first-news", "--out", "first"]).succeeds();
    let from = ["--set", "model.from=first/model"];
    place.train(&[&["first-news", "--out", "second"], &from[..]].concat()).succeeds();
    let loss =
        |run: &str| json(&place.path(&format!("{run}/report.json")))["dev_metrics"]["loss"].as_f64().unwrap();
    assert!(loss("second") < loss("first"), "{} then {}", loss("first"), loss("second"));
    // Another head stands on the stack of the first, if that reads in both directions too.
    let other = place.train(&[&["first-reviews", "--out", "third"], &from[..]].concat());
    other.says(0, &["model.from", "the head is new"]);
    let other = place.train(&[&["first-stories", "--out", "fourth"], &from[..]].concat());
    other.says(2, &["model.from", "head"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_ends_as_if_nothing_had_been() {
    resumed_is_whole(&Place::new(), &[], &["model/model.safetensors"]);
}

#[cfg(unix)]
#[test]
fn an_adapter_that_is_resumed_ends_as_if_nothing_had_been() {
    let place = Place::new();
    place.train(&["first-news", "--out", "base"]).succeeds();
    let adapter = "train.adapter={ lora = { dropout = 0.2 } }";
    let files = ["model/model.safetensors", "adapter/adapter_model.safetensors"];
    // Small batches, so that there are many steps to be interrupted at.
    let sets = ["--set", "model.from=base/model", "--set", adapter, "--set", "train.batch_size=4"];
    resumed_is_whole(&place, &sets, &files);
}

/// A run that is interrupted and resumed writes the same files as one that is not.
#[cfg(unix)]
fn resumed_is_whole(place: &Place, more: &[&'static str], files: &[&str]) {
    let args = |out| {
        let mut args = vec![
            "train",
            "first-news",
            "--out",
            out,
            "--set",
            "train.epochs=6",
            "--set",
            "train.log_every_steps=1",
        ];
        args.extend(["--set", "model.d_model=16", "--set", "model.n_heads=2"]);
        args.extend(more);
        args
    };
    place.run(&args("whole")).succeeds();
    let mut child = place.command(&args("cut")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Wait for a step to be reported, so that the run is in the middle.
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("step 3/") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0, "no third step");
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    std::io::copy(&mut stderr, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!place.path("cut/report.json").exists() && place.path("cut/checkpoints").exists());
    place.run(&[&args("cut")[..], &["--resume", "auto"]].concat()).succeeds();
    for file in files {
        let of = |run: &str| std::fs::read(place.path(run).join(file)).unwrap();
        assert!(of("whole") == of("cut"), "the resumed run ends with another {file}");
    }
}
