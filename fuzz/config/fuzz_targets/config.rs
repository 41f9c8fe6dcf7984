//! Any text as `config.json`, with the first byte for the head that is asked for, and what follows a zero byte as
//! `generation_config.json`: an error, or a configuration that can be.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use locus_hub::{Request, read_config};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut files = rest.splitn(2, |byte| *byte == 0);
    fs::write(FOLDER.join("config.json"), files.next().unwrap_or_default()).expect("written");
    match files.next() {
        Some(generation) => fs::write(FOLDER.join("generation_config.json"), generation).expect("written"),
        None => drop(fs::remove_file(FOLDER.join("generation_config.json"))),
    }
    let label = || vec!["no".to_owned(), "yes".to_owned()];
    let request = match first % 8 {
        0 => None,
        1 => Some(Request::Label(label())),
        2 => Some(Request::Labels(label())),
        3 => Some(Request::Number { mean: 0.5, std: 2.0 }),
        4 => Some(Request::Answer),
        5 => Some(Request::MaskedLm),
        6 => Some(Request::CausalLm),
        _ => Some(Request::Seq2SeqLm),
    };
    if let Ok(checkpoint) = read_config(&FOLDER, request.as_ref()) {
        let problems = checkpoint.config.check();
        assert!(problems.is_empty(), "{problems:?}");
    }
});
