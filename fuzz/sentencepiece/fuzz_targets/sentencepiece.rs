//! Any bytes as `source.spm` beside a sound `target.spm` and a vocabulary: an error, or a tokenizer that cuts a short text into
//! parts of it.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use locus_data::Tokenizer;

const TEXT: &str = ">>fra<< ﬁne e\u{301} １２ ... \u{3000}boat☃ aaaaaaaaaaaaaaaa";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let vocab = r#"{"</s>": 0, "<unk>": 1, "<pad>": 2, ">>fra<<": 3, "a": 4}"#;
    fs::write(folder.join("vocab.json"), vocab).expect("written");
    // One piece, `a`, with the score −1.
    let target = [&[10, 10, 10, 1, b'a', 21][..], &(-1.0_f32).to_le_bytes(), &[24, 1]].concat();
    fs::write(folder.join("target.spm"), target).expect("written");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("source.spm"), bytes).expect("written");
    let Ok(tokenizer) = Tokenizer::from_file(&FOLDER) else { return };
    let encoding = tokenizer.encode(TEXT).expect("any text has pieces");
    assert_eq!(encoding.ids.len(), encoding.offsets.len());
    assert!(encoding.offsets.iter().all(|range| TEXT.get(range.clone()).is_some()), "{:?}", encoding.offsets);
    tokenizer.decode(&encoding.ids).expect("ids of its own");
});
