//! The run file: everything about a run, as a person writes it in TOML.
//!
//! Layers, each over the one before: the defaults of the code, the recipe or file, `--set key=value`. [`load`] reports
//! every problem of all layers at once. The resolved file, with all defaults written out, is saved beside the run.

mod init;
mod layers;
mod objective;
mod problems;
mod ranking;

use std::path::PathBuf;

use locus_backend::ops::Products;
use locus_data::{ReadOptions, TokenizerConfig};
use locus_encoder::StackConfig;
use locus_heads::{
    AdapterConfig, EmbeddingLayer, HeadConfig, InBatchNegatives, Pooling, SentenceEmbeddingConfig,
    TagDecoding, TokenPooling,
};
use locus_model::QuestionConfig;
use locus_pipeline::{Objective, Packing, Tuning};
use locus_train::FitConfig;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::class_weights::ClassWeights;

pub(crate) use init::{InitSection, PositionFit, VectorScale};
pub(crate) use layers::{Source, load, parse_assignment, read_options, set};
pub(crate) use problems::{ConfigErrors, Problem};
pub(crate) use ranking::RankingSection;

/// What a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// A tag for every word.
    #[default]
    Ner,
    /// A label for every text.
    Classify,
    /// Any number of labels for every text.
    Multilabel,
    /// A number for every text.
    Regression,
    /// The next token.
    Lm,
    /// A text from a text.
    Seq2seq,
    /// A vector for every text.
    Embed,
    /// The part of a context that answers a question.
    Qa,
    /// A score for every candidate of a query.
    Rank,
    /// The right one of several choices.
    MultipleChoice,
    /// The tokens behind masks.
    Mlm,
    /// The rest of a text, after a start that is read in both directions.
    PrefixLm,
    /// The spans that sentinels stand for.
    SpanCorruption,
    /// A whole text from a damaged one.
    Denoising,
    /// Whether neighbouring segments are in their order.
    SentenceOrder,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunFile {
    /// What the run is for.
    pub(crate) task: Task,
    /// One line about it.
    pub(crate) description: String,
    /// What is learned from text alone; the usual of the task where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objective: Option<Objective>,
    /// Where the examples come from.
    pub(crate) data: DataSection,
    /// How text becomes tokens.
    pub(crate) tokenizer: TokenizerSection,
    /// The model.
    pub(crate) model: ModelSection,
    /// The training.
    pub(crate) train: TrainSection,
}

/// Where the examples come from: a known set, or files.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct DataSection {
    /// A set with a manifest (`locus data list`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<String>,
    /// The folder in which the set lies; `--data-dir` where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    /// A file or folder to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<PathBuf>,
    /// A file or folder to choose on; cut from `train` by hash where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dev: Option<PathBuf>,
    /// A file or folder that is read once, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test: Option<PathBuf>,
    /// Of dev and of test the first so many examples alone are scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_eval_examples: Option<usize>,
    /// A folder of `locus data pack` to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) corpus: Option<PathBuf>,
    /// How documents become rows of a language model.
    pub(crate) packing: Packing,
    /// The language of targets: translations are scored by BLEU and chrF where it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_language: Option<String>,
    /// The probability that an input token is replaced by the unknown token in training.
    pub(crate) token_dropout: f64,
    /// The label of texts that fit none of the others: it is not learned, and scores tell how such texts are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out_of_scope: Option<String>,
    /// How files are read.
    #[serde(flatten)]
    pub(crate) read: ReadOptions,
}

/// The keys of `[data]` that are not those of [`ReadOptions`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DataKeys {
    set: Option<String>,
    dir: Option<PathBuf>,
    train: Option<PathBuf>,
    dev: Option<PathBuf>,
    test: Option<PathBuf>,
    max_eval_examples: Option<usize>,
    corpus: Option<PathBuf>,
    packing: Packing,
    target_language: Option<String>,
    token_dropout: f64,
    out_of_scope: Option<String>,
}

impl<'de> Deserialize<'de> for DataSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = [
            "set",
            "dir",
            "train",
            "dev",
            "test",
            "max_eval_examples",
            "corpus",
            "packing",
            "target_language",
            "token_dropout",
            "out_of_scope",
        ];
        let (keys, read) = split(deserializer, &own, "`format`")?;
        let DataKeys {
            set,
            dir,
            train,
            dev,
            test,
            max_eval_examples,
            corpus,
            packing,
            target_language,
            token_dropout,
            out_of_scope,
        } = keys;
        Ok(Self {
            set,
            dir,
            train,
            dev,
            test,
            max_eval_examples,
            corpus,
            packing,
            target_language,
            token_dropout,
            out_of_scope,
            read,
        })
    }
}

/// How text becomes tokens: by a tokenizer that is trained on the training texts, or by a `file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct TokenizerSection {
    /// A tokenizer file or folder to load instead of training one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// What to train.
    #[serde(flatten)]
    pub(crate) config: TokenizerConfig,
}

/// The keys of `[tokenizer]` that are not those of [`TokenizerConfig`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenizerKeys {
    file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for TokenizerSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (TokenizerKeys { file }, config) = split(deserializer, &["file"], "`kind`")?;
        Ok(Self { file, config })
    }
}

/// The model: `from` a folder, or new.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ModelSection {
    /// A model folder whose weights, tokenizer and sizes are taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<PathBuf>,
    /// How a tagger's scores of words become tags.
    pub(crate) decoding: TagDecoding,
    /// How a classifier makes one vector of a row: as in `from`, or else the mean, where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pooling: Option<Pooling>,
    /// How it is decided on dev from which probability on a label is given, where a text may have several.
    pub(crate) thresholds: Tuning,
    /// Whether a language model's token table serves as output too.
    pub(crate) tied: bool,
    /// The stack.
    #[serde(flatten)]
    pub(crate) stack: StackConfig,
    /// Tables that do not begin at random.
    #[serde(skip_serializing_if = "InitSection::is_default")]
    pub(crate) init: InitSection,
    /// How long contexts are read and answers chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) questions: QuestionConfig,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The keys of a section that are not those of the configuration it contains.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ModelKeys {
    from: Option<PathBuf>,
    decoding: TagDecoding,
    pooling: Option<Pooling>,
    thresholds: Tuning,
    tied: bool,
    init: InitSection,
    questions: QuestionConfig,
}

impl Default for ModelKeys {
    fn default() -> Self {
        Self {
            from: None,
            decoding: TagDecoding::default(),
            pooling: None,
            thresholds: Tuning::default(),
            tied: true,
            init: InitSection::default(),
            questions: QuestionConfig::default(),
        }
    }
}

impl ModelSection {
    fn new(own: ModelKeys, stack: StackConfig) -> Self {
        let ModelKeys { from, decoding, pooling, thresholds, tied, init, questions } = own;
        Self { from, decoding, pooling, thresholds, tied, stack, init, questions }
    }

    /// The keys that are set otherwise than they are in this head.
    pub(crate) fn unheeded(&self, head: &HeadConfig) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let pools_otherwise = |pooling| match head {
            HeadConfig::SentenceEmbedding(config) => config.pooling != [of_tokens(pooling)],
            head => head.pooling().is_some_and(|own| own != pooling),
        };
        if self.pooling.is_some_and(pools_otherwise) {
            keys.push("pooling");
        }
        // As it usually is, it may not have been set.
        if let HeadConfig::MaskedLm { tied: true, .. }
        | HeadConfig::CausalLm { tied: true, .. }
        | HeadConfig::Seq2Seq { tied: true, .. } = head
            && !self.tied
        {
            keys.push("tied");
        }
        keys
    }
}

/// The same pooling in a sentence embedder.
fn of_tokens(pooling: Pooling) -> TokenPooling {
    match pooling {
        Pooling::Mean => TokenPooling::Mean,
        Pooling::First => TokenPooling::Cls,
        Pooling::Last => TokenPooling::Last,
    }
}

impl Default for ModelSection {
    fn default() -> Self {
        Self::new(ModelKeys::default(), StackConfig::default())
    }
}

impl<'de> Deserialize<'de> for ModelSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = ["from", "decoding", "pooling", "thresholds", "tied", "init", "questions"];
        let (own, stack) = split(deserializer, &own, "`d_model`")?;
        Ok(Self::new(own, stack))
    }
}

/// The training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TrainSection {
    /// Items in a batch.
    pub(crate) batch_size: usize,
    /// Items computed together in evaluation.
    pub(crate) eval_batch_size: usize,
    /// Open texts of the search by which targets are written for the scores at the end; in training none, for speed.
    pub(crate) eval_beams: usize,
    /// Label smoothing.
    pub(crate) label_smoothing: f64,
    /// How much less counts what is predicted well.
    pub(crate) focal_gamma: f64,
    /// How much each label counts; all the same where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class_weights: Option<ClassWeights>,
    /// In what the factors of matrix products are held.
    pub(crate) precision: Precision,
    /// The loss of pairs.
    #[serde(skip_serializing_if = "is_usual")]
    pub(crate) in_batch_negatives: InBatchNegatives,
    /// How candidates are trained.
    #[serde(skip_serializing_if = "is_usual")]
    pub(crate) ranking: RankingSection,
    /// What is trained instead of the weights of `model.from`; the weights themselves where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<AdapterConfig>,
    /// Schedule, optimizer, checkpoints.
    #[serde(flatten)]
    pub(crate) fit: FitConfig,
}

/// In what the factors of matrix products are held in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16, with weights and sums in f32.
    Bf16,
}

impl From<Precision> for Products {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TrainKeys {
    batch_size: usize,
    eval_batch_size: usize,
    eval_beams: usize,
    label_smoothing: f64,
    focal_gamma: f64,
    class_weights: Option<ClassWeights>,
    precision: Precision,
    in_batch_negatives: InBatchNegatives,
    ranking: RankingSection,
    adapter: Option<AdapterConfig>,
}

impl Default for TrainKeys {
    fn default() -> Self {
        Self {
            batch_size: 16,
            eval_batch_size: 32,
            eval_beams: 1,
            label_smoothing: 0.0,
            focal_gamma: 0.0,
            class_weights: None,
            precision: Precision::F32,
            in_batch_negatives: InBatchNegatives::default(),
            ranking: RankingSection::default(),
            adapter: None,
        }
    }
}

impl TrainSection {
    fn new(own: TrainKeys, fit: FitConfig) -> Self {
        let TrainKeys {
            batch_size,
            eval_batch_size,
            eval_beams,
            label_smoothing,
            focal_gamma,
            class_weights,
            precision,
            in_batch_negatives,
            ranking,
            adapter,
        } = own;
        Self {
            batch_size,
            eval_batch_size,
            eval_beams,
            label_smoothing,
            focal_gamma,
            class_weights,
            precision,
            in_batch_negatives,
            ranking,
            adapter,
            fit,
        }
    }
}

impl Default for TrainSection {
    fn default() -> Self {
        Self::new(TrainKeys::default(), FitConfig::default())
    }
}

impl<'de> Deserialize<'de> for TrainSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = [
            "batch_size",
            "eval_batch_size",
            "eval_beams",
            "label_smoothing",
            "focal_gamma",
            "class_weights",
            "precision",
            "in_batch_negatives",
            "ranking",
            "adapter",
        ];
        let (own, fit) = split(deserializer, &own, "`epochs`")?;
        Ok(Self::new(own, fit))
    }
}

/// A table whose named keys make one value and whose other keys make another. Both refuse unknown keys, which serde's
/// `flatten` cannot.
fn split<'de, D: Deserializer<'de>, Own: DeserializeOwned, Rest: DeserializeOwned>(
    deserializer: D,
    own_keys: &[&str],
    a_rest_key: &str,
) -> Result<(Own, Rest), D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let (own, rest): (toml::Table, toml::Table) =
        table.into_iter().partition(|(key, _)| own_keys.contains(&key.as_str()));
    let own = own.try_into().map_err(Error::custom)?;
    let rest = rest.try_into().map_err(|error: toml::de::Error| {
        // Unknown keys are answered with all keys of the section.
        let text = error.message().to_owned();
        if !text.contains(a_rest_key) {
            return Error::custom(text);
        }
        let own_keys: Vec<String> = own_keys.iter().map(|key| format!("`{key}`")).collect();
        Error::custom(text.replace("expected one of ", &format!("expected one of {}, ", own_keys.join(", "))))
    })?;
    Ok((own, rest))
}

/// Whether a value is what it is where nothing is said.
fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A value as the run file has it.
fn shown(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}

impl RunFile {
    /// Everything wrong with the values, beyond their types.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, found: String, allowed: &str| {
            if !fits {
                problems.push(Problem::new(key, found, allowed));
            }
        };
        let data = &self.data;
        let sources = [data.set.is_some(), data.train.is_some(), data.corpus.is_some()];
        let n_sources = sources.into_iter().filter(|is_given| *is_given).count();
        let allowed = "exactly one of data.train (a file), data.set (a name from `locus data list`) and data.corpus \
                       (a folder of `locus data pack`)";
        let found = match n_sources {
            0 => "neither",
            2 => "both",
            _ => "all",
        };
        unless(n_sources == 1, "data", found.to_owned(), allowed);
        let kind = data.read.kind.map(|kind| kind.to_string()).unwrap_or_default();
        unless(kind.is_empty(), "data.kind", kind, "no such key: `task` decides which examples are read");
        unless(
            data.max_eval_examples != Some(0),
            "data.max_eval_examples",
            "0".to_owned(),
            "1 or more, or no such key",
        );
        let share = |x: f64| (0.0..1.0).contains(&x);
        unless(
            share(data.token_dropout),
            "data.token_dropout",
            data.token_dropout.to_string(),
            "0 or more and below 1",
        );
        let TrainSection { label_smoothing: smoothing, focal_gamma: gamma, class_weights, .. } = &self.train;
        unless(share(*smoothing), "train.label_smoothing", smoothing.to_string(), "0 or more and below 1");
        unless(
            (0.0..=100.0).contains(gamma),
            "train.focal_gamma",
            format!("{gamma:?}"),
            "0 to 100; 2 is usual",
        );
        for weight in class_weights.iter().flat_map(ClassWeights::out_of_range) {
            unless(false, "train.class_weights", weight.to_string(), "weights of 0 or more");
        }
        let (focal, smooth) = (*gamma > 0.0, *smoothing > 0.0);
        match self.task {
            Task::Multilabel => {}
            Task::Ner if self.model.decoding == TagDecoding::Crf => {
                let allowed = "none where model.decoding is crf, whose loss is that of whole sequences";
                unless(!focal, "train.focal_gamma", gamma.to_string(), allowed);
                unless(!smooth, "train.label_smoothing", smoothing.to_string(), allowed);
                unless(class_weights.is_none(), "train.class_weights", "weights".to_owned(), allowed);
            }
            Task::Ner | Task::Classify => {
                let allowed = "0 where train.label_smoothing is not: the two contradict each other";
                unless(!(focal && smooth), "train.focal_gamma", gamma.to_string(), allowed);
            }
            Task::Regression
            | Task::Lm
            | Task::Seq2seq
            | Task::Embed
            | Task::Qa
            | Task::Rank
            | Task::MultipleChoice
            | Task::Mlm
            | Task::PrefixLm
            | Task::SpanCorruption
            | Task::Denoising
            | Task::SentenceOrder => {
                let allowed = "none: only ner, classify and multilabel have it";
                unless(!focal, "train.focal_gamma", gamma.to_string(), allowed);
                unless(class_weights.is_none(), "train.class_weights", "weights".to_owned(), allowed);
                let smooth = smooth
                    && (self.task.ranks() || matches!(self.task, Task::Regression | Task::Embed | Task::Qa));
                let allowed = match self.task {
                    Task::Embed => "0: pairs have no labels",
                    Task::Rank | Task::MultipleChoice => "0: candidates have no labels",
                    _ => "0: numbers and places are no labels",
                };
                unless(!smooth, "train.label_smoothing", smoothing.to_string(), allowed);
            }
        }
        for (key, found, tasks) in self.keys_of_other_tasks() {
            unless(false, key, found, &format!("none: it is only for {tasks}"));
        }
        if let Some(adapter) = &self.train.adapter {
            let allowed =
                "a model to adapt in model.from, or no such key: what has not been trained cannot be adapted";
            let found = adapter.name().to_owned();
            unless(self.model.from.is_some(), "train.adapter", found, allowed);
            for problem in adapter.check() {
                unless(false, &format!("train.adapter.{}", problem.key), problem.found, &problem.allowed);
            }
        }
        for (key, size) in [
            ("train.batch_size", self.train.batch_size),
            ("train.eval_batch_size", self.train.eval_batch_size),
        ] {
            unless(size > 0, key, size.to_string(), "at least 1");
        }
        let beams = self.train.eval_beams;
        unless((1..=1000).contains(&beams), "train.eval_beams", beams.to_string(), "1 to 1000");
        problems.extend(self.check_objective());
        problems.extend(self.check_ranking());
        let of_questions = self.model.questions.check().into_iter();
        problems.extend(of_questions.map(|p| Problem::new(&format!("model.{}", p.key), p.found, &p.allowed)));
        let of_tokenizer = self.tokenizer.config.check().into_iter();
        problems
            .extend(of_tokenizer.map(|p| Problem::new(&format!("tokenizer.{}", p.key), p.found, &p.allowed)));
        let of_stack = self.placeholder_head().check(&self.model.stack);
        problems.extend(of_stack.into_iter().map(|p| {
            let key = match &p.key[..] {
                "loss.scale" => "train.in_batch_negatives.scale".to_owned(),
                key => format!("model.{key}"),
            };
            Problem::new(&key, p.found, &p.allowed)
        }));
        // Which schemes there are can be told of a sound stack only.
        if problems.is_empty() {
            problems.extend(self.model.init.check(&self.model));
        }
        let of_fit = self.train.fit.check();
        problems.extend(
            of_fit.into_iter().map(|p| Problem::new(&format!("train.{}", p.key), p.found, &p.allowed)),
        );
        problems
    }

    /// Keys with a value of their own that this task does not read: key, value, and the tasks that read it.
    fn keys_of_other_tasks(&self) -> Vec<(&'static str, String, &'static str)> {
        let (model, usual) = (&self.model, ModelSection::default());
        let pools = matches!(
            self.task,
            Task::Classify | Task::Multilabel | Task::Regression | Task::SentenceOrder | Task::Embed
        ) || self.task.ranks();
        let scores_tokens = matches!(
            self.task,
            Task::Lm | Task::Seq2seq | Task::Mlm | Task::PrefixLm | Task::SpanCorruption | Task::Denoising
        );
        let mut keys = Vec::new();
        if self.task != Task::Ner && model.decoding != usual.decoding {
            keys.push(("model.decoding", shown(&model.decoding), "ner"));
        }
        if let Some(pooling) = model.pooling.filter(|pooling| !pools && *pooling != Pooling::default()) {
            keys.push((
                "model.pooling",
                shown(&pooling),
                "classify, multilabel, regression, sentence_order, embed, rank and multiple_choice",
            ));
        }
        if self.task != Task::Multilabel && model.thresholds != usual.thresholds {
            keys.push(("model.thresholds", shown(&model.thresholds), "multilabel"));
        }
        let in_batch = &self.train.in_batch_negatives;
        if self.task != Task::Embed && !is_usual(in_batch) {
            keys.push(("train.in_batch_negatives", shown(in_batch), "embed"));
        }
        let ranking = &self.train.ranking;
        if !self.task.ranks() && !is_usual(ranking) {
            keys.push(("train.ranking", shown(ranking), "rank and multiple_choice"));
        }
        if !scores_tokens && model.tied != usual.tied {
            keys.push((
                "model.tied",
                shown(&model.tied),
                "tasks with scores of tokens, such as lm and seq2seq",
            ));
        }
        if self.task != Task::Qa && model.questions != usual.questions {
            keys.push(("model.questions", shown(&model.questions), "qa"));
        }
        if self.task != Task::Seq2seq && self.train.eval_beams != 1 {
            keys.push(("train.eval_beams", self.train.eval_beams.to_string(), "seq2seq"));
        }
        if self.task != Task::Lm && self.data.packing != Packing::default() {
            keys.push(("data.packing", shown(&self.data.packing), "lm"));
        }
        if let Some(language) = self.data.target_language.as_ref().filter(|_| self.task != Task::Seq2seq) {
            keys.push(("data.target_language", shown(language), "seq2seq"));
        }
        if let Some(label) = self.data.out_of_scope.as_ref().filter(|_| self.task != Task::Classify) {
            keys.push(("data.out_of_scope", shown(label), "classify"));
        }
        keys
    }

    /// The head, before the number of labels is known.
    pub(crate) fn placeholder_head(&self) -> HeadConfig {
        self.head(1)
    }

    /// The head for a number of labels.
    pub(crate) fn head(&self, n_labels: usize) -> HeadConfig {
        use locus_heads::{HeadActivation, TransformConfig};
        let pooling = self.model.pooling.unwrap_or_default();
        match self.task {
            Task::Ner => HeadConfig::TokenClassification {
                n_labels,
                decoding: self.model.decoding,
                layers: Default::default(),
            },
            Task::Classify => {
                HeadConfig::SequenceClassification { n_labels, pooling, layers: Default::default() }
            }
            Task::Multilabel => {
                HeadConfig::MultiLabelClassification { n_labels, pooling, layers: Default::default() }
            }
            Task::Regression => {
                HeadConfig::Regression { pooling, mean: 0.0, std: 1.0, layers: Default::default() }
            }
            Task::Embed => HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig {
                pooling: vec![of_tokens(pooling)],
                layers: vec![EmbeddingLayer::Normalize],
                loss: self.train.in_batch_negatives,
                ..SentenceEmbeddingConfig::default()
            }),
            Task::Mlm => HeadConfig::MaskedLm {
                tied: self.model.tied,
                bias: true,
                // As in BERT.
                transform: TransformConfig { activation: HeadActivation::Gelu, bias: true, norm: true },
            },
            Task::SentenceOrder => {
                HeadConfig::SequenceClassification { n_labels, pooling, layers: Default::default() }
            }
            Task::Lm | Task::PrefixLm => {
                HeadConfig::CausalLm { tied: self.model.tied, output: Default::default() }
            }
            Task::Seq2seq | Task::SpanCorruption | Task::Denoising => {
                HeadConfig::Seq2Seq { tied: self.model.tied, output: Default::default() }
            }
            Task::Qa => HeadConfig::QuestionAnswering { layers: Default::default() },
            Task::Rank | Task::MultipleChoice => self.ranking_head(),
        }
    }
}
