//! From a sentence embedder to a folder.

use std::fs;
use std::path::Path;

use burn::tensor::backend::Backend;
use locus_heads::{
    EmbeddingLayer, HeadConfig, HostArray, SentenceEmbedder, SentenceEmbeddingConfig, TaskModel,
    TransformConfig,
};
use locus_model::{ModelConfig, ModelError, WEIGHTS_FILE, replace_dir, write_file};
use serde::Serialize;

use super::parts::{
    DenseFile, Entry, MODELS, MODULES_FILE, PoolingFile, SETTINGS_FILE, SettingsFile, TEXT_FILE, TextFile,
    activation_class,
};
use super::read::out_width;
use crate::HubError;
use crate::config::CONFIG_FILE;
use crate::families::candidates;
use crate::save::{Saved, written};
use crate::tensors::{self, Tensors};

/// Writes a sentence embedder so that `sentence-transformers` loads it; as a model folder of Locus where no family has its stack.
/// What scores the labels of pairs has no place there and is left out: `sentence-transformers` keeps it in its loss.
pub(crate) fn save<B: Backend>(
    dir: &Path,
    config: &ModelConfig,
    head: &SentenceEmbeddingConfig,
    embedder: &SentenceEmbedder<B>,
    model_type: Option<&str>,
    files: &[(&str, String)],
) -> Result<Saved, HubError> {
    let bare = |pooler: Option<TransformConfig>| ModelConfig {
        head: HeadConfig::Bare { form: head.form, pooler },
        labels: Vec::new(),
        ..config.clone()
    };
    // A family's stack may go without its pooler, which nothing reads.
    let mut heads = vec![bare(head.pooler.clone())];
    if head.pooler.is_none() {
        heads.push(bare(Some(TransformConfig::default())));
    }
    let mut families = candidates(config, model_type);
    let found = families.find_map(|family| heads.iter().find_map(|bare| written(family, bare)));
    let Some((family, checkpoint)) = found else {
        if let Some(asked) = model_type {
            let problem = format!("model_type = {asked:?}: this family has no such model");
            return Err(HubError::Config { path: dir.join(CONFIG_FILE), problems: vec![problem] });
        }
        locus_model::save(dir, config, &TaskModel::SentenceEmbedder(embedder.clone()), files)?;
        return Ok(Saved::Locus);
    };
    let model = TaskModel::Bare(embedder.clone().into_bare());
    let modules = Modules::new(config, head, embedder, dir)?;
    let json = json(dir, &checkpoint.json)?;
    replace_dir(dir, |dir| {
        let path = dir.join(WEIGHTS_FILE);
        tensors::write(&path, family, &checkpoint, &heads[0], &model)
            .map_err(|error| ModelError::Weights { path, problems: vec![error.to_string()] })?;
        files.iter().try_for_each(|(name, text)| write_file(&dir.join(name), text.as_bytes()))?;
        modules.write(dir)?;
        write_file(&dir.join(CONFIG_FILE), &json)
    })?;
    Ok(Saved::Family(family.model_type))
}

/// What stands beside the checkpoint: files in the folder and in folders of it.
struct Modules {
    folders: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Modules {
    fn new<B: Backend>(
        config: &ModelConfig,
        head: &SentenceEmbeddingConfig,
        embedder: &SentenceEmbedder<B>,
        dir: &Path,
    ) -> Result<Self, HubError> {
        let mut modules = Self { folders: Vec::new(), files: Vec::new() };
        let mut entries = vec![entry(0, String::new(), "Transformer")];
        let width = out_width(&config.stack);
        let pooling = PoolingFile::new(width, &head.pooling, head.include_prompt);
        entries.push(modules.add(1, "Pooling"));
        modules.files.push(("1_Pooling/config.json".to_owned(), json(dir, &pooling)?));
        let mut dense = head.dense(width).into_iter().zip(&embedder.dense);
        for (idx, layer) in (2..).zip(&head.layers) {
            let EmbeddingLayer::Dense { activation, .. } = layer else {
                entries.push(modules.add(idx, "Normalize"));
                continue;
            };
            let Some((([in_features, out_features], bias), linear)) = dense.next() else { continue };
            let activation_function = activation_class(*activation).to_owned();
            let file = DenseFile { in_features, out_features, bias, activation_function };
            let mut weights = Tensors::new();
            let mut add = |name: &str, HostArray { shape, values }: HostArray| {
                weights.insert(name.to_owned(), (shape, values));
            };
            add("linear.weight", linear.weight.val().transpose().into());
            if let Some(bias) = &linear.bias {
                add("linear.bias", bias.val().into());
            }
            let entry = modules.add(idx, "Dense");
            modules.files.push((format!("{}/config.json", entry.path), json(dir, &file)?));
            let bytes = tensors::serialized(&weights).map_err(|problem| HubError::Weights {
                path: dir.join(&entry.path).join(WEIGHTS_FILE),
                problems: vec![problem],
            })?;
            modules.files.push((format!("{}/{WEIGHTS_FILE}", entry.path), bytes));
            entries.push(entry);
        }
        let text = TextFile {
            max_seq_length: Some(head.max_seq_len.unwrap_or(config.stack.max_seq_len)),
            do_lower_case: head.lowercase,
        };
        let settings = SettingsFile {
            prompts: head.prompts.clone(),
            default_prompt_name: head.default_prompt.clone(),
            similarity_fn_name: Some(head.similarity),
            ..SettingsFile::default()
        };
        modules.files.push((TEXT_FILE.to_owned(), json(dir, &text)?));
        modules.files.push((SETTINGS_FILE.to_owned(), json(dir, &settings)?));
        modules.files.push((MODULES_FILE.to_owned(), json(dir, &entries)?));
        Ok(modules)
    }

    /// A module with a folder of its own.
    fn add(&mut self, idx: usize, kind: &str) -> Entry {
        let path = format!("{idx}_{kind}");
        self.folders.push(path.clone());
        entry(idx, path, kind)
    }

    fn write(&self, dir: &Path) -> Result<(), ModelError> {
        for folder in &self.folders {
            let path = dir.join(folder);
            fs::create_dir(&path).map_err(|source| ModelError::Io { action: "create", path, source })?;
        }
        self.files.iter().try_for_each(|(name, bytes)| write_file(&dir.join(name), bytes))
    }
}

fn entry(idx: usize, path: String, kind: &str) -> Entry {
    Entry { idx, name: idx.to_string(), path, class: format!("{MODELS}{kind}") }
}

fn json(dir: &Path, value: &impl Serialize) -> Result<Vec<u8>, HubError> {
    serde_json::to_vec_pretty(value)
        .map_err(|error| HubError::Config { path: dir.to_owned(), problems: vec![error.to_string()] })
}
