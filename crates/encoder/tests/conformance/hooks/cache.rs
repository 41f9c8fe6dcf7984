//! What is cached: raw keys, state beside the keys, a window with eviction; positions and limits of a scheme's own.

use burn::module::{Module, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData, activation::log_sigmoid};
use locus_backend::init::Init;
use locus_backend::ops::{self, ScoreBias};
use locus_backend::rng::Key;
use locus_embedding::position::{
    CachePolicy, LayerPass, Limit, Pass, Position, PositionScheme, Prepared, Scheme, Views,
};
use locus_embedding::{TokenBatch, Tokens};
use locus_testkit::{assert_close, on_backends};

use super::{CHUNKS, config, is_a_scheme, ours, texts};
use crate::run::{
    VOCAB_SIZE, assert_different, assert_same, chunked, chunked_with, starting_at, text, try_pass, whole,
    with_scheme,
};
use crate::{BIDIRECTIONAL, CAUSAL};

/// Caches keys before rotation and turns all of them anew in every pass.
#[derive(Module, Debug)]
struct RawKeys<B: Backend> {
    inner: Position<B>,
}

impl<B: Backend> Scheme<B> for RawKeys<B> {
    fn name(&self) -> &'static str {
        "raw_keys"
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let inner = self.inner.scheme();
        let of_keys = Pass { queries: pass.keys, ..pass.clone() };
        Prepared::new((inner.prepare(pass, device), inner.prepare(&of_keys, device)))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let (of_queries, of_keys) = at.prepared.get::<(Prepared, Prepared)>();
        let turn = |x: Tensor<B, 4>, prepared| {
            let at = LayerPass { prepared, ..at.clone() };
            self.inner.scheme().rotate(x.clone(), x, &at).views.swap_remove(0)
        };
        Views::one(turn(q, of_queries).0, turn(k, of_keys).1)
    }
}

fn raw_keys_are_final_keys_turned_late<B: AutodiffBackend>(device: &B::Device) {
    let tokens = starting_at(texts(), 3.0);
    let raw = with_scheme(&config(), CAUSAL, RawKeys { inner: ours::<B>("rotary", device) }, device);
    let plain = with_scheme(&config(), CAUSAL, ours::<B>("rotary", device), device);
    let want = whole(&plain, &tokens);
    assert_same("in one pass", &want, &whole(&raw, &tokens));
    for chunks in CHUNKS {
        let mut cache = raw.new_cache();
        assert_same("raw keys", &want, &chunked_with(&raw, &tokens, chunks, &mut cache));
        // The plain scheme's keys have been turned.
        let mut turned = plain.new_cache();
        chunked_with(&plain, &tokens, chunks, &mut turned);
        let [raw, turned] = [&cache, &turned].map(|cache| cache.layers[0].keys[0].get());
        let off: Vec<f32> = (raw - turned).abs().max().to_data().iter::<f32>().collect();
        assert!(off[0] > 1e-2, "the cache holds turned keys");
    }
}

/// Keeps a window of the last tokens visible; with `evict`, keeps no more of them in the cache than that needs.
#[derive(Module, Debug)]
struct Window<B: Backend> {
    inner: Position<B>,
    width: usize,
    evict: bool,
}

impl<B: Backend> Scheme<B> for Window<B> {
    fn name(&self) -> &'static str {
        "window"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.inner.scheme().prepare(pass, device)
    }

    fn visible(&self, pass: &Pass<'_>) -> Option<Vec<bool>> {
        let (q_len, k_len) = (pass.queries.seq, pass.keys.seq);
        let cell = |q: usize, k: usize| q + k_len - q_len < k + self.width;
        Some((0..q_len).flat_map(|q| (0..k_len).map(move |k| cell(q, k))).collect())
    }

    fn retained(&self, cached: &Tokens) -> Option<Vec<usize>> {
        self.evict.then(|| (cached.seq.saturating_sub(self.width - 1)..cached.seq).collect())
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        self.inner.scheme().rotate(q, k, at)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        self.inner.scheme().bias(at)
    }
}

fn evicting_is_masking<B: AutodiffBackend>(device: &B::Device) {
    const WIDTH: usize = 3;
    let tokens = texts();
    for name in ["rotary", "alibi"] {
        let window = |evict| {
            let scheme = Window { inner: ours::<B>(name, device), width: WIDTH, evict };
            with_scheme(&config(), CAUSAL, scheme, device)
        };
        let (masking, evicting) = (window(false), window(true));
        let want = whole(&masking, &tokens);
        let unlimited = with_scheme(&config(), CAUSAL, ours::<B>(name, device), device);
        assert_different("a window hides something", &want, &whole(&unlimited, &tokens));
        for chunks in CHUNKS {
            assert_same("masking", &want, &chunked(&masking, &tokens, chunks));
            let mut cache = evicting.new_cache();
            assert_same("evicting", &want, &chunked_with(&evicting, &tokens, chunks, &mut cache));
            let columns = cache.tokens[0].as_ref().unwrap().seq;
            let [_, _, keys, _] = cache.layers[1].keys[0].get().dims();
            let values = cache.layers[1].values.as_ref().unwrap().get().dims()[2];
            assert_eq!([columns, keys, values], [WIDTH - 1; 3], "what is left in the cache");
            assert_eq!((cache.seen, cache.next_positions), (vec![5, 7], vec![5.0, 7.0]));
        }
    }
}

/// A forget gate (FoX, arXiv:2503.02130): query `i` sees key `j` through the gates of the tokens in between,
/// `Σ_{l=j+1…i} ln σ(w_h · x_l + b_h)`.
#[derive(Module, Debug)]
struct ForgetGate<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Scheme<B> for ForgetGate<B> {
    fn name(&self) -> &'static str {
        "forget_gate"
    }

    fn state(&self, hidden: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let gates = ops::linear(hidden.clone(), self.weight.val(), Some(self.bias.val()));
        Some(log_sigmoid(gates)) // [batch, seq, heads]
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        let Some(gates) = at.state else { panic!("the state was made by this scheme") };
        let ([batch, k_len, heads], q_len) = (gates.dims(), at.pass.queries.seq);
        let sums = running_sums(gates.clone().swap_dims(1, 2)); // [batch, heads, k]
        let at_query = sums.clone().narrow(2, k_len - q_len, q_len).reshape([batch, heads, q_len, 1]);
        ScoreBias::Dense(at_query - sums.reshape([batch, heads, 1, k_len]))
    }
}

/// `y_t = Σ_{l ≤ t} x_l` over the last axis.
fn running_sums<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let n = x.dims()[2];
    let ones: Vec<f32> = (0..n * n).map(|cell| if cell / n <= cell % n { 1.0 } else { 0.0 }).collect();
    let ones = Tensor::<B, 3>::from_data(TensorData::new(ones, [1, n, n]), &x.device());
    let [batch, heads, _] = x.dims();
    x.reshape([1, batch * heads, n]).matmul(ones).reshape([batch, heads, n])
}

fn forget_gate<B: Backend>(device: &B::Device) -> ForgetGate<B> {
    let init = Init::Normal { std: 0.7 };
    let config = config();
    ForgetGate {
        weight: init.param([config.d_model, config.n_heads], Key::new(4), device),
        bias: init.param([config.n_heads], Key::new(5), device),
    }
}

fn cached_gates_are_the_gates<B: AutodiffBackend>(device: &B::Device) {
    let stack = with_scheme(&config(), CAUSAL, forget_gate::<B>(device), device);
    let want = whole(&stack, &texts());
    let none = with_scheme(&config(), CAUSAL, ours::<B>("none", device), device);
    assert_different("gates", &want, &whole(&none, &texts()));
    for chunks in CHUNKS {
        assert_same("gates", &want, &chunked(&stack, &texts(), chunks));
    }
    // Gates of padding stand on both sides of the difference.
    let padded = whole(&stack, &texts())[..1].to_vec();
    assert_same("padding", &whole(&stack, &text(&["#####"])), &padded);
}

/// The bias is the double loop of its formula.
fn gates_add_up<B: AutodiffBackend>(device: &B::Device) {
    let scheme = forget_gate::<B>(device);
    let tokens = text(&["#####", "#####"]);
    let hidden = Init::Normal { std: 1.0 }.tensor::<B, 3>([2, 5, 10], Key::new(6), device);
    let state = scheme.state(&hidden).unwrap();
    let (queries, prepared) = (tokens.columns(&[3, 4]), Prepared::default());
    let pass = Pass { queries: &queries, keys: &tokens, form: CAUSAL, longest_seen: 5, key: None };
    let layer = LayerPass {
        pass: &pass,
        prepared: &prepared,
        layer: 0,
        hidden: &hidden,
        state: Some(&state),
        scale: 1.0,
        projections: None,
    };
    let ScoreBias::Dense(bias) = scheme.bias(&layer) else { panic!("not dense") };
    let gates: Vec<f32> = state.to_data().iter::<f32>().collect();
    let mut want = Vec::new();
    for (batch, head, i) in (0..2).flat_map(|b| (0..4).flat_map(move |h| [3, 4].map(|i| (b, h, i)))) {
        let gate = |l: usize| gates[(batch * 5 + l) * 4 + head];
        let forgotten = |j: usize| (j + 1..=i).map(gate).sum::<f32>();
        let after = |j: usize| -(i + 1..=j).map(gate).sum::<f32>();
        want.extend((0..5).map(|j| if j <= i { forgotten(j) } else { after(j) }));
    }
    assert_close("bias", &bias, &want, 1e-5, 1e-5);
}

/// Gradients reach a gate through the cache too.
fn gates_learn_through_the_cache<B: AutodiffBackend>(device: &B::Device) {
    let stack = with_scheme(&config(), CAUSAL, forget_gate::<B>(device), device);
    let tokens = text(&["#######"]);
    let direction = Init::Normal { std: 1.0 }.tensor::<B, 3>([1, 7, 10], Key::new(7), device);
    let gradient = |chunks: &[usize]| {
        let (mut cache, mut out, mut start) = (stack.new_cache(), Vec::new(), 0);
        for &len in chunks {
            let columns: Vec<usize> = (start..start + len).collect();
            let batch = TokenBatch::<B>::from_host(tokens.columns(&columns), VOCAB_SIZE, device).unwrap();
            out.push(stack.forward(&batch, None, Some(&mut cache), None).unwrap());
            start += len;
        }
        let grads = (Tensor::cat(out, 1) * direction.clone()).sum().backward();
        let grad = stack.schemes[0].weight.grad(&grads).expect("a gradient");
        grad.to_data().iter::<f32>().collect::<Vec<_>>()
    };
    let want = gradient(&[7]);
    assert!(want.iter().any(|g| g.abs() > 1e-2), "{want:?}");
    for chunks in CHUNKS {
        let got = Tensor::<B, 1>::from_floats(gradient(chunks).as_slice(), device);
        assert_close("gradient", &got, &want, 1e-4, 1e-3);
    }
}

/// Position interpolation (arXiv:2306.15595): a scheme that counts tokens in its own way.
#[derive(Module, Debug)]
struct Interpolated<B: Backend> {
    inner: Position<B>,
}

impl<B: Backend> Scheme<B> for Interpolated<B> {
    fn name(&self) -> &'static str {
        "interpolated"
    }

    fn positions(&self, tokens: &Tokens, _key: Option<Key>) -> Vec<f64> {
        tokens.positions.iter().map(|p| p / 4.0).collect()
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.inner.scheme().prepare(pass, device)
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        self.inner.scheme().rotate(q, k, at)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        self.inner.scheme().bias(at)
    }
}

fn a_scheme_counts_in_its_own_way<B: AutodiffBackend>(device: &B::Device) {
    for name in ["rotary", "alibi"] {
        let stack = with_scheme(&config(), CAUSAL, Interpolated { inner: ours::<B>(name, device) }, device);
        let plain = with_scheme(&config(), CAUSAL, ours::<B>(name, device), device);
        let mut quarters = texts();
        quarters.positions.iter_mut().for_each(|p| *p /= 4.0);
        let want = whole(&plain, &quarters);
        assert_different(name, &want, &whole(&plain, &texts()));
        assert_same(name, &want, &whole(&stack, &texts()));
        for chunks in CHUNKS {
            assert_same(name, &want, &chunked(&stack, &texts(), chunks));
        }
    }
}

/// A learned table that treats positions past its end as its last.
#[derive(Module, Debug)]
struct Clamped<B: Backend> {
    table: Param<Tensor<B, 2>>,
}

impl<B: Backend> Scheme<B> for Clamped<B> {
    fn name(&self) -> &'static str {
        "clamped"
    }

    fn limit(&self) -> Limit {
        Limit::Clamp(self.table.dims()[0])
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let rows: Vec<i64> = tokens.positions.iter().map(|&p| p as i64).collect();
        let rows = TensorData::new(rows, [tokens.batch, tokens.seq]);
        let rows = Tensor::<B, 2, burn::tensor::Int>::from_data(rows, &x.device());
        x + burn::tensor::module::embedding(self.table.val(), rows)
    }
}

fn clamped_positions_are_the_last<B: AutodiffBackend>(device: &B::Device) {
    for form in [CAUSAL, BIDIRECTIONAL] {
        let table = Init::Normal { std: 1.0 }.param([3, 10], Key::new(8), device);
        let stack = with_scheme::<B, _>(&config(), form, Clamped { table }, device);
        let mut by_hand = texts();
        by_hand.positions.iter_mut().for_each(|p| *p = p.min(2.0));
        let want = try_pass(&stack, &texts(), None).unwrap();
        assert_same("clamped", &whole(&stack, &by_hand), &want);
        if form == CAUSAL {
            assert_same("cached", &want, &chunked(&stack, &texts(), &[1; 7]));
        }
    }
}

is_a_scheme!(RawKeys<B>, Window<B>, ForgetGate<B>, Interpolated<B>, Clamped<B>);

on_backends!(
    raw_keys_are_final_keys_turned_late,
    evicting_is_masking,
    cached_gates_are_the_gates,
    gates_add_up,
    gates_learn_through_the_cache,
    a_scheme_counts_in_its_own_way,
    clamped_positions_are_the_last,
);
