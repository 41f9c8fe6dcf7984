//! Whole models: a training step, the forward pass, generation.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor};
use locus_backend::ops::IGNORE;
use locus_backend::rng::Key;
use locus_train::{AdamW, AdamWOptions};

use crate::Weights;
use crate::measure::{Row, peak_memory, time, wait};
use crate::model::{Arch, Model, Size, Variant, batch, flops, padded, tokens};

/// What is measured.
pub(crate) struct Case<'a> {
    pub(crate) arch: Arch,
    pub(crate) size: Size,
    pub(crate) variant: &'a Variant,
    pub(crate) repeats: usize,
    pub(crate) peak: f64,
    pub(crate) weights: Weights,
}

const PROMPT: usize = 32;
const GENERATED: usize = 128;

impl Case<'_> {
    pub(crate) fn train<B: AutodiffBackend>(&self, device: &B::Device) -> anyhow::Result<Row> {
        let Size { batch: rows, seq, vocab_size, .. } = self.size;
        let keep = self.keep([rows, seq]);
        let ids = tokens(1000, rows * seq, vocab_size);
        let ids = batch::<B>(ids, [rows, seq], keep.clone(), vocab_size, device)?;
        let of_place = |(id, keep): (u32, bool)| if keep { id as i32 } else { IGNORE };
        let targets = tokens(1001, rows * seq, vocab_size).into_iter().zip(keep);
        let targets: Vec<i32> = targets.map(of_place).collect();
        let options =
            AdamWOptions { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, no_decay: Vec::new() };
        let mut optimizer = AdamW::new(options);
        let mut model = Some(Model::<B>::new(self.arch, &self.size, self.variant, device));
        let (mut losses, mut failure) = (Vec::new(), None);
        let key = |step: usize| (self.variant.dropout > 0.0).then(|| Key::new(1).child(step as u64));
        let (median, min) = time(self.repeats, || {
            let Some(trained) = model.take() else { return };
            let checkpointing = self.variant.checkpointing;
            match trained.loss_and_gradients(&ids, &targets, key(losses.len()), checkpointing) {
                Ok((loss, gradients)) => {
                    losses.push(loss);
                    model = Some(optimizer.step::<B, _>(trained, gradients, 1.0, 1e-4));
                    wait::<B>(device);
                }
                Err(error) => failure = Some(error),
            }
        });
        losses.truncate(4);
        failure.map_or(Ok(()), Err)?;
        let what = if self.variant.checkpointing { "train checkpointing" } else { "train" };
        Ok(Row { losses, ..self.row(what.into(), rows, (median, min), 1.0) })
    }

    pub(crate) fn forward<B: Backend>(&self, rows: usize, device: &B::Device) -> anyhow::Result<Row> {
        let Size { seq, vocab_size, .. } = self.size;
        let (ids, keep) = (tokens(1000, rows * seq, vocab_size), self.keep([rows, seq]));
        let ids = batch::<B>(ids, [rows, seq], keep, vocab_size, device)?;
        let model = self.model::<B>(device)?;
        let mut last = Ok(0.0);
        let times = time(self.repeats.max(if rows == 1 { 15 } else { 5 }), || {
            last = model.logits(&ids, None).map(|logits| {
                let first: Tensor<B, 3> = logits.slice([0..1, 0..1, 0..1]);
                first.into_scalar().elem::<f64>()
            });
        });
        last?;
        let row = self.row(format!("forward{rows}"), rows, times, 1.0 / 3.0);
        Ok(Row { weights: Some(self.weights), ..row })
    }

    pub(crate) fn generate<B: Backend>(&self, device: &B::Device) -> anyhow::Result<Row> {
        let Size { vocab_size, .. } = self.size;
        let model = self.model::<B>(device)?;
        let prompt = tokens(1000, PROMPT, vocab_size);
        let decode = || -> anyhow::Result<()> {
            let mut cache = model.new_cache();
            let mut next = prompt.clone();
            for _ in 0..GENERATED {
                let n = next.len();
                let ids = batch::<B>(next, [1, n], vec![true; n], vocab_size, device)?;
                let best: i64 = model.next_logits(&ids, &mut cache)?.argmax(0).into_scalar().elem();
                next = vec![best as u32];
            }
            Ok(())
        };
        let mut last = Ok(());
        let (median, min) = time(self.repeats, || last = decode());
        last?;
        let row = self.row("generate".into(), 1, (median, min), 0.0);
        Ok(Row {
            tokens_per_second: Some(GENERATED as f64 / median * 1e3),
            gflops: None,
            share_of_peak: None,
            weights: Some(self.weights),
            ..row
        })
    }

    /// Which tokens count.
    fn keep(&self, shape: [usize; 2]) -> Vec<bool> {
        if self.variant.padding { padded(shape) } else { vec![true; shape[0] * shape[1]] }
    }

    /// The model to compute with, its weights as asked for.
    fn model<B: Backend>(&self, device: &B::Device) -> anyhow::Result<Model<B>> {
        let mut model = Model::<B>::new(self.arch, &self.size, self.variant, device);
        if let Some(precision) = self.weights.precision() {
            model.pack(precision)?;
        }
        Ok(model)
    }

    fn row(&self, what: String, rows: usize, (median_ms, min_ms): (f64, f64), share: f64) -> Row {
        let gflops = flops(self.arch, &self.size, rows) * share / median_ms / 1e6;
        Row {
            what,
            arch: Some(self.arch),
            size: Some(self.size.name),
            weights: None,
            median_ms,
            min_ms,
            tokens_per_second: Some((rows * self.size.seq) as f64 / median_ms * 1e3),
            gflops: Some(gflops),
            share_of_peak: Some(gflops / self.peak),
            peak_memory_bytes: peak_memory(),
            losses: Vec::new(),
        }
    }
}
