//! What a run says of itself before it trains.

use locus_data::{Examples, Part, Splits};
use locus_embedding::position::{Form, PositionConfig};
use locus_encoder::StackConfig;
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
        if let HeadConfig::SentenceEmbedding(head) = &config.head
            && let Some(name) = &head.default_prompt
        {
            tell!(
                "note: the prompt '{name}' of the model stands before texts in scores and answers, and not in training"
            );
        }
        if is_blind(&config.head, &config.stack) {
            tell!(
                "warning: without positions an encoder cannot tell the order of words; use this as a control"
            );
        }
    }
}

/// Whether a model cannot tell the order of tokens: without positions a decoder can, by what each token may see.
fn is_blind(head: &HeadConfig, stack: &StackConfig) -> bool {
    !head.forms().contains(&Form::Causal) && !stack.schemes().0.iter().any(PositionConfig::tells_order)
}

#[cfg(test)]
mod tests {
    use locus_heads::ClassifierConfig;

    use super::*;

    #[test]
    fn decoders_tell_the_order_without_positions() {
        let without = StackConfig { position: PositionConfig::None, ..StackConfig::default() };
        let answers =
            |form| HeadConfig::QuestionAnswering { layers: ClassifierConfig { form, ..Default::default() } };
        assert!(is_blind(&answers(Form::Bidirectional), &without));
        assert!(!is_blind(&answers(Form::Bidirectional), &StackConfig::default()));
        assert!(!is_blind(&answers(Form::Causal), &without));
    }
}
