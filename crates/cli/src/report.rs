//! `report.json`, `samples.json` and `report.txt`: what a run, or an evaluation, came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use locus_data::Part;
use locus_encoder::StackConfig;
use locus_pipeline::Evaluation;
use locus_train::{FitReport, Stopped};
use serde::Serialize;

use crate::experiment::Experiment;
use crate::init::InitReport;

/// The report of a run. `metrics` and the tables are those of the test part where there is one, else of dev.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    recipe: String,
    description: String,
    /// What repeats the run, without the folders of this machine.
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_set: Option<String>,
    position: String,
    n_params: usize,
    backend: &'static str,
    threads: usize,
    seed: u64,
    #[serde(flatten)]
    scored: Scored,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_score: Option<f64>,
    dev_metrics: BTreeMap<String, f64>,
    /// What the model began with.
    #[serde(skip_serializing_if = "InitReport::is_empty")]
    init: InitReport,
    train: Training,
    #[serde(skip)]
    text: String,
}

/// What `locus eval` writes: the same of a model that is there.
#[derive(Debug, Serialize)]
pub(crate) struct EvalReport {
    pub(crate) model: String,
    pub(crate) command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_set: Option<String>,
    pub(crate) position: String,
    pub(crate) n_params: usize,
    pub(crate) backend: &'static str,
    pub(crate) threads: usize,
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) scored: Scored,
}

/// The scores on one part.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Scored {
    #[serde(flatten)]
    score: Option<Score>,
    /// Of which part; files have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'static str>,
    metrics: BTreeMap<String, f64>,
    #[serde(flatten)]
    tables: BTreeMap<&'static str, serde_json::Value>,
    /// What the score was computed from.
    #[serde(skip)]
    samples: Option<serde_json::Value>,
}

/// The metric that decides.
#[derive(Debug, Serialize)]
struct Score {
    score_name: &'static str,
    score: f64,
    /// 95 %, by the bootstrap over examples.
    interval: Option<[f64; 2]>,
    n_examples: usize,
    /// Of the texts and labels that it was computed from.
    examples_hash: String,
}

impl Scored {
    pub(crate) fn new(part: Option<Part>, evaluation: Evaluation) -> Self {
        let score = Score {
            score_name: evaluation.score_name,
            score: evaluation.value(),
            interval: evaluation.interval.map(Into::into),
            n_examples: evaluation.n_examples,
            examples_hash: evaluation.examples_hash.clone(),
        };
        Self {
            score: Some(score),
            part: part.map(Part::name),
            metrics: evaluation.metrics.clone(),
            samples: evaluation.samples.as_ref().and_then(|samples| serde_json::to_value(samples).ok()),
            tables: tables(evaluation),
        }
    }
}

#[derive(Debug, Serialize)]
struct Training {
    steps: usize,
    epochs: usize,
    tokens: u64,
    seconds: f64,
    tokens_per_second: f64,
    skipped_steps: usize,
    peak_memory_bytes: Option<u64>,
    best_step: Option<usize>,
    stopped: Stopped,
}

impl Report {
    pub(crate) fn new<I>(
        experiment: &Experiment,
        n_params: usize,
        fitted: &FitReport<I>,
        dev: Option<Evaluation>,
        test: Option<Evaluation>,
    ) -> Self {
        let run = &experiment.run;
        let train = Training {
            steps: fitted.steps,
            epochs: fitted.epochs,
            tokens: fitted.tokens,
            seconds: fitted.seconds,
            tokens_per_second: fitted.tokens_per_second,
            skipped_steps: fitted.skipped_steps,
            peak_memory_bytes: fitted.peak_memory_bytes,
            best_step: fitted.best_step,
            stopped: fitted.stopped,
        };
        let (dev, test) = match test {
            Some(test) => (dev, Some(test.with_interval())),
            None => (dev.map(Evaluation::with_interval), None),
        };
        let text = text(&train, dev.as_ref(), test.as_ref());
        let dev_score = dev.as_ref().map(Evaluation::value);
        let dev_metrics = dev.as_ref().map(|dev| dev.metrics.clone()).unwrap_or_default();
        let last = test.map(|test| (Part::Test, test)).or(dev.map(|dev| (Part::Dev, dev)));
        Self {
            recipe: experiment.recipe.clone(),
            description: run.description.clone(),
            command: experiment.command.clone(),
            data_set: run.data.set.clone(),
            position: positions(&run.model.stack),
            n_params,
            backend: experiment.backend,
            threads: rayon::current_num_threads(),
            seed: run.train.fit.seed,
            scored: last.map(|(part, last)| Scored::new(Some(part), last)).unwrap_or_default(),
            dev_score,
            dev_metrics,
            init: InitReport::default(),
            train,
            text,
        }
    }

    /// The report with what the model began with.
    pub(crate) fn with_init(self, init: InitReport) -> Self {
        Self { init, ..self }
    }

    /// The report as a person reads it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Writes all files.
    pub(crate) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        write(dir, self, &self.scored, &self.text)
    }
}

impl EvalReport {
    /// Writes all files; `text` is what a person reads.
    pub(crate) fn write(&self, dir: &Path, text: &str) -> anyhow::Result<()> {
        write(dir, self, &self.scored, text)
    }
}

fn write(dir: &Path, report: &impl Serialize, scored: &Scored, text: &str) -> anyhow::Result<()> {
    locus_model::write_file(&dir.join("report.json"), &serde_json::to_vec_pretty(report)?)?;
    let samples_file = dir.join("samples.json");
    match &scored.samples {
        Some(samples) => locus_model::write_file(&samples_file, &serde_json::to_vec(samples)?)?,
        None if samples_file.exists() => std::fs::remove_file(&samples_file)?,
        None => {}
    }
    Ok(locus_model::write_file(&dir.join("report.txt"), text.as_bytes())?)
}

/// The names of a stack's schemes.
pub(crate) fn positions(stack: &StackConfig) -> String {
    let mut names: Vec<&str> = stack.schemes().0.iter().map(|scheme| scheme.name()).collect();
    names.dedup();
    names.join(" + ")
}

fn tables(evaluation: Evaluation) -> BTreeMap<&'static str, serde_json::Value> {
    let tables = [
        ("entity_report", evaluation.entity_report),
        ("token_report", evaluation.token_report),
        ("class_report", evaluation.class_report),
        ("label_report", evaluation.label_report),
    ];
    let signatures =
        (!evaluation.signatures.is_empty()).then_some(("signatures", evaluation.signatures.into()));
    let baseline = serde_json::to_value(&evaluation.baseline).ok();
    let baseline = baseline.filter(|_| !evaluation.baseline.is_empty()).map(|scores| ("baseline", scores));
    let present = tables.into_iter().filter_map(|(name, table)| Some((name, table?)));
    let present = present.filter_map(|(name, table)| Some((name, serde_json::to_value(table).ok()?)));
    present.chain(signatures).chain(baseline).collect()
}

fn text(train: &Training, dev: Option<&Evaluation>, test: Option<&Evaluation>) -> String {
    let mut text = String::new();
    for (part, evaluation) in [("dev", dev), ("test", test)] {
        if let Some(evaluation) = evaluation {
            let _ = writeln!(text, "== {part}\n{evaluation}\n");
        }
    }
    let _ = write!(
        text,
        "== training\n{} steps, {} tokens in {:.0} s ({:.0} tokens/s)",
        train.steps, train.tokens, train.seconds, train.tokens_per_second
    );
    if let Some(step) = train.best_step {
        let _ = write!(text, "; best model after step {step}");
    }
    if let Some(bytes) = train.peak_memory_bytes {
        let _ = write!(text, "; peak memory {} MiB", bytes >> 20);
    }
    text.push('\n');
    text
}
