//! `locus data`: files of any layout, sets, and fetching.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;

use common::Place;

#[test]
fn options_of_reading_are_those_of_a_run_file() {
    let place = Place::new();
    let rows = "9;caf\u{e9};0,1\n9;th\u{e9};1\n9;lait;\n";
    let latin1: Vec<u8> = rows.chars().map(|c| c as u8).collect();
    place.write("a.txt", latin1.iter().map(|&b| if b == b';' { b'\t' } else { b }).collect::<Vec<_>>());
    let reads = [
        "format=tsv",
        "kind=multilabelled",
        "encoding=latin1",
        "header=false",
        "columns.text=1",
        "columns.label=-1",
        "labels=[\"hot\", \"cold\"]",
    ];
    let flags: Vec<&str> = reads.iter().flat_map(|read| ["--read", *read]).collect();
    let stats = place.run(&[&["data", "stats", "a.txt", "--json"], &flags[..]].concat());
    let stats: serde_json::Value = serde_json::from_str(&stats.succeeds().stdout()).unwrap();
    assert_eq!(stats["parts"]["train"]["labels"], serde_json::json!({"cold": 2, "hot": 1}));
    place.run(&["data", "check", "a.txt"]).says(1, &["a.txt:1: byte 6", "`encoding`"]);
}

#[test]
fn wrong_options_of_reading_come_together() {
    let place = Place::new();
    place.write("a.csv", "text,label\na,b\n");
    place
        .run(&["data", "check", "a.csv", "--read", "colums.text=1", "--read", "kind=taged", "--read", "x"])
        .says(
            2,
            &["--read has 3 problems", "unknown field `colums`", "unknown variant `taged`", "columns.text=1"],
        );
    place
        .run(&["data", "check", "a.csv", "--format", "cvs"])
        .says(2, &["unknown format `cvs`", "conll, csv"]);
    place
        .train(&["classify", "--set", "data.train=a.csv", "--set", "data.kind=text"])
        .says(2, &["data.kind", "task"]);
}

#[test]
fn a_document_an_archive_and_a_run_are_read_alike() {
    let place = Place::new();
    let list: Vec<String> =
        (0..30).map(|n| format!("[\"word {n} good\", \"A\"], [\"word {n} bad\", \"B\"]")).collect();
    let list = list.join(", ");
    place.write("all.json", format!("{{\"train\": [{list}], \"dev\": [{list}]}}"));
    let sets = [
        "data.train=all.json#/train",
        "data.dev=all.json#/dev",
        "data.columns.text=0",
        "data.columns.label=1",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    place.train(&[&["classify", "--out", "out"], &sets[..]].concat()).succeeds();
    let eval = ["eval", "--model", "out/model", "--data", "all.json#/dev", "--read", "columns.text=0"];
    place.run(&[&eval[..], &["--read", "columns.label=1"]].concat()).succeeds();
    let written = place.read("out/run.toml");
    assert!(written.contains("all.json#/train"), "{written}");
    let checked =
        ["data", "check", "all.json#/train", "--read", "columns.text=0", "--read", "columns.label=1"];
    place.run(&[&checked[..], &["--model", "out/model"]].concat()).succeeds();
    let long = place.run(&[&checked[..], &["--max-chars", "11"]].concat());
    assert!(long.succeeds().stdout().contains("train: longer than the limit: 20"), "{}", long.stdout());
}

fn datasets() -> String {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets").display().to_string()
}

#[test]
fn a_set_is_fetched_from_a_folder_and_what_is_missing_is_listed() {
    let place = Place::new();
    let fetch =
        |from: &str, name: &str| place.run(&["data", "fetch", name, "--from", from, "--data-dir", "to"]);
    let first = fetch(&datasets(), "first-news");
    assert!(first.succeeds().stdout().starts_with("first-news: 3 fetched, 0 already there, 0 failed"));
    assert_eq!(std::fs::read_dir(place.path("to/first-news")).unwrap().count(), 3);
    place.write("to/first-news/dev.conll", "changed");
    let again = fetch(&datasets(), "first-news");
    assert!(again.succeeds().stdout().starts_with("first-news: 1 fetched, 2 already there, 0 failed"));
    fetch(&datasets(), "qa-xquad-en")
        .says(1, &["2 files are missing", "qa-xquad/xquad.en.json", "--data-dir"]);
    fetch("nowhere", "first-news").says(2, &["--from nowhere"]);
    fetch(&datasets(), "first-new").says(2, &["did you mean 'first-news'?"]);
    place.run(&["data", "check", "qa-xquad-en"]).says(1, &["not found", "--data-dir", "locus data fetch"]);
}

#[test]
fn built_in_sets_need_no_fetching() {
    let run = Place::new().run(&["data", "fetch", "first-news", "reverse"]);
    let text = run.succeeds().stdout();
    assert!(text.contains("first-news: built in, so there is nothing to fetch"), "{text}");
    assert!(text.contains("reverse: made up on the spot, so there is nothing to fetch"), "{text}");
}

#[cfg(not(feature = "download"))]
#[test]
fn a_build_without_downloads_names_the_one_with() {
    Place::new()
        .run(&["data", "fetch", "ner-wnut17"])
        .says(1, &["cargo xtask data fetch ner-wnut17", "--from DIR"]);
}

#[cfg(feature = "download")]
#[test]
fn a_set_is_downloaded() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let path = request.split_whitespace().nth(1).unwrap().trim_start_matches('/').to_owned();
            let (status, body) = match std::fs::read(std::path::Path::new(&datasets()).join(&path)) {
                Ok(body) if !path.ends_with("test.conll") => ("200 OK", body),
                _ => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    let place = Place::new();
    let run = place.run(&["data", "fetch", "first-news", "--from", &address, "--data-dir", "to"]);
    run.says(1, &["1 files are missing", "first-news/test.conll", "404"]);
    assert!(run.stdout().starts_with("first-news: 2 fetched"), "{}", run.stdout());
    assert_eq!(
        place.read("to/first-news/dev.conll"),
        std::fs::read_to_string(format!("{}/first-news/dev.conll", datasets())).unwrap()
    );
}

#[test]
fn a_set_of_another_kind_is_verified_and_says_so() {
    let Some(real) =
        std::env::var_os("LOCUS_DATA").filter(|dir| std::path::Path::new(dir).join("tokenizers").exists())
    else {
        eprintln!("skipped: tokenizers is not below $LOCUS_DATA");
        return;
    };
    let real = real.to_str().unwrap();
    let checked = Place::new().run(&["data", "check", "tokenizers", "--data-dir", real]);
    assert!(checked.succeeds().stdout().contains("nothing here reads this kind of examples yet"));
    Place::new()
        .run(&["data", "stats", "tokenizers", "--data-dir", real])
        .says(1, &["listed, fetched and verified"]);
}

#[test]
fn large_files_are_packed_once() {
    let place = Place::new();
    place.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n");
    place.write("one.txt", "a b\n\nb\n");
    place.write("two.jsonl", "{\"text\": \"a a a\"}\n");
    let pack = ["data", "pack", "--tokenizer", "vocab.txt", "--out", "corpus", "one.txt", "two.jsonl"];
    let paragraphs = [&pack[..], &["--documents", "paragraph", "--verify"]].concat();
    let made = place.run(&paragraphs).succeeds().stdout();
    assert!(made.contains("corpus: 6 tokens in 3 documents"), "{made}");
    assert!(made.contains("2 shards made, 0 kept"), "{made}");
    let kept = place.run(&paragraphs).succeeds().stdout();
    assert!(kept.contains("0 shards made, 2 kept"), "{kept}");
    place.write("two.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"a\"}\n");
    place.run(&pack).says(1, &["two.jsonl:2: expected the key `text`, found txt"]);
}
