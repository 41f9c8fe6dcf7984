//! Checkpoints: `<run>/checkpoints/step-<n>/` with the parameters, the optimizer's moments and `state.json`.
//!
//! burn-train's checkpointer removes the old file before it writes the new one, never syncs, and saves neither the
//! place in the data nor the seed. Here a checkpoint is written into a hidden folder, synced, and renamed, so that at
//! every moment a complete one is there; the sums in `state.json` are checked when it is read.

mod files;
mod folder;

use std::path::{Path, PathBuf};

use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::params::{load_parameters, named_parameters};
use crate::{AdamW, RunState, TrainError};

pub(crate) use folder::{newest, place, prune};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where a run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// At the start; an error where the folder holds a run.
    #[default]
    Never,
    /// At the newest complete checkpoint; at the start where there is none.
    Auto,
    /// At this checkpoint of the run. What came after it is removed when the next one is saved.
    From(PathBuf),
}

/// A checkpoint on disk whose sums are right.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    state: RunState,
}

impl Checkpoint {
    /// Opens a checkpoint's folder.
    ///
    /// # Errors
    /// If a file is missing, unreadable or not the one that was saved; all problems at once.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TrainError> {
        let path = path.into();
        let state = read_state(&path)?;
        let mut problems = Vec::new();
        for name in [MODEL, OPTIMIZER] {
            match (state.files.get(name), files::sha256(&path.join(name))) {
                (Some(want), Ok(found)) if *want == found => {}
                (Some(want), Ok(found)) => {
                    problems.push(format!("{name}: expected sha256 {want}, found {found}"));
                }
                (None, _) => problems.push(format!("{STATE} has no sha256 of {name}")),
                (_, Err(error)) => problems.push(format!("{name}: {error}")),
            }
        }
        if problems.is_empty() {
            Ok(Self { path, state })
        } else {
            Err(TrainError::DamagedCheckpoint { path, problems })
        }
    }

    /// Opens a checkpoint that must be one of the run's own: the best model is looked for beside it.
    pub(crate) fn open_in(run: &Path, path: &Path) -> Result<Self, TrainError> {
        let canonical = |path: &Path| path.canonicalize().map_err(|error| TrainError::read(path, error));
        if canonical(path)?.parent() == Some(canonical(&folder::root(run))?.as_path()) {
            return Self::open(path);
        }
        let problems = vec![format!("it is not in {}", folder::root(run).display())];
        Err(TrainError::DamagedCheckpoint { path: path.to_path_buf(), problems })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run stood.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// A model with the saved parameters.
    ///
    /// # Errors
    /// If the model has other parameters; all differences at once.
    pub fn load_model<B: Backend, M: Module<B>>(&self, model: M) -> Result<M, TrainError> {
        let tensors = self.read(MODEL)?;
        load_parameters::<B, M>(model, tensors).map_err(|problems| self.damaged(problems))
    }

    /// An optimizer with the saved moments.
    pub(crate) fn load_optimizer<B: AutodiffBackend, M: Module<B>>(
        &self,
        optimizer: AdamW<B::InnerBackend>,
        model: &M,
        device: &B::Device,
    ) -> Result<AdamW<B::InnerBackend>, TrainError> {
        let tensors = self.read(OPTIMIZER)?;
        optimizer
            .with_moments::<B, M>(model, tensors, &self.state.updates, device)
            .map_err(|problems| self.damaged(problems))
    }

    fn read(&self, name: &str) -> Result<files::Tensors, TrainError> {
        let file = self.path.join(name);
        files::read_tensors(&file).map_err(|error| TrainError::read(file, error))
    }

    fn damaged(&self, problems: Vec<String>) -> TrainError {
        TrainError::DamagedCheckpoint { path: self.path.clone(), problems }
    }
}

/// Reads where a run stood, without looking at the other files.
fn read_state(path: &Path) -> Result<RunState, TrainError> {
    let file = path.join(STATE);
    let text = std::fs::read_to_string(&file).map_err(|error| TrainError::read(&file, error))?;
    serde_json::from_str(&text).map_err(|error| TrainError::DamagedCheckpoint {
        path: path.to_path_buf(),
        problems: vec![format!("{STATE}: {error}")],
    })
}

/// Saves a checkpoint of `state.step` below `run`; gives its folder.
///
/// # Errors
/// If something could not be written; then checkpoints that were there still are.
pub(crate) fn save<B, M>(
    run: &Path,
    state: &RunState,
    model: &M,
    optimizer: &AdamW<B::InnerBackend>,
) -> Result<PathBuf, TrainError>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
{
    let writing = folder::Writing::begin(run, state.step)?;
    let (moments, updates) = optimizer.named_moments();
    let mut state = RunState { updates, ..state.clone() };
    for (name, tensors) in [(OPTIMIZER, moments), (MODEL, named_parameters::<B, M>(model))] {
        let file = writing.file(name);
        let written = files::write_tensors(&file, &tensors).and_then(|()| files::sha256(&file));
        state.files.insert(name.to_owned(), written.map_err(|error| TrainError::write(&file, error))?);
    }
    let file = writing.file(STATE);
    let json = serde_json::to_vec_pretty(&state).map_err(|error| TrainError::write(&file, error.into()))?;
    files::write_bytes(&file, &json).map_err(|error| TrainError::write(&file, error))?;
    writing.commit()
}
