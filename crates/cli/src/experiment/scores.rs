//! What a trained model scores, and what is chosen on dev.

use burn::tensor::backend::Backend;
use locus_data::{Part, Splits};
use locus_heads::TaskModel;
use locus_model::ModelConfig;
use locus_pipeline::{Codec, Evaluation, Thresholds, evaluate};

use super::Experiment;

impl Experiment {
    /// The scores on dev and on test. What is chosen on dev goes into the configuration, and holds for test.
    pub(super) fn score<B: Backend>(
        &self,
        model: &TaskModel<B>,
        mut codec: Codec,
        config: &mut ModelConfig,
        splits: &Splits,
    ) -> anyhow::Result<(Option<Evaluation>, Option<Evaluation>)> {
        let scores = |part, codec: &Codec| {
            let score = |examples| evaluate(model, codec, examples, self.run.train.eval_batch_size);
            splits.get(&part).map(score).transpose()
        };
        codec.eval_beams = self.run.train.eval_beams;
        let mut dev = scores(Part::Dev, &codec)?;
        if let Some(thresholds) = dev.as_ref().and_then(|dev| dev.thresholds.clone()) {
            config.thresholds.clone_from(&thresholds);
            codec.thresholds = Thresholds::Given(thresholds);
        }
        if let Some(threshold) = dev.as_ref().and_then(|dev| dev.no_answer_threshold)
            && self.run.model.questions.no_answer_threshold.is_none()
        {
            config.questions.no_answer_threshold = Some(threshold);
            codec = codec.with_no_answer_threshold(Some(threshold));
            dev = scores(Part::Dev, &codec)?;
        }
        Ok((dev, scores(Part::Test, &codec)?))
    }
}
