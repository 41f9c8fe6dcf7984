//! The files of a folder, as `sentence-transformers` 5 writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use locus_heads::{DenseActivation, Similarity, TokenPooling};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::HubError;

pub(super) const MODULES_FILE: &str = "modules.json";
pub(super) const SETTINGS_FILE: &str = "config_sentence_transformers.json";
pub(super) const TEXT_FILE: &str = "sentence_bert_config.json";
/// What the module of the stack is called, before its name.
pub(super) const MODELS: &str = "sentence_transformers.models.";

/// A line of `modules.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) idx: usize,
    pub(super) name: String,
    /// Its folder; empty for the folder itself.
    pub(super) path: String,
    /// Its class.
    #[serde(rename = "type")]
    pub(super) class: String,
}

impl Entry {
    /// The name of its class, without where that stands.
    pub(super) fn kind(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }

    /// Its folder; none where the path leads out of `dir`.
    pub(super) fn folder(&self, dir: &Path) -> Option<PathBuf> {
        let stays = Path::new(&self.path).components().all(|part| matches!(part, Component::Normal(_)));
        stays.then(|| dir.join(&self.path))
    }
}

/// `config.json` of a pooling.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PoolingFile {
    pub(super) word_embedding_dimension: usize,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
    pub(super) include_prompt: bool,
}

impl Default for PoolingFile {
    fn default() -> Self {
        Self {
            word_embedding_dimension: 0,
            pooling_mode_cls_token: false,
            pooling_mode_mean_tokens: true,
            pooling_mode_max_tokens: false,
            pooling_mode_mean_sqrt_len_tokens: false,
            pooling_mode_weightedmean_tokens: false,
            pooling_mode_lasttoken: false,
            include_prompt: true,
        }
    }
}

impl PoolingFile {
    pub(super) fn new(word_embedding_dimension: usize, modes: &[TokenPooling], include_prompt: bool) -> Self {
        let has = |mode| modes.contains(&mode);
        Self {
            word_embedding_dimension,
            pooling_mode_cls_token: has(TokenPooling::Cls),
            pooling_mode_mean_tokens: has(TokenPooling::Mean),
            pooling_mode_max_tokens: has(TokenPooling::Max),
            pooling_mode_mean_sqrt_len_tokens: has(TokenPooling::MeanSqrtLen),
            pooling_mode_weightedmean_tokens: has(TokenPooling::WeightedMean),
            pooling_mode_lasttoken: has(TokenPooling::Last),
            include_prompt,
        }
    }

    /// The modes, in the order in which their vectors are put one after another.
    pub(super) fn modes(&self) -> Vec<TokenPooling> {
        let all = [
            (self.pooling_mode_cls_token, TokenPooling::Cls),
            (self.pooling_mode_max_tokens, TokenPooling::Max),
            (self.pooling_mode_mean_tokens, TokenPooling::Mean),
            (self.pooling_mode_mean_sqrt_len_tokens, TokenPooling::MeanSqrtLen),
            (self.pooling_mode_weightedmean_tokens, TokenPooling::WeightedMean),
            (self.pooling_mode_lasttoken, TokenPooling::Last),
        ];
        all.into_iter().filter_map(|(is_on, mode)| is_on.then_some(mode)).collect()
    }
}

/// `config.json` of a dense layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DenseFile {
    pub(super) in_features: usize,
    pub(super) out_features: usize,
    #[serde(default = "yes")]
    pub(super) bias: bool,
    pub(super) activation_function: String,
}

fn yes() -> bool {
    true
}

const ACTIVATIONS: [(&str, DenseActivation); 6] = [
    ("torch.nn.modules.linear.Identity", DenseActivation::Identity),
    ("torch.nn.modules.activation.Tanh", DenseActivation::Tanh),
    ("torch.nn.modules.activation.Sigmoid", DenseActivation::Sigmoid),
    ("torch.nn.modules.activation.GELU", DenseActivation::Gelu),
    ("torch.nn.modules.activation.ReLU", DenseActivation::Relu),
    ("torch.nn.modules.activation.SiLU", DenseActivation::Silu),
];

/// The class of an activation.
pub(super) fn activation_class(activation: DenseActivation) -> &'static str {
    let known = ACTIVATIONS.iter().find(|(_, known)| *known == activation);
    known.map_or(ACTIVATIONS[0].0, |(class, _)| *class)
}

/// The activation of a class.
pub(super) fn activation(class: &str) -> Result<DenseActivation, String> {
    let name = |class: &str| class.rsplit('.').next().unwrap_or_default().to_owned();
    let known = ACTIVATIONS.iter().find(|(known, _)| name(known) == name(class));
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let known: Vec<&str> = ACTIVATIONS.iter().map(|(class, _)| *class).collect();
        format!("activation_function = {class:?}: expected one of {}", known.join(", "))
    })
}

/// `sentence_bert_config.json`; what else it says changes no number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TextFile {
    pub(super) max_seq_length: Option<usize>,
    pub(super) do_lower_case: bool,
}

/// `config_sentence_transformers.json`; the versions in it are of no use here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SettingsFile {
    pub(super) model_type: String,
    pub(super) prompts: BTreeMap<String, String>,
    pub(super) default_prompt_name: Option<String>,
    pub(super) similarity_fn_name: Option<Similarity>,
}

impl Default for SettingsFile {
    fn default() -> Self {
        Self {
            model_type: "SentenceTransformer".to_owned(),
            prompts: BTreeMap::new(),
            default_prompt_name: None,
            similarity_fn_name: None,
        }
    }
}

/// Reads a file of JSON.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HubError> {
    let text = fs::read_to_string(path).map_err(HubError::io("read", path))?;
    serde_json::from_str(&text)
        .map_err(|error| HubError::Config { path: path.to_owned(), problems: vec![error.to_string()] })
}

/// The same of a file that need not be there.
pub(super) fn read_json_or_default<T: DeserializeOwned + Default>(path: &Path) -> Result<T, HubError> {
    if path.is_file() { read_json(path) } else { Ok(T::default()) }
}
