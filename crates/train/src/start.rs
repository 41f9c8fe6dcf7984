//! Where a run begins: with nothing, or exactly where a checkpoint was saved.

use std::path::PathBuf;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;

use crate::checkpoint::{Checkpoint, place};
use crate::{AdamW, RunState, TrainError};

/// All that a run has learned and counted so far.
pub(crate) struct Start<B: AutodiffBackend, M: AutodiffModule<B>> {
    pub(crate) model: M,
    pub(crate) optimizer: AdamW<B::InnerBackend>,
    pub(crate) state: RunState,
    pub(crate) best_model: Option<M::InnerModule>,
    /// The checkpoint, by step.
    pub(crate) saved: Option<(usize, PathBuf)>,
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> Start<B, M> {
    /// A run that has not begun.
    pub(crate) fn anew(model: M, optimizer: AdamW<B::InnerBackend>, state: RunState) -> Self {
        Self { model, optimizer, state, best_model: None, saved: None }
    }

    /// This run, gone forward to where a checkpoint was saved.
    ///
    /// # Errors
    /// If the checkpoint is of another run or model, or that with the best model is damaged.
    pub(crate) fn at(self, checkpoint: &Checkpoint) -> Result<Self, TrainError> {
        let path = checkpoint.path();
        let state = checkpoint.state().clone().resume_with(&self.state);
        let state =
            state.map_err(|differences| TrainError::OtherRun { path: path.to_path_buf(), differences })?;
        let model = checkpoint.load_model::<B, M>(self.model)?;
        let device = model.devices().into_iter().next().unwrap_or_default();
        let optimizer = checkpoint.load_optimizer::<B, M>(self.optimizer, &model, &device)?;
        let best_model = match state.best {
            None => None,
            Some(best) if best.step == state.step => Some(model.valid()),
            Some(best) => {
                let best = Checkpoint::open(place(path, best.step))?;
                Some(best.load_model::<B::InnerBackend, _>(model.valid())?)
            }
        };
        let saved = Some((state.step, path.to_path_buf()));
        Ok(Self { model, optimizer, state, best_model, saved })
    }
}
