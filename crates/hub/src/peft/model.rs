//! The head that an adapter was trained under, where the base has another or none.

use std::path::Path;

use locus_heads::HeadConfig;
use locus_model::ModelConfig;

use crate::{Checkpoint, HubError, Request, read_config};

/// The file in which we keep the configuration of the adapted model; `peft` passes over it.
pub(crate) const MODEL_FILE: &str = "locus_model.json";

impl Request {
    /// The head of a model.
    pub fn of(config: &ModelConfig) -> Self {
        let labels = config.labels.clone();
        match config.head {
            HeadConfig::TokenClassification { decoding, .. } => Self::Tokens { labels, decoding },
            HeadConfig::SequenceClassification { .. } => Self::Label(labels),
            HeadConfig::MultiLabelClassification { .. } => Self::Labels(labels),
            HeadConfig::Regression { mean, std, .. } => Self::Number { mean, std },
            HeadConfig::QuestionAnswering { .. } => Self::Answer,
            HeadConfig::MaskedLm { .. } => Self::MaskedLm,
            HeadConfig::CausalLm { .. } => Self::CausalLm,
            HeadConfig::Seq2Seq { .. } => Self::Seq2SeqLm,
            HeadConfig::Bare { .. } => Self::Bare,
        }
    }
}

/// The file of an adapter folder that says which head the adapter was trained under: its name and its text.
///
/// # Errors
/// If the configuration cannot be written as JSON.
pub fn adapted_model(config: &ModelConfig) -> Result<(&'static str, String), serde_json::Error> {
    Ok((MODEL_FILE, serde_json::to_string_pretty(config)?))
}

/// The configuration of a checkpoint with the head that an adapter was trained under, where its folder says so; else with the
/// checkpoint's own.
///
/// # Errors
/// As [`read_config`], and if the adapter's file is damaged.
pub fn read_adapted_config(dir: &Path, adapter: &Path) -> Result<Checkpoint, HubError> {
    let path = adapter.join(MODEL_FILE);
    if !path.is_file() {
        return read_config(dir, None);
    }
    let text = std::fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
    let adapted: ModelConfig = serde_json::from_str(&text).map_err(|error| HubError::Config {
        path: path.clone(),
        problems: vec![format!("expected the configuration of a model: {error}")],
    })?;
    let mut checkpoint = read_config(dir, Some(&Request::of(&adapted)))?;
    let config = &mut checkpoint.config;
    let problems = adapted.check();
    if !problems.is_empty() || adapted.vocab_size != config.vocab_size {
        let mut problems: Vec<String> =
            problems.iter().map(|p| format!("{} = {}: expected {}", p.key, p.found, p.allowed)).collect();
        if adapted.vocab_size != config.vocab_size {
            let (found, expected) = (adapted.vocab_size, config.vocab_size);
            problems.push(format!("vocab_size = {found}: expected {expected}, as {}", dir.display()));
        }
        return Err(HubError::Config { path, problems });
    }
    (config.head, config.labels) = (adapted.head, adapted.labels);
    (config.thresholds, config.n_spare_tokens) = (adapted.thresholds, adapted.n_spare_tokens);
    Ok(checkpoint)
}
