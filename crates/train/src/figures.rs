//! What burn-train's metrics see: plain figures of a step and of an evaluation, on the host.
//!
//! burn-train's own loss metric weighs every batch the same and reads tensors on the metric thread. These take numbers
//! that the loop has read anyway; means are weighted by tokens.

use std::sync::Arc;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_train::{ItemLazy, SupervisedTraining};

use crate::strategy::Parts;

/// The figures of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepFigures {
    pub(crate) loss: f64,
    pub(crate) lr: f64,
    pub(crate) grad_norm: f64,
    pub(crate) tokens: usize,
    pub(crate) tokens_per_second: f64,
    pub(crate) data_wait_secs: f64,
}

/// What an evaluation says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvaluationFigures {
    pub(crate) step: usize,
    pub(crate) score: f64,
    /// The score by its name, as it is printed: `loss 2.0133` where the score is −2.0133. Empty where nothing was scored.
    pub(crate) shown: String,
    pub(crate) best: bool,
    pub(crate) table: Option<String>,
}

impl ItemLazy for StepFigures {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl ItemLazy for EvaluationFigures {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl Adaptor<StepFigures> for StepFigures {
    fn adapt(&self) -> Self {
        *self
    }
}

impl Adaptor<EvaluationFigures> for EvaluationFigures {
    fn adapt(&self) -> Self {
        self.clone()
    }
}

/// Registers all metrics.
pub(crate) fn register<B, M>(training: SupervisedTraining<Parts<B, M>>) -> SupervisedTraining<Parts<B, M>>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
    M::InnerModule: 'static,
{
    training
        .metric_train_numeric(Figure::new("loss", |step| step.loss, |x| format!("{x:.4}")))
        .metric_train_numeric(Figure::new("lr", |step| step.lr, |x| format!("{x:.2e}")))
        .metric_train_numeric(Figure::new("grad norm", |step| step.grad_norm, |x| format!("{x:.3}")))
        .metric_train_numeric(Figure::new("tokens/s", |step| step.tokens_per_second, |x| format!("{x:.0}")))
        .metric_train_numeric(Figure::new("data wait", |step| step.data_wait_secs, |x| format!("{x:.3} s")))
        .metric_valid_numeric(Score { last: f64::NAN })
        .metric_valid(Table)
}

/// One figure of a step, and its mean over an evaluation round.
#[derive(Clone)]
struct Figure {
    name: &'static str,
    pick: fn(&StepFigures) -> f64,
    show: fn(f64) -> String,
    last: f64,
    sum: f64,
    tokens: usize,
}

impl Figure {
    fn new(name: &'static str, pick: fn(&StepFigures) -> f64, show: fn(f64) -> String) -> Self {
        Self { name, pick, show, last: 0.0, sum: 0.0, tokens: 0 }
    }
}

impl Metric for Figure {
    type Input = StepFigures;

    fn name(&self) -> MetricName {
        Arc::new(self.name.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: self.name == "tokens/s" }.into()
    }

    fn update(&mut self, step: &StepFigures, _: &MetricMetadata) -> SerializedEntry {
        self.last = (self.pick)(step);
        self.sum += self.last * step.tokens as f64;
        self.tokens += step.tokens;
        SerializedEntry::new(format!("{} {}", self.name, (self.show)(self.last)), self.value().serialize())
    }

    fn clear(&mut self) {
        (self.sum, self.tokens) = (0.0, 0);
    }
}

impl Numeric for Figure {
    fn value(&self) -> NumericEntry {
        NumericEntry::Value(self.last)
    }

    fn running_value(&self) -> NumericEntry {
        NumericEntry::Value(self.sum / self.tokens.max(1) as f64)
    }
}

/// The score of an evaluation.
#[derive(Clone)]
struct Score {
    last: f64,
}

impl Metric for Score {
    type Input = EvaluationFigures;

    fn name(&self) -> MetricName {
        Arc::new("score".to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: true }.into()
    }

    fn update(&mut self, evaluation: &EvaluationFigures, _: &MetricMetadata) -> SerializedEntry {
        self.last = evaluation.score;
        SerializedEntry::new(evaluation.shown.clone(), self.value().serialize())
    }

    fn clear(&mut self) {}
}

impl Numeric for Score {
    fn value(&self) -> NumericEntry {
        NumericEntry::Value(self.last)
    }

    fn running_value(&self) -> NumericEntry {
        self.value()
    }
}

/// The text of an evaluation.
#[derive(Clone)]
struct Table;

impl Metric for Table {
    type Input = EvaluationFigures;

    fn name(&self) -> MetricName {
        Arc::new("evaluation".to_owned())
    }

    fn update(&mut self, evaluation: &EvaluationFigures, _: &MetricMetadata) -> SerializedEntry {
        let EvaluationFigures { step, shown, best, table, .. } = evaluation;
        let shown = if shown.is_empty() { "nothing to score on" } else { shown };
        let best = if *best { " · best so far" } else { "" };
        let table = table.as_ref().map_or(String::new(), |table| format!("\n{}", table.trim_end()));
        SerializedEntry::new(format!("after step {step}: {shown}{best}{table}"), String::new())
    }

    fn clear(&mut self) {}
}
