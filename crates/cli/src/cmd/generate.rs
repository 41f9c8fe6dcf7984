//! `locus generate`.

use std::io::Write as _;
use std::ops::ControlFlow;

use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::device::{Job, run_on};
use locus_heads::generate::Sampling;
use locus_pipeline::{Pipeline, Prediction, WriteOptions};

use super::write::{one_line, options};
use super::{load, say};
use crate::args::GenerateArgs;

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::GREEDY };
    let verb = WriteOptions { max_new_tokens: 200, sampling, ..WriteOptions::default() };
    let options = options(&args.model, &args.write, verb)?;
    let device = &args.inference.device;
    run_on(device.backend.as_deref(), device.device.as_deref(), Generate { args, options })?
}

struct Generate<'a> {
    args: &'a GenerateArgs,
    options: WriteOptions,
}

impl Job for Generate<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let pipeline = load::<B::InnerBackend>(&self.args.model, &self.args.inference, &device)?;
        let prediction = match (self.args.json, self.options.n_sequences) {
            (false, 1) => return self.stream(&pipeline),
            (_, 1) => {
                let written = pipeline
                    .generate(&self.args.prompt, &self.options, &mut |_| ControlFlow::Continue(()))?;
                Prediction::Text { text: self.args.prompt.clone(), cut: false, generated: vec![written] }
            }
            _ => pipeline.write(&[&self.args.prompt], &self.options)?.remove(0),
        };
        match &prediction {
            Prediction::Text { generated, .. } if !self.args.json => {
                generated.iter().try_for_each(|written| say(one_line(written)))
            }
            _ => say(prediction.to_json()),
        }
    }
}

impl Generate<'_> {
    fn stream<B: Backend>(&self, pipeline: &Pipeline<B>) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        let mut written = Ok(());
        pipeline.generate(&self.args.prompt, &self.options, &mut |piece| {
            written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        writeln!(out)?;
        Ok(())
    }
}
