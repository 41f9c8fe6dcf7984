//! Saving and loading.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, backend::Backend};
use burn_store::{ModuleSnapshot, ModuleStore, SafetensorsStore};
use locus_backend::init::deferred;
use locus_backend::rng::Key;
use locus_heads::TaskModel;

use crate::atomic::{recover_dir, replace_dir, write_file};
use crate::{ModelConfig, ModelError};

/// The configuration.
pub const CONFIG_FILE: &str = "config.json";
/// The parameters.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Writes a model folder, in the place of an earlier one. The tokenizer is given as its files, name and content, of which
/// one is `tokenizer.json`.
///
/// # Errors
/// If the weights are packed, the disk is full or the folder cannot be written; then an earlier one is left as it was.
pub fn save<B: Backend>(
    dir: &Path,
    config: &ModelConfig,
    model: &TaskModel<B>,
    tokenizer: &[(&str, String)],
) -> Result<(), ModelError> {
    let weights_path = dir.join(WEIGHTS_FILE);
    if model.is_packed() {
        let problem =
            "the model's weights were rounded for inference: save it before they are packed".to_owned();
        return Err(ModelError::Weights { path: weights_path, problems: vec![problem] });
    }
    // `format: pt` is what Hugging Face's loader asks for. One entry only: burn-store writes several in random order, and
    // equal models should be equal files.
    let store = |path: &Path| {
        SafetensorsStore::from_file(path).skip_enum_variants(true).clear_metadata().metadata("format", "pt")
    };
    let config_json = serde_json::to_vec_pretty(config)
        .map_err(|error| ModelError::Config { path: dir.join(CONFIG_FILE), reason: error.to_string() })?;
    replace_dir(dir, |dir| {
        // Tensor by tensor, so that the model is not held twice.
        let path = dir.join(WEIGHTS_FILE);
        let failed = |error: String| ModelError::Weights { path: path.clone(), problems: vec![error] };
        model.save_into(&mut store(&path)).map_err(|error| failed(error.to_string()))?;
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(ModelError::io("write", &path))?;
        tokenizer.iter().try_for_each(|(name, text)| write_file(&dir.join(name), text.as_bytes()))?;
        write_file(&dir.join(CONFIG_FILE), &config_json)
    })
}

/// Reads and checks `config.json`.
///
/// # Errors
/// If the folder or the file is missing, has unknown keys, or describes a model that cannot be.
pub fn load_config(dir: &Path) -> Result<ModelConfig, ModelError> {
    recover_dir(dir)?;
    if let Some(missing) = [CONFIG_FILE, WEIGHTS_FILE].into_iter().find(|f| !dir.join(f).is_file()) {
        return Err(ModelError::NotAModel { path: dir.to_owned(), missing });
    }
    let path = dir.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(ModelError::io("read", &path))?;
    let config: ModelConfig = serde_json::from_str(&text)
        .map_err(|error| ModelError::Config { path: path.clone(), reason: error.to_string() })?;
    let problems = config.check();
    if problems.is_empty() {
        return Ok(config);
    }
    let lines = problems.iter().map(|p| format!("\n  - {} = {}: expected {}", p.key, p.found, p.allowed));
    Err(ModelError::Config { path, reason: lines.collect() })
}

/// Reads a model folder.
///
/// # Errors
/// If a file is missing or damaged, or the parameters are not exactly those of the configuration.
pub fn load<B: Backend>(dir: &Path, device: &B::Device) -> Result<(ModelConfig, TaskModel<B>), ModelError> {
    let config = load_config(dir)?;
    let path = dir.join(WEIGHTS_FILE);
    let weights = |problems| ModelError::Weights { path: path.clone(), problems };
    // Mapped, not read: each tensor is copied to its place.
    let mut store =
        SafetensorsStore::from_file(&path).skip_enum_variants(true).allow_partial(true).validate(false);
    let snapshots = store.get_all_snapshots().map_err(|error| weights(vec![error.to_string()]))?;
    // An element type that the backend lacks would panic when it is used.
    let foreign: Vec<String> = snapshots
        .iter()
        .filter(|(_, snapshot)| snapshot.dtype != DType::F32)
        .map(|(name, snapshot)| format!("{name} has elements of type {:?}, expected F32", snapshot.dtype))
        .collect();
    if !foreign.is_empty() {
        return Err(weights(foreign));
    }
    let (head, stack) = (&config.head, &config.stack);
    let mut model = deferred(|| TaskModel::<B>::new(head, stack, config.vocab_size, Key::new(0), device));
    let applied = model.load_from(&mut store).map_err(|error| weights(vec![error.to_string()]))?;
    let mut problems: Vec<String> = applied.errors.iter().map(ToString::to_string).collect();
    problems.extend(applied.missing.iter().map(|(name, _)| format!("{name} is missing")));
    problems.extend(applied.unused.iter().map(|name| format!("{name} is not a parameter of this model")));
    if problems.is_empty() { Ok((config, model)) } else { Err(weights(problems)) }
}
