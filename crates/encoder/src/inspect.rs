//! What a position scheme does at small sizes: every hook is run once, and what departs from the identity is kept.
//!
//! Nothing here knows any scheme: the hooks of [`Scheme`] are called as attention calls them, on seeded input that comes
//! back with the answer, so that anybody can compute it again.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::mask::{AttentionMask, HIDDEN_SCORE};
use locus_backend::ops::ScoreBias;
use locus_backend::params::ParamPath;
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_embedding::position::{
    CachePolicy, LayerPass, Pass, PositionScheme, PositionShape, Prepared, Projections, Scheme, ScoreScale,
    Views,
};
use locus_embedding::{EmbeddingError, Tokens};

use crate::Linear;
use crate::attention::{Step, mix, scale_queries, weigh};
use crate::stack::{mask, within_limit};

/// Where a scheme is looked at: one row of `k` tokens, of which the last `q` are queries.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Number of queries, at most `k`.
    pub q: usize,
    /// Number of keys.
    pub k: usize,
    /// Width of the model, heads, form.
    pub shape: PositionShape,
    /// Decides the input.
    pub seed: u64,
    /// The ids of the `k` tokens, which most schemes do not look at.
    pub ids: Vec<u32>,
    /// Their segments, for schemes that look at these; none where absent.
    pub segments: Option<Vec<u32>>,
}

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// What each axis counts.
    pub axes: Vec<&'static str>,
    /// How long it is.
    pub dims: Vec<usize>,
    /// The numbers, in row-major order.
    pub values: Vec<f32>,
}

/// Something that a scheme does.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// A name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The numbers.
    pub array: Array,
}

/// What a scheme does.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The position of each of the `k` tokens, as the scheme counts them.
    pub positions: Vec<f64>,
    /// Its parameters by name.
    pub parameters: Vec<(String, Array)>,
    /// What it was given: token vectors, the input of attention, queries, keys, values.
    pub inputs: Vec<Part>,
    /// Where it departs from the identity, in the order of a forward pass.
    pub parts: Vec<Part>,
    /// Scores, weights and context of the seeded input.
    pub results: Vec<Part>,
    /// Whether the mask lets each query see each key, `[q, k]`.
    pub seen: Vec<bool>,
}

/// Runs every hook of a scheme, as layer 0 in evaluation.
///
/// # Errors
/// If a position is past the limit of the scheme.
///
/// # Panics
/// If there are more queries than keys, not `k` ids or segments, or sizes that the scheme does not take.
pub fn inspect<B: Backend, P: PositionScheme<B>>(
    position: &P,
    look: &Look,
    device: &B::Device,
) -> Result<Inspection, EmbeddingError> {
    assert!(look.q <= look.k, "{} queries of {} tokens", look.q, look.k);
    let scheme = position.scheme();
    let mut keys = Tokens::new([1, look.k], look.ids.clone(), vec![true; look.k], look.segments.clone())?;
    let counted = keys.positions.clone();
    scheme.number(&mut keys, None, None);
    within_limit(scheme, &mut keys)?;
    let columns: Vec<usize> = (look.k - look.q..look.k).collect();
    let queries = keys.columns(&columns);
    let form = look.shape.form;
    let subject = Subject {
        scheme,
        input: Input::new(look, scheme.extra_width(), device),
        whole: &Pass { queries: &keys, keys: &keys, form, longest_seen: look.k, key: None },
        pass: &Pass { queries: &queries, keys: &keys, form, longest_seen: look.k, key: None },
        device,
    };
    let mut parts = Vec::new();
    if keys.positions != counted {
        let values = keys.positions.iter().map(|p| *p as f32).collect();
        let array = Array { axes: vec!["token"], dims: vec![look.k], values };
        parts.push(Part { name: "positions", what: "the positions of the tokens", array });
    }
    if !keys.axes.is_empty() {
        let values = keys.axes.iter().flatten().map(|place| *place as f32).collect();
        let array = Array { axes: vec!["axis", "token"], dims: vec![keys.axes.len(), look.k], values };
        parts.push(Part { name: "places", what: "the places of the tokens on further axes", array });
    }
    parts.extend(subject.embedding());
    let (more, results, seen) = subject.attention();
    parts.extend(more);
    Ok(Inspection {
        positions: keys.positions.clone(),
        parameters: parameters(position),
        inputs: subject.input.parts(),
        parts,
        results,
        seen,
    })
}

/// The seeded input.
struct Input<B: Backend> {
    /// `[1, k, d_model − extra width]`.
    embedding: Tensor<B, 3>,
    /// `[1, k, d_model]`.
    hidden: Tensor<B, 3>,
    /// `[1, heads, q, d_head]`.
    q: Tensor<B, 4>,
    /// `[1, heads, k, d_head]`.
    k: Tensor<B, 4>,
    /// `[1, heads, k, d_head]`.
    v: Tensor<B, 4>,
    /// Of queries and keys, `[d_model, heads · d_head]`, for schemes that send vectors of their own through them. These
    /// come back in what such a scheme makes of them only.
    projections: [Linear<B>; 2],
}

impl<B: Backend> Input<B> {
    fn new(look: &Look, extra_width: usize, device: &B::Device) -> Self {
        let PositionShape { d_model, n_heads, d_head, .. } = look.shape;
        let (normal, key) = (Init::Normal { std: 1.0 }, Key::new(look.seed).named("input"));
        let projection = |name: &str| {
            let std = 1.0 / (d_model as f64).sqrt();
            Linear::new([d_model, n_heads * d_head], false, std, key.named(name), device)
        };
        let heads = |seq, name: &str| normal.tensor([1, n_heads, seq, d_head], key.named(name), device);
        let width = d_model - extra_width;
        Self {
            embedding: normal.tensor([1, look.k, width], key.named("embedding"), device),
            hidden: normal.tensor([1, look.k, d_model], key.named("hidden"), device),
            q: heads(look.q, "q"),
            k: heads(look.k, "k"),
            v: heads(look.k, "v"),
            projections: ["q_proj", "k_proj"].map(projection),
        }
    }

    fn parts(&self) -> Vec<Part> {
        let Self { embedding, hidden, q, k, v, .. } = self;
        vec![
            part("embedding", "token vectors", rows(embedding.clone())),
            part("hidden", "the input of attention", rows(hidden.clone())),
            part("q", "queries", host(q.clone().squeeze_dim::<3>(0), ["head", "query", "dimension"])),
            part("k", "keys", host(k.clone().squeeze_dim::<3>(0), ["head", "key", "dimension"])),
            part("v", "values", host(v.clone().squeeze_dim::<3>(0), ["head", "key", "dimension"])),
        ]
    }
}

struct Subject<'a, B: Backend> {
    scheme: &'a dyn Scheme<B>,
    input: Input<B>,
    /// All tokens as queries.
    whole: &'a Pass<'a>,
    /// The last tokens as queries.
    pass: &'a Pass<'a>,
    device: &'a B::Device,
}

impl<B: Backend> Subject<'_, B> {
    /// What is added to token vectors, or appended.
    fn embedding(&self) -> Option<Part> {
        let zeros = self.input.embedding.clone().zeros_like();
        let embedded = self.scheme.embed(zeros, self.whole.queries); // [1, k, d_model]
        let array = rows(embedded);
        let acts = self.scheme.extra_width() > 0 || array.values.iter().any(|x| *x != 0.0);
        acts.then(|| part("embedding", "what is added to the vector of each token, or appended to it", array))
    }

    /// Everything from the projections to the context, as `Attention` does it.
    fn attention(&self) -> (Vec<Part>, Vec<Part>, Vec<bool>) {
        let (scheme, pass) = (self.scheme, self.pass);
        let Input { hidden, q, k, v, .. } = &self.input;
        let [_, heads, q_len, d_head] = q.dims();
        let (heads, k_len) = (heads * scheme.head_factor(), pass.keys.seq);
        let mut parts = Vec::new();
        let state = scheme.state(hidden);
        parts.extend(state.clone().map(|state| part("state", "what is cached of each token", rows(state))));
        let plain = 1.0 / (d_head as f64).sqrt();
        let (scale, scaled, factors) = match scheme.score_scale(d_head, pass) {
            ScoreScale::Uniform(scale) => (scale, q.clone(), vec![scale as f32; q_len]),
            ScoreScale::PerQuery(factors) => (1.0, scale_queries(q.clone(), factors.clone()), factors),
        };
        if factors.iter().any(|factor| *factor != plain as f32) {
            let array = Array { axes: vec!["query"], dims: vec![q_len], values: factors };
            parts.push(part("score_scale", "the factor of the dot products of each query", array));
        }
        let last = hidden.clone().narrow(1, k_len - q_len, q_len); // [1, q, d_model]
        let prepared = scheme.prepare(pass, self.device);
        let views = self.rotated(scaled.clone(), k.clone(), &last, &prepared, state.as_ref(), scale);
        parts.extend(self.units(&views, (&scaled, k)));
        let at = layer_pass(pass, &prepared, &last, state.as_ref(), scale, &self.input.projections);
        let mask: AttentionMask<B> = mask(scheme, pass, self.device);
        let whole = |bias: &ScoreBias<B>| {
            reference::add_bias(Tensor::zeros([1, heads, q_len, k_len], self.device), bias) // [1, heads, q, k]
        };
        let (bias, shift) = match scheme.bias(&at) {
            ScoreBias::None => (None, None),
            ScoreBias::Keys(of_keys) => {
                let shown = from_own_key(of_keys.clone(), q_len);
                (Some(shown.clone()), Some(shown - whole(&ScoreBias::Keys(of_keys))))
            }
            bias => (Some(whole(&bias)), None),
        };
        let mut steps = Vec::new();
        let weights =
            weigh(scheme, views, None, &mask, &at, &mut |step, tensor| steps.push((step, tensor.clone())));
        let step = |of: Step| steps.iter().find(|(step, _)| *step == of).map(|(_, tensor)| tensor.clone());
        let (Some(mut scores), mut before) = (step(Step::Scores), step(Step::Before)) else {
            unreachable!("weights are made of scores")
        };
        let plain_weights = reference::softmax(mask.apply(scores.clone()));
        if let Some(shift) = shift {
            // As the bias is shown: the weights are the same.
            (scores, before) = (scores + shift.clone(), before.map(|before| before + shift));
        }
        let mut of_scores = Vec::new();
        let mut add = |name, what, array: Tensor<B, 4>| of_scores.push(part(name, what, cells(array)));
        if let Some(own) = step(Step::Own) {
            add("own_scores", "the scores of the seeded queries and keys, which are no dot products", own);
        }
        if let Some(bias) = &bias {
            add("bias", "what is added to the scaled scores", bias.clone());
        }
        if let Some(terms) = step(Step::Terms) {
            let what = "what is added to the scaled scores of the seeded queries, keys and inputs";
            add("score_terms", what, terms);
        }
        if let Some(before) = before.filter(|before| flat(before) != flat(&scores)) {
            add("scores_before", "the seeded scores before they are mapped", before);
            add("mapped_scores", "the seeded scores after they are mapped", scores.clone());
        }
        let seen: Vec<bool> = (0..q_len)
            .flat_map(|i| (0..k_len).map(move |j| (i, j)))
            .map(|(i, j)| mask.spec.keeps(0, i, j))
            .collect();
        parts.extend(visible(pass, &mask, bias));
        parts.extend(of_scores);
        if flat(&weights) != flat(&plain_weights) {
            let found = cells(weights.clone());
            parts.push(part("weights", "the weights of the seeded scores, which are no softmax", found));
        }
        let values = scheme.values(v.clone(), &at);
        let axes = ["head", "key", "dimension"];
        let [new, old] = [values.clone(), v.clone()].map(|v| host(v.squeeze_dim::<3>(0), axes));
        if new != old {
            parts.push(part("values", "the seeded values before they are mixed", new));
        }
        let axes = ["head", "query", "dimension"];
        let plain = host(reference::mix(weights.clone(), values.clone()).squeeze_dim::<3>(0), axes);
        let output = host(mix(scheme, weights.clone(), values, &at).squeeze_dim::<3>(0), axes);
        if output != plain {
            parts.push(part("context", "the seeded context after the scheme's last word", output.clone()));
        }
        let results = vec![
            part("scores", "the scores before the mask", cells(scores)),
            part("weights", "the weights", cells(weights)),
            part("context", "the weighted values", output),
        ];
        (parts, results, seen)
    }

    /// Queries and keys after rotation. Keys that never change were turned in the pass that brought them.
    fn rotated(
        &self,
        q: Tensor<B, 4>,
        k: Tensor<B, 4>,
        hidden: &Tensor<B, 3>,
        prepared: &Prepared,
        state: Option<&Tensor<B, 3>>,
        scale: f64,
    ) -> Views<B> {
        let [_, _, q_len, _] = q.dims();
        let (k_len, projections) = (self.pass.keys.seq, &self.input.projections);
        match self.scheme.cache() {
            CachePolicy::RawKey => {
                let at = layer_pass(self.pass, prepared, hidden, state, scale, projections);
                self.scheme.rotate(q, k, &at)
            }
            CachePolicy::FinalKey => {
                let of_last = k.clone().narrow(2, k_len - q_len, q_len);
                let at = layer_pass(self.pass, prepared, hidden, None, scale, projections);
                let last = self.scheme.rotate(q, of_last, &at);
                let prepared = self.scheme.prepare(self.whole, self.device);
                let at = layer_pass(self.whole, &prepared, &self.input.hidden, None, scale, projections);
                let whole = self.scheme.rotate(k.clone(), k, &at);
                let views = last.views.into_iter().zip(whole.views).map(|((q, _), (_, k))| (q, k));
                Views { views: views.collect(), select: last.select }
            }
        }
    }

    /// What becomes of unit vectors at each token, if rotation does anything.
    fn units(&self, views: &Views<B>, before: (&Tensor<B, 4>, &Tensor<B, 4>)) -> Vec<Part> {
        let same = |a: &Tensor<B, 4>, b: &Tensor<B, 4>| a.dims() == b.dims() && flat(a) == flat(b);
        let [(q, k)] = &views.views[..] else { return self.turned_units(views) };
        if same(q, before.0) && same(k, before.1) { Vec::new() } else { self.turned_units(views) }
    }

    fn turned_units(&self, views: &Views<B>) -> Vec<Part> {
        let [_, heads, _, d_head] = self.input.q.dims();
        let (k_len, n_views) = (self.whole.keys.seq, views.views.len());
        let prepared = self.scheme.prepare(self.whole, self.device);
        let state = self.scheme.state(&self.input.hidden);
        let Input { hidden, projections, .. } = &self.input;
        let at = layer_pass(self.whole, &prepared, hidden, state.as_ref(), 1.0, projections);
        // By unit: for each view the turned queries and keys, [heads, k, width].
        let by_unit: Vec<Vec<[Vec<f32>; 2]>> = (0..d_head)
            .map(|unit| {
                let values = (0..heads * k_len * d_head).map(|idx| f32::from(u8::from(idx % d_head == unit)));
                let data = TensorData::new(values.collect::<Vec<_>>(), [1, heads, k_len, d_head]);
                let x = Tensor::<B, 4>::from_data(data, self.device);
                let turned = self.scheme.rotate(x.clone(), x, &at).views;
                turned.iter().map(|(q, k)| [flat(q), flat(k)]).collect()
            })
            .collect();
        let side = |which: usize| {
            let heads = if which == 0 { heads * self.scheme.head_factor() } else { heads };
            let width = by_unit[0][0][which].len() / (heads * k_len);
            let cell = |view: usize, head: usize, token: usize, unit: usize| {
                let start = (head * k_len + token) * width;
                by_unit[unit][view][which][start..start + width].to_vec()
            };
            let of_head = |view: usize, head: usize| -> Vec<f32> {
                (0..k_len)
                    .flat_map(|token| (0..d_head).flat_map(move |unit| cell(view, head, token, unit)))
                    .collect()
            };
            let all: Vec<Vec<Vec<f32>>> =
                (0..n_views).map(|view| (0..heads).map(|head| of_head(view, head)).collect()).collect();
            // One head stands for all where they turn alike.
            let alike = all.iter().all(|view| view.iter().all(|head| *head == view[0]));
            let kept = if alike { 1 } else { heads };
            let values = all.into_iter().flat_map(|view| view.into_iter().take(kept).flatten()).collect();
            let axes = vec!["view", if alike { "all heads" } else { "head" }, "token", "unit", "dimension"];
            Array { axes, dims: vec![n_views, kept, k_len, d_head, width], values }
        };
        let mut parts = vec![
            part("unit_queries", "what a query becomes that is 1 in one dimension", side(0)),
            part("unit_keys", "what a key becomes that is 1 in one dimension", side(1)),
        ];
        if n_views > 1 {
            let q_len = self.pass.queries.seq;
            let values = views.select[..q_len * k_len].iter().map(|view| f32::from(*view)).collect();
            let array = Array { axes: vec!["query", "key"], dims: vec![q_len, k_len], values };
            parts.push(part("view", "the view that each score is read from", array));
        }
        parts
    }
}

fn layer_pass<'a, B: Backend>(
    pass: &'a Pass<'a>,
    prepared: &'a Prepared,
    hidden: &'a Tensor<B, 3>,
    state: Option<&'a Tensor<B, 3>>,
    scale: f64,
    projections: &'a [Linear<B>; 2],
) -> LayerPass<'a, B> {
    let projections = Some(Projections { q: &projections[0], k: &projections[1] });
    LayerPass { pass, prepared, layer: 0, hidden, state, scale, projections }
}

/// The cells of a bias per key `[1, heads, k]`, whose rows a softmax sees up to a constant: the one that makes a query's own
/// key 0, as formulas of sums from key to query have it. `[1, heads, q, k]`.
fn from_own_key<B: Backend>(bias: Tensor<B, 3>, q_len: usize) -> Tensor<B, 4> {
    let [_, heads, k_len] = bias.dims();
    let own = bias.clone().narrow(2, k_len - q_len, q_len).reshape([1, heads, q_len, 1]);
    bias.reshape([1, heads, 1, k_len]).repeat_dim(2, q_len) - own.repeat_dim(3, k_len)
}

/// Which keys the scheme leaves each query, where it hides any that causality does not.
fn visible<B: Backend>(pass: &Pass<'_>, mask: &AttentionMask<B>, bias: Option<Tensor<B, 4>>) -> Option<Part> {
    let (q_len, k_len) = (pass.queries.seq, pass.keys.seq);
    let bias = bias.map(|bias| flat(&bias));
    let own = |cell: usize| {
        mask.spec.visible.as_ref().is_none_or(|visible| visible[cell])
            && bias.as_ref().is_none_or(|bias| bias[cell] > HIDDEN_SCORE / 2.0)
    };
    let hides = (0..q_len * k_len).any(|cell| !own(cell));
    hides.then(|| {
        let cell = |cell: usize| own(cell) && mask.spec.keeps(0, cell / k_len, cell % k_len);
        let values = (0..q_len * k_len).map(|idx| f32::from(u8::from(cell(idx)))).collect();
        let array = Array { axes: vec!["query", "key"], dims: vec![q_len, k_len], values };
        part("visible", "the keys that each query sees: 1", array)
    })
}

fn part(name: &'static str, what: &'static str, array: Array) -> Part {
    Part { name, what, array }
}

fn flat<B: Backend>(tensor: &Tensor<B, 4>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>, axes: [&'static str; D]) -> Array {
    let dims = tensor.dims().to_vec();
    Array { axes: axes.to_vec(), dims, values: tensor.into_data().iter::<f32>().collect() }
}

/// `[1, heads, q, k]`.
fn cells<B: Backend>(tensor: Tensor<B, 4>) -> Array {
    host(tensor.squeeze_dim::<3>(0), ["head", "query", "key"])
}

/// `[1, seq, width]`.
fn rows<B: Backend>(tensor: Tensor<B, 3>) -> Array {
    host(tensor.squeeze_dim::<2>(0), ["token", "dimension"])
}

/// A module's parameters by path.
fn parameters<B: Backend, M: Module<B>>(module: &M) -> Vec<(String, Array)> {
    #[derive(Default)]
    struct Found {
        path: ParamPath,
        found: Vec<(String, Array)>,
    }
    impl<B: Backend> ModuleVisitor<B> for Found {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.found.push((self.path.name(), host(param.val(), [""; D])));
        }
    }
    let mut found = Found::default();
    module.visit(&mut found);
    found.found
}
