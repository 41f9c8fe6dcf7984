//! A run from run file to report: data, tokenizer, model, training, scores, model folder.

mod adapter;
mod announce;
mod data;
mod files;
mod folder;
mod model;
mod plan;
mod scales;
mod scores;
mod training;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use burn::module::Module;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::ops::Products;
use locus_data::Part;
use locus_encoder::TokenTables;
use locus_heads::{GradientCheckpointing, HeadConfig, HeadError};
use locus_model::{ModelConfig, save};
use locus_pipeline::{Codec, Thresholds};
use locus_train::{Interrupter, Resume, Stopped};

use crate::UsageError;
use crate::init::fill_tables;
use crate::report::Report;
use crate::run_file::RunFile;
use adapter::ADAPTER;
use data::refuse_unknown_labels;

/// What a run needs beside its run file.
pub(crate) struct Experiment {
    /// The resolved run file.
    pub(crate) run: RunFile,
    /// What the recipe or run file is called, for the report.
    pub(crate) recipe: String,
    /// The command that repeats the run, for the report.
    pub(crate) command: String,
    /// The run folder.
    pub(crate) out: PathBuf,
    /// Where data sets lie.
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to begin.
    pub(crate) resume: Resume,
    /// What stops the run.
    pub(crate) interrupter: Interrupter,
    /// The name of the backend, for the report.
    pub(crate) backend: &'static str,
}

/// How a run ended.
pub(crate) enum Ended {
    /// With a model and its report.
    Done(Box<Report>),
    /// On request; it can be resumed.
    Interrupted {
        /// After how many steps.
        steps: usize,
    },
}

const NO_BF16: &str = "train.precision = \"bf16\" needs backend ndarray or flex on a processor with AVX512-BF16 or AMX, which is \
not what there is here: take \"f32\"";

impl Experiment {
    /// Runs it.
    pub(crate) fn run<B: AutodiffBackend>(mut self, device: &B::Device) -> anyhow::Result<Ended> {
        let products = Products::from(self.run.train.precision);
        if !products.are_available::<B>() {
            return Err(UsageError(NO_BF16.to_owned()).into());
        }
        self.check_data_dir()?;
        self.find_files();
        let splits = self.splits()?;
        let corpus = self.open_corpus()?;
        let Some(train) = splits.get(&Part::Train) else { bail!("there is nothing to train on") };
        let (mut config, tokenizer) = self.plan(train)?;
        self.take_sizes(&config);
        self.refuse_shared_table(&config)?;
        refuse_unknown_labels(&config, &splits)?;
        let mut codec = Codec::new(&config, tokenizer)?;
        if splits.contains_key(&Part::Dev) {
            codec.thresholds = Thresholds::Tuned(self.run.model.thresholds);
        }
        codec.eval_score = self.run.train.eval_score;
        let codec = Arc::new(codec);
        let set = self.training_set(&codec, train, corpus)?;
        let (model, new) = self.model::<B>(&config, device)?;
        let model = model.with_loss(self.losses(&codec, train)?).with_products(products);
        let section = &self.run.model.init;
        let (model, init) =
            fill_tables(model, section, config.stack.init_std, &codec.tokenizer, set.token_ids())?;
        let (model, begun) = self.adapt(model, &config, &new)?;
        let n_params = model.num_params();
        self.announce(&splits, &set, &config, n_params);
        tell!("tokenizer  {}", codec.tokenizer.summary());
        init.lines().iter().for_each(|line| tell!("init       {line}"));
        let fingerprint = self.fingerprint(&config, &codec, &set)?;
        // A run file that is there belongs to the run until its checkpoint has been accepted.
        let resumes = self.out.join("run.toml").exists();
        if !resumes {
            self.write_run_file()?;
        }
        let dev = splits.get(&Part::Dev).cloned();
        let mut fitted = self.fit::<B>(model, set, codec.clone(), dev, &fingerprint, &init)?;
        if resumes {
            self.write_run_file()?;
        }
        if fitted.stopped == Stopped::Interrupted {
            return Ok(Ended::Interrupted { steps: fitted.steps });
        }
        // Scored as it is saved and loaded.
        fitted.best_model = fitted.best_model.with_products(Products::F32);
        let adapter = begun.map(|begun| fitted.best_model.adapter(ADAPTER, &begun));
        fitted.best_model.merge_adapters();
        let codec = Arc::unwrap_or_clone(codec);
        let tokenizer = codec.tokenizer.files()?;
        let (dev, test) = self.score(&fitted.best_model, codec, &mut config, &splits)?;
        save(&self.out.join("model"), &config, &fitted.best_model, &tokenizer)?;
        if let Some(adapter) = &adapter {
            self.write_adapter(adapter, &config, &fitted.best_model)?;
        }
        let report = Report::new(&self, n_params, &fitted, dev, test).with_init(init);
        report.write(&self.out)?;
        Ok(Ended::Done(Box::new(report)))
    }

    /// Where the model comes from a folder, so do its sizes.
    fn take_sizes(&mut self, config: &ModelConfig) {
        self.run.model.stack = config.stack.clone();
        if let HeadConfig::SentenceEmbedding(head) = &config.head {
            // It may read less of a text than its stack takes.
            self.run.model.stack.max_seq_len = head.max_seq_len.unwrap_or(config.stack.max_seq_len);
        }
    }

    /// Blocks cannot be computed anew where two stacks share a table.
    fn refuse_shared_table(&self, config: &ModelConfig) -> Result<(), UsageError> {
        if self.run.train.fit.gradient_checkpointing == GradientCheckpointing::Block
            && config.head.forms().len() == 2
            && config.stack.token_tables == TokenTables::Shared
        {
            return Err(UsageError(HeadError::SharedTable.to_string()));
        }
        Ok(())
    }
}
