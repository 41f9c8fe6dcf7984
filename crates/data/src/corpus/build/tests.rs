use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::super::{Corpus, CorpusRows, Documents};
use super::*;
use crate::objective::packed::Packer;
use crate::{IGNORE, Item, ItemLabels, TokenizerKind};

fn tokenizer() -> Tokenizer {
    let words: String = (0..40).map(|n| format!("w{n} ")).collect();
    Tokenizer::train(TokenizerKind::Word, 100, false, [words]).expect("trains")
}

/// A line of one to nine words.
fn line(n: u64) -> String {
    let word = |at: u64| format!("w{}", crate::random::below(n, at, 40));
    (0..1 + n % 9).map(word).collect::<Vec<_>>().join(" ")
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| line(n) + "\n").collect()
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("write");
    path
}

fn gz(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("pack");
    packed.finish().expect("pack")
}

fn by_lines(tokenizer: &Tokenizer, dir: &Path) -> CorpusBuilder<'static> {
    // The tokenizer of a test lives as long as the test program.
    let tokenizer: &'static Tokenizer = Box::leak(Box::new(tokenizer.clone()));
    let reading = Reading { documents: Documents::Line, ..Reading::default() };
    CorpusBuilder {
        chunk_bytes: 1009,
        ..CorpusBuilder::new(tokenizer, dir).reading(reading).shard_bytes(5000)
    }
}

/// The files of a folder and what they hold, but for times and paths.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry").path());
    entries
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("read"))
        })
        .collect()
}

fn expected(tokenizer: &Tokenizer, texts: &[String]) -> Vec<Vec<u32>> {
    let end = tokenizer.specials().eos.expect("an end");
    texts.iter().map(|text| [tokenizer.encode(text).expect("encodes").ids, vec![end]].concat()).collect()
}

fn documents(corpus: &Corpus) -> Vec<Vec<u32>> {
    (0..corpus.n_documents()).map(|n| corpus.document(n).expect("a document")).collect()
}

#[test]
fn every_layout_gives_the_same_documents() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let texts: Vec<String> = (0..101).map(line).collect();
    let text = lines(0..101);
    let json: String = texts.iter().map(|text| format!("{{\"id\": 1, \"text\": \"{text}\"}}\n")).collect();
    let zst = ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (n, path) in [
        write(dir.path(), "a.txt", &text),
        write(dir.path(), "b.txt.gz", gz(&text)),
        write(dir.path(), "c.txt.zst", zst),
        write(dir.path(), "d.jsonl", &json),
        write(dir.path(), "e.jsonl.gz", gz(&json)),
        write(dir.path(), "f.txt", text.replace('\n', "\r\n\r\n")),
    ]
    .into_iter()
    .enumerate()
    {
        let out = dir.path().join(format!("corpus-{n}"));
        let built = by_lines(&tokenizer, &out).build(&[path], &mut |_| ()).expect("builds");
        assert_eq!(documents(&built.corpus), expected(&tokenizer, &texts), "{n}");
        built.corpus.verify().expect("sums");
        built.corpus.check_tokenizer(&tokenizer).expect("its own");
        assert_eq!(built.corpus.n_tokens(), expected(&tokenizer, &texts).concat().len() as u64);
    }
}

#[test]
fn documents_are_files_or_paragraphs_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let path = write(dir.path(), "a.txt", "w1 w2\nw3\n\n\n\nw4\n");
    let other = write(dir.path(), "b.txt", "\n\nw5\n");
    let empty = write(dir.path(), "c.txt", "\n");
    let sources = [path, empty, other];
    for (documents_are, texts) in
        [(Documents::File, vec!["w1 w2 w3 w4", "w5"]), (Documents::Paragraph, vec!["w1 w2 w3", "w4", "w5"])]
    {
        let reading = Reading { documents: documents_are, ..Reading::default() };
        let builder = CorpusBuilder::new(&tokenizer, &dir.path().join("corpus")).reading(reading);
        let built = builder.build(&sources, &mut |_| ()).expect("builds");
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        assert_eq!(documents(&built.corpus), expected(&tokenizer, &texts));
        assert_eq!(built.n_made, 3);
    }
}

#[test]
fn a_broken_build_goes_on_and_gives_the_same_bytes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let text = lines(0..1009);
    assert!(text.len() > 15_000);
    let sources = [write(dir.path(), "a.txt.gz", gz(&text)), write(dir.path(), "b.txt", lines(5..90))];
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let built = by_lines(&tokenizer, &whole).build(&sources, &mut |_| ()).expect("builds");
    let n_shards = built.n_made;
    assert!(n_shards >= 4 && built.n_kept == 0 && built.stale.is_empty(), "{n_shards}");

    by_lines(&tokenizer, &broken).build(&sources, &mut |_| ()).expect("builds");
    // As after a break: no index, a shard without its record, one that is cut, files half written.
    std::fs::remove_file(broken.join("corpus.json")).expect("remove");
    let error = Corpus::open(&broken).expect_err("no index").to_string();
    assert!(error.contains("making was broken off"), "{error}");
    std::fs::remove_file(broken.join("00000-00001.json")).expect("remove");
    std::fs::write(broken.join("00001-00000.tokens"), b"LOCUSTOK").expect("cut");
    let again = by_lines(&tokenizer, &broken).build(&sources, &mut |_| ()).expect("builds");
    assert_eq!((again.n_kept, again.n_made), (n_shards - 2, 2));
    assert_eq!(files(&broken), files(&whole));

    // All there: nothing is done.
    let again =
        by_lines(&tokenizer, &broken).build(&sources, &mut |_| panic!("nothing to do")).expect("opens");
    assert_eq!((again.n_kept, again.n_made), (n_shards, 0));

    // A pass in any order sees every token once.
    let rows = CorpusRows::new(Arc::new(again.corpus), 997, 3).expect("rows");
    let mut seen = vec![false; rows.n_rows() as usize];
    let mut n_tokens = 0;
    for place in 0..rows.n_rows() {
        let number = rows.number(2, place);
        assert!(!std::mem::replace(&mut seen[number as usize], true));
        n_tokens += rows.row(number).expect("a row").ids.len() as u64;
    }
    assert_eq!(n_tokens, rows.corpus().n_tokens() - 1);
}

#[test]
fn what_is_stale_is_said_and_made_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let out = dir.path().join("corpus");
    let a = write(dir.path(), "a.txt", lines(0..50));
    let b = write(dir.path(), "b.txt", lines(50..60));
    let build = |sources: &[PathBuf]| by_lines(&tokenizer, &out).build(sources, &mut |_| ()).expect("builds");
    build(&[a.clone(), b.clone()]);

    write(dir.path(), "b.txt", lines(50..61));
    let corpus = Corpus::open(&out).expect("opens");
    assert_eq!(corpus.changed_sources(), [format!("{} has changed since", b.display())]);
    let again = build(&[a.clone(), b.clone()]);
    assert_eq!((again.n_kept, again.n_made), (1, 1));
    assert_eq!(again.stale, [format!("{} has changed", b.display())]);
    assert_eq!(again.corpus.n_documents(), 61);

    let fewer = build(std::slice::from_ref(&a));
    assert_eq!(fewer.stale, [format!("{} is no longer among the files", b.display())]);
    assert!(!out.join("00001-00000.tokens").exists(), "what nobody reads is removed");

    let other = Tokenizer::train(TokenizerKind::Char, 100, false, [lines(0..20)]).expect("trains");
    let error = fewer.corpus.check_tokenizer(&other).expect_err("another").to_string();
    assert!(error.contains("was made with another tokenizer"), "{error}");
    let built = by_lines(&other, &out).build(&[a], &mut |_| ()).expect("builds");
    assert_eq!((built.n_kept, built.stale), (0, vec!["the tokenizer is another".to_owned()]));
}

#[test]
fn damage_is_found() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let out = dir.path().join("corpus");
    let a = write(dir.path(), "a.txt", lines(0..50));
    by_lines(&tokenizer, &out).build(&[a], &mut |_| ()).expect("builds");
    let path = out.join("00000-00000.tokens");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[64] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    let error = Corpus::open(&out).expect("whole").verify().expect_err("damaged").to_string();
    assert!(error.contains("00000-00000.tokens is damaged"), "{error}");
    bytes[65] = 0xFF;
    std::fs::write(&path, &bytes).expect("write");
    let error = Corpus::open(&out).expect("whole").tokens(0..3).expect_err("no such token").to_string();
    assert!(error.contains("outside the vocabulary"), "{error}");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
    bytes[0] = b'X';
    let error = Corpus::open(&out).expect_err("cut").to_string();
    assert!(error.contains("00000-00000.tokens has") && error.contains("expected"), "{error}");
    std::fs::write(&path, &bytes).expect("write");
    let error = Corpus::open(&out).expect_err("another file").to_string();
    assert!(error.contains("another header"), "{error}");
    assert!(Corpus::open(dir.path()).is_err());
}

#[test]
fn rows_stay_inside_their_documents() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let sources = [write(dir.path(), "a.txt", lines(0..40)), write(dir.path(), "b.txt", lines(40..70))];
    let built =
        by_lines(&tokenizer, &dir.path().join("corpus")).build(&sources, &mut |_| ()).expect("builds");
    assert_eq!(built.n_made, 2);
    let texts: Vec<String> = (0..70).map(line).collect();
    let end = tokenizer.specials().eos.expect("an end");
    let all = expected(&tokenizer, &texts).concat();
    let rows = CorpusRows::new(Arc::new(built.corpus), 13, 7).expect("rows");
    let mut at = 0;
    for number in 0..rows.n_rows() {
        let item = rows.row(number).expect("a row");
        let ItemLabels::PerToken(labels) = &item.labels else { panic!("labels of tokens") };
        let documents = item.documents.as_ref().expect("documents");
        for (cell, &id) in item.ids.iter().enumerate() {
            assert_eq!(id, all[at]);
            assert_eq!(labels[cell], if id == end { IGNORE } else { all[at + 1] as i32 });
            if cell > 0 {
                let is_new = item.ids[cell - 1] == end;
                assert_eq!(documents[cell], documents[cell - 1] + u32::from(is_new));
            }
            at += 1;
        }
    }
    assert_eq!(at, all.len() - 1);
    assert_eq!(rows.number(3, 5), rows.clone().number(3, 5));
    assert!((0..9).any(|place| rows.number(0, place) != rows.number(1, place)));
    let corpus = rows.corpus();
    assert!(corpus.tokens(0..all.len() as u64 + 1).is_err() && corpus.document(70).is_err());
    assert!(corpus.tokens(5..5).expect("nothing").is_empty());
    assert_eq!(corpus.document_ends(0..corpus.n_tokens()).len(), 70);
}

/// Changes the index of a corpus by hand.
fn edit_index(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("corpus.json");
    let mut index = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    edit(&mut index);
    std::fs::write(&path, index.to_string()).expect("write");
}

#[test]
fn an_index_names_no_files_elsewhere() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let out = dir.path().join("corpus");
    let a = write(dir.path(), "a.txt", lines(0..50));
    let elsewhere =
        ["tokens", "documents", "json"].map(|ending| write(dir.path(), &format!("b.{ending}"), "b"));
    let build = || by_lines(&tokenizer, &out).build(std::slice::from_ref(&a), &mut |_| ()).expect("builds");
    build();
    for name in ["../b", "0000-00000", "00000-0000x", "00000-00000.tokens/../00000-00000"] {
        edit_index(&out, |index| index["shards"][0]["name"] = name.into());
        let error = Corpus::open(&out).expect_err("no shard").to_string();
        assert!(error.contains(&format!("named like 00000-00000, found `{name}`")), "{error}");
        assert_eq!(build().n_kept, 1, "made anew");
        assert!(elsewhere.iter().all(|path| path.exists()), "{name}");
    }
    edit_index(&out, |index| index["shards"][0]["n_tokens"] = u64::MAX.into());
    let error = Corpus::open(&out).expect_err("too many").to_string();
    assert!(error.contains("more than a file can hold"), "{error}");
}

#[test]
fn what_a_break_left_is_removed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let out = dir.path().join("corpus");
    let a = write(dir.path(), "a.txt", lines(0..50));
    let build = || by_lines(&tokenizer, &out).build(std::slice::from_ref(&a), &mut |_| ()).expect("builds");
    build();
    let before = files(&out);
    for name in [
        "00000-00000.tokens.123.tmp",
        "00000-00001.documents.7.tmp",
        "00003-00000.tokens",
        "00003-00000.json",
    ] {
        write(&out, name, "left");
    }
    let own = ["notes.txt", "00000-00000.tokens.bak", "b.tokens"].map(|name| write(&out, name, "mine"));
    build();
    own.iter().for_each(|path| std::fs::remove_file(path).expect("still there"));
    assert_eq!(files(&out), before);
}

#[test]
fn another_end_of_documents_is_another_tokenizer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let out = dir.path().join("corpus");
    let a = write(dir.path(), "a.txt", lines(0..50));
    by_lines(&tokenizer, &out).build(&[a], &mut |_| ()).expect("builds");
    edit_index(&out, |index| index["settings"]["end"] = serde_json::Value::Null);
    let error =
        Corpus::open(&out).expect("whole").check_tokenizer(&tokenizer).expect_err("an end").to_string();
    assert!(error.contains("another end of documents (none, the tokenizer given has token"), "{error}");
}

#[test]
fn rows_with_starts_are_those_of_the_packer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let sources = [write(dir.path(), "a.txt", lines(0..40)), write(dir.path(), "b.txt", lines(40..71))];
    let built =
        by_lines(&tokenizer, &dir.path().join("corpus")).build(&sources, &mut |_| ()).expect("builds");
    let corpus = Arc::new(built.corpus);
    let start = 2;
    for seq in [1, 2, 5, 13, 101, 997] {
        let mut packer = Packer::new(seq, tokenizer.specials().eos).expect("a length");
        let mut expected = Vec::new();
        for text in (0..71).map(line) {
            let ids = tokenizer.encode_ids(&text).expect("encodes");
            expected.extend(packer.push(&[vec![start], ids].concat()));
        }
        expected.extend(packer.finish());
        let rows = CorpusRows::new(corpus.clone(), seq, 7).expect("rows").with_start(Some(start));
        let found: Vec<Item> = (0..rows.n_rows()).map(|number| rows.row(number).expect("a row")).collect();
        assert_eq!(found, expected, "{seq}");
        for (number, row) in (0..).zip(&found) {
            let tokens = rows.tokens(number).expect("tokens");
            assert_eq!(tokens[..tokens.len() - 1], row.ids, "{seq}: all but the last label");
        }
    }
}

#[test]
fn problems_of_a_file_come_together_with_their_lines() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tokenizer = tokenizer();
    let path = write(dir.path(), "a.jsonl", "{\"text\": \"w1\"}\n{\"txt\": \"w1\"}\n[]\n");
    let out = dir.path().join("corpus");
    let error = by_lines(&tokenizer, &out).build(&[path], &mut |_| ()).expect_err("two").to_string();
    for part in ["2 problems", "a.jsonl:2: expected the key `text`, found txt", "a.jsonl:3: column"] {
        assert!(error.contains(part), "{error}");
    }
    let left = files(&out);
    assert!(left.is_empty(), "{:?}", left.keys());
    let missing = dir.path().join("b.txt");
    assert!(by_lines(&tokenizer, &out).build(&[missing], &mut |_| ()).is_err());
    assert!(by_lines(&tokenizer, &out).build(&[], &mut |_| ()).is_err());
    assert!(by_lines(&tokenizer, &out).build(&[dir.path().to_owned()], &mut |_| ()).is_err());
}
