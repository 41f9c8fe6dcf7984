//! The trait of position schemes and the context that its hooks see.

use std::any::Any;

use burn::tensor::{Tensor, backend::Backend};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::ScoreBias;
use locus_backend::reference::softmax;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use crate::Tokens;

/// Where attention happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Every token sees every token (encoders).
    #[default]
    Bidirectional,
    /// A token sees itself and what came before it (decoders).
    Causal,
}

/// One forward pass as a scheme sees it. Positions are those that [`Scheme::number`] gave.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// The tokens of this pass.
    pub queries: &'a Tokens,
    /// The cached tokens followed by those of this pass.
    pub keys: &'a Tokens,
    /// Which keys a query may see.
    pub form: Form,
    /// The number of tokens of the longest row up to now, the cached ones included.
    pub longest_seen: usize,
    /// The random source of this scheme instance in a training step; absent in evaluation. Where layers should differ,
    /// take the child of the layer.
    pub key: Option<Key>,
}

impl Pass<'_> {
    /// Which keys each query sees, as far as tokens and form say.
    pub fn mask(&self) -> MaskSpec {
        let (keys, causal) = (self.keys, self.form == Form::Causal);
        MaskSpec {
            batch: self.queries.batch,
            q_len: self.queries.seq,
            k_len: keys.seq,
            causal,
            keep: keys.keep.iter().any(|keep| !keep).then(|| keys.keep.clone()),
            spans: keys.spans(self.queries.seq, causal),
            visible: None,
        }
    }
}

/// What [`Scheme::prepare`] made, of whatever type the scheme chose.
#[derive(Debug, Default)]
pub struct Prepared(Option<Box<dyn Any>>);

impl Prepared {
    /// Wraps a value.
    pub fn new<T: 'static>(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// The value.
    ///
    /// # Panics
    /// If `prepare` made something else, which is an error in the scheme.
    pub fn get<T: 'static>(&self) -> &T {
        match self.0.as_ref().and_then(|value| value.downcast_ref()) {
            Some(value) => value,
            None => panic!("prepare did not make a {}", std::any::type_name::<T>()),
        }
    }
}

/// One layer's attention as a scheme sees it.
#[derive(Clone, Debug)]
pub struct LayerPass<'a, B: Backend> {
    /// The pass.
    pub pass: &'a Pass<'a>,
    /// What the scheme prepared for it.
    pub prepared: &'a Prepared,
    /// The layer, from 0.
    pub layer: usize,
    /// The input of the layer's attention, `[batch, q, d_model]`.
    pub hidden: &'a Tensor<B, 3>,
    /// What [`Scheme::state`] gave for all keys, `[batch, k, width]`; `None` in [`Scheme::rotate`] under
    /// [`CachePolicy::FinalKey`], which comes before the cache is read.
    pub state: Option<&'a Tensor<B, 3>>,
    /// The factor of the dot products.
    pub scale: f64,
    /// The layer's projections of queries and keys; none where a scheme is looked at by itself.
    pub projections: Option<Projections<'a, B>>,
}

/// A layer's projections, for schemes that send vectors of their own through them.
#[derive(Clone, Debug)]
pub struct Projections<'a, B: Backend> {
    /// Of queries, to `[rows, n_heads · d_head]`.
    pub q: &'a dyn Projection<B>,
    /// Of keys, to `[rows, n_kv_heads · d_head]`.
    pub k: &'a dyn Projection<B>,
}

/// A projection as the layer does it, whatever its weights are held in.
pub trait Projection<B: Backend>: std::fmt::Debug {
    /// Projects rows `[rows, d_model]`.
    fn project(&self, rows: Tensor<B, 2>) -> Tensor<B, 2>;
}

/// Queries and keys after rotation; more than one view where the scheme compares them in more than one way.
#[derive(Clone, Debug)]
pub struct Views<B: Backend> {
    /// Pairs of queries `[batch, heads, q, d]` and keys `[batch, kv_heads, k, d]`.
    pub views: Vec<(Tensor<B, 4>, Tensor<B, 4>)>,
    /// Which view each cell of the scores is read from, `[rows, q, k]` with one row where all are equal; empty where there
    /// is one view.
    pub select: Vec<u8>,
}

impl<B: Backend> Views<B> {
    /// A single view.
    pub fn one(q: Tensor<B, 4>, k: Tensor<B, 4>) -> Self {
        Self { views: vec![(q, k)], select: Vec::new() }
    }
}

/// What happens to positions that the scheme was not made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Any position is as good as any other.
    None,
    /// Positions from `n` on are an error.
    Error(usize),
    /// Positions from `n` on are treated as the last one.
    Clamp(usize),
}

/// What may be stored per past token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// The key as the scores use it: it never changes.
    FinalKey,
    /// The key before rotation, rotated anew in every pass, because its rotation depends on what came after it.
    RawKey,
}

/// The factor of the dot products.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreScale {
    /// The same for all queries.
    Uniform(f64),
    /// A factor per query, `[batch, q]`.
    PerQuery(Vec<f32>),
}

/// A position scheme.
///
/// Every hook has the identity as its default, so a scheme writes only what it does. In the order in which one forward
/// pass calls them:
///
/// | hook | acts on | example |
/// |---|---|---|
/// | [`positions`](Scheme::positions), [`number`](Scheme::number), [`limit`](Scheme::limit), [`max_tokens`](Scheme::max_tokens) | position ids | padding-aware ids |
/// | [`embed`](Scheme::embed), [`extra_width`](Scheme::extra_width) | token embeddings | sinusoidal, learned |
/// | [`prepare`](Scheme::prepare) | nothing: makes what all layers read | rotary tables |
/// | [`visible`](Scheme::visible), [`retained`](Scheme::retained) | the mask and the cache | sliding window |
/// | [`state`](Scheme::state), [`cache`](Scheme::cache) | what is cached per token | forget gates |
/// | [`rotate`](Scheme::rotate), [`head_factor`](Scheme::head_factor) | queries and keys | rotary |
/// | [`score_scale`](Scheme::score_scale) | the factor of the dot products | T5 |
/// | [`scores`](Scheme::scores) | what stands in for the dot products | PaTH |
/// | [`bias`](Scheme::bias) | scores, additively | ALiBi |
/// | [`score_terms`](Scheme::score_terms) | scores, from content | Shaw's keys |
/// | [`map_scores`](Scheme::map_scores) | the raw score matrix | contextual positions |
/// | [`normalise`](Scheme::normalise) | scores → weights | stick-breaking |
/// | [`values`](Scheme::values), [`output`](Scheme::output) | values before and after mixing | Shaw's values |
///
/// Schemes act on self-attention. In cross-attention queries and keys count different texts, so no scheme acts there.
pub trait Scheme<B: Backend> {
    /// The name under which configurations and errors know it.
    fn name(&self) -> &'static str;

    /// Whether scores depend on positions through their differences only, so that shifting all positions changes
    /// nothing.
    fn is_relative(&self) -> bool {
        false
    }

    /// Why a query may see no key after its own token, where that is so; `None` where it may, as in a prefix that is read
    /// in both directions.
    fn only_earlier(&self) -> Option<&'static str> {
        None
    }

    /// The positions of new tokens as this scheme counts them, `[batch, seq]`.
    fn positions(&self, tokens: &Tokens, _key: Option<Key>) -> Vec<f64> {
        tokens.positions.clone()
    }

    /// Gives new tokens their places: [`Scheme::positions`], unless the scheme counts by what the tokens are and so needs those
    /// before them, or places them on several axes. `past` are the cached tokens of the same rows, as this hook numbered them.
    fn number(&self, tokens: &mut Tokens, _past: Option<&Tokens>, key: Option<Key>) {
        tokens.positions = self.positions(tokens, key);
    }

    /// What happens past the positions it was made for. Checked on what [`Scheme::number`] gave.
    fn limit(&self) -> Limit {
        Limit::None
    }

    /// How many tokens a text may have, where there is a limit: as many as there are positions, unless the scheme spreads them
    /// or counts otherwise.
    fn max_tokens(&self) -> Option<usize> {
        match self.limit() {
            Limit::Error(n) => Some(n),
            Limit::None | Limit::Clamp(_) => None,
        }
    }

    /// How much wider [`Scheme::embed`] makes the token embedding.
    fn extra_width(&self) -> usize {
        0
    }

    /// Adds position to the token embeddings, or appends it to them.
    ///
    /// # Shapes
    /// - x: `[batch, seq, width]`; output: `[batch, seq, width + extra_width]`
    fn embed(&self, x: Tensor<B, 3>, _tokens: &Tokens) -> Tensor<B, 3> {
        x
    }

    /// What all layers of a pass read: tables, a bias, indices. Learned parameters used here get their gradients.
    fn prepare(&self, _pass: &Pass<'_>, _device: &B::Device) -> Prepared {
        Prepared::default()
    }

    /// Cells that stay visible beside causality and padding, `[q, k]`; all where `None`.
    fn visible(&self, _pass: &Pass<'_>) -> Option<Vec<bool>> {
        None
    }

    /// The columns that stay in a cache of these tokens; all where `None`.
    fn retained(&self, _cached: &Tokens) -> Option<Vec<usize>> {
        None
    }

    /// What is stored per token beside key and value, `[batch, seq, width]`, from the input of the layer's attention.
    fn state(&self, _hidden: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        None
    }

    /// What may be stored per past token.
    fn cache(&self) -> CachePolicy {
        CachePolicy::FinalKey
    }

    /// Turns queries and keys by their positions.
    ///
    /// Under [`CachePolicy::FinalKey`] the keys are those of this pass, under [`CachePolicy::RawKey`] all of them.
    ///
    /// # Shapes
    /// - q: `[batch, heads, q, d_head]`; k: `[batch, kv_heads, k, d_head]`; queries in the views have
    ///   `heads · head_factor` heads
    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Views<B> {
        Views::one(q, k)
    }

    /// How many query heads [`Scheme::rotate`] gives for each that it gets, those of one head side by side. The output
    /// projection reads them all.
    fn head_factor(&self) -> usize {
        1
    }

    /// The factor of the dot products.
    fn score_scale(&self, d_head: usize, _pass: &Pass<'_>) -> ScoreScale {
        ScoreScale::Uniform(1.0 / (d_head as f64).sqrt())
    }

    /// What is added to the scaled scores.
    fn bias(&self, _at: &LayerPass<'_, B>) -> ScoreBias<B> {
        ScoreBias::None
    }

    /// Whether the scheme uses one of the hooks below. They need the score matrix, so attention then keeps it instead
    /// of running as one operation.
    fn sees_scores(&self) -> bool {
        false
    }

    /// The scores of a scheme that compares queries and keys in its own way, scaled, `[batch, heads, q, k]`; the scaled dot
    /// products where `None`. Cells of keys that the mask hides may hold any finite number.
    ///
    /// # Shapes
    /// - q: `[batch, heads, q, d_head]`; k: `[batch, kv_heads, k, d_head]`; output: `[batch, heads, q, k]`
    fn scores(&self, _q: &Tensor<B, 4>, _k: &Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        None
    }

    /// Scores that depend on content and position, added to the scaled dot products. Scale them by `at.scale` if they
    /// are dot products too.
    ///
    /// # Shapes
    /// - q: `[batch, heads, q, d_head]`; k: `[batch, kv_heads, k, d_head]`; output: `[batch, heads, q, k]`
    fn score_terms(
        &self,
        _q: &Tensor<B, 4>,
        _k: &Tensor<B, 4>,
        _at: &LayerPass<'_, B>,
    ) -> Option<Tensor<B, 4>> {
        None
    }

    /// Maps the score matrix before masking, `[batch, heads, q, k]`.
    fn map_scores(&self, scores: Tensor<B, 4>, _q: &Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        scores
    }

    /// Turns scores into weights, `[batch, heads, q, k]`.
    fn normalise(
        &self,
        scores: Tensor<B, 4>,
        mask: &AttentionMask<B>,
        _at: &LayerPass<'_, B>,
    ) -> Tensor<B, 4> {
        softmax(mask.apply(scores))
    }

    /// The values before mixing, `[batch, kv_heads, k, d_head]`.
    fn values(&self, v: Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        v
    }

    /// The context after mixing, `[batch, heads, q, d_head]`, given the weights `[batch, heads, q, k]`.
    fn output(&self, context: Tensor<B, 4>, _weights: &Tensor<B, 4>, _at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        context
    }
}
