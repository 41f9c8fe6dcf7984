//! Adapter folders of the library `peft`: `adapter_config.json` and `adapter_model.safetensors`, in and out.
//!
//! The names of modules are those of the family's map of keys; of a model that is of no family they are our own. Where a
//! family holds several of our projections in one (GPT-2's `c_attn`), so does the adapter: they share one A, and each has its
//! rows of B. Reading is strict: what is missing, superfluous or of another shape is one error that lists it all, and so is every
//! setting that changes what is computed and is not known here.

mod config;
mod model;
mod names;
mod read;
mod write;

use std::path::Path;

use burn::tensor::backend::Backend;
use locus_encoder::Linear;
use locus_heads::{HostAdapter, TaskModel};

use crate::{Checkpoint, HubError};

pub use model::{adapted_model, read_adapted_config, with_adapted_head};

pub(crate) const CONFIG_FILE: &str = "adapter_config.json";
pub(crate) const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What an adapter was, or is, trained on: whose names its files use.
#[derive(Clone, Copy, Debug)]
pub enum AdapterBase<'a> {
    /// A checkpoint of a family.
    Checkpoint(&'a Checkpoint),
    /// A model of Locus.
    Locus,
}

/// Whether a folder has an adapter.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG_FILE).is_file()
}

/// Reads an adapter of a model.
///
/// # Errors
/// If there is none, it asks for what is not known here, or it does not fit the model: everything at once.
pub fn read_adapter<B: Backend>(
    dir: &Path,
    base: AdapterBase<'_>,
    model: &TaskModel<B>,
) -> Result<HostAdapter, HubError> {
    let config = config::AdapterFile::read(dir)?;
    let weights = crate::Weights::open_file(&dir.join(WEIGHTS_FILE))?;
    let names = names::Names::new(base, model);
    read::read(&config, &weights, &names)
        .map_err(|problems| HubError::Adapter { path: dir.to_owned(), problems })
}

/// Whether [`write_adapter`] can write an adapter, so that this is known before it is trained.
///
/// # Errors
/// If `peft` has no such adapter: everything that stands against it.
pub fn check_adapter<B: Backend>(
    dir: &Path,
    base: AdapterBase<'_>,
    model: &TaskModel<B>,
    adapter: &HostAdapter,
) -> Result<(), HubError> {
    let written = write::write(adapter, &names::Names::new(base, model), "");
    written.map(drop).map_err(|problems| HubError::Adapter { path: dir.to_owned(), problems })
}

/// Writes an adapter of a model, so that `peft` loads it on a checkpoint of the family. `base_model` is where the model came
/// from, as the file says it. Gives what is not written as it is held here, but so that it computes the same, a line each.
///
/// # Errors
/// If the disk is full, or `peft` has no such adapter.
pub fn write_adapter<B: Backend>(
    dir: &Path,
    base: AdapterBase<'_>,
    model: &TaskModel<B>,
    adapter: &HostAdapter,
    base_model: &str,
    files: &[(&str, String)],
) -> Result<Vec<String>, HubError> {
    let names = names::Names::new(base, model);
    let wrong = |problems| HubError::Adapter { path: dir.to_owned(), problems };
    let written = write::write(adapter, &names, base_model).map_err(wrong)?;
    let tensors = crate::tensors::serialized(&written.tensors).map_err(|problem| wrong(vec![problem]))?;
    let json = serde_json::to_vec_pretty(&written.config).map_err(|error| wrong(vec![error.to_string()]))?;
    locus_model::replace_dir(dir, |dir| {
        locus_model::write_file(&dir.join(WEIGHTS_FILE), &tensors)?;
        files
            .iter()
            .try_for_each(|(name, text)| locus_model::write_file(&dir.join(name), text.as_bytes()))?;
        locus_model::write_file(&dir.join(CONFIG_FILE), &json)
    })?;
    Ok(written.notes)
}

/// Widths in and out.
fn dims<B: Backend>(linear: &Linear<B>) -> [usize; 2] {
    [linear.d_in(), linear.d_out()]
}
