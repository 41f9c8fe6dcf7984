//! Any text as `model.safetensors.index.json` beside two sound files: an error, or just the tensors of these files.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use locus_fuzz_weights::Weights;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    for (file, tensor) in [("a.safetensors", "x"), ("b.safetensors", "y")] {
        let header = format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        let parts = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &1.0_f32.to_le_bytes()];
        fs::write(folder.join(file), parts.concat()).expect("written");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("model.safetensors.index.json"), bytes).expect("written");
    let Ok(weights) = Weights::open(&FOLDER) else { return };
    for name in weights.names() {
        assert!(["x", "y"].contains(&name), "{name}");
        assert_eq!(weights.read(name), Ok(vec![1.0]), "{name}");
    }
});
