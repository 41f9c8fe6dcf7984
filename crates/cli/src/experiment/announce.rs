//! What a run says of itself before it trains.

use locus_data::{Examples, Part, Splits};
use locus_embedding::position::PositionConfig;
use locus_heads::HeadConfig;
use locus_model::ModelConfig;
use locus_pipeline::TrainingSet;

use super::Experiment;
use crate::report::positions;

impl Experiment {
    pub(super) fn announce(&self, splits: &Splits, set: &TrainingSet, config: &ModelConfig, n_params: usize) {
        let count = |(part, examples): (&Part, &Examples)| match (part, &self.run.data.corpus) {
            (Part::Train, Some(_)) => format!("train {} rows of a corpus", set.n_items()),
            _ => format!("{part} {}", examples.len()),
        };
        let counts: Vec<String> = splits.iter().map(count).collect();
        let fit = &self.run.train.fit;
        tell!("data       {}", counts.join(", "));
        tell!(
            "model      {n_params} parameters: {} layers, width {}, {} heads, position {}; vocabulary {}",
            config.stack.n_layers,
            config.stack.d_model,
            config.stack.n_heads,
            positions(&config.stack),
            config.vocab_size
        );
        tell!(
            "training   {} epochs of {} batches on {}, seed {}",
            fit.epochs,
            set.n_batches(),
            self.backend,
            fit.seed
        );
        tell!("run        {}", self.out.display());
        let blind = !matches!(config.head, HeadConfig::CausalLm { .. } | HeadConfig::Seq2Seq { .. })
            && !config.stack.schemes().0.iter().any(PositionConfig::tells_order);
        if blind {
            tell!(
                "warning: without positions an encoder cannot tell the order of words; use this as a control"
            );
        }
    }
}
