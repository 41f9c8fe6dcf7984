//! Questions: answered as they are scored, with and without an answer.

use crate::common::{Place, is_near, json};

#[test]
fn questions_are_answered_as_they_are_scored() {
    const TEST: &str = include_str!("../../../../datasets/first-questions/test.json");
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
