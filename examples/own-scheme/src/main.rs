//! A position scheme of one's own: a bias that swings with the distance, for texts in which things come back after a fixed
//! number of tokens, as weekdays do. It is trained to foretell such texts.
//!
//! `cargo run -p own-scheme`

use std::error::Error;
use std::f64::consts::TAU;

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::device::NdArray;
use locus_backend::init::Init;
use locus_backend::ops::{self, ScoreBias, Targets};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, LayerPass, Pass, PositionScheme, Prepared, Relative, Scheme};
use locus_embedding::{EmbeddingError, TokenBatch, Tokens};
use locus_encoder::{Linear, Stack, StackConfig, StackShape};

const PERIOD: usize = 7;
const VOCAB_SIZE: usize = 11;
const SEQ: usize = 3 * PERIOD;

/// Adds `a_h · cos(2π·(i − j)/period) + b_h · sin(2π·(i − j)/period)` to the scaled scores, with two trained numbers for each
/// head, which together are a height and a phase.
#[derive(Module, Debug)]
struct Cycle<B: Backend> {
    /// `a` and `b`, `[n_heads, 2]`.
    amplitudes: Param<Tensor<B, 2>>,
    period: f64,
}

impl<B: Backend> Cycle<B> {
    fn new(n_heads: usize, period: f64, key: Key, device: &B::Device) -> Self {
        Self { amplitudes: Init::Normal { std: 0.5 }.param([n_heads, 2], key, device), period }
    }
}

/// What the scheme does. Every other hook keeps its default, which is the identity.
impl<B: Backend> Scheme<B> for Cycle<B> {
    fn name(&self) -> &'static str {
        "cycle"
    }

    fn is_relative(&self) -> bool {
        true
    }

    /// The bias of a pass, which all layers read.
    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let bias = Relative::of(pass).bias::<B>(|distances| {
            let angles = || distances.iter().map(|d| TAU * d / self.period);
            let waves: Vec<f32> =
                angles().map(f64::cos).chain(angles().map(f64::sin)).map(|x| x as f32).collect();
            let waves = Tensor::<B, 2>::from_data(TensorData::new(waves, [2, distances.len()]), device);
            self.amplitudes.val().matmul(waves) // [heads, distances]
        });
        Prepared::new(bias)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}

impl<B: Backend> PositionScheme<B> for Cycle<B> {
    fn scheme(&self) -> &dyn Scheme<B> {
        self
    }
}

/// A decoder with this scheme in all layers, and scores of the next token.
#[derive(Module, Debug)]
struct Model<B: Backend> {
    decoder: Stack<B, Cycle<B>>,
    output: Linear<B>,
}

impl<B: Backend> Model<B> {
    fn new(key: Key, device: &B::Device) -> Self {
        let config =
            StackConfig { d_model: 24, n_heads: 3, n_layers: 1, dropout: 0.0, ..StackConfig::default() };
        let shape = StackShape { vocab_size: VOCAB_SIZE, form: Form::Causal, cross_attention: false };
        let scheme = Cycle::new(config.n_heads, PERIOD as f64, key.named("cycle"), device);
        let scheme_of_layer = vec![0; config.n_layers];
        let decoder = Stack::with_schemes(&config, shape, vec![scheme], scheme_of_layer, key, device);
        let output = Linear::new([config.d_model, VOCAB_SIZE], true, 0.02, key.named("output"), device);
        Self { decoder, output }
    }

    /// The mean cross-entropy of each text's next tokens.
    fn loss(&self, texts: &[Vec<u32>], device: &B::Device) -> Result<Tensor<B, 1>, EmbeddingError> {
        let ids: Vec<u32> = texts.iter().flat_map(|text| &text[..SEQ - 1]).copied().collect();
        let next: Vec<i32> = texts.iter().flat_map(|text| &text[1..]).map(|id| *id as i32).collect();
        let n = ids.len();
        let tokens = Tokens::new([texts.len(), SEQ - 1], ids, vec![true; n], None)?;
        let hidden =
            self.decoder.forward(&TokenBatch::from_host(tokens, VOCAB_SIZE, device)?, None, None, None)?;
        let logits: Tensor<B, 2> = self.output.forward(hidden).flatten(0, 1); // [batch · seq, vocab_size]
        Ok(ops::cross_entropy(logits, Targets::new(next)) / n as f64)
    }
}

/// Random tokens that come back after each period.
fn texts(key: Key, n: usize) -> Vec<Vec<u32>> {
    let token = |row: u64, idx: u64| key.child(row).below(idx, VOCAB_SIZE as u64) as u32;
    let text = |row| (0..SEQ).map(|idx| token(row, (idx % PERIOD) as u64)).collect();
    (0..n as u64).map(text).collect()
}

/// Trains and gives the loss on texts that were not trained on, before and after.
fn train(steps: u64) -> Result<[f32; 2], EmbeddingError> {
    type Train = Autodiff<NdArray>;
    let device = Default::default();
    let mut model = Model::<Train>::new(Key::new(1), &device);
    let unseen = texts(Key::new(2), 16);
    let before = model.loss(&unseen, &device)?.into_scalar();
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..steps {
        let loss = model.loss(&texts(Key::new(3).child(step), 16), &device)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(3e-2, model, gradients);
    }
    Ok([before, model.loss(&unseen, &device)?.into_scalar()])
}

fn main() -> Result<(), Box<dyn Error>> {
    let [before, after] = train(150)?;
    println!("cross-entropy of the next token before training {before:.3}, after it {after:.3}");
    println!("(guessing {:.3}; two thirds of the tokens can be known)", (VOCAB_SIZE as f64).ln());
    if after < before { Ok(()) } else { Err("training did not lower the loss".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_trained() {
        let [before, after] = train(150).expect("the texts fit the model");
        assert!(after < before - 0.3, "{before} {after}");
    }

    #[test]
    fn a_text_that_is_read_step_by_step_is_the_same() {
        let device = Default::default();
        let model = Model::<NdArray>::new(Key::new(1), &device);
        let ids = texts(Key::new(5), 1).remove(0);
        let batch = |ids: &[u32]| {
            let tokens =
                Tokens::new([1, ids.len()], ids.to_vec(), vec![true; ids.len()], None).expect("fits");
            TokenBatch::<NdArray>::from_host(tokens, VOCAB_SIZE, &device).expect("in range")
        };
        let host = |x: Tensor<NdArray, 3>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
        let whole = host(model.decoder.forward(&batch(&ids), None, None, None).expect("fits"));
        let mut cache = model.decoder.new_cache();
        let mut steps = Vec::new();
        for id in &ids {
            steps.extend(host(
                model.decoder.forward(&batch(&[*id]), None, Some(&mut cache), None).expect("fits"),
            ));
        }
        let near = whole.iter().zip(&steps).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near && whole.len() == steps.len());
    }
}
