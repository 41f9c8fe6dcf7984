//! A run from run file to report: data, tokenizer, model, training, scores, model folder.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops::Products;
use locus_backend::rng::Key;
use locus_data::corpus::Corpus;
use locus_data::split::split;
use locus_data::{
    Examples, Format, Kind, LabelSet, Part, Place, Ranking, ReadOptions, Scored, Shares, Splits, Tokenizer,
    TokenizerConfig, read,
};
use locus_embedding::position::PositionConfig;
use locus_encoder::{StackConfig, TokenTables};
use locus_heads::{
    FeatureScale, GradientCheckpointing, HeadConfig, HeadError, HostAdapter, LossOptions,
    SentenceEmbeddingConfig, TaskBatch, TaskModel,
};
use locus_hub::{
    AdapterBase, Checkpoint, Request, adapted_model, check_adapter, is_checkpoint, is_sentence_folder,
    load_checkpoint, read_config, read_sentence, write_adapter,
};
use locus_model::{ModelConfig, QuestionConfig, load, load_config, save};
use locus_pipeline::{Codec, Evaluation, Objective, Thresholds, TrainingSet, evaluate, in_units};
use locus_train::{BatchSource, BoxError, FitReport, Interrupter, Resume, Stopped, Trainer};

use crate::UsageError;
use crate::init::{InitReport, fill_tables};
use crate::report::Report;
use crate::run_file::{ConfigErrors, Problem, RunFile, Task};
use crate::samples;
use crate::take_over::{on_stack_of, take_over};

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

/// The name of the adapter that a run trains, and of its folder.
const ADAPTER: &str = "adapter";

const NO_BF16: &str = "train.precision = \"bf16\" needs backend ndarray or flex on a processor with AVX512-BF16 or AMX, which is \
not what there is here: take \"f32\"";

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

impl Experiment {
    /// Runs it.
    pub(crate) fn run<B: AutodiffBackend>(mut self, device: &B::Device) -> anyhow::Result<Ended> {
        let products = Products::from(self.run.train.precision);
        if !products.are_available::<B>() {
            return Err(UsageError(NO_BF16.to_owned()).into());
        }
        self.check_data_dir()?;
        self.find_files();
        let splits = without_outside(self.read_data()?, self.run.data.out_of_scope.as_deref())?;
        if !splits.contains_key(&Part::Dev) {
            tell!("warning: there is no dev part, so the last model is kept, not the best");
        }
        let corpus = self.open_corpus()?;
        let Some(train) = splits.get(&Part::Train) else { bail!("there is nothing to train on") };
        let (mut config, tokenizer) = self.plan(train)?;
        config.out_of_scope.clone_from(&self.run.data.out_of_scope);
        config.target_language.clone_from(&self.run.data.target_language);
        config.objective = self.run.objective.map(serde_json::to_value).transpose()?;
        config.packing = self.run.data.packing;
        config.questions = self.question_config(train);
        // Where the model comes from a folder, so do its sizes.
        self.run.model.stack = config.stack.clone();
        if let HeadConfig::SentenceEmbedding(head) = &config.head {
            // It may read less of a text than its stack takes.
            self.run.model.stack.max_seq_len = head.max_seq_len.unwrap_or(config.stack.max_seq_len);
        }
        if self.run.train.fit.gradient_checkpointing == GradientCheckpointing::Block
            && matches!(config.head, HeadConfig::Seq2Seq { .. })
            && config.stack.token_tables == TokenTables::Shared
        {
            return Err(UsageError(HeadError::SharedTable.to_string()).into());
        }
        refuse_unknown_labels(&config, &splits)?;
        let mut codec = Codec::new(&config, tokenizer)?;
        if splits.contains_key(&Part::Dev) {
            codec.thresholds = Thresholds::Tuned(self.run.model.thresholds);
        }
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
        let scores = |part, codec: &Codec| {
            let examples: Option<&Examples> = splits.get(&part);
            let score =
                |examples| evaluate(&fitted.best_model, codec, examples, self.run.train.eval_batch_size);
            examples.map(score).transpose()
        };
        let mut codec = Arc::unwrap_or_clone(codec);
        codec.eval_beams = self.run.train.eval_beams;
        let mut dev = scores(Part::Dev, &codec)?;
        // What was chosen on dev holds from here on, first of all for test.
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
        let test = scores(Part::Test, &codec)?;
        save(&self.out.join("model"), &config, &fitted.best_model, &codec.tokenizer.files()?)?;
        if let Some(adapter) = &adapter {
            self.write_adapter(adapter, &config, &fitted.best_model)?;
        }
        let report = Report::new(&self, n_params, &fitted, dev, test).with_init(init);
        report.write(&self.out)?;
        Ok(Ended::Done(Box::new(report)))
    }

    /// All paths of the run file, absolute.
    fn find_files(&mut self) {
        let mut run = self.run.clone();
        let data = &mut run.data;
        let paths = [
            &mut data.train,
            &mut data.dev,
            &mut data.test,
            &mut data.corpus,
            &mut run.tokenizer.file,
            &mut run.model.from,
            &mut run.model.init.word_vectors,
        ];
        for path in paths.into_iter().flatten() {
            *path = self.find_absolute(path);
        }
        if let Some((path, _)) = self.run.model.init.position_source() {
            run.model.init.set_position_path(&self.find_absolute(path));
        }
        self.run = run;
    }

    /// A folder that is not there would leave the search to the other places.
    fn check_data_dir(&self) -> Result<(), UsageError> {
        match (&self.data_dir, &self.run.data.dir) {
            (Some(dir), _) => samples::check_dir("--data-dir ", dir),
            (None, Some(dir)) => samples::check_dir("data.dir = ", dir),
            (None, None) => Ok(()),
        }
    }

    fn find_absolute(&self, path: &Path) -> PathBuf {
        let found = self.find(path);
        std::path::absolute(&found).unwrap_or(found)
    }

    fn read_data(&self) -> anyhow::Result<Splits> {
        let data = &self.run.data;
        let mut splits = match &data.set {
            Some(name) => samples::read_set(name, self.data_dir())?,
            None => Splits::new(),
        };
        let kind = match self.run.task {
            Task::Ner => Kind::Tagged,
            Task::Classify => Kind::Labelled,
            Task::Multilabel => Kind::MultiLabelled,
            Task::Regression => Kind::Scored,
            Task::Lm => Kind::Text,
            // Questions with their contexts become pairs.
            Task::Embed if data.read.format == Some(Format::Squad) => Kind::Qa,
            Task::Seq2seq | Task::Embed => Kind::Pairs,
            Task::Qa => Kind::Qa,
            Task::Rank | Task::MultipleChoice => Kind::Ranked,
            Task::Mlm | Task::PrefixLm | Task::SpanCorruption | Task::Denoising | Task::SentenceOrder => {
                Kind::Text
            }
        };
        let options = ReadOptions { kind: Some(kind), ..data.read.clone() };
        // All files are looked at before the first problem is reported.
        let mut problems = Vec::new();
        for (part, path) in [(Part::Train, &data.train), (Part::Dev, &data.dev), (Part::Test, &data.test)] {
            match path.as_ref().map(|path| read(&self.find(path), &options)) {
                Some(Ok(examples)) => {
                    splits.insert(part, examples);
                }
                Some(Err(error)) => problems.push(format!("data.{part}: {error}")),
                None => {}
            }
        }
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        if data.corpus.is_some() {
            // Its rows are no texts; nothing is cut from them.
            splits.insert(Part::Train, Examples::Text(Vec::new()));
            return Ok(splits);
        }
        let mut splits = cut_dev(splits)?;
        if let Some(most) = data.max_eval_examples {
            for examples in
                splits.iter_mut().filter(|(part, _)| **part != Part::Train).map(|(_, examples)| examples)
            {
                *examples = examples.select(&(0..most.min(examples.len())).collect::<Vec<_>>());
            }
        }
        if self.run.task == Task::Embed {
            return Ok(splits.into_iter().map(|(part, examples)| (part, examples.into_pairs())).collect());
        }
        Ok(splits)
    }

    fn open_corpus(&self) -> anyhow::Result<Option<Arc<Corpus>>> {
        let Some(dir) = &self.run.data.corpus else { return Ok(None) };
        let corpus = Corpus::open(dir)?;
        corpus.changed_sources().iter().for_each(|change| tell!("warning: data.corpus: {change}"));
        Ok(Some(Arc::new(corpus)))
    }

    fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref().or(self.run.data.dir.as_deref())
    }

    /// A path of the run file: as it is, or below the data folder.
    fn find(&self, path: &Path) -> PathBuf {
        let below = self.data_dir().map(|dir| dir.join(path));
        let there = |path: &Path| Place::of(path).file.exists();
        below.filter(|below| !there(path) && there(below)).unwrap_or_else(|| path.to_owned())
    }

    /// The model's configuration and tokenizer: new ones, or those of the folder it starts from.
    fn plan(&self, train: &Examples) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        let labels = match self.run.task {
            Task::Ner | Task::Classify | Task::Multilabel => {
                LabelSet::from_training(&as_trained(train))?.names().to_vec()
            }
            _ => {
                let labels = self.run.objective.as_ref().map(Objective::labels).unwrap_or_default();
                labels.iter().map(|&label| label.to_owned()).collect()
            }
        };
        let mut head = self.run.head(labels.len());
        if let (HeadConfig::Regression { mean, std, .. }, Examples::Scored(rows)) = (&mut head, train) {
            (*mean, *std) = mean_and_std(rows)?;
        }
        if let (HeadConfig::Ranking { features, .. }, Examples::Ranked(rankings)) = (&mut head, train) {
            *features = feature_scales(rankings);
        }
        if let Some(from) = self.sentence_source() {
            return self.plan_of_sentences(from, head);
        }
        if let Some(from) = self.run.model.from.as_ref().filter(|from| is_checkpoint(from)) {
            let checkpoint = read_config(from, Some(&self.request(labels, &head)))?;
            let tokenizer = Tokenizer::from_file(from)?;
            let mut config = checkpoint.config;
            if checkpoint.other_head {
                config.head = self.with_own_pooling(config.head);
            }
            let mut config = self.with_own_dropout(config);
            config.n_spare_tokens = config.vocab_size.saturating_sub(tokenizer.vocab_size());
            return Ok((config, tokenizer));
        }
        if let Some(from) = &self.run.model.from {
            let config = load_config(from)?;
            let is_same = std::mem::discriminant(&config.head) == std::mem::discriminant(&head);
            let head = match config.head.clone() {
                _ if !is_same => self.with_own_pooling(new_head(from, head, &config.head)?),
                // Everything but the loss is the folder's, and texts may be cut shorter.
                HeadConfig::SentenceEmbedding(kept) => {
                    let (loss, own_len) =
                        (self.run.train.in_batch_negatives, self.run.model.stack.max_seq_len);
                    let len = kept.max_seq_len.unwrap_or(config.stack.max_seq_len);
                    let max_seq_len = if own_len < len { Some(own_len) } else { kept.max_seq_len };
                    HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig { loss, max_seq_len, ..kept })
                }
                // How scores are trained and judged is a matter of this run.
                HeadConfig::Ranking { pooling, features, layers, .. } => {
                    let HeadConfig::Ranking { loss, score, .. } = head else {
                        unreachable!("heads of one kind")
                    };
                    HeadConfig::Ranking { pooling, loss, score, features, layers }
                }
                // How tags are decoded is a matter of this run.
                HeadConfig::TokenClassification { .. } => head.with_layers_of(&config.head),
                // Numbers keep the scale they were learned in.
                kept if labels == config.labels => kept,
                // A classifier of other labels keeps its encoder.
                _ => self.with_own_pooling(head.with_layers_of(&config.head)),
            };
            let tokenizer = Tokenizer::from_file(from)?;
            let mut stack = config.stack;
            self.find_tokens(&mut stack, &tokenizer)?;
            let config = ModelConfig {
                n_spare_tokens: config.n_spare_tokens,
                token_ids: config.token_ids,
                generation: config.generation,
                ..ModelConfig::new(head, labels, config.vocab_size, stack)
            };
            return Ok((self.with_own_dropout(config), tokenizer));
        }
        let section = &self.run.tokenizer;
        let tokenizer = match &section.file {
            Some(file) => {
                if section.config != TokenizerConfig::default() {
                    tell!("note: tokenizer.file is taken as it is; the other keys of [tokenizer] give way");
                }
                Tokenizer::from_file(file)?
            }
            None => {
                let tokens = self.run.objective.as_ref().map(Objective::special_tokens).unwrap_or_default();
                let tokenizer = Tokenizer::train_with(&section.config, train.texts())?;
                if tokens.is_empty() { tokenizer } else { tokenizer.with_special_tokens(&tokens)? }
            }
        };
        let mut stack = self.run.model.stack.clone();
        self.find_tokens(&mut stack, &tokenizer)?;
        Ok((ModelConfig::new(head, labels, tokenizer.vocab_size(), stack), tokenizer))
    }

    /// The folder of `sentence-transformers` or the checkpoint that a sentence embedder starts from.
    fn sentence_source(&self) -> Option<&Path> {
        let from = self.run.model.from.as_deref().filter(|_| self.run.task == Task::Embed)?;
        (is_sentence_folder(from) || is_checkpoint(from)).then_some(from)
    }

    /// Pooling and further layers are those of a list of modules; where there is none, those of this run. `model.max_seq_len` may
    /// shorten what is read of a text.
    fn plan_of_sentences(&self, from: &Path, head: HeadConfig) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        if is_sentence_folder(from) && self.run.train.adapter.is_some() {
            let problem = format!(
                "train.adapter: {} is a folder of sentence-transformers, on which no adapter of vectors is trained; take out train.adapter, \
                 or start from a checkpoint or a model folder of Locus",
                from.display()
            );
            return Err(UsageError(problem).into());
        }
        let mut sentence = read_sentence(from)?;
        let tokenizer = Tokenizer::from_file(&sentence.transformer)?;
        let own_len = self.run.model.stack.max_seq_len;
        if let HeadConfig::SentenceEmbedding(own) = head {
            if !is_sentence_folder(from) {
                (sentence.head.pooling, sentence.head.layers) = (own.pooling, own.layers);
            }
            sentence.head.loss = own.loss;
        }
        sentence.head.max_seq_len = Some(sentence.head.max_seq_len.map_or(own_len, |len| len.min(own_len)));
        let mut config = self.with_own_dropout(sentence.config());
        config.n_spare_tokens = config.vocab_size.saturating_sub(tokenizer.vocab_size());
        Ok((config, tokenizer))
    }

    /// How contexts are read. Where train has questions without an answer, there may be none; from which threshold on is
    /// decided on dev in the end, unless the run file says it.
    fn question_config(&self, train: &Examples) -> QuestionConfig {
        let mut config = self.run.model.questions.clone();
        if let Examples::Qa(questions) = train
            && config.no_answer_threshold.is_none()
            && questions.iter().any(|question| question.answers.is_empty())
        {
            tell!("note: train has questions without an answer, so an answer may be none");
            config.no_answer_threshold = Some(0.0);
        }
        config
    }

    /// Looks up the tokens that position schemes count by, where their ids are not known.
    fn find_tokens(&self, stack: &mut StackConfig, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        let missing = stack.find_tokens(&|token| tokenizer.id(token));
        if missing.is_empty() {
            return Ok(());
        }
        let of_model =
            missing.iter().map(|p| Problem::new(&format!("model.{}", p.key), &p.found, &p.allowed));
        let origin = format!("{} with this tokenizer", self.recipe);
        Err(ConfigErrors { origin, problems: of_model.collect() }.into())
    }

    /// Sizes and scheme are the folder's; dropout is a matter of this training.
    fn with_own_dropout(&self, config: ModelConfig) -> ModelConfig {
        let StackConfig { dropout, attention_dropout, .. } = self.run.model.stack;
        let stack = StackConfig { dropout, attention_dropout, ..config.stack };
        if stack != self.run.model.stack {
            tell!(
                "note: sizes, position scheme and tokenizer are those of model.from; the keys of this run give way"
            );
        }
        for key in self.run.model.unheeded(&config.head) {
            tell!("note: model.{key} is that of model.from; the key of this run gives way");
        }
        ModelConfig { stack, ..config }
    }

    /// A new head with the pooling that the run file asks for, if it does.
    fn with_own_pooling(&self, head: HeadConfig) -> HeadConfig {
        match self.run.model.pooling {
            Some(pooling) => head.with_pooling(pooling),
            None => head,
        }
    }

    /// The head that this run puts on a checkpoint.
    fn request(&self, labels: Vec<String>, head: &HeadConfig) -> Request {
        match self.run.task {
            Task::Ner => Request::Tokens { labels, decoding: self.run.model.decoding },
            Task::Classify => Request::Label(labels),
            Task::Multilabel => Request::Labels(labels),
            Task::Regression => match *head {
                HeadConfig::Regression { mean, std, .. } => Request::Number { mean, std },
                _ => Request::Number { mean: 0.0, std: 1.0 },
            },
            Task::Lm => Request::CausalLm,
            Task::Seq2seq => Request::Seq2SeqLm,
            Task::Embed => Request::Bare,
            Task::Qa => Request::Answer,
            Task::Rank | Task::MultipleChoice => match head {
                HeadConfig::Ranking { loss, score, features, .. } => {
                    Request::Ranking { loss: *loss, score: *score, features: features.clone() }
                }
                _ => Request::Number { mean: 0.0, std: 1.0 },
            },
            Task::Mlm => Request::MaskedLm,
            Task::PrefixLm => Request::CausalLm,
            Task::SpanCorruption | Task::Denoising => Request::Seq2SeqLm,
            Task::SentenceOrder => Request::Label(labels),
        }
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

    /// What identifies model, tokenizer, data and what is done to them, so that a run is not resumed with others. What the
    /// trainer itself compares (epochs, learning rate, …) is left to it.
    fn fingerprint(&self, config: &ModelConfig, codec: &Codec, set: &TrainingSet) -> anyhow::Result<String> {
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
        Ok(format!("{:016x}", set.fingerprint(key).bits(0)))
    }

    fn training_set(
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

    fn losses(&self, codec: &Codec, train: &Examples) -> anyhow::Result<LossOptions> {
        let section = &self.run.train;
        let class_weights = match (&section.class_weights, &codec.labels) {
            (Some(weights), Some(labels)) => Some(weights.resolve(labels, &as_trained(train))?),
            _ => None,
        };
        let (label_smoothing, focal_gamma) = (section.label_smoothing, section.focal_gamma);
        Ok(LossOptions { label_smoothing, focal_gamma, class_weights })
    }

    /// The model, and the paths of the parameters that come from no folder but were drawn.
    fn model<B: AutodiffBackend>(
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
        if let Some(from) = self.run.model.from.as_ref().filter(|from| is_checkpoint(from)) {
            return self.checkpoint_model(from, config, key, device);
        }
        let new = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, key, device);
        // All of it is new, and nothing of it is frozen.
        let Some(from) = &self.run.model.from else { return Ok((new, Vec::new())) };
        let (loaded_config, loaded) = load::<B>(from, device)?;
        let is_same = std::mem::discriminant(&loaded_config.head) == std::mem::discriminant(&config.head);
        Ok(take_over(new, loaded, is_same && loaded_config.labels == config.labels))
    }

    /// The model with a new adapter, if the run trains one, and with everything else frozen but the head and what is `new`.
    fn adapt<B: AutodiffBackend>(
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
        let from = self.run.model.from.as_ref().filter(|from| is_checkpoint(from));
        let Some(from) = from.filter(|_| self.run.train.adapter.is_some()) else { return Ok(None) };
        let request = self.request(config.labels.clone(), &config.head);
        Ok(Some(Checkpoint { config: config.clone(), ..read_config(from, Some(&request))? }))
    }

    /// The adapter as `peft` has it, under the names of the checkpoint that it was trained on; else under ours.
    fn write_adapter<B: Backend>(
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

    fn announce(&self, splits: &Splits, set: &TrainingSet, config: &ModelConfig, n_params: usize) {
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
            crate::report::positions(&config.stack),
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

    /// The run as it is, with all defaults and absolute paths.
    fn write_run_file(&self) -> anyhow::Result<()> {
        let mut run = self.run.clone();
        let data = &mut run.data;
        if data.set.is_some() {
            data.dir = self.data_dir().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
        }
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create {}", self.out.display()))?;
        let text = toml::to_string(&run).context("the run file cannot be written as TOML")?;
        Ok(locus_model::write_file(&self.out.join("run.toml"), text.as_bytes())?)
    }

    fn fit<B: AutodiffBackend>(
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

/// The head of this run on the stack of a folder with another head.
fn new_head(from: &Path, head: HeadConfig, other: &HeadConfig) -> Result<HeadConfig, UsageError> {
    let from = from.display();
    let Some(new) = on_stack_of(head.clone(), other) else {
        return Err(UsageError(format!(
            "model.from = {from} has the head {other:?}, on whose stack {head:?} cannot stand: one reads in both directions, \
             the other from left to right, or it has two stacks"
        )));
    };
    if new.pooling().is_some() && other.pooling().is_some() {
        tell!("note: of model.from = {from} all is taken but the scores");
        return Ok(new.with_layers_of(other));
    }
    tell!("note: of model.from = {from} the stack is taken, with its embeddings; the head is new");
    Ok(new)
}

fn for_trainer(evaluation: Evaluation) -> locus_train::Evaluation {
    locus_train::Evaluation {
        score: evaluation.score(),
        score_name: evaluation.score_name.to_owned(),
        table: Some(evaluation.to_string()),
        metrics: evaluation.metrics,
    }
}

/// A set without a dev part has one cut from train, by hash, so that it is the same in every run.
fn cut_dev(mut splits: Splits) -> anyhow::Result<Splits> {
    if splits.contains_key(&Part::Dev) {
        return Ok(splits);
    }
    let Some(train) = splits.remove(&Part::Train) else { return Ok(splits) };
    for (part, examples) in split(&train, Shares { test: 0.0, ..Shares::default() })? {
        if !examples.is_empty() {
            splits.entry(part).or_insert(examples);
        }
    }
    splits.entry(Part::Train).or_insert(train);
    Ok(splits)
}

/// The splits with nothing out of scope to train on. A label that no part has is a slip.
fn without_outside(mut splits: Splits, label: Option<&str>) -> anyhow::Result<Splits> {
    let Some(label) = label else { return Ok(splits) };
    let is_there = splits.values().any(|examples| match examples {
        Examples::Labelled(rows) => rows.iter().any(|row| row.label == label),
        _ => false,
    });
    if !is_there {
        return Err(UsageError(format!("data.out_of_scope = '{label}': no example has this label")).into());
    }
    if let Some(Examples::Labelled(rows)) = splits.get_mut(&Part::Train) {
        rows.retain(|row| row.label != label);
        if rows.is_empty() {
            bail!("all training examples have the label '{label}', which is not learned (data.out_of_scope)");
        }
    }
    Ok(splits)
}

/// Mean and standard deviation of the training numbers, which the model learns in units of them.
fn mean_and_std(rows: &[Scored]) -> anyhow::Result<(f64, f64)> {
    let n = rows.len().max(1) as f64;
    let mean = rows.iter().map(|row| row.label / n).sum::<f64>();
    let std = rows.iter().map(|row| (row.label - mean).powi(2) / n).sum::<f64>().sqrt();
    if std.is_finite() && std > 0.0 {
        return Ok((mean, std));
    }
    bail!(
        "the {} training numbers have the mean {mean} and the standard deviation {std}: a regression needs finite numbers \
         that differ",
        rows.len()
    )
}

/// Mean and standard deviation of each feature over the training candidates.
fn feature_scales(rankings: &[Ranking]) -> Vec<FeatureScale> {
    let rows: Vec<&[f64]> = rankings
        .iter()
        .flat_map(|ranking| &ranking.candidates)
        .map(|candidate| candidate.features.as_slice())
        .collect();
    let n = rows.len().max(1) as f64;
    let scale = |at: usize| {
        // Where their numbers differ, the codec says so.
        let values = || rows.iter().filter_map(|row| row.get(at));
        let mean = values().map(|x| x / n).sum::<f64>();
        let std = values().map(|x| (x - mean).powi(2) / n).sum::<f64>().sqrt();
        FeatureScale { mean, std: if std > 0.0 { std } else { 1.0 } }
    };
    (0..rows.first().map_or(0, |row| row.len())).map(scale).collect()
}

/// The examples as a model sees them: of tagged words, the units.
fn as_trained(examples: &Examples) -> Cow<'_, Examples> {
    match examples {
        Examples::Tagged(sentences) => Cow::Owned(Examples::Tagged(in_units(sentences))),
        _ => Cow::Borrowed(examples),
    }
}

/// Labels that only dev or test has: nothing could ever predict them.
fn refuse_unknown_labels(config: &ModelConfig, splits: &Splits) -> anyhow::Result<()> {
    if config.labels.is_empty() {
        return Ok(());
    }
    let known = LabelSet::new(config.labels.iter().cloned())?;
    let mut problems = Vec::new();
    for (part, examples) in splits.iter().filter(|(part, _)| **part != Part::Train) {
        let unknown = known.unknown(&as_trained(examples));
        let unknown = unknown.iter().filter(|unknown| config.out_of_scope.as_ref() != Some(&unknown.label));
        problems.extend(unknown.map(|label| {
            format!(
                "\n  - {part}: label '{}' on line {} ({} times) is not in train",
                label.label, label.line, label.count
            )
        }));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "labels that cannot be learned: add training examples for them or take them out{}",
        problems.concat()
    )
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
