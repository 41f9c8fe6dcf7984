//! `locus generate`.

use std::io::Write as _;
use std::ops::ControlFlow;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_heads::generate::Sampling;
use locus_pipeline::{Pipeline, WriteOptions};

use crate::UsageError;
use crate::args::GenerateArgs;

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p };
    if let Some(problem) = sampling.problem() {
        return Err(UsageError(problem).into());
    }
    let options = WriteOptions { max_new_tokens: args.max_new_tokens, sampling, seed: args.seed };
    run_on(args.device.backend.as_deref(), args.device.device.as_deref(), Generate { args, options })?
}

struct Generate<'a> {
    args: &'a GenerateArgs,
    options: WriteOptions,
}

impl Job for Generate<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let pipeline = Pipeline::<B::InnerBackend>::from_dir(&self.args.model, &device)?;
        let mut out = std::io::stdout();
        let mut written = Ok(());
        pipeline.generate(&self.args.prompt, self.options, &mut |piece| {
            written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        writeln!(out)?;
        Ok(())
    }
}
