//! `locus eval`.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_data::{Format, Kind, ReadOptions, read};
use locus_heads::TaskModel;
use locus_pipeline::Evaluation;

use super::data::options;
use super::{load, say};
use crate::UsageError;
use crate::args::EvalArgs;

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let device = &args.inference.device;
    let evaluation = run_on(device.backend.as_deref(), device.device.as_deref(), Eval(args))??;
    if args.json { say(serde_json::to_string_pretty(&evaluation)?) } else { say(evaluation) }
}

struct Eval<'a>(&'a EvalArgs);

impl Job for Eval<'_> {
    type Out = anyhow::Result<Evaluation>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let mut pipeline = load::<B::InnerBackend>(&self.0.model, &self.0.inference, &device)?;
        if self.0.beams != 1 && !matches!(pipeline.model, TaskModel::Seq2Seq(_)) {
            let task = pipeline.codec.task();
            return Err(
                UsageError(format!("--beams: this model does {task}, which writes no targets")).into()
            );
        }
        pipeline.codec.eval_beams = self.0.beams;
        let options = options(&self.0.read)?;
        let embeds = matches!(pipeline.model, TaskModel::SentenceEmbedder(_));
        let kind = match (options.format, options.kind) {
            // Questions with their contexts become pairs.
            (Some(Format::Squad), _) if embeds => Kind::Qa,
            // However it was trained, a model of vectors can be scored by search and by numbers of pairs.
            (_, Some(kind)) if embeds => kind,
            _ => pipeline.codec.kind(),
        };
        let mut examples = read(&self.0.data, &ReadOptions { kind: Some(kind), ..options })?;
        if embeds {
            examples = examples.into_pairs();
        }
        Ok(pipeline.evaluate(&examples)?.with_baseline(&examples)?.with_interval())
    }
}
