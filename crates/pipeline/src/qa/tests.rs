//! Windows, places of answers and the choice among them against `oracle/questions.py`.

use std::path::Path;

use locus_data::{Answer as Gold, Examples, ItemLabels, Question, Tokenizer};
use locus_encoder::StackConfig;
use locus_heads::HeadConfig;
use locus_model::{ModelConfig, QuestionConfig};
use serde::Deserialize;

use super::{Reading, bytes_of};
use crate::Codec;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    tokenizer: String,
    window: usize,
    stride: usize,
    max_query: usize,
    question: String,
    context: String,
    answer: Option<Given>,
    windows: Vec<Row>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Given {
    text: String,
    start: usize,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    segments: Vec<u32>,
    cls: usize,
    first: usize,
    /// In characters.
    offsets: Vec<[usize; 2]>,
    span: [i32; 2],
    start: Vec<f32>,
    end: Vec<f32>,
}

#[derive(Deserialize)]
struct Choice {
    n_best: usize,
    max_answer: usize,
    threshold: Option<f64>,
    text: String,
    start: usize,
    end: usize,
    score: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/questions.json")).expect("a golden file")
}

fn codec(case: &Case, stride: usize) -> Codec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/tokenizers").join(&case.tokenizer);
    let tokenizer = Tokenizer::from_file(&folder).expect("a tokenizer");
    let head = HeadConfig::QuestionAnswering { layers: Default::default() };
    let stack = StackConfig { max_seq_len: 512, ..StackConfig::default() };
    let mut config = ModelConfig::new(head, Vec::new(), tokenizer.vocab_size(), stack);
    config.questions = QuestionConfig {
        window_tokens: Some(case.window),
        doc_stride: Some(stride),
        max_query_tokens: Some(case.max_query),
        ..QuestionConfig::default()
    };
    Codec::new(&config, tokenizer).expect("fits")
}

/// The case with its answer, as a file has it.
fn example(case: &Case) -> Question {
    let answer = case.answer.iter().map(|given| Gold { text: given.text.clone(), start: Some(given.start) });
    Question {
        id: String::new(),
        context: case.context.as_str().into(),
        question: case.question.clone(),
        answers: answer.collect(),
        line: 1,
    }
}

/// Whether the windows of a case are those of the oracle; if not, what differs first.
fn difference(case: &Case, stride: usize) -> Option<String> {
    let codec = codec(case, stride);
    let (windows, is_cut) = codec.question_windows(&case.question, &case.context).expect("encodes");
    let question = codec.tokenizer.encode(case.question.trim_start()).expect("encodes").ids;
    assert_eq!(is_cut, question.len() > case.max_query);
    let items = codec.encode(&Examples::Qa(vec![example(case)])).expect("encodes").items;
    if windows.len() != case.windows.len() || items.len() != windows.len() {
        return Some(format!("{} windows, not {}", windows.len(), case.windows.len()));
    }
    let in_chars = |byte: usize| case.context[..byte].chars().count();
    for (at, ((window, item), row)) in windows.iter().zip(&items).zip(&case.windows).enumerate() {
        let offsets: Vec<[usize; 2]> =
            window.bytes.iter().map(|bytes| [in_chars(bytes.start), in_chars(bytes.end)]).collect();
        let same = window.item.ids == row.ids
            && item.ids == row.ids
            && item.segments.as_ref() == Some(&row.segments)
            && (window.no_answer, window.first_column) == (row.cls, row.first)
            && offsets == row.offsets
            && item.labels == ItemLabels::Span(row.span);
        if !same {
            return Some(format!("window {at}: {window:?} and {:?}, not {:?}", item.labels, row.ids));
        }
    }
    None
}

#[test]
fn windows_are_those_of_transformers() {
    let mut n_long = 0;
    for case in golden().cases {
        assert_eq!(difference(&case, case.stride), None, "{} {}", case.tokenizer, case.question);
        if case.windows.len() > 1 {
            n_long += 1;
            assert_ne!(difference(&case, case.stride + 1), None, "another overlap");
        }
    }
    assert!(n_long > 5);
}

#[test]
fn the_best_part_of_all_windows_is_the_answer() {
    for case in golden().cases {
        let (windows, is_cut) =
            codec(&case, case.stride).question_windows(&case.question, &case.context).expect("encodes");
        let scores = case.windows.iter().map(|row| [row.start.clone(), row.end.clone()]);
        let reading = Reading { windows: windows.into_iter().zip(scores).collect(), is_cut };
        for choice in &case.choices {
            let config = QuestionConfig {
                n_best: choice.n_best,
                max_answer_tokens: choice.max_answer,
                no_answer_threshold: choice.threshold,
                ..QuestionConfig::default()
            };
            let answer = reading.answer(&case.context, &config);
            let want = (choice.text.as_str(), choice.start, choice.end);
            assert_eq!((answer.text.as_str(), answer.start, answer.end), want, "{}", case.question);
            assert!((answer.score - choice.score).abs() < 1e-6, "{} is not {}", answer.score, choice.score);
            let there: String = case.context.chars().take(answer.end).skip(answer.start).collect();
            assert_eq!(there, answer.text);
        }
        // A threshold decides at the margin that is told.
        let usual = QuestionConfig::default();
        let (answer, margin) = reading.answer_and_margin(&case.context, &usual);
        for (threshold, is_none) in [(margin - 1e-6, true), (margin + 1e-6, false)] {
            let config = QuestionConfig { no_answer_threshold: Some(threshold), ..usual.clone() };
            let decided = reading.answer(&case.context, &config);
            assert_eq!(decided.text, if is_none { "" } else { answer.text.as_str() });
        }
        // The loss by its definition.
        let answer = example(&case).answers.first().and_then(|answer| bytes_of(&case.context, answer));
        for (loss, row) in reading.losses(answer.as_ref()).zip(&case.windows) {
            let nats = |scores: &[f32], place: i32| {
                let total: f64 = scores.iter().map(|&x| f64::from(x).exp()).sum();
                total.ln() - f64::from(scores[place as usize])
            };
            let want = (nats(&row.start, row.span[0]) + nats(&row.end, row.span[1])) / 2.0;
            assert!((loss - want).abs() < 1e-6, "{loss} is not {want}");
        }
    }
}

#[test]
fn scores_that_are_no_numbers_give_no_answer() {
    let case = &golden().cases[0];
    let (windows, is_cut) =
        codec(case, case.stride).question_windows(&case.question, &case.context).expect("encodes");
    let nan = |n: usize| vec![f32::NAN; n];
    let windows = windows.into_iter().map(|window| {
        let n = window.item.ids.len();
        (window, [nan(n), nan(n)])
    });
    let reading = Reading { windows: windows.collect(), is_cut };
    let answer = reading.answer(&case.context, &QuestionConfig::default());
    assert_eq!((answer.text.as_str(), answer.start, answer.end), ("", 0, 0));
    assert_eq!(answer.score, 0.0);
}

#[test]
fn a_context_without_a_part_has_a_finite_margin() {
    let case = &golden().cases[0];
    let codec = codec(case, case.stride);
    let (windows, is_cut) = codec.question_windows(&case.question, "").expect("encodes");
    let scores = |value: f32| -> Reading {
        let with = windows.iter().cloned().map(|window| {
            let n = window.item.ids.len();
            (window, [vec![value; n], vec![value; n]])
        });
        Reading { windows: with.collect(), is_cut }
    };
    let (answer, margin) = scores(0.5).answer_and_margin("", &QuestionConfig::default());
    assert_eq!((answer.text.as_str(), margin), ("", 1e9));
    let (_, margin) = scores(f32::NAN).answer_and_margin("", &QuestionConfig::default());
    assert_eq!(margin, f64::INFINITY, "what is no number is found out");
}
