//! From a folder to a sentence embedder.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::rng::Key;
use locus_encoder::{EmbeddingProjection, Linear, StackConfig};
use locus_heads::{EmbeddingLayer, HeadConfig, SentenceEmbedder, SentenceEmbeddingConfig, TaskModel};
use locus_model::ModelConfig;
use serde_json::Value;

use super::parts::{
    DenseFile, Entry, MODULES_FILE, PoolingFile, SETTINGS_FILE, SettingsFile, TEXT_FILE, TextFile,
    activation, read_json, read_json_or_default,
};
use crate::config::Checkpoint;
use crate::load::{Loaded, has_pooler, load_checkpoint, read_config};
use crate::{HubError, Request, Weights};

/// Names of [`TEXT_FILE`] in folders of early versions.
const EARLY_TEXT_FILES: [&str; 6] = [
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// A folder that is read as a sentence embedder, before its weights are.
#[derive(Clone, Debug)]
pub struct SentenceCheckpoint {
    /// The checkpoint of the stack, without a head.
    pub checkpoint: Checkpoint,
    /// Pooling, further layers, and how texts are read.
    pub head: SentenceEmbeddingConfig,
    /// The folder of the stack and of the tokenizer.
    pub transformer: PathBuf,
    /// The folders of the dense layers, in order.
    dense: Vec<PathBuf>,
}

/// Whether a folder has a list of modules.
pub fn is_sentence_folder(dir: &Path) -> bool {
    dir.join(MODULES_FILE).is_file()
}

/// Reads a folder as `sentence-transformers` does: with its list of modules, or a checkpoint without one, whose vectors of tokens
/// are averaged.
///
/// # Errors
/// If a module is of another kind than Transformer, Pooling, Dense and Normalize, or a configuration is not understood.
pub fn read_sentence(dir: &Path) -> Result<SentenceCheckpoint, HubError> {
    let modules = is_sentence_folder(dir).then(|| Modules::read(dir)).transpose()?;
    let transformer = modules.as_ref().map_or(dir, |modules| modules.transformer.as_path()).to_owned();
    let mut checkpoint = read_config(&transformer, Some(&Request::Bare))?;
    let mut head = SentenceEmbeddingConfig::default();
    if let HeadConfig::Bare { form, pooler } = &mut checkpoint.config.head {
        // Nothing reads the pooler, and many folders do not have it.
        let has_pooler = has_pooler(&Weights::open(&transformer)?);
        *pooler = pooler.take().filter(|_| has_pooler);
        (head.form, head.pooler) = (*form, pooler.clone());
    }
    read_text(dir, &transformer, &checkpoint.config.stack, &mut head)?;
    let mut dense = Vec::new();
    if let Some(modules) = modules {
        modules.add_layers(&mut head, out_width(&checkpoint.config.stack))?;
        dense = modules.dense;
    }
    let read = SentenceCheckpoint { checkpoint, head, transformer, dense };
    let wrong = read.config().check();
    if wrong.is_empty() {
        return Ok(read);
    }
    let problems = wrong.iter().map(|p| format!("{} = {}: expected {}", p.key, p.found, p.allowed)).collect();
    Err(HubError::Config { path: dir.join(MODULES_FILE), problems })
}

/// Loads a folder as a sentence embedder.
///
/// # Errors
/// As [`read_sentence`], and if the weights are not exactly those of the configuration.
pub fn load_sentence<B: Backend>(dir: &Path, device: &B::Device) -> Result<Loaded<B>, HubError> {
    read_sentence(dir)?.load(Key::new(0), device)
}

impl SentenceCheckpoint {
    /// The configuration of the whole model.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            head: HeadConfig::SentenceEmbedding(self.head.clone()),
            ..self.checkpoint.config.clone()
        }
    }

    /// Loads the weights.
    ///
    /// # Errors
    /// If they are not exactly those of the configuration.
    pub fn load<B: Backend>(self, key: Key, device: &B::Device) -> Result<Loaded<B>, HubError> {
        let config = self.config();
        let shapes = self.head.dense(out_width(&config.stack));
        let dense = self.dense.iter().zip(shapes);
        let dense = dense.map(|(dir, (shape, bias))| read_dense(dir, shape, bias, device));
        let dense = dense.collect::<Result<Vec<_>, _>>()?;
        // Folders have none: it is of use in training alone.
        let classifier = self.head.classifier(out_width(&config.stack));
        let classifier = classifier
            .map(|shape| Linear::new(shape, true, config.stack.init_std, key.named("classifier"), device));
        let mut loaded = load_checkpoint::<B>(&self.transformer, self.checkpoint, key, device)?;
        loaded.checkpoint.config = config;
        if classifier.is_some() {
            loaded.new.extend(["classifier.weight", "classifier.bias"].map(str::to_owned));
        }
        loaded.model = match loaded.model {
            TaskModel::Bare(bare) => {
                TaskModel::SentenceEmbedder(SentenceEmbedder::on(bare, self.head, dense, classifier))
            }
            _ => unreachable!("the checkpoint was read without a head"),
        };
        Ok(loaded)
    }
}

/// How wide the vectors of tokens are.
pub(super) fn out_width(stack: &StackConfig) -> usize {
    match stack.embedding_projection {
        EmbeddingProjection::InAndOut { width } => width,
        _ => stack.d_model,
    }
}

/// How texts are read: length, case, prompts.
fn read_text(
    dir: &Path,
    transformer: &Path,
    stack: &StackConfig,
    head: &mut SentenceEmbeddingConfig,
) -> Result<(), HubError> {
    let names = [TEXT_FILE].into_iter().chain(EARLY_TEXT_FILES);
    let path = names.map(|name| transformer.join(name)).find(|path| path.is_file());
    let text: TextFile = path.map(|path| read_json(&path)).transpose()?.unwrap_or_default();
    let of_tokenizer: Value = read_json_or_default(&transformer.join("tokenizer_config.json"))?;
    // Where there is no such limit, the file has a number far above any.
    let of_tokenizer = of_tokenizer["model_max_length"].as_f64().filter(|&n| n < stack.max_seq_len as f64);
    head.max_seq_len = text.max_seq_length.or(of_tokenizer.map(|n| n as usize));
    head.lowercase = text.do_lower_case;
    let path = dir.join(SETTINGS_FILE);
    let settings: SettingsFile = read_json_or_default(&path)?;
    if settings.model_type != "SentenceTransformer" {
        let problem = format!(
            "model_type = {:?}: expected \"SentenceTransformer\", a model that gives a dense vector per text",
            settings.model_type
        );
        return Err(HubError::Config { path, problems: vec![problem] });
    }
    head.prompts = settings.prompts;
    head.default_prompt = settings.default_prompt_name;
    head.similarity = settings.similarity_fn_name.unwrap_or_default();
    Ok(())
}

/// The modules of a folder.
struct Modules {
    transformer: PathBuf,
    pooling: PathBuf,
    /// What follows: a dense layer with its folder, or none for a normalisation.
    layers: Vec<Option<PathBuf>>,
    dense: Vec<PathBuf>,
}

impl Modules {
    fn read(dir: &Path) -> Result<Self, HubError> {
        let path = dir.join(MODULES_FILE);
        let entries: Vec<Entry> = read_json(&path)?;
        let (mut folders, mut problems) = (Vec::new(), Vec::new());
        for entry in &entries {
            match entry.folder(dir) {
                Some(folder) => folders.push(folder),
                None => problems.push(format!("path = {:?}: expected a folder inside this one", entry.path)),
            }
        }
        let expected = ["Transformer", "Pooling"];
        for (place, kind) in expected.into_iter().enumerate() {
            let found = entries.get(place).map_or("nothing", Entry::kind);
            if found != kind {
                problems.push(format!("module {place} is {found}: expected {kind}"));
            }
        }
        let behind = entries.iter().enumerate().skip(expected.len());
        for (place, entry) in behind.filter(|(_, entry)| !["Dense", "Normalize"].contains(&entry.kind())) {
            problems.push(format!("module {place} is {}: expected Dense or Normalize", entry.class));
        }
        if !problems.is_empty() {
            return Err(HubError::Config { path, problems });
        }
        let (transformer, pooling) = (folders[0].clone(), folders[1].clone());
        let layers = entries.iter().zip(folders).skip(expected.len());
        let layers: Vec<Option<PathBuf>> =
            layers.map(|(entry, folder)| (entry.kind() == "Dense").then_some(folder)).collect();
        let dense = layers.iter().flatten().cloned().collect();
        Ok(Self { transformer, pooling, layers, dense })
    }

    /// Reads the configurations of pooling and layers on vectors of this width.
    fn add_layers(&self, head: &mut SentenceEmbeddingConfig, width: usize) -> Result<(), HubError> {
        let path = self.pooling.join("config.json");
        let pooling: PoolingFile = read_json(&path)?;
        if pooling.word_embedding_dimension != width {
            let found = pooling.word_embedding_dimension;
            let problem =
                format!("word_embedding_dimension = {found}: expected {width}, the width of the model");
            return Err(HubError::Config { path, problems: vec![problem] });
        }
        (head.pooling, head.include_prompt) = (pooling.modes(), pooling.include_prompt);
        let mut d_in = width * head.pooling.len();
        for folder in &self.layers {
            let Some(folder) = folder else {
                head.layers.push(EmbeddingLayer::Normalize);
                continue;
            };
            let path = folder.join("config.json");
            let file: DenseFile = read_json(&path)?;
            let mut problems = Vec::new();
            if file.in_features != d_in {
                let found = file.in_features;
                problems
                    .push(format!("in_features = {found}: expected {d_in}, what the modules before give"));
            }
            match activation(&file.activation_function) {
                Ok(activation) => {
                    let (d_out, bias) = (file.out_features, file.bias);
                    head.layers.push(EmbeddingLayer::Dense { d_out, bias, activation });
                }
                Err(problem) => problems.push(problem),
            }
            if !problems.is_empty() {
                return Err(HubError::Config { path, problems });
            }
            d_in = file.out_features;
        }
        Ok(())
    }
}

/// The projection of a dense layer, checked before anything is allocated.
fn read_dense<B: Backend>(
    dir: &Path,
    [d_in, d_out]: [usize; 2],
    bias: bool,
    device: &B::Device,
) -> Result<Linear<B>, HubError> {
    let weights = Weights::open(dir)?;
    let mut expected = vec![("linear.weight", vec![d_out, d_in])];
    if bias {
        expected.push(("linear.bias", vec![d_out]));
    }
    let mut problems: Vec<String> = weights
        .names()
        .filter(|name| !expected.iter().any(|(known, _)| known == name))
        .map(|name| format!("{name} is not a tensor of a dense layer"))
        .collect();
    let mut values = Vec::new();
    for (name, shape) in &expected {
        match weights.shape(name) {
            Some(found) if found != shape.as_slice() => {
                problems.push(format!("{name} is {found:?}, expected {shape:?}"));
            }
            _ => match weights.read(name) {
                Ok(read) => values.push(read),
                Err(problem) => problems.push(problem),
            },
        }
    }
    if !problems.is_empty() {
        return Err(HubError::Weights { path: dir.to_owned(), problems });
    }
    let mut values = values.into_iter();
    let theirs = values.next().unwrap_or_default(); // [d_out, d_in]
    let ours = (0..d_in).flat_map(|i| theirs[i..].iter().step_by(d_in)).copied().collect::<Vec<f32>>();
    let weight = Tensor::<B, 2>::from_data(TensorData::new(ours, [d_in, d_out]), device);
    let bias = values.next().map(|bias| Tensor::<B, 1>::from_data(TensorData::new(bias, [d_out]), device));
    let mut linear = Linear::new([1, 1], false, 1.0, Key::new(0), device);
    linear.weight = Param::from_tensor(weight);
    linear.bias = bias.map(Param::from_tensor);
    Ok(linear)
}
