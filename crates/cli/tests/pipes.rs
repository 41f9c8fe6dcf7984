//! Readers of the output that go away before it ends, as in `locus predict … | head -1` or a closed terminal.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead as _, BufReader, PipeWriter};
use std::process::Stdio;

use common::{Place, json};

/// A pipe that nobody reads.
fn unread() -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

/// The settings of a tiny model, for a command that is started by hand.
fn tiny(out: &str) -> Vec<&str> {
    let sets = ["model.d_model=16", "model.n_layers=1", "model.n_heads=2", "train.epochs=2"];
    let mut args = vec!["train", "first-news", "--out", out];
    args.extend(sets.iter().flat_map(|set| ["--set", *set]));
    args
}

#[test]
fn a_closed_standard_error_stops_nothing() {
    let place = Place::new();
    let output = place.command(&tiny("out")).stderr(unread()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(json(&place.path("out/report.json"))["metrics"]["entity_f1"].is_number());
    // An error keeps its code where its text is lost.
    let code = |args: &[&str]| place.command(args).stderr(unread()).status().unwrap().code();
    assert_eq!(code(&["predict", "--model", "nowhere"]), Some(1));
    assert_eq!(code(&["train", "first-nws"]), Some(2));
    assert_eq!(code(&["teach"]), Some(2));
}

#[test]
fn a_closed_standard_output_ends_the_program_quietly() {
    let place = Place::new();
    place.train(&["first-news", "--out", "out"]).succeeds();
    place.write("lines.txt", "Mira saw Lisbon.\n".repeat(20_000));
    let ends_quietly = |args: &[&str]| {
        let output = place.command(args).stdout(unread()).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    };
    for args in [
        &["recipes", "ls"][..],
        &["recipes", "show", "ner"],
        &["config", "explain", "first-news"],
        &["data", "list"],
        &["data", "stats", "first-news"],
        &["data", "stats", "first-news", "--json"],
        &["doctor"],
        &["predict", "--model", "out/model", "--input", "lines.txt"],
        &["predict", "--model", "out/model", "--input", "lines.txt", "--json"],
        &["eval", "--model", "out/model", "--data", "lines.conll"],
    ] {
        place.write("lines.conll", "Mira B-PER\nsaw O\n\n");
        ends_quietly(args);
    }
    // A training whose report nobody reads is whole.
    let output = place.command(&tiny("second")).stdout(unread()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && !text.contains("panicked"), "{text}");
    assert!(place.path("second/report.json").exists() && place.path("second/model").exists());
    // As `head -1` does it.
    let mut child = place
        .command(&["predict", "--model", "out/model", "--input", "lines.txt"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("Mira saw Lisbon."), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_text_that_nobody_reads_any_more_ends() {
    let place = Place::new();
    place.train(&["first-stories", "--out", "out"]).succeeds();
    for more in [&["--json"][..], &["--sequences", "2"], &["--beams", "2"], &[]] {
        let args =
            [&["generate", "--model", "out/model", "--prompt", "The ", "--max-new-tokens", "20"], more];
        let output = place.command(&args.concat()).stdout(unread()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && text.is_empty(), "{more:?}: {text}");
    }
}
