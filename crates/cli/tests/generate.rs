//! `locus generate`, and `locus predict` with models that write: a text for every input, and clear answers to wrong options.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;

use common::Place;
use serde_json::Value;

/// A language model of sixteen positions.
fn language_model() -> Place {
    let place = Place::new();
    let sets = ["--set", "model.position=learned", "--set", "model.max_seq_len=16"];
    place.train(&[&["first-stories", "--out", "lm"], &sets[..]].concat()).succeeds();
    place
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn as_many_texts_as_lines() {
    let place = language_model();
    // Empty, blank, of another script, at the position limit and past it.
    let at = ["a".repeat(15), "a".repeat(16), "a".repeat(17), "a".repeat(300)];
    let prompts = ["", " ", "The ", "北京", &at[0], &at[1], &at[2], &at[3], "The "];
    place.write("prompts.txt", prompts.join("\n"));
    let predict = ["predict", "--model", "lm/model", "--input", "prompts.txt", "--json"];
    let sample = ["--temperature", "0.9", "--sequences", "2", "--max-new-tokens", "5"];
    let search = ["--beams", "3", "--sequences", "2", "--max-new-tokens", "5"];
    for options in [&[][..], &sample, &search] {
        let run = place.run(&[&predict[..], options].concat());
        run.says(0, &["2 of 9 texts were longer"]);
        let answers = lines(&run.stdout());
        assert_eq!(answers.len(), prompts.len());
        for (answer, prompt) in answers.iter().zip(prompts) {
            assert_eq!(answer["text"], prompt);
            assert_eq!(answer["cut"].as_bool() == Some(true), prompt.len() > 16);
            let n = if options.is_empty() { 1 } else { 2 };
            assert_eq!(answer["generated"].as_array().unwrap().len(), n);
        }
        // The same input with the same seed is the same text.
        let text = |answer: &Value| answer["generated"][0]["text"].as_str().unwrap().to_owned();
        assert_eq!(text(&answers[2]), text(&answers[8]));
    }
    // Without --json one line for each.
    let run = place.run(&["predict", "--model", "lm/model", "--input", "prompts.txt"]);
    assert_eq!(run.succeeds().stdout().lines().count(), prompts.len());
}

#[test]
fn generate_says_what_predict_says() {
    let place = language_model();
    place.write("prompts.txt", "x\nThe \nThe old");
    let options =
        ["--temperature", "0.8", "--top-k", "9", "--seed", "3", "--max-new-tokens", "8", "--log-probs", "2"];
    let model = ["--model", "lm/model", "--json"];
    let many = place.run(&[&["predict", "--input", "prompts.txt"], &model[..], &options].concat());
    let one = ["generate", "--prompt", "The ", "--top-p", "1"];
    let one = place.run(&[&one[..], &model, &options].concat()).succeeds().stdout();
    let (one, many) = (lines(&one).remove(0), lines(&many.succeeds().stdout()).remove(1));
    let text = |answer: &Value| answer["generated"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&one), text(&many));
    let tokens = one["generated"][0]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), text(&one).chars().count());
    assert!(
        tokens
            .iter()
            .all(|token| token["log_prob"].as_f64() <= Some(0.0)
                && token["top"].as_array().unwrap().len() == 2)
    );
}

#[test]
fn weights_of_fewer_bits_write_and_are_scored() {
    let place = language_model();
    let generate = ["generate", "--model", "lm/model", "--prompt", "The ", "--temperature", "0", "--json"];
    place.write("text.txt", "The old mill by the river.\n");
    let eval = ["eval", "--model", "lm/model", "--data", "text.txt", "--json"];
    let loss = |weights: &[&str]| {
        let score: Value =
            serde_json::from_str(&place.run(&[&eval[..], weights].concat()).succeeds().stdout()).unwrap();
        score.to_string()
    };
    let plain = loss(&[]);
    assert_eq!(plain, loss(&["--weights", "f32"]));
    for weights in ["bf16", "int8"] {
        let run = place.run(&[&generate[..], &["--weights", weights]].concat());
        assert!(!lines(&run.succeeds().stdout())[0]["generated"][0]["text"].as_str().unwrap().is_empty());
        assert_ne!(loss(&["--weights", weights]), plain, "{weights}");
    }
    place.run(&[&generate[..], &["--weights", "int4"]].concat()).says(2, &["f32, bf16, int8"]);
}

#[test]
fn a_stop_string_ends_a_text() {
    let place = language_model();
    let generate = ["generate", "--model", "lm/model", "--prompt", "The ", "--temperature", "0"];
    let whole = place.run(&generate).succeeds().stdout();
    let second = whole.chars().nth(1).unwrap().to_string();
    let cut = place.run(&[&generate[..], &["--stop", "\\n", "--stop", &second]].concat());
    let until = whole.find([second.chars().next().unwrap(), '\n']).unwrap();
    assert_eq!(cut.succeeds().stdout(), format!("{}\n", &whole[..until]));
}

#[test]
fn an_encoder_decoder_searches() {
    let place = Place::new();
    place.train(&["reverse", "--out", "s2s", "--set", "train.max_steps=5"]).succeeds();
    place.write(
        "sources.txt",
        "a b c\n\na a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\nd",
    );
    let options =
        ["--beams", "3", "--sequences", "3", "--length-penalty", "0.5", "--early-stopping", "never"];
    let run = place.run(
        &[&["predict", "--model", "s2s/model", "--input", "sources.txt", "--json"], &options[..]].concat(),
    );
    let answers = lines(&run.succeeds().stdout());
    assert_eq!(answers.len(), 4);
    for answer in answers {
        let scores: Vec<f64> = answer["generated"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text["score"].as_f64().unwrap())
            .collect();
        assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
}

#[test]
fn wrong_options_come_together() {
    let place = Place::new();
    let generate = |options: &[&str]| {
        place.run(&[&["generate", "--model", "nowhere", "--prompt", "x"], options].concat())
    };
    let bad = ["--temperature", "-1", "--top-p", "0", "--min-p", "1.5", "--repetition-penalty", "0"];
    generate(&bad)
        .says(2, &["4 problems", "temperature must be 0 or more", "top_p", "min_p", "repetition_penalty"]);
    generate(&["--presence-penalty", "-3"]).says(2, &["presence_penalty must be", "found -3"]);
    generate(&["--beams", "2", "--sequences", "3"]).says(2, &["at most beams = 2"]);
    generate(&["--beams", "2", "--temperature", "1"]).says(2, &["beams need temperature 0"]);
    generate(&["--sequences", "2", "--temperature", "0"]).says(2, &["the same text"]);
    generate(&["--min-new-tokens", "500"]).says(2, &["min_new_tokens must be at most max_new_tokens = 200"]);
    generate(&["--stop", ""]).says(2, &["stop must be a text"]);
    generate(&["--length-penalty", "2"]).says(2, &["--beams"]);
    generate(&["--log-probs", "2"]).says(2, &["--json"]);
    generate(&["--early-stopping", "soon"]).says(2, &["full", "heuristic", "never"]);
    place.train(&["first-news", "--out", "ner"]).succeeds();
    place.write("in.txt", "Mira\n");
    let predict = ["predict", "--model", "ner/model", "--input", "in.txt", "--top-k", "3"];
    place.run(&predict).says(2, &["token classification", "no options of generation"]);
}
