//! Any bytes as `model.safetensors`: an error or tensors, all of which can be read or are refused.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use locus_fuzz_weights::Weights;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("model.safetensors"), bytes).expect("written");
    let Ok(weights) = Weights::open(&FOLDER) else { return };
    for name in weights.names() {
        let facts = weights.facts(name).expect("a tensor of that name");
        assert!(facts.bytes <= bytes.len(), "{name}: {facts:?}");
        if let Ok(values) = weights.read(name) {
            assert_eq!(values.len(), facts.shape.iter().product::<usize>(), "{name}: {facts:?}");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
    }
});
