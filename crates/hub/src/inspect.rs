//! What a folder holds, without loading it.

use std::collections::BTreeMap;
use std::path::Path;

use locus_model::ModelConfig;
use serde::Serialize;

use crate::config::HeadKind;
use crate::{HubError, Weights, read_config};

/// What a folder holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The family.
    pub family: &'static str,
    /// The head that it was saved with.
    pub head: HeadKind,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Number of numbers in them.
    pub n_parameters: usize,
    /// Size of the tensors in the files, by element type.
    pub bytes: BTreeMap<String, usize>,
    /// The configuration as we have it.
    pub config: ModelConfig,
}

/// Reads configuration and headers of a checkpoint.
///
/// # Errors
/// If the configuration is not understood or the files are damaged.
pub fn inspect(dir: &Path) -> Result<Inspection, HubError> {
    let checkpoint = read_config(dir, None)?;
    let weights = Weights::open(dir)?;
    let facts: Vec<_> = weights.names().filter_map(|name| weights.facts(name)).collect();
    let mut bytes = BTreeMap::new();
    for fact in &facts {
        *bytes.entry(fact.dtype.clone()).or_insert(0) += fact.bytes;
    }
    Ok(Inspection {
        family: checkpoint.family,
        head: checkpoint.saved_head,
        n_tensors: facts.len(),
        n_parameters: facts.iter().map(|fact| fact.shape.iter().product::<usize>()).sum(),
        bytes,
        config: checkpoint.config,
    })
}
