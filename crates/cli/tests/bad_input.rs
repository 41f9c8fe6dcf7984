//! What people write wrongly: a clear answer each, with the place, and never a panic.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;

use common::Place;

const GOOD: &str = "Mira B-PER\nsaw O\nLisbon B-LOC\n\nBern B-LOC\nsleeps O\n\n";

/// Trains on these files.
fn ner(place: &Place, args: &[&str]) -> common::Run {
    let sets = ["ner", "--out", "out", "--set", "data.train=train.conll", "--set", "data.dev=dev.conll"];
    place.train(&[&sets[..], args].concat())
}

fn with_train(bytes: impl AsRef<[u8]>) -> common::Run {
    let place = Place::new();
    place.write("train.conll", bytes).write("dev.conll", GOOD);
    ner(&place, &[])
}

#[test]
fn a_missing_file_names_a_similar_one() {
    let place = Place::new();
    place.write("train.conl", GOOD).write("dev.conll", GOOD);
    ner(&place, &[]).says(1, &["data.train", "train.conll", "train.conl"]);
}

#[test]
fn several_wrong_files_come_together() {
    let place = Place::new();
    place.write("train.conll", "").write("dev.conll", b"x \xFF O\n");
    ner(&place, &[]).says(1, &["data.train", "data.dev"]);
}

#[test]
fn an_empty_file() {
    with_train("").says(1, &["train.conll", "empty"]);
}

#[test]
fn ragged_columns_name_every_line() {
    with_train("Mira B-PER\nsaw\nLisbon B-LOC x y\n\n").says(1, &["train.conll:2"]);
}

#[test]
fn unknown_tags() {
    let bad = format!("{GOOD}Mira Q-PER\nsaw O\n\nBern B-\n\n");
    with_train(bad).says(1, &["train.conll:8", "Q-PER", "train.conll:11"]);
}

#[test]
fn invalid_utf8_names_line_and_byte() {
    with_train(b"Mira B-PER\ns\xE4w O\n\n").says(1, &["train.conll:2", "UTF-8"]);
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_fine() {
    let crlf = format!("\u{FEFF}{}", GOOD.replace('\n', "\r\n"));
    with_train(crlf).succeeds();
}

#[test]
fn blank_sentences_are_no_sentences() {
    with_train(format!("\n\n\n{GOOD}\n\n\n")).succeeds();
}

#[test]
fn a_label_only_in_test_is_refused_before_training() {
    let place = Place::new();
    place.write("train.conll", GOOD).write("dev.conll", GOOD).write("test.conll", "Mira B-PER\nUN B-ORG\n\n");
    ner(&place, &["--set", "data.test=test.conll"]).says(1, &["test: label 'B-ORG'", "not in train"]);
    assert!(!place.path("out").exists(), "nothing was started");
}

#[test]
fn a_nan_loss_leaves_the_last_checkpoint_intact() {
    let place = Place::new();
    place.write("train.conll", GOOD.repeat(20)).write("dev.conll", GOOD);
    let wild = [
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.clip_norm=off",
        "--set",
        "train.warmup.steps=0",
    ];
    let every = ["--set", "train.checkpoint_every_steps=1", "--set", "train.schedule=constant"];
    let run = ner(&place, &[&wild[..], &every[..]].concat());
    run.says(1, &["the loss is", "learning rate", "intact"]);
    let checkpoints = std::fs::read_dir(place.path("out/checkpoints")).unwrap().count();
    assert!(checkpoints > 0);
}

#[test]
fn a_run_file_is_checked_whole() {
    let place = Place::new();
    place.write(
        "run.toml",
        "task = 'ner'\nepochs = 3\n[data]\ntrain = 'x'\n[model]\nn_heads = 3\nd_modell = 3\n",
    );
    let parts = [
        "4 problems",
        "'train.epochs'",
        "d_modell",
        "'d_model'",
        "model.n_heads = 3",
        "train.learning_rate = -1",
    ];
    place.run(&["config", "check", "run.toml", "--set", "train.learning_rate=-1"]).says(2, &parts);
    place.write("run.toml", "task = ");
    place.run(&["config", "check", "run.toml"]).says(2, &["run.toml is not TOML", "line 1"]);
}

#[test]
fn sizes_that_cannot_be() {
    let place = Place::new();
    let check = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        place.run(&["config", "check", "first-news"].into_iter().chain(sets).collect::<Vec<_>>())
    };
    check(&["model.d_head=0", "model.position=none"]).says(2, &["model.d_head = 0"]);
    check(&["model.d_model=1000000000000"]).says(2, &["model.d_model", "1 to 1048576"]);
    check(&["model.n_layers=1000000000"]).says(2, &["model.n_layers"]);
    check(&["model.position.learned.max_positions=5"]).says(2, &["max_positions", "at least max_seq_len"]);
    check(&["model.position.rotary.bsae=3"]).says(2, &["bsae", "'base'"]);
    let short = place.train(&["first-news", "--out", "out", "--set", "model.max_seq_len=2"]);
    short.says(1, &["model.max_seq_len = 2", "at least 3"]);
}

#[test]
fn losses_that_cannot_be() {
    let place = Place::new();
    let check = |recipe: &str, sets: &[&str], parts: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let args: Vec<&str> = ["config", "check", recipe].into_iter().chain(sets).collect();
        place.run(&args).says(2, parts);
    };
    check(
        "first-reviews",
        &["train.focal_gamma=-1", "train.class_weights=[1, -2]", "train.label_smoothing=1"],
        &["3 problems", "train.focal_gamma = -1", "train.class_weights = -2", "train.label_smoothing = 1"],
    );
    check("first-reviews", &["train.class_weights=balanced"], &["train.class_weights", "\"auto\", a list"]);
    check(
        "first-news",
        &["train.focal_gamma=2", "train.label_smoothing=0.1"],
        &["train.focal_gamma = 2", "train.label_smoothing"],
    );
    check(
        "first-stories",
        &["train.focal_gamma=2", "train.class_weights=auto"],
        &["train.focal_gamma = 2", "train.class_weights", "only ner, classify and multilabel"],
    );
    check(
        "first-news",
        &["model.decoding=crf", "train.class_weights=auto", "train.focal_gamma=1"],
        &["2 problems", "train.class_weights", "train.focal_gamma = 1", "model.decoding is crf"],
    );
    check("first-reviews", &["train.focal_gamma=1e300"], &["train.focal_gamma = 1e300", "0 to 100"]);
    check("first-news", &["model.decoding=viterbi"], &["model.decoding", "well_formed", "crf"]);
    let train = |set: &str| place.train(&["first-reviews", "--out", "out", "--set", set]);
    train("train.class_weights=[1, 2, 3]").says(1, &["train.class_weights has 3 weights", "2 labels"]);
    train("train.class_weights={ postive = 2 }").says(1, &["train.class_weights", "positive"]);
    assert!(!place.path("out").exists(), "nothing was started");
}

#[test]
fn keys_of_another_task_are_named_with_their_task() {
    let place = Place::new();
    let check = |recipe: &str, sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        place.run(&["config", "check", recipe].into_iter().chain(sets).collect::<Vec<_>>())
    };
    check("first-reviews", &["model.decoding=crf", "model.thresholds=per_label", "model.tied=false"]).says(
        2,
        &[
            "3 problems",
            "model.decoding = \"crf\": expected none: it is only for ner",
            "model.thresholds = \"per_label\"",
            "multilabel",
            "model.tied = false",
            "lm and seq2seq",
        ],
    );
    check("first-news", &["model.questions.n_best=3", "data.out_of_scope=O"]).says(
        2,
        &[
            "2 problems",
            "model.questions = ",
            "only for qa",
            "data.out_of_scope = \"O\"",
            "only for classify",
        ],
    );
    check("first-questions", &["model.questions.n_best=0", "train.label_smoothing=0.1"])
        .says(2, &["model.questions.n_best = 0", "at least 1", "places are no labels"]);
    check("first-news", &["model.pooling=last"])
        .says(2, &["model.pooling = \"last\"", "classify, multilabel"]);
    check("first-reviews", &["model.pooling=last"]).succeeds();
    check("first-news", &["model.decoding=crf"]).succeeds();
    check("first-stories", &["model.tied=false"]).succeeds();
}

#[test]
fn a_data_folder_that_is_not_there() {
    let place = Place::new();
    for args in [
        &["train", "first-news", "--data-dir", "nowhere"][..],
        &["data", "check", "first-news", "--data-dir", "nowhere"],
        &["data", "list", "--data-dir", "nowhere"],
    ] {
        place.run(args).says(2, &["--data-dir nowhere", "no such folder"]);
    }
    place.run(&["train", "first-news", "--set", "data.dir=nowhere"]).says(2, &["data.dir = nowhere"]);
    assert!(!place.path("runs").exists(), "nothing was started");
}

#[test]
fn usage_is_answered_with_two() {
    let place = Place::new();
    place.run(&["train", "first-nws"]).says(2, &["did you mean the recipe 'first-news'"]);
    place.run(&["train", "--backend", "ndaray"]).says(2, &["did you mean 'ndarray'"]);
    place.run(&["train", "--device", "gpu9"]).says(2, &["no device 'gpu9'"]);
    place.run(&["train", "--set", "data.set=first-nws"]).says(2, &["did you mean 'first-news'"]);
    place.run(&["recipes", "show", "nre"]).says(2, &["did you mean"]);
    place.run(&["teach"]).says(2, &["teach"]);
    place.run(&["train", "slots-snips"]).says(1, &["--data-dir", "slots-snips"]);
}

#[test]
fn a_folder_that_is_no_model() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    place.run(&["predict", "--model", "empty"]).says(1, &["not a model folder", "config.json"]);
    place.run(&["eval", "--model", "nowhere", "--data", "x"]).says(1, &["not a model folder"]);
}

#[test]
fn a_second_run_does_not_write_over_the_first() {
    let place = Place::new();
    place.write("train.conll", GOOD).write("dev.conll", GOOD);
    ner(&place, &[]).succeeds();
    ner(&place, &[]).says(2, &["holds a run already", "--resume auto"]);
    ner(&place, &["--resume", "auto", "--set", "model.d_model=32"]).says(1, &["another run"]);
}

#[test]
fn bad_prediction_input_names_the_line() {
    let place = Place::new();
    place.train(&["first-news", "--out", "out"]).succeeds();
    place.write("in.txt", b"fine\nb\xFFd\n");
    place.run(&["predict", "--model", "out/model", "--input", "in.txt"]).says(1, &["in.txt:2", "UTF-8"]);
    place.run(&["predict", "--model", "out/model", "--input", "none.txt"]).says(1, &["none.txt"]);
    place.run(&["generate", "--model", "out/model", "--prompt", "x"]).says(1, &["cannot generate text"]);
    place.run(&["generate", "--model", "out/model", "--prompt", "x", "--top-p", "2"]).says(2, &["top_p"]);
    place.write("rows.csv", "text,label\na,b\n");
    place.run(&["eval", "--model", "out/model", "--data", "rows.csv"]).says(1, &["rows.csv"]);
}

#[test]
fn a_prompt_past_the_position_limit() {
    let place = Place::new();
    let sets = ["--set", "model.position=learned", "--set", "model.max_seq_len=16"];
    place.train(&[&["first-stories", "--out", "out"], &sets[..]].concat()).succeeds();
    let long = "a".repeat(40);
    let run = place.run(&["generate", "--model", "out/model", "--prompt", &long]);
    run.says(1, &["position 16", "learned", "16 positions"]);
    // A short prompt goes on until the positions end, and keeps what it has.
    let run = place.run(&["generate", "--model", "out/model", "--prompt", "The ", "--max-new-tokens", "50"]);
    assert!(run.succeeds().stdout().chars().count() > 10);
}

#[test]
fn tokenizer_keys_are_checked_together() {
    let place = Place::new();
    place.write("train.conll", GOOD).write("dev.conll", GOOD);
    let sets = ["tokenizer.kind=char", "tokenizer.vocab_size=7", "tokenizer.split_chinese=true"];
    let mut args: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    ner(&place, &args)
        .says(2, &["tokenizer.vocab_size = 7: expected 8 to", "tokenizer.split_chinese = true"]);
    args.extend(["--set", "tokenizer.unicode=nfck"]);
    ner(&place, &args).says(2, &["tokenizer.unicode", "nfkc", "tokenizer.vocab_size = 7"]);
}

#[test]
fn a_unigram_tokenizer_is_trained_and_used() {
    let place = Place::new();
    place.write("train.conll", GOOD).write("dev.conll", GOOD);
    let sets = ["tokenizer.kind=unigram", "tokenizer.unicode=nfkc", "tokenizer.vocab_size=60"];
    let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    ner(&place, &args).succeeds();
    assert!(place.read("out/run.toml").contains("unicode = \"nfkc\""));
    assert_eq!(common::json(&place.path("out/model/tokenizer.json"))["model"]["type"], "Unigram");
}
