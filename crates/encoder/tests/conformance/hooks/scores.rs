//! The score matrix: factors per query, maps, other normalisations; values and context.

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData, activation::log_sigmoid};
use locus_backend::init::Init;
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_embedding::position::{LayerPass, Pass, Prepared, Scheme, ScoreScale};
use locus_testkit::{assert_close, on_backends};

use super::{CHUNKS, config, is_a_scheme, ours, texts};
use crate::run::{assert_different, assert_same, chunked, text, whole, with_scheme};
use crate::{BIDIRECTIONAL, CAUSAL};

/// A temperature that grows with the position of the query, as on the layers of Llama 4 without positions.
#[derive(Module, Clone, Debug)]
struct Temperature {
    growth: f64,
}

impl<B: Backend> Scheme<B> for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn score_scale(&self, d_head: usize, pass: &Pass<'_>) -> ScoreScale {
        let factor = |p: &f64| ((1.0 + self.growth * p.ln_1p()) / (d_head as f64).sqrt()) as f32;
        ScoreScale::PerQuery(pass.queries.positions.iter().map(factor).collect())
    }
}

fn factors_are_per_query<B: AutodiffBackend>(device: &B::Device) {
    let stack = |growth| with_scheme::<B, _>(&config(), CAUSAL, Temperature { growth }, device);
    let plain = whole(&with_scheme(&config(), CAUSAL, ours::<B>("none", device), device), &texts());
    assert_same("no growth", &plain, &whole(&stack(0.0), &texts()));
    let growing = stack(1.0);
    let want = whole(&growing, &texts());
    assert_different("growth", &plain, &want);
    // The factor of position 0 is the plain one, and rows are told apart.
    let first =
        |vectors: &Vec<Vec<Vec<f32>>>| vectors.iter().map(|row| vec![row[0].clone()]).collect::<Vec<_>>();
    assert_same("position 0", &first(&plain), &first(&want));
    for chunks in CHUNKS {
        assert_same("cached", &want, &chunked(&growing, &texts(), chunks));
    }
}

/// Maps scores by `cap · tanh(s / cap)` (Gemma 2), normalises as everybody does, and doubles and halves values.
#[derive(Module, Clone, Debug)]
struct SoftCap {
    cap: f64,
}

impl<B: Backend> Scheme<B> for SoftCap {
    fn name(&self) -> &'static str {
        "soft_cap"
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn map_scores(&self, scores: Tensor<B, 4>, _q: &Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        if self.cap.is_infinite() { scores } else { (scores / self.cap).tanh() * self.cap }
    }

    fn values(&self, v: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        assert_eq!(v.dims()[2], at.pass.keys.seq, "values of all keys");
        v * 2.0
    }

    fn output(&self, context: Tensor<B, 4>, weights: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        let [_, heads, q_len, k_len] = weights.dims();
        assert_eq!([heads, q_len, k_len], [4, at.pass.queries.seq, at.pass.keys.seq]);
        context / 2.0
    }
}

fn maps_and_values_act_where_they_should<B: AutodiffBackend>(device: &B::Device) {
    for form in [CAUSAL, BIDIRECTIONAL] {
        let stack = |cap| with_scheme::<B, _>(&config(), form, SoftCap { cap }, device);
        let plain = whole(&with_scheme(&config(), form, ours::<B>("none", device), device), &texts());
        // Without a cap only the doubled values and the halved context are left, which cancel.
        assert_same("no cap", &plain, &whole(&stack(f64::INFINITY), &texts()));
        assert_different("a cap", &plain, &whole(&stack(0.5), &texts()));
        if form == CAUSAL {
            let want = whole(&stack(0.5), &texts());
            CHUNKS
                .iter()
                .for_each(|chunks| assert_same("cached", &want, &chunked(&stack(0.5), &texts(), chunks)));
        }
    }
}

/// Halves the scores, as their factor or as scores of its own.
#[derive(Module, Clone, Debug)]
struct Halved {
    of_its_own: bool,
}

impl<B: Backend> Scheme<B> for Halved {
    fn name(&self) -> &'static str {
        "halved"
    }

    fn score_scale(&self, d_head: usize, _pass: &Pass<'_>) -> ScoreScale {
        ScoreScale::Uniform(if self.of_its_own { 1.0 } else { 0.5 } / (d_head as f64).sqrt())
    }

    fn sees_scores(&self) -> bool {
        self.of_its_own
    }

    fn scores(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        self.of_its_own.then(|| reference::scores(q.clone(), k.clone(), at.scale / 2.0))
    }
}

fn scores_of_its_own_replace_the_products<B: AutodiffBackend>(device: &B::Device) {
    for form in [CAUSAL, BIDIRECTIONAL] {
        let stack = |of_its_own| with_scheme::<B, _>(&config(), form, Halved { of_its_own }, device);
        let want = whole(&stack(false), &texts());
        assert_same("halved", &want, &whole(&stack(true), &texts()));
        let plain = with_scheme(&config(), form, ours::<B>("none", device), device);
        assert_different("halved", &want, &whole(&plain, &texts()));
        if form == CAUSAL {
            let cached =
                |chunks: &&[usize]| assert_same("cached", &want, &chunked(&stack(true), &texts(), chunks));
            CHUNKS.iter().for_each(cached);
        }
    }
}

/// Stick-breaking (arXiv:2410.17980): `a_ij = σ(z_ij) · Π_{j<t≤i} (1 − σ(z_it))`, no softmax.
#[derive(Module, Clone, Debug)]
struct StickBreaking {}

impl<B: Backend> Scheme<B> for StickBreaking {
    fn name(&self) -> &'static str {
        "stick_breaking"
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn normalise(
        &self,
        scores: Tensor<B, 4>,
        mask: &AttentionMask<B>,
        _at: &LayerPass<'_, B>,
    ) -> Tensor<B, 4> {
        let passed_on = mask.zero(log_sigmoid(-scores.clone())); // [batch, heads, q, k]
        let [_, _, _, k] = passed_on.dims();
        // What the keys after `j` leave of the stick.
        let after: Vec<f32> = (0..k * k).map(|cell| if cell / k > cell % k { 1.0 } else { 0.0 }).collect();
        let after = Tensor::<B, 4>::from_data(TensorData::new(after, [1, 1, k, k]), &scores.device());
        let [batch, heads, q, _] = passed_on.dims();
        let left =
            passed_on.reshape([1, 1, batch * heads * q, k]).matmul(after).reshape([batch, heads, q, k]);
        mask.zero((log_sigmoid(scores) + left).exp())
    }
}

fn sticks_break_in_the_cache_too<B: AutodiffBackend>(device: &B::Device) {
    let stack = with_scheme::<B, _>(&config(), CAUSAL, StickBreaking {}, device);
    let want = whole(&stack, &texts());
    for chunks in CHUNKS {
        assert_same("sticks", &want, &chunked(&stack, &texts(), chunks));
    }
    let padded = want[..1].to_vec();
    assert_same("padding", &whole(&stack, &text(&["#####"])), &padded);
}

/// The weights are the double loop of the formula.
fn sticks_are_broken_as_written<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&[".##.#"]);
    let (prepared, hidden) = (Prepared::default(), Tensor::<B, 3>::zeros([1, 5, 10], device));
    let pass = Pass { queries: &tokens, keys: &tokens, form: CAUSAL, longest_seen: 5, key: None };
    let at = LayerPass {
        pass: &pass,
        prepared: &prepared,
        layer: 0,
        hidden: &hidden,
        state: None,
        scale: 1.0,
        projections: None,
    };
    let spec = MaskSpec {
        batch: 1,
        q_len: 5,
        k_len: 5,
        causal: true,
        keep: Some(tokens.keep.clone()),
        visible: None,
        spans: None,
    };
    let scores = Init::Normal { std: 1.5 }.tensor::<B, 4>([1, 2, 5, 5], Key::new(2), device);
    let z: Vec<f32> = scores.to_data().iter::<f32>().collect();
    let mask = AttentionMask::new(spec.clone(), device);
    let weights = StickBreaking {}.normalise(scores, &mask, &at);
    let mut want = Vec::new();
    for (head, i) in (0..2).flat_map(|head| (0..5).map(move |i| (head, i))) {
        let sigma = |j: usize| 1.0 / (1.0 + (-f64::from(z[(head * 5 + i) * 5 + j])).exp());
        let seen = |j: usize| spec.keeps(0, i, j);
        for j in 0..5 {
            let left: f64 = (j + 1..5).filter(|&t| seen(t)).map(|t| 1.0 - sigma(t)).product();
            want.push(if seen(j) { (sigma(j) * left) as f32 } else { 0.0 });
        }
    }
    assert_close("weights", &weights, &want, 1e-6, 1e-5);
}

is_a_scheme!(Temperature, SoftCap, Halved, StickBreaking);

on_backends!(
    factors_are_per_query,
    maps_and_values_act_where_they_should,
    scores_of_its_own_replace_the_products,
    sticks_break_in_the_cache_too,
    sticks_are_broken_as_written,
);
