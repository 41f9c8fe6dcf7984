//! Runs that go on, that start from a model, and that are interrupted.

#[cfg(unix)]
use std::process::Stdio;

use crate::common::{Place, Run, json};

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
    let has = |run: &Run, n: usize| {
        let text = run.stdout();
        assert!(text.lines().any(|line| line == format!("threads    {n}")), "{text}");
    };
    has(place.run(&["doctor", "--threads", "3"]).succeeds(), 3);
    let of_environment = place.command(&["doctor"]).env("LOCUS_THREADS", "5").output().unwrap();
    has(Run(of_environment).succeeds(), 5);
    place.run(&["doctor", "--threads", "0"]).says(2, &["--threads", "0"]);
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
