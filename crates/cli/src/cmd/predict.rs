//! `locus predict`.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_heads::TaskModel;
use locus_pipeline::{Prediction, WriteOptions};

use super::lines::Lines;
use super::write::{one_line, options};
use super::{load, say};
use crate::UsageError;
use crate::args::{PredictArgs, WriteArgs};

pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let options = options(&args.write, &WriteOptions::default())?;
    let device = &args.inference.device;
    run_on(device.backend.as_deref(), device.device.as_deref(), Predict { args, options })?
}

struct Predict<'a> {
    args: &'a PredictArgs,
    options: WriteOptions,
}

impl Job for Predict<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let pipeline = load::<B::InnerBackend>(&self.args.model, &self.args.inference, &device)?;
        let generates = matches!(pipeline.model, TaskModel::CausalLm(_) | TaskModel::Seq2Seq(_));
        if !generates && self.args.write != WriteArgs::default() {
            let task = pipeline.codec.task();
            return Err(
                UsageError(format!("this model does {task}: it takes no options of generation")).into()
            );
        }
        if self.args.pairs && !matches!(pipeline.model, TaskModel::SequenceClassifier(_)) {
            let task = pipeline.codec.task();
            return Err(UsageError(format!(
                "--pairs: this model does {task}; classify, multilabel and regression take pairs of texts"
            ))
            .into());
        }
        let mut lines = Lines::open(&self.args.input)?;
        loop {
            let texts = lines.next_group()?;
            if texts.is_empty() {
                return Ok(());
            }
            let predictions = match (generates, self.args.pairs) {
                (true, _) => pipeline.write(&texts, &self.options)?,
                (false, true) => pipeline.predict_pairs(&lines.in_pairs(&texts)?)?,
                (false, false) => pipeline.predict(&texts)?,
            };
            let is_cut = |prediction: &&Prediction| matches!(prediction, Prediction::Text { cut: true, .. });
            match predictions.iter().filter(is_cut).count() {
                0 => {}
                n => {
                    tell!("note: {n} of {} texts were longer than the model reads, and were cut", texts.len())
                }
            }
            for prediction in predictions {
                say(if self.args.json { prediction.to_json() } else { shown(&prediction) })?;
            }
        }
    }
}

/// An answer as a person reads it: one line.
fn shown(prediction: &Prediction) -> String {
    match prediction {
        Prediction::Entities { text, entities, .. } => {
            let entities: Vec<String> =
                entities.iter().map(|e| format!("{} [{} {:.2}]", e.text, e.label, e.score)).collect();
            format!("{text}\t{}", if entities.is_empty() { "-".to_owned() } else { entities.join("; ") })
        }
        Prediction::Label { text, pair, label, score, .. } => {
            format!("{label} {score:.2}\t{}", both(text, pair.as_deref()))
        }
        Prediction::Labels { text, pair, labels, .. } => {
            let labels: Vec<String> = labels.iter().map(|l| format!("{} {:.2}", l.label, l.score)).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join("; ") };
            format!("{labels}\t{}", both(text, pair.as_deref()))
        }
        Prediction::Number { text, pair, value } => format!("{value:.4}\t{}", both(text, pair.as_deref())),
        Prediction::Text { text, generated, .. } => {
            let generated: Vec<String> = generated.iter().map(one_line).collect();
            format!("{text}\t{}", generated.join("\t"))
        }
    }
}

/// A text, or the two of a pair as they were given.
fn both(text: &str, pair: Option<&str>) -> String {
    pair.map_or_else(|| text.to_owned(), |pair| format!("{text}\t{pair}"))
}
