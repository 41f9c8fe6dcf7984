//! Folders of adapters and of sentence embedders that are damaged, or made to do harm: an error, or what can be.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use locus_backend::rng::Key;
use locus_hub::{
    AdapterBase, HubError, Loaded, adapted_model, load_sentence, read_adapted_config, read_adapter,
    read_sentence, with_adapted_head,
};
use serde_json::{Value, json};

use super::adapters::Golden;
use crate::B;
use crate::hostile::{keys, odd};
use crate::sentences::Sentences;

/// Puts every odd value at every place of a JSON file. What is read must be a model that can be: the number of problems that it
/// has; none for an error that says something.
fn every_value(file: &Path, places: &[String], read: impl Fn() -> Result<usize, HubError>) {
    let text = fs::read_to_string(file).unwrap();
    let (sound, odd) = (serde_json::from_str::<Value>(&text).unwrap(), odd());
    let mut failures = Vec::new();
    for (place, value) in places.iter().flat_map(|place| odd.iter().map(move |value| (place, value))) {
        let mut json = sound.clone();
        *json.pointer_mut(place).unwrap() = value.clone();
        fs::write(file, json.to_string()).unwrap();
        let read = catch_unwind(AssertUnwindSafe(|| match read() {
            Ok(n_problems) => n_problems,
            Err(error) => error.to_string().is_empty().into(),
        }));
        match read {
            Ok(0) => {}
            Ok(_) => failures.push(format!("{place} = {value}: read, but it cannot be")),
            Err(_) => failures.push(format!("{place} = {value}: a panic")),
        }
    }
    fs::write(file, text).unwrap();
    assert!(failures.is_empty(), "{}: {}", file.display(), failures.join("\n"));
}

/// An adapter beside the checkpoint that it belongs to.
fn adapter(name: &str) -> Option<(tempfile::TempDir, Golden, Loaded<B>)> {
    let golden = Golden::named(name)?;
    let folder = tempfile::tempdir().unwrap();
    golden.case.write(&folder.path().join("base"));
    golden.write(&folder.path().join("adapter"), &golden.config, str::to_owned);
    let base = golden.base();
    let (file, text) = adapted_model(&base.checkpoint.config).unwrap();
    fs::write(folder.path().join("adapter").join(file), text).unwrap();
    Some((folder, golden, base))
}

#[test]
fn any_value_in_the_files_of_an_adapter_is_read_or_refused() {
    for name in ["bert-sequence_classification-lora", "bert-sequence_classification-ia3"] {
        let Some((folder, golden, base)) = adapter(name) else { return };
        let [dir, on] = ["adapter", "base"].map(|name| folder.path().join(name));
        let read = || read_adapter(&dir, AdapterBase::Checkpoint(&base.checkpoint), &base.model).map(|_| 0);
        every_value(&dir.join("adapter_config.json"), &keys(&golden.config), read);
        let file = dir.join("locus_model.json");
        let json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        every_value(&file, &keys(&json), || {
            read_adapted_config(&on, &dir).map(|checkpoint| checkpoint.config.check().len())
        });
        every_value(&file, &keys(&json), || {
            let model = (base.checkpoint.config.clone(), base.model.clone());
            let (config, _, _) = with_adapted_head(&on, model, &dir, &Default::default())?;
            Ok(config.check().len())
        });
        // Without it the adapter's own configuration says which head there is.
        fs::remove_file(file).unwrap();
        every_value(&dir.join("adapter_config.json"), &keys(&golden.config), || {
            read_adapted_config(&on, &dir).map(|checkpoint| checkpoint.config.check().len())
        });
    }
}

#[test]
fn an_adapter_that_is_cut_off() {
    let Some((folder, _, base)) = adapter("bert-sequence_classification-lora") else { return };
    let [dir, on] = ["adapter", "base"].map(|name| folder.path().join(name));
    let cut = |file: &str, n: usize, read: &dyn Fn() -> Result<(), HubError>| {
        let whole = fs::read(dir.join(file)).unwrap();
        fs::write(dir.join(file), &whole[..whole.len() - n]).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains(file), "{file} in {error}");
        fs::write(dir.join(file), whole).unwrap();
    };
    let read = || read_adapter(&dir, AdapterBase::Checkpoint(&base.checkpoint), &base.model).map(drop);
    read().unwrap();
    cut("adapter_model.safetensors", 100, &read);
    cut("adapter_config.json", 1, &read);
    cut("locus_model.json", 1, &|| read_adapted_config(&on, &dir).map(drop));
    // A header that claims more than there is.
    let whole = fs::read(dir.join("adapter_model.safetensors")).unwrap();
    let claims = [&(1_u64 << 60).to_le_bytes()[..], &whole[8..]].concat();
    fs::write(dir.join("adapter_model.safetensors"), claims).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("no whole safetensors file"), "{error}");
}

#[test]
fn any_value_in_the_files_of_a_sentence_embedder_is_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    Sentences::read("all").write(dir);
    let read = || {
        let sentence = read_sentence(dir)?;
        let n_problems = sentence.config().check().len();
        sentence.load::<B>(Key::new(1), &Default::default()).map(|_| n_problems)
    };
    assert!(matches!(read(), Ok(0)));
    let files = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ];
    for file in files {
        let json: Value = serde_json::from_str(&fs::read_to_string(dir.join(file)).unwrap()).unwrap();
        every_value(&dir.join(file), &keys(&json), read);
    }
    let modules =
        ["", "/0", "/0/idx", "/0/path", "/0/type", "/1/name", "/1/path", "/1/type", "/2/path", "/2/type"];
    every_value(&dir.join("modules.json"), &modules.map(str::to_owned), read);
}

#[test]
fn modules_that_lead_outside_or_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    Sentences::read("all").write(dir);
    let error = || load_sentence::<B>(dir, &Default::default()).unwrap_err().to_string();
    let file = dir.join("modules.json");
    let text = fs::read_to_string(&file).unwrap();
    for path in ["..", "../1_Pooling", "/etc", "1_Pooling/../../x", "./1_Pooling/.."] {
        for module in 0..3 {
            let mut json: Value = serde_json::from_str(&text).unwrap();
            json[module]["path"] = json!(path);
            fs::write(&file, json.to_string()).unwrap();
            let found = error();
            assert!(found.contains("expected a folder inside this one"), "{path}: {found}");
        }
    }
    fs::write(&file, text).unwrap();
    for file in ["modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"] {
        let whole = fs::read(dir.join(file)).unwrap();
        fs::write(dir.join(file), &whole[..whole.len() - 2]).unwrap();
        let found = error();
        assert!(file.split('/').all(|part| found.contains(part)), "{file} in {found}");
        fs::write(dir.join(file), whole).unwrap();
    }
}
