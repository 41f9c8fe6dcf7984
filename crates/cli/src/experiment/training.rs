//! Training: its batches, its losses, its fit.

use std::sync::Arc;

use anyhow::bail;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::ops::Products;
use locus_backend::rng::Key;
use locus_data::Examples;
use locus_data::corpus::Corpus;
use locus_heads::{LossOptions, TaskBatch, TaskModel};
use locus_model::ModelConfig;
use locus_pipeline::{Codec, Evaluation, LostSpans, TrainingSet, evaluate};
use locus_train::{BatchSource, BoxError, FitReport, Trainer};

use super::Experiment;
use super::data::as_trained;
use crate::init::InitReport;
use crate::run_file::Task;

impl Experiment {
    pub(super) fn training_set(
        &self,
        codec: &Arc<Codec>,
        train: &Examples,
        corpus: Option<Arc<Corpus>>,
    ) -> anyhow::Result<TrainingSet> {
        let (batch_size, seed) = (self.run.train.batch_size, self.run.train.fit.seed);
        if let Some(corpus) = corpus {
            return Ok(TrainingSet::of_corpus(codec.clone(), corpus, batch_size, seed)?);
        }
        if let (Some(_), Examples::Text(documents)) = (codec.objective, train) {
            let set = TrainingSet::of_documents(codec.clone(), documents, batch_size, seed)?;
            if set.n_items() == 0 {
                bail!(
                    "no training text is long enough to learn from: it takes at least two tokens, or two sentences"
                );
            }
            return Ok(set);
        }
        let encoded = codec.encode(train)?;
        self.tell_of_lost_spans(encoded.lost_spans);
        if encoded.n_truncated > 0 {
            let key = match self.run.task {
                Task::Qa => "model.questions.max_query_tokens",
                _ => "model.max_seq_len",
            };
            tell!(
                "warning: {} training texts are longer than {key} and were cut; raise it to keep them whole",
                encoded.n_truncated
            );
        }
        let token_dropout = self.run.data.token_dropout;
        let set = TrainingSet::new(codec.clone(), encoded.items, batch_size, token_dropout, seed)?;
        Ok(set.with_candidates(self.run.train.ranking.candidates))
    }

    /// Entities that are not learned, and what would make room for them.
    fn tell_of_lost_spans(&self, LostSpans { n_long, n_cut }: LostSpans) {
        let model = &self.run.model;
        let (max_words, max_seq_len) = (model.spans.max_words, model.stack.max_seq_len);
        if n_long > 0 {
            tell!(
                "warning: {n_long} training entities have more than model.spans.max_words = {max_words} words and are not learned; \
                 raise it to learn them"
            );
        }
        if n_cut > 0 {
            tell!(
                "warning: {n_cut} training entities reach beyond their window of model.max_seq_len = {max_seq_len} tokens and are \
                 not learned; raise it to learn them"
            );
        }
    }

    pub(super) fn losses(&self, codec: &Codec, train: &Examples) -> anyhow::Result<LossOptions> {
        let section = &self.run.train;
        let class_weights = match (&section.class_weights, &codec.labels) {
            (Some(weights), Some(labels)) => Some(weights.resolve(labels, &as_trained(train))?),
            _ => None,
        };
        let (label_smoothing, focal_gamma) = (section.label_smoothing, section.focal_gamma);
        Ok(LossOptions { label_smoothing, focal_gamma, class_weights })
    }

    /// What identifies model, tokenizer, data and what is done to them, so that a run is not resumed with others. What the
    /// trainer itself compares (epochs, learning rate, …) is left to it.
    pub(super) fn fingerprint(
        &self,
        config: &ModelConfig,
        codec: &Codec,
        set: &TrainingSet,
    ) -> anyhow::Result<String> {
        let (data, train) = (&self.run.data, &self.run.train);
        let model = &self.run.model;
        let losses = (train.label_smoothing, train.focal_gamma, &train.class_weights, train.precision);
        let settings =
            (data.token_dropout, train.batch_size, losses, &model.from, &model.init, model.thresholds);
        let key = Key::new(0)
            .named(&serde_json::to_string(config)?)
            .named(&codec.tokenizer.to_json()?)
            .named(&format!("{settings:?}"));
        let key = train.ranking.candidates.iter().fold(key, |key, &n| key.child(n as u64));
        let key = train.adapter.iter().fold(key, |key, adapter| key.named(&format!("{adapter:?}")));
        // Another score cannot be compared with the best one so far.
        let key = train.eval_score.iter().fold(key, |key, score| key.named(score.name()));
        Ok(format!("{:016x}", set.fingerprint(key).bits(0)))
    }

    pub(super) fn fit<B: AutodiffBackend>(
        &self,
        model: TaskModel<B>,
        set: TrainingSet,
        codec: Arc<Codec>,
        dev: Option<Examples>,
        fingerprint: &str,
        init: &InitReport,
    ) -> anyhow::Result<FitReport<TaskModel<B::InnerBackend>>> {
        let batch_size = self.run.train.eval_batch_size;
        let mut trainer = Trainer::new(self.run.train.fit.clone(), &self.out)
            .resume(self.resume.clone())
            .interrupter(self.interrupter.clone())
            .fingerprint(fingerprint);
        if !init.is_empty() {
            trainer = trainer.initialization(serde_json::to_value(init)?);
        }
        let evaluate = move |model: &TaskModel<B::InnerBackend>| match &dev {
            // As it is saved and loaded.
            Some(dev) => {
                let model = model.clone().with_products(Products::F32);
                evaluate(&model, &codec, dev, batch_size).map(for_trainer)
            }
            None => Ok(locus_train::Evaluation { score: f64::NAN, ..Default::default() }),
        };
        Ok(trainer.fit::<B, _, _>(model, Arc::new(Source(set)), evaluate)?)
    }
}

fn for_trainer(evaluation: Evaluation) -> locus_train::Evaluation {
    locus_train::Evaluation {
        score: evaluation.score(),
        score_name: evaluation.score_name.to_owned(),
        table: Some(evaluation.to_string()),
        metrics: evaluation.metrics,
    }
}

struct Source(TrainingSet);

impl BatchSource<TaskBatch> for Source {
    fn n_batches(&self) -> usize {
        self.0.n_batches()
    }

    fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, BoxError> {
        Ok(self.0.batch(epoch, idx)?)
    }
}
