//! The model of a run with its first weights.

use std::path::Path;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_heads::{HeadConfig, TaskModel};
use locus_hub::{Request, load_checkpoint, read_config, read_sentence};
use locus_model::{ModelConfig, load};

use super::Experiment;
use super::folder::are_alike;
use crate::run_file::Task;
use crate::take_over::take_over;

impl Experiment {
    /// The model, and the paths of the parameters that come from no folder but were drawn.
    pub(super) fn model<B: AutodiffBackend>(
        &self,
        config: &ModelConfig,
        device: &B::Device,
    ) -> anyhow::Result<(TaskModel<B>, Vec<String>)> {
        let key = Key::new(self.run.train.fit.seed).named("weights");
        if let (Some(from), HeadConfig::SentenceEmbedding(head)) = (self.sentence_source(), &config.head) {
            let mut sentence = read_sentence(from)?;
            sentence.checkpoint.config.stack = config.stack.clone();
            sentence.head = head.clone();
            let loaded = sentence.load(key, device)?;
            return Ok((loaded.model, loaded.new));
        }
        if let Some(from) = self.checkpoint() {
            return self.checkpoint_model(from, config, key, device);
        }
        let new = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, key, device);
        // All of it is new, and nothing of it is frozen.
        let Some(from) = &self.run.model.from else { return Ok((new, Vec::new())) };
        let (loaded_config, loaded) = load::<B>(from, device)?;
        let is_same = are_alike(&loaded_config.head, &config.head) && loaded_config.labels == config.labels;
        Ok(take_over(new, loaded, is_same))
    }

    /// The weights of a checkpoint under this configuration; what is new and what is left out are said in a line each.
    fn checkpoint_model<B: AutodiffBackend>(
        &self,
        from: &Path,
        config: &ModelConfig,
        key: Key,
        device: &B::Device,
    ) -> anyhow::Result<(TaskModel<B>, Vec<String>)> {
        let request = self.request(config.labels.clone(), &config.head);
        let mut checkpoint = read_config(from, Some(&request))?;
        checkpoint.config = config.clone();
        let loaded = load_checkpoint::<B>(from, checkpoint, key, device)?;
        for (what, names) in [("new", &loaded.new), ("left out", &loaded.dropped)] {
            if !names.is_empty() {
                tell!("checkpoint {what}: {}", names.join(", "));
            }
        }
        Ok((loaded.model, loaded.new))
    }

    /// The head that this run puts on a checkpoint.
    pub(super) fn request(&self, labels: Vec<String>, head: &HeadConfig) -> Request {
        match self.run.task {
            Task::Ner => Request::Tokens { labels, decoding: self.run.model.decoding },
            Task::Classify | Task::SentenceOrder => Request::Label(labels),
            Task::Multilabel => Request::Labels(labels),
            Task::Regression => match *head {
                HeadConfig::Regression { mean, std, .. } => Request::Number { mean, std },
                _ => Request::Number { mean: 0.0, std: 1.0 },
            },
            Task::Lm | Task::PrefixLm => Request::CausalLm,
            Task::Seq2seq | Task::SpanCorruption | Task::Denoising => Request::Seq2SeqLm,
            Task::Embed => Request::Bare,
            Task::Qa => Request::Answer,
            Task::Rank | Task::MultipleChoice => match head {
                HeadConfig::Ranking { loss, score, features, .. } => {
                    Request::Ranking { loss: *loss, score: *score, features: features.clone() }
                }
                _ => Request::Number { mean: 0.0, std: 1.0 },
            },
            Task::Mlm => Request::MaskedLm,
        }
    }
}
