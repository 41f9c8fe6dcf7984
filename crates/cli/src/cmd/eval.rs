//! `locus eval`.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use clap::ValueEnum;
use locus_backend::device::{Job, resolve, run_on};
use locus_data::{Examples, Format, Kind, ReadOptions, read};
use locus_heads::TaskModel;
use locus_pipeline::{Evaluation, Pipeline};

use super::data::options;
use super::shell::{quoted, relative};
use super::{load, say};
use crate::UsageError;
use crate::args::EvalArgs;
use crate::report::{EvalReport, Scored, positions};
use crate::samples::read_part;

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        make(out)?;
    }
    let device = &args.inference.device;
    let (evaluation, facts) = run_on(device.backend.as_deref(), device.device.as_deref(), Eval(args))??;
    if let Some(out) = &args.out {
        report(args, facts, evaluation.clone())?.write(out, &format!("{evaluation}\n"))?;
        tell!("report     {}", out.join("report.txt").display());
    }
    if args.json { say(serde_json::to_string_pretty(&evaluation)?) } else { say(evaluation) }
}

struct Eval<'a>(&'a EvalArgs);

/// What the report says of the model.
struct Facts {
    position: String,
    n_params: usize,
    seconds: f64,
}

impl Job for Eval<'_> {
    type Out = anyhow::Result<(Evaluation, Facts)>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let of_set =
            self.0.data_set.as_ref().map(|name| read_part(name, self.0.part, self.0.data_dir.as_deref()));
        let of_set = of_set.transpose()?;
        let mut pipeline = load::<B::InnerBackend>(&self.0.model, &self.0.inference, &device)?;
        if self.0.beams != 1 && !matches!(pipeline.model, TaskModel::Seq2Seq(_)) {
            let task = pipeline.codec.task();
            return Err(
                UsageError(format!("--beams: this model does {task}, which writes no targets")).into()
            );
        }
        pipeline.codec.eval_beams = self.0.beams;
        let mut examples = match (of_set, &self.0.data) {
            (Some(examples), _) => examples,
            (None, Some(path)) => of_file(path, self.0, &pipeline)?,
            (None, None) => return Err(UsageError("expected --data or --data-set".to_owned()).into()),
        };
        match pipeline.model {
            TaskModel::SentenceEmbedder(_) => examples = examples.into_pairs(),
            TaskModel::SpanClassifier(_) => examples = examples.into_spans(),
            _ => {}
        }
        let begun = Instant::now();
        let evaluation = pipeline.evaluate(&examples)?;
        let facts = Facts {
            position: positions(&pipeline.config.stack),
            n_params: pipeline.model.num_params(),
            seconds: begun.elapsed().as_secs_f64(),
        };
        Ok((evaluation.with_baseline(&examples)?.with_interval(), facts))
    }
}

fn of_file<B: Backend>(path: &Path, args: &EvalArgs, pipeline: &Pipeline<B>) -> anyhow::Result<Examples> {
    let options = options(&args.read)?;
    let embeds = matches!(pipeline.model, TaskModel::SentenceEmbedder(_));
    let kind = match (options.format, options.kind) {
        // Questions with their contexts become pairs.
        (Some(Format::Squad), _) if embeds => Kind::Qa,
        // However it was trained, a model of vectors can be scored by search and by numbers of pairs.
        (_, Some(kind)) if embeds => kind,
        _ => pipeline.codec.kind(),
    };
    Ok(read(path, &ReadOptions { kind: Some(kind), ..options })?)
}

/// The folder of the report, before the work begins.
fn make(out: &Path) -> anyhow::Result<()> {
    if ["run.toml", "events.jsonl", "checkpoints"].iter().any(|name| out.join(name).exists()) {
        let out = out.display();
        return Err(UsageError(format!("--out {out}: a run lies there; choose another folder")).into());
    }
    std::fs::create_dir_all(out).with_context(|| format!("--out: cannot create {}", out.display()))
}

fn report(args: &EvalArgs, facts: Facts, evaluation: Evaluation) -> anyhow::Result<EvalReport> {
    Ok(EvalReport {
        model: relative(&args.model.display().to_string()),
        command: repeatable(args),
        data_set: args.data_set.clone(),
        position: facts.position,
        n_params: facts.n_params,
        backend: resolve(args.inference.device.backend.as_deref())?.name(),
        threads: rayon::current_num_threads(),
        seconds: facts.seconds,
        scored: Scored::new(args.data_set.as_ref().map(|_| args.part), evaluation),
    })
}

/// The command for the report, without the folders of this machine.
fn repeatable(args: &EvalArgs) -> String {
    let mut command = "locus eval".to_owned();
    let mut add = |flag: &str, value: &str| command += &format!(" {flag} {}", quoted(&relative(value)));
    let mut add_path = |flag: &str, path: &Path| add(flag, &path.display().to_string());
    add_path("--model", &args.model);
    args.inference.adapters.iter().for_each(|adapter| add_path("--adapter", adapter));
    args.data.iter().for_each(|data| add_path("--data", data));
    args.read.format.iter().for_each(|format| add("--format", format));
    args.read.reads.iter().for_each(|read| add("--read", read));
    if let Some(set) = &args.data_set {
        add("--data-set", set);
        add("--part", args.part.name());
    }
    if args.beams != 1 {
        add("--beams", &args.beams.to_string());
    }
    let weights = args.inference.weights.to_possible_value();
    if let Some(weights) = weights.filter(|weights| weights.get_name() != "f32") {
        add("--weights", weights.get_name());
    }
    args.inference.device.backend.iter().for_each(|backend| add("--backend", backend));
    command
}
