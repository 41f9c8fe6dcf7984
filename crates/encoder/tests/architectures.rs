//! Whole stacks as the published architectures configure them, against JAX: values and the gradient of every parameter.
//!
//! `oracle/architectures.py` writes the goldens, `oracle/hybrids.py` those of stacks whose layers differ. The names of the parameters are part of the comparison: they are what
//! checkpoints are saved under, and `golden/arch-manifest.txt` lists them all.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_embedding::position::{
    Form, LearnedConfig, Pairing, PositionConfig, RotaryConfig, T5Config, T5Scale, TemperatureConfig,
};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{
    Activation, Bias, EmbeddingScale, EncoderDecoder, NormKind, Residual, Stack, StackConfig, StackShape,
};
use locus_testkit::{Golden, assert_close, on_backends, worst};

const ATOL: f64 = 2e-6;
const RTOL: f64 = 1e-5;
/// Gradients of two layers in f32 have lost a digit more.
const GRAD_ATOL: f64 = 1e-5;
const GRAD_RTOL: f64 = 5e-5;

// The architectures.

fn base() -> StackConfig {
    StackConfig {
        d_model: 11,
        n_layers: 2,
        n_heads: 3,
        d_head: Some(4),
        d_ff: Some(17),
        max_seq_len: 9,
        ..StackConfig::default()
    }
}

fn rotary(fraction: f64) -> PositionConfig {
    PositionConfig::Rotary(RotaryConfig { fraction, ..Default::default() })
}

fn bert() -> StackConfig {
    StackConfig {
        activation: Activation::Gelu,
        residual: Residual::Post,
        norm_eps: 1e-12,
        embedding_norm: true,
        n_segments: 2,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..base()
    }
}

fn gpt2() -> StackConfig {
    StackConfig {
        activation: Activation::GeluTanh,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..base()
    }
}

fn llama() -> StackConfig {
    StackConfig {
        n_heads: 4,
        n_kv_heads: Some(2),
        d_head: Some(6),
        activation: Activation::Swiglu,
        norm: NormKind::RmsNorm,
        norm_eps: 1e-6,
        bias: Bias::NONE,
        position: rotary(1.0),
        ..base()
    }
}

fn neox() -> StackConfig {
    StackConfig { d_head: Some(8), residual: Residual::Parallel, position: rotary(0.5), ..base() }
}

/// Every second layer without positions; SmolLM3 has every fourth.
fn smollm3() -> StackConfig {
    StackConfig { n_layers: 4, layer_positions: vec![rotary(1.0), PositionConfig::None], ..llama() }
}

/// As Llama 4: rotary on neighbours, and layers without positions whose queries grow.
fn llama4() -> StackConfig {
    let turned = RotaryConfig { pairing: Pairing::Interleaved, ..Default::default() };
    let grown = TemperatureConfig { scale: 0.7, floor: 3 };
    let pattern = vec![PositionConfig::Rotary(turned), PositionConfig::Temperature(grown)];
    StackConfig { n_layers: 4, layer_positions: pattern, ..llama() }
}

fn t5(activation: Activation, score_scale: T5Scale, embedding_scale: EmbeddingScale) -> StackConfig {
    StackConfig {
        d_model: 7,
        d_ff: Some(5),
        activation,
        norm: NormKind::RmsNorm,
        norm_eps: 1e-6,
        bias: Bias::NONE,
        embedding_scale,
        position: PositionConfig::T5(T5Config {
            n_buckets: 8,
            max_distance: 16,
            score_scale,
            ..Default::default()
        }),
        ..base()
    }
}

fn t5_geglu() -> StackConfig {
    t5(Activation::Geglu, T5Scale::One, EmbeddingScale::One)
}

fn t5_relu() -> StackConfig {
    t5(Activation::Relu, T5Scale::RsqrtDHead, EmbeddingScale::SqrtDModel)
}

/// Name, configuration, form and number of tokens of the stacks that stand alone.
fn single() -> [(&'static str, StackConfig, Form, usize); 6] {
    [
        ("bert", bert(), Form::Bidirectional, 13),
        ("gpt2", gpt2(), Form::Causal, 13),
        ("llama", llama(), Form::Causal, 13),
        ("neox", neox(), Form::Causal, 13),
        ("smollm3", smollm3(), Form::Causal, 13),
        ("llama4", llama4(), Form::Causal, 13),
    ]
}

// Parameters by name.

/// Where a visitor is, and what it found.
#[derive(Default)]
struct Names {
    path: Vec<String>,
    found: Vec<String>,
}

impl Names {
    fn here(&self) -> String {
        self.path.join(".")
    }
}

struct Grads<'a, B: AutodiffBackend> {
    names: Names,
    grads: &'a B::Gradients,
    values: Vec<Vec<f32>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Grads<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.names.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = self.names.here();
        let grad = param.val().grad(self.grads).unwrap_or_else(|| panic!("{name} has no gradient"));
        self.names.found.push(name);
        self.values.push(grad.to_data().iter::<f32>().collect());
    }
}

struct Shapes(Names);

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let line = format!("{} {:?}", self.0.here(), param.dims());
        self.0.found.push(line);
    }
}

// The comparison.

fn golden(name: &str) -> Golden {
    Golden::read(format!("{}/tests/golden/arch-{name}.safetensors", env!("CARGO_MANIFEST_DIR")))
}

fn host(golden: &Golden, prefix: &str) -> Tokens {
    let [batch, seq] = golden.shape(&format!("{prefix}ids"))[..] else { panic!("ids are [batch, seq]") };
    let ids = |name: &str| {
        golden.values(&format!("{prefix}{name}")).iter().map(|&id| id as u32).collect::<Vec<_>>()
    };
    let keep = golden.values(&format!("{prefix}keep")).iter().map(|&keep| keep == 1.0).collect();
    let segments = golden.has(&format!("{prefix}segments")).then(|| ids("segments"));
    Tokens::new([batch, seq], ids("ids"), keep, segments).unwrap()
}

fn batch<B: Backend>(tokens: &Tokens, device: &B::Device) -> TokenBatch<B> {
    TokenBatch::from_host(tokens.clone(), 13, device).unwrap()
}

/// The states of real tokens; 0 at padding, whose states have no meaning.
fn real<B: Backend>(states: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
    let hidden: Vec<bool> = tokens.keep.iter().map(|keep| !keep).collect();
    let device = states.device();
    let hidden = Tensor::<B, 3, burn::tensor::Bool>::from_data(
        TensorData::new(hidden, [tokens.batch, tokens.seq, 1]),
        &device,
    );
    let shape = states.shape();
    states.mask_fill(hidden.expand(shape), 0.0)
}

fn assert_grads<B: AutodiffBackend, M: Module<B>>(
    name: &str,
    model: &M,
    golden: &Golden,
    out: Tensor<B, 3>,
    device: &B::Device,
) {
    assert_close(&format!("{name} out"), &out, golden.values("out"), ATOL, RTOL);
    let grads = (out * golden.tensor("upstream", device)).sum().backward();
    let mut visitor = Grads::<B> { names: Names::default(), grads: &grads, values: Vec::new() };
    model.visit(&mut visitor);
    for (path, got) in visitor.names.found.iter().zip(&visitor.values) {
        let want = golden.values(&format!("grad.{path}"));
        // Sums of terms as large as the largest.
        let largest = want.iter().fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
        let (idx, excess) = worst(got, want, GRAD_ATOL.max(4e-6 * largest), GRAD_RTOL).unwrap();
        assert!(
            excess <= 0.0,
            "{name} gradient of {path}[{idx}]: {} ≠ {}, by {excess:e}",
            got[idx],
            want[idx]
        );
    }
}

fn stack<B: Backend>(
    config: &StackConfig,
    form: Form,
    vocab_size: usize,
    golden: &Golden,
    device: &B::Device,
) -> Stack<B> {
    assert_eq!(config.check(form), []);
    let shape = StackShape { vocab_size, form, cross_attention: false };
    golden.load(Stack::new(config, shape, Key::new(1), device), device)
}

fn encoder_decoder<B: Backend>(
    config: &StackConfig,
    golden: &Golden,
    device: &B::Device,
) -> EncoderDecoder<B> {
    assert_eq!([config.check(Form::Bidirectional), config.check(Form::Causal)], [vec![], vec![]]);
    golden.load(EncoderDecoder::new(config, 11, Key::new(1), device), device)
}

fn single_stacks<B: AutodiffBackend>(device: &B::Device) {
    for (name, config, form, vocab_size) in single() {
        let golden = golden(name);
        let stack = stack::<B>(&config, form, vocab_size, &golden, device);
        let tokens = host(&golden, "in.");
        let out = real(stack.forward(&batch(&tokens, device), None, None, None).unwrap(), &tokens);
        assert_grads(name, &stack, &golden, out, device);
    }
}

fn encoder_decoders<B: AutodiffBackend>(device: &B::Device) {
    for (name, config) in [("t5-geglu", t5_geglu()), ("t5-relu", t5_relu())] {
        let golden = golden(name);
        let model = encoder_decoder::<B>(&config, &golden, device);
        let (source, target) = (host(&golden, "in.source."), host(&golden, "in.target."));
        let memory = model.encode(&batch(&source, device), None).unwrap();
        let out = real(model.decode(&batch(&target, device), &memory, None, None).unwrap(), &target);
        assert_grads(name, &model, &golden, out, device);
    }
}

/// Another configuration with the same parameters gives visibly other numbers.
fn planted_errors<B: AutodiffBackend>(device: &B::Device) {
    fn change(config: StackConfig, f: impl Fn(&mut StackConfig)) -> StackConfig {
        let mut config = config;
        f(&mut config);
        config
    }
    let interleaved = |c: &mut StackConfig| {
        c.position =
            PositionConfig::Rotary(RotaryConfig { pairing: Pairing::Interleaved, ..Default::default() });
    };
    let eps = |c: &mut StackConfig| c.norm_eps = 1e-3;
    let planted = [
        ("bert", "gelu by tanh", change(bert(), |c| c.activation = Activation::GeluTanh)),
        ("bert", "eps", change(bert(), eps)),
        ("gpt2", "exact gelu", change(gpt2(), |c| c.activation = Activation::Gelu)),
        ("gpt2", "parallel", change(gpt2(), |c| c.residual = Residual::Parallel)),
        ("gpt2", "eps", change(gpt2(), eps)),
        ("gpt2", "embedding scale", change(gpt2(), |c| c.embedding_scale = EmbeddingScale::SqrtDModel)),
        ("llama", "pairing", change(llama(), interleaved)),
        ("llama", "gelu gate", change(llama(), |c| c.activation = Activation::Geglu)),
        ("llama", "no positions", change(llama(), |c| c.position = PositionConfig::None)),
        ("neox", "whole head turned", change(neox(), |c| c.position = rotary(1.0))),
        ("neox", "sequential", change(neox(), |c| c.residual = Residual::Pre)),
        ("smollm3", "all layers turned", change(smollm3(), |c| c.layer_positions.truncate(1))),
        ("smollm3", "the other layers turned", change(smollm3(), |c| c.layer_positions.reverse())),
        ("llama4", "no temperature", change(llama4(), |c| c.layer_positions[1] = PositionConfig::None)),
        ("llama4", "pairing", change(llama4(), |c| c.layer_positions[0] = rotary(1.0))),
    ];
    for (name, error, config) in planted {
        let golden = golden(name);
        let form = if name == "bert" { Form::Bidirectional } else { Form::Causal };
        let tokens = host(&golden, "in.");
        let states =
            stack::<B>(&config, form, 13, &golden, device).forward(&batch(&tokens, device), None, None, None);
        assert_differs(&format!("{name}, {error}"), real(states.unwrap(), &tokens), &golden);
        // And the form itself, and the padding.
        let form = if name == "bert" { Form::Causal } else { Form::Bidirectional };
        let right = single().into_iter().find(|of| of.0 == name).unwrap().1;
        // Temperature is for decoders alone.
        if name != "llama4" {
            let stack = stack::<B>(&right, form, 13, &golden, device);
            let states = stack.forward(&batch(&tokens, device), None, None, None);
            assert_differs(&format!("{name}, form"), real(states.unwrap(), &tokens), &golden);
        }
        let all = Tokens { keep: vec![true; tokens.keep.len()], ..tokens.clone() };
        let form = if name == "bert" { Form::Bidirectional } else { Form::Causal };
        let states =
            stack::<B>(&right, form, 13, &golden, device).forward(&batch(&all, device), None, None, None);
        assert_differs(&format!("{name}, padding"), real(states.unwrap(), &tokens), &golden);
    }
    let t5_planted = [
        ("t5-geglu", "scale", t5(Activation::Geglu, T5Scale::RsqrtDHead, EmbeddingScale::One)),
        ("t5-geglu", "silu gate", t5(Activation::Swiglu, T5Scale::One, EmbeddingScale::One)),
        ("t5-relu", "gelu", t5(Activation::Gelu, T5Scale::RsqrtDHead, EmbeddingScale::SqrtDModel)),
        ("t5-relu", "embedding scale", t5(Activation::Relu, T5Scale::RsqrtDHead, EmbeddingScale::One)),
    ];
    for (name, error, config) in t5_planted {
        let golden = golden(name);
        let model = encoder_decoder::<B>(&config, &golden, device);
        let (source, target) = (host(&golden, "in.source."), host(&golden, "in.target."));
        let memory = model.encode(&batch(&source, device), None).unwrap();
        let states = model.decode(&batch(&target, device), &memory, None, None).unwrap();
        assert_differs(&format!("{name}, {error}"), real(states, &target), &golden);
    }
    let golden = golden("t5-geglu");
    let model = encoder_decoder::<B>(&t5_geglu(), &golden, device);
    let (source, target) = (host(&golden, "in.source."), host(&golden, "in.target."));
    let mut memory = model.encode(&batch(&source, device), None).unwrap();
    memory.keep.fill(true);
    let states = model.decode(&batch(&target, device), &memory, None, None).unwrap();
    assert_differs("t5-geglu, padding of the source", real(states, &target), &golden);
}

#[track_caller]
fn assert_differs<B: Backend>(what: &str, out: Tensor<B, 3>, golden: &Golden) {
    let got: Vec<f32> = out.to_data().iter::<f32>().collect();
    let (_, excess) = worst(&got, golden.values("out"), ATOL, RTOL).unwrap();
    assert!(excess > 10.0 * ATOL, "the planted error '{what}' was not seen: {excess:e}");
}

// Cached decoding.

fn columns(tokens: &Tokens, from: usize, to: usize) -> Tokens {
    tokens.columns(&(from..to).collect::<Vec<_>>())
}

/// One pass over all tokens, token by token, and in chunks give the same states.
fn prefill_is_decode<B: AutodiffBackend>(device: &B::Device) {
    for (name, config, form, vocab_size) in single().into_iter().filter(|of| of.2 == Form::Causal) {
        let golden = golden(name);
        let stack = stack::<B>(&config, form, vocab_size, &golden, device);
        let tokens = host(&golden, "in.");
        for cuts in [vec![1, 2, 3, 4, 5, 6, 7], vec![3, 7], vec![1, 4, 5, 7], vec![7]] {
            let (mut cache, mut from, mut parts) = (stack.new_cache(), 0, Vec::new());
            for to in cuts {
                let part = batch(&columns(&tokens, from, to), device);
                parts.push(stack.forward(&part, None, Some(&mut cache), None).unwrap());
                from = to;
            }
            let out = real(Tensor::cat(parts, 1), &tokens);
            assert_close(&format!("{name} in parts"), &out, golden.values("out"), ATOL, RTOL);
        }
    }
}

fn prefill_is_decode_with_memory<B: AutodiffBackend>(device: &B::Device) {
    for (name, config) in [("t5-geglu", t5_geglu()), ("t5-relu", t5_relu())] {
        let golden = golden(name);
        let model = encoder_decoder::<B>(&config, &golden, device);
        let (source, target) = (host(&golden, "in.source."), host(&golden, "in.target."));
        let memory = model.encode(&batch(&source, device), None).unwrap();
        for cuts in [vec![1, 2, 3, 4, 5], vec![2, 5]] {
            let (mut cache, mut from, mut parts) = (model.decoder.new_cache(), 0, Vec::new());
            for to in cuts {
                let part = batch(&columns(&target, from, to), device);
                parts.push(model.decode(&part, &memory, Some(&mut cache), None).unwrap());
                from = to;
            }
            let out = real(Tensor::cat(parts, 1), &target);
            assert_close(&format!("{name} in parts"), &out, golden.values("out"), ATOL, RTOL);
        }
    }
}

/// On which side the source is padded, and how much, makes no difference.
fn padding_of_the_source_has_no_influence<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden("t5-geglu");
    let model = encoder_decoder::<B>(&t5_geglu(), &golden, device);
    let (source, target) = (host(&golden, "in.source."), host(&golden, "in.target."));
    let moved = |left: usize, right: usize| {
        let (mut ids, mut keep) = (Vec::new(), Vec::new());
        for (row_ids, row_keep) in source.ids.chunks(7).zip(source.keep.chunks(7)) {
            let n = row_keep.iter().filter(|keep| **keep).count();
            let (before, after) = (left + 7 - n, right);
            ids.extend([vec![9; before], row_ids[..n].to_vec(), vec![8; after]].concat());
            keep.extend([vec![false; before], vec![true; n], vec![false; after]].concat());
        }
        Tokens::new([2, left + 7 + right], ids, keep, None).unwrap()
    };
    for (left, right) in [(0, 0), (2, 0), (1, 3)] {
        let memory = model.encode(&batch(&moved(left, right), device), None).unwrap();
        let out = real(model.decode(&batch(&target, device), &memory, None, None).unwrap(), &target);
        assert_close(&format!("padded by {left} and {right}"), &out, golden.values("out"), ATOL, RTOL);
    }
}

/// Parameter names and shapes as text: what a checkpoint is saved under. A renamed field shows as a changed line here.
fn manifest<B: AutodiffBackend>(device: &B::Device) {
    let mut lines = Vec::new();
    let mut add = |name: &str, shapes: Shapes| {
        lines.extend(shapes.0.found.iter().map(|line| format!("{name} {line}")));
    };
    for (name, config, form, vocab_size) in single() {
        let shape = StackShape { vocab_size, form, cross_attention: false };
        let mut shapes = Shapes(Names::default());
        Module::<B>::visit(&Stack::<B>::new(&config, shape, Key::new(1), device), &mut shapes);
        add(name, shapes);
    }
    for (name, config) in [("t5-geglu", t5_geglu()), ("t5-relu", t5_relu())] {
        let mut shapes = Shapes(Names::default());
        Module::<B>::visit(&EncoderDecoder::<B>::new(&config, 11, Key::new(1), device), &mut shapes);
        add(name, shapes);
    }
    let found = lines.join("\n") + "\n";
    let wanted = include_str!("golden/arch-manifest.txt");
    let gone = wanted.lines().filter(|line| !found.contains(line)).collect::<Vec<_>>().join("\n  ");
    let new = found.lines().filter(|line| !wanted.contains(line)).collect::<Vec<_>>().join("\n  ");
    assert!(
        found == wanted,
        "parameters changed, so checkpoints no longer load.\nGone:\n  {gone}\nNew:\n  {new}"
    );
}

on_backends!(
    single_stacks,
    encoder_decoders,
    planted_errors,
    prefill_is_decode,
    prefill_is_decode_with_memory,
    padding_of_the_source_has_no_influence,
    manifest,
);
