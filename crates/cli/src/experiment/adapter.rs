//! The adapter that a run trains.

use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_heads::{HostAdapter, TaskModel};
use locus_hub::{AdapterBase, Checkpoint, adapted_model, check_adapter, read_config, write_adapter};
use locus_model::ModelConfig;

use super::Experiment;
use crate::UsageError;

/// The name of the adapter that a run trains, and of its folder.
pub(super) const ADAPTER: &str = "adapter";

impl Experiment {
    /// The model with a new adapter, if the run trains one, and with everything else frozen but the head and what is `new`.
    pub(super) fn adapt<B: AutodiffBackend>(
        &self,
        mut model: TaskModel<B>,
        config: &ModelConfig,
        new: &[String],
    ) -> anyhow::Result<(TaskModel<B>, Option<HostAdapter>)> {
        let checkpoint = self.adapted_checkpoint(config)?;
        let Some(config) = &self.run.train.adapter else { return Ok((model, None)) };
        let wrong = |problems: Vec<String>| {
            UsageError(format!("train.adapter.{}:\n  - {}", config.name(), problems.join("\n  - ")))
        };
        let key = Key::new(self.run.train.fit.seed).named(ADAPTER);
        let adapter = HostAdapter::new(&config.clone().also_training(new), &model, key).map_err(wrong)?;
        let base = checkpoint.as_ref().map_or(AdapterBase::Locus, AdapterBase::Checkpoint);
        check_adapter(&self.out.join(ADAPTER), base, &model, &adapter)
            .map_err(|error| UsageError(error.to_string()))?;
        model.add_adapter(ADAPTER, &adapter).map_err(wrong)?;
        let model = model.with_only_trained(&|path| adapter.saved.contains_key(path));
        let (of_changes, whole) = adapter.n_numbers();
        tell!(
            "adapter    {}: {of_changes} numbers are trained, and {whole} of the head or besides",
            config.name()
        );
        Ok((model, Some(adapter)))
    }

    /// The checkpoint that an adapter is trained on, with this configuration; none where the model is one of Locus.
    fn adapted_checkpoint(&self, config: &ModelConfig) -> anyhow::Result<Option<Checkpoint>> {
        let from = self.checkpoint().filter(|_| self.run.train.adapter.is_some());
        let Some(from) = from else { return Ok(None) };
        let request = self.request(config.labels.clone(), &config.head);
        Ok(Some(Checkpoint { config: config.clone(), ..read_config(from, Some(&request))? }))
    }

    /// The adapter as `peft` has it, under the names of the checkpoint that it was trained on; else under ours.
    pub(super) fn write_adapter<B: Backend>(
        &self,
        adapter: &HostAdapter,
        config: &ModelConfig,
        model: &TaskModel<B>,
    ) -> anyhow::Result<()> {
        let Some(from) = &self.run.model.from else { return Ok(()) };
        let checkpoint = self.adapted_checkpoint(config)?;
        let base = checkpoint.as_ref().map_or(AdapterBase::Locus, AdapterBase::Checkpoint);
        let (dir, from) = (self.out.join(ADAPTER), from.display().to_string());
        for note in write_adapter(&dir, base, model, adapter, &from, &[adapted_model(config)?])? {
            tell!("adapter    {note}");
        }
        Ok(())
    }
}
