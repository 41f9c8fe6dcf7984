//! Attention: multi-head, grouped-query or multi-query; to the sequence itself or to a memory.
//!
//! Vaswani et al. 2017, arXiv:1706.03762, §3.2; Ainslie et al. 2023, arXiv:2305.13245. Scores are computed by
//! [`ops::attention`] unless the position scheme wants to see them.

use burn::module::Module;
use burn::tensor::{Bool, Tensor, TensorData, backend::Backend};
use locus_backend::mask::AttentionMask;
use locus_backend::ops::{self, AttentionOptions, ScoreBias};
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_embedding::position::{CachePolicy, LayerPass, Projections, Scheme, ScoreScale, Views};

use crate::{AttentionScale, BlockPass, LayerCache, Linear, Memory, Norm, QkNorm, StackConfig};

/// Projections and sizes of one attention layer.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// `[d_model, n_heads · d_head]`.
    pub q_proj: Linear<B>,
    /// `[d_model, n_kv_heads · d_head]`.
    pub k_proj: Linear<B>,
    /// `[d_model, n_kv_heads · d_head]`.
    pub v_proj: Linear<B>,
    /// `[n_heads · head_factor · d_head, d_model]`.
    pub o_proj: Linear<B>,
    /// Norm of each query head, `[d_head]`.
    pub q_norm: Option<Norm<B>>,
    /// Norm of each key head, `[d_head]`.
    pub k_norm: Option<Norm<B>>,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
    scale: Option<f64>,
    by_layer: bool,
    score_cap: Option<f64>,
    dropout: f64,
}

impl<B: Backend> Attention<B> {
    /// Makes the layer; `head_factor` is that of its position scheme, `o_proj` starts smaller by `residual_scale`.
    pub fn new(
        config: &StackConfig,
        head_factor: usize,
        residual_scale: f64,
        key: Key,
        device: &B::Device,
    ) -> Self {
        let (d_model, d_head) = (config.d_model, config.d_head());
        let (n_heads, n_kv_heads) = (config.n_heads, config.n_kv_heads());
        let std = config.init_std;
        let linear = |dims, bias, std, name: &str| Linear::new(dims, bias, std, key.named(name), device);
        let qkv = |heads: usize, name| linear([d_model, heads * d_head], config.bias.qkv, std, name);
        let d_context = n_heads * head_factor * d_head;
        Self {
            q_proj: qkv(n_heads, "q_proj"),
            k_proj: qkv(n_kv_heads, "k_proj"),
            v_proj: qkv(n_kv_heads, "v_proj"),
            o_proj: linear([d_context, d_model], config.bias.output, std * residual_scale, "o_proj"),
            q_norm: None,
            k_norm: None,
            n_heads,
            n_kv_heads,
            d_head,
            scale: config.attention_scale.value(),
            by_layer: matches!(config.attention_scale, AttentionScale::ByLayer(_)),
            score_cap: config.score_cap,
            dropout: config.attention_dropout,
        }
    }

    /// The same layer with norms of queries and keys, if the configuration has them.
    #[must_use]
    pub(crate) fn with_qk_norm(mut self, config: &StackConfig, device: &B::Device) -> Self {
        if config.qk_norm == QkNorm::PerHead {
            self.q_norm = Some(Norm::of(config, self.d_head, device));
            self.k_norm = Some(Norm::of(config, self.d_head, device));
        }
        self
    }

    /// Attends from each token to the tokens that the mask leaves it, the cached ones included.
    ///
    /// # Shapes
    /// - x: `[batch, q, d_model]`; output as x
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        at: &BlockPass<'_, B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let scheme = at.scheme;
        let key = |name: &str| at.key.map(|key| key.named(name));
        let project = |linear: &Linear<B>, name| linear.forward_in_training(x.clone(), key(name));
        let q = split_heads(project(&self.q_proj, "q_proj"), self.n_heads); // [batch, heads, q, d_head]
        let k = split_heads(project(&self.k_proj, "k_proj"), self.n_kv_heads); // [batch, kv_heads, q, d_head]
        let v = split_heads(project(&self.v_proj, "v_proj"), self.n_kv_heads); // [batch, kv_heads, q, d_head]
        let (q, k) = (normed(&self.q_norm, q), normed(&self.k_norm, k));
        let (scale, q) = match (self.scale, scheme.score_scale(self.d_head, at.pass)) {
            (Some(scale), _) if self.by_layer => (scale / (at.layer + 1) as f64, q),
            (Some(scale), _) | (None, ScoreScale::Uniform(scale)) => (scale, q),
            (None, ScoreScale::PerQuery(factors)) => (1.0, scale_queries(q, factors)),
        };
        let state = scheme.state(&x);
        let mut layer = LayerPass {
            pass: at.pass,
            prepared: at.prepared,
            layer: at.layer,
            hidden: &x,
            state: None,
            scale,
            projections: Some(Projections { q: &self.q_proj, k: &self.k_proj }),
        };
        // Keys, values and state of all tokens up to now, [batch, kv_heads, k, d_head].
        let (views, v, state) = match scheme.cache() {
            CachePolicy::FinalKey => {
                let Views { views, select } = scheme.rotate(q, k, &layer);
                let (queries, keys) = views.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
                let (keys, v, state) = extend(cache, keys, v, state);
                (Views { views: queries.into_iter().zip(keys).collect(), select }, v, state)
            }
            CachePolicy::RawKey => {
                let (mut keys, v, state) = extend(cache, vec![k], v, state);
                let k = keys.swap_remove(0);
                let views = scheme.rotate(q, k, &LayerPass { state: state.as_ref(), ..layer.clone() });
                (views, v, state)
            }
        };
        layer.state = state.as_ref();
        let v = scheme.values(v, &layer);
        let context = self.attend(views, v, at, &layer); // [batch, heads · head_factor, q, d_head]
        self.o_proj.forward_in_training(join_heads(context), key("o_proj"))
    }

    /// Attends from each token to a memory. No position scheme acts here: the two sides count different texts.
    ///
    /// # Shapes
    /// - x: `[batch, q, d_model]`; output as x
    pub fn cross(
        &self,
        x: Tensor<B, 3>,
        memory: &Memory<B>,
        mask: &AttentionMask<B>,
        key: Option<Key>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let of_adapters = |name: &str| key.map(|key| key.named(name));
        let q = self.q_proj.forward_in_training(x, of_adapters("q_proj"));
        let q = split_heads(q, self.n_heads); // [batch, heads, q, d_head]
        let project = || {
            let of_memory = |linear: &Linear<B>, name| {
                split_heads(
                    linear.forward_in_training(memory.states.clone(), of_adapters(name)),
                    self.n_kv_heads,
                )
            };
            (of_memory(&self.k_proj, "k_proj"), of_memory(&self.v_proj, "v_proj"))
        };
        // The memory does not change while a text is decoded.
        let (k, v) = match cache {
            Some(cache) => cache.memory.get_or_insert_with(project).clone(),
            None => project(),
        };
        let scale = self.scale.unwrap_or((self.d_head as f64).powf(-0.5));
        let options = AttentionOptions { scale, dropout: self.dropout, key };
        let context = join_heads(ops::attention(q, k, v, &ScoreBias::None, mask, options));
        self.o_proj.forward_in_training(context, of_adapters("o_proj"))
    }

    fn attend(
        &self,
        views: Views<B>,
        v: Tensor<B, 4>,
        at: &BlockPass<'_, B>,
        layer: &LayerPass<'_, B>,
    ) -> Tensor<B, 4> {
        let scheme = at.scheme;
        let options = AttentionOptions {
            scale: layer.scale,
            dropout: self.dropout,
            key: at.key.map(|key| key.named("weights")),
        };
        let Views { mut views, select } = views;
        if views.len() == 1 && !scheme.sees_scores() && self.score_cap.is_none() {
            let (q, k) = views.swap_remove(0);
            return ops::attention(q, k, v, &scheme.bias(layer), at.mask, options);
        }
        let weights = weigh(scheme, Views { views, select }, self.score_cap, at.mask, layer, &mut |_, _| {});
        let weights = ops::dropout(weights, options.dropout, options.key);
        mix(scheme, weights, v, layer)
    }
}

/// What [`weigh`] passes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Scores in place of the dot products.
    Own,
    /// Terms that are added.
    Terms,
    /// The scores before they are mapped.
    Before,
    /// The scores that the weights are made of.
    Scores,
}

/// The weights `[batch, heads, q, k]` that a scheme makes of queries and keys, with all its hooks; `note` sees the steps.
pub(crate) fn weigh<B: Backend>(
    scheme: &dyn Scheme<B>,
    Views { views, select }: Views<B>,
    score_cap: Option<f64>,
    mask: &AttentionMask<B>,
    layer: &LayerPass<'_, B>,
    note: &mut dyn FnMut(Step, &Tensor<B, 4>),
) -> Tensor<B, 4> {
    let sees = scheme.sees_scores();
    let (q, k) = views[0].clone();
    let own = sees.then(|| scheme.scores(&q, &k, layer)).flatten();
    own.iter().for_each(|own| note(Step::Own, own));
    let mut scores = own.unwrap_or_else(|| scores_of(views, &select, layer.scale)); // [batch, heads, q, k]
    if let Some(cap) = score_cap {
        scores = (scores / cap).tanh() * cap;
    }
    scores = reference::add_bias(scores, &scheme.bias(layer));
    if !sees {
        note(Step::Scores, &scores);
        return reference::softmax(mask.apply(scores));
    }
    if let Some(terms) = scheme.score_terms(&q, &k, layer) {
        note(Step::Terms, &terms);
        scores = scores + terms;
    }
    note(Step::Before, &scores);
    let scores = scheme.map_scores(scores, &q, layer);
    note(Step::Scores, &scores);
    scheme.normalise(scores, mask, layer)
}

/// The context `[batch, heads, q, d_head]` of these weights and values.
pub(crate) fn mix<B: Backend>(
    scheme: &dyn Scheme<B>,
    weights: Tensor<B, 4>,
    v: Tensor<B, 4>,
    layer: &LayerPass<'_, B>,
) -> Tensor<B, 4> {
    let context = reference::mix(weights.clone(), v);
    if scheme.sees_scores() { scheme.output(context, &weights, layer) } else { context }
}

fn normed<B: Backend>(norm: &Option<Norm<B>>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// Appends keys, values and state to the cache and gives all that it holds then.
fn extend<B: Backend>(
    cache: Option<&mut LayerCache<B>>,
    keys: Vec<Tensor<B, 4>>,
    v: Tensor<B, 4>,
    state: Option<Tensor<B, 3>>,
) -> (Vec<Tensor<B, 4>>, Tensor<B, 4>, Option<Tensor<B, 3>>) {
    match cache {
        Some(cache) => cache.extend(keys, v, state),
        None => (keys, v, state),
    }
}

/// The scaled scores, each cell from the view that `select` names.
pub(crate) fn scores_of<B: Backend>(
    views: Vec<(Tensor<B, 4>, Tensor<B, 4>)>,
    select: &[u8],
    scale: f64,
) -> Tensor<B, 4> {
    let mut views = views.into_iter().enumerate();
    let Some((_, (q, k))) = views.next() else { unreachable!("a scheme gives at least one view") };
    let device = q.device();
    let mut scores = reference::scores(q, k, scale); // [batch, heads, q, k]
    let [_, _, q_len, k_len] = scores.dims();
    for (idx, (q, k)) in views {
        let cells: Vec<bool> = select.iter().map(|&view| usize::from(view) == idx).collect();
        let rows = cells.len() / (q_len * k_len);
        let cells = Tensor::<B, 4, Bool>::from_data(TensorData::new(cells, [rows, 1, q_len, k_len]), &device);
        let shape = scores.shape();
        scores = scores.mask_where(cells.expand(shape), reference::scores(q, k, scale));
    }
    scores
}

pub(crate) fn scale_queries<B: Backend>(q: Tensor<B, 4>, factors: Vec<f32>) -> Tensor<B, 4> {
    let [batch, _, q_len, _] = q.dims();
    let device = q.device();
    q * Tensor::from_data(TensorData::new(factors, [batch, 1, q_len, 1]), &device)
}

/// `[batch, seq, heads · d_head]` → `[batch, heads, seq, d_head]`.
fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, seq, width] = x.dims();
    ops::reshape(x, [batch, seq, heads, width / heads]).swap_dims(1, 2)
}

/// `[batch, heads, seq, d_head]` → `[batch, seq, heads · d_head]`.
fn join_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, seq, d_head] = x.dims();
    ops::reshape(x.swap_dims(1, 2), [batch, seq, heads * d_head])
}
