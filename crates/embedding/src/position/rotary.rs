//! Rotary position embedding (RoPE): turns pairs of query and key dimensions by an angle linear in the position.
//!
//! Formula: `θ_n = base^(−2n/r)`; pair `n` at position `p` turns by `p·θ_n`, so `q·k` depends on positions through their
//! difference. Su et al. 2021, arXiv:2104.09864, eq. 15. With `fraction < 1` only a part turns: the first
//! `r = fraction·d_head` dimensions (GPT-NeoX; `r` is the denominator of the exponent), or with
//! `fraction_of = "frequencies"` the pairs of the highest frequencies, with `d_head` in the exponent (p-RoPE, Barbero et al.
//! 2024, arXiv:2410.06205; "proportional" in Hugging Face).
//! Convention: pairs as [`Pairing`] says, part of a checkpoint. Both are the same up to a permutation of the projections' rows.
//! Longer texts: [`Scaling`], in `[model.position.rotary.scaling]`, for a model that was trained on shorter ones.
//! Frequencies that follow the length follow that of each token's own document.
//! Trained frequencies: with `train_frequencies`, `θ_n · exp(w_n)`, `w` starting at 0. Differs: others train `θ_n` itself, whose
//! values lie orders of magnitude apart; here a step changes all by a similar share, and angles of `w = 0` are exact.
//! With a `window` a query sees only keys less than so many positions away (Mistral, arXiv:2310.06825, §2; to both sides in an
//! encoder, as ModernBERT's local layers).
//! Parameters: 0, or one per pair. Limit: none declared, though quality falls past the training length. Cache: the final
//! key, or the raw key under a scaling that follows the length of the text.

mod scaling;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::mask::HIDDEN_SCORE;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::exp_m1;
use super::relative::Relative;
use super::scheme::{CachePolicy, LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, Tables, Turn, Values, distinct_rows, retained};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

pub use scaling::{DynamicNtk, Factor, Llama3, Longrope, NtkByParts, Scaling, Yarn};

/// What [`RotaryConfig::fraction`] is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FractionOf {
    /// The first dimensions of a head turn, the rest has no part in the rotation.
    #[default]
    Dimensions,
    /// All dimensions form pairs, those of the highest frequencies turn.
    Frequencies,
}

/// Configuration of [`Rotary`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RotaryConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The share that turns.
    pub fraction: f64,
    /// What it is a share of.
    pub fraction_of: FractionOf,
    /// Whether frequencies are trained.
    pub train_frequencies: bool,
    /// A query sees keys less than this many positions away; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Other frequencies for longer texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
}

impl Default for RotaryConfig {
    fn default() -> Self {
        Self {
            base: 10_000.0,
            pairing: Pairing::default(),
            fraction: 1.0,
            fraction_of: FractionOf::default(),
            train_frequencies: false,
            window: None,
            scaling: None,
        }
    }
}

impl SchemeConfig for RotaryConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns queries and keys; `pairing`, `base`, `fraction`, `fraction_of`, `train_frequencies`, `window`, `scaling`",
            parameters: "0, or one per pair",
            longer_texts: "badly without `scaling`",
            paper: "arXiv:2104.09864",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.base > 1.0, problems, "base", self.base, "a number above 1");
        let turned = self.fraction * shape.d_head as f64;
        let fits = self.fraction > 0.0 && self.fraction <= 1.0 && turned >= 2.0 && turned % 2.0 == 0.0;
        let allowed = format!("a share of d_head = {} that is an even number of dimensions", shape.d_head);
        PositionProblem::unless(fits, problems, "fraction", self.fraction, &allowed);
        if self.fraction_of == FractionOf::Frequencies {
            let allowed = format!("an even d_head, found {}", shape.d_head);
            PositionProblem::unless(
                shape.d_head.is_multiple_of(2),
                problems,
                "fraction_of",
                "frequencies",
                &allowed,
            );
        }
        PositionProblem::unless(self.window != Some(0), problems, "window", 0, "at least 1");
        if let Some(scaling) = &self.scaling {
            scaling.check(&self.wheel(shape), problems);
        }
    }
}

/// Angles per position, and what cosines and sines are multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// `θ_n` of each pair, in radians per position.
    pub thetas: Vec<f64>,
    /// The factor of cosines and sines.
    pub magnitude: f64,
}

impl RotaryConfig {
    /// The frequencies for a text of `length` positions.
    pub fn frequencies(&self, shape: &PositionShape, length: f64) -> Frequencies {
        let wheel = self.wheel(shape);
        match &self.scaling {
            None => Frequencies { thetas: wheel.thetas(wheel.base), magnitude: 1.0 },
            Some(scaling) => Frequencies {
                thetas: scaling.thetas(&wheel, length),
                magnitude: scaling.magnitude(shape.max_seq_len),
            },
        }
    }

    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Rotary<B> {
        let pairs = self.wheel(shape).pairs;
        Rotary {
            log_factors: self.train_frequencies.then(|| Init::Zeros.param([pairs], key, device)),
            config: self.clone(),
            shape: *shape,
        }
    }

    fn wheel(&self, shape: &PositionShape) -> Wheel {
        let turned = (self.fraction * shape.d_head as f64) as usize;
        let (dims, pairs) = match self.fraction_of {
            FractionOf::Dimensions => (turned, turned / 2),
            FractionOf::Frequencies => (shape.d_head, shape.d_head / 2),
        };
        Wheel { base: self.base, dims, pairs, turning: turned / 2 }
    }
}

/// What plain frequencies depend on.
#[derive(Clone, Copy, Debug)]
struct Wheel {
    base: f64,
    /// The denominator `r` of the exponent.
    dims: usize,
    pairs: usize,
    /// How many of the pairs turn at all.
    turning: usize,
}

impl Wheel {
    fn thetas(&self, base: f64) -> Vec<f64> {
        let theta =
            |n: usize| if n < self.turning { base.powf(-2.0 * n as f64 / self.dims as f64) } else { 0.0 };
        (0..self.pairs).map(theta).collect()
    }
}

/// Turns queries and keys.
#[derive(Module, Debug)]
pub struct Rotary<B: Backend> {
    /// The logarithm of what each frequency is multiplied by, `[pairs]`, where frequencies are trained.
    pub log_factors: Option<Param<Tensor<B, 1>>>,
    #[module(skip)]
    config: RotaryConfig,
    #[module(skip)]
    shape: PositionShape,
}

/// The tables of queries and keys, which are those of the same tokens unless raw keys are cached.
#[derive(Debug)]
struct Turns<B: Backend> {
    q: Tables<B>,
    k: Tables<B>,
    /// What hides keys outside the window.
    hidden: ScoreBias<B>,
}

impl<B: Backend> Rotary<B> {
    fn follows_length(&self) -> bool {
        self.config.scaling.as_ref().is_some_and(Scaling::follows_length)
    }

    /// The length that each token's frequencies follow, that of its document, `[batch, seq]`; all alike where they follow none.
    fn lengths(&self, tokens: &Tokens) -> Vec<f64> {
        if !self.follows_length() {
            return vec![1.0; tokens.positions.len()];
        }
        let of_document = |run: Range<usize>| {
            let real = run.clone().filter(|&cell| tokens.keep[cell]).map(|cell| tokens.positions[cell]);
            std::iter::repeat_n(real.reduce(f64::max).unwrap_or_default() + 1.0, run.len())
        };
        (0..tokens.batch).flat_map(|row| tokens.runs(row)).flat_map(of_document).collect()
    }

    /// The tables of these tokens in documents of these lengths, `[batch, seq]`.
    fn tables(&self, tokens: &Tokens, lengths: &[f64], device: &B::Device) -> Tables<B> {
        let same_length = lengths.windows(2).all(|pair| pair[0] == pair[1]);
        let rows = if same_length { distinct_rows(tokens) } else { tokens.batch };
        let places = tokens.positions.iter().copied().zip(lengths.iter().copied());
        let places: Vec<(f64, f64)> = places.take(rows * tokens.seq).collect();
        let pairs = self.config.wheel(&self.shape).pairs;
        // PERF: frequencies that each length has anew are not worth a table of their own.
        let once = matches!(self.config.scaling, Some(Scaling::DynamicNtk(_)));
        let (mut values, mut angles) = (Values::default(), Vec::new());
        for alike in places.chunk_by(|(_, a), (_, b)| a == b) {
            let Frequencies { thetas, magnitude } = self.config.frequencies(&self.shape, alike[0].1);
            let positions: Vec<f64> = alike.iter().map(|(position, _)| *position).collect();
            let of_all = || positions.iter().flat_map(|p| thetas.iter().map(move |theta| p * theta));
            if once {
                let turns: Vec<Turn> = of_all().map(|angle| Turn { angle, magnitude }).collect();
                values.turned(&turns);
            } else {
                values.placed(&positions, &thetas, magnitude);
            }
            if self.log_factors.is_some() {
                angles.extend(of_all().map(|angle| angle as f32));
            }
        }
        let tables = values.tables([rows, tokens.seq, pairs], device);
        let Some(w) = &self.log_factors else { return tables };
        let angles = Tensor::from_data(TensorData::new(angles, [rows, 1, tokens.seq, pairs]), device);
        stretched(tables, angles, w.val())
    }

    /// Zero inside the window, and so low outside that a cell has no weight.
    fn hidden(&self, pass: &Pass<'_>, device: &B::Device) -> ScoreBias<B> {
        let Some(window) = self.config.window else { return ScoreBias::None };
        let heads = self.shape.n_heads;
        Relative::of(pass).bias(|distances| {
            let cell = |d: &f64| if d.abs() < window as f64 { 0.0 } else { HIDDEN_SCORE };
            let row: Vec<f32> = distances.iter().map(cell).collect();
            Tensor::<B, 2>::from_data(TensorData::new(row, [1, distances.len()]), device).repeat_dim(0, heads)
        })
    }

    fn turn(&self, x: Tensor<B, 4>, tables: &Tables<B>) -> Tensor<B, 4> {
        match self.log_factors {
            None => tables.turn(x, self.config.pairing),
            Some(_) => tables.turn_learned(x, self.config.pairing),
        }
    }
}

/// The tables of angles that are `exp(w)` times as large.
fn stretched<B: Backend>(tables: Tables<B>, angles: Tensor<B, 4>, w: Tensor<B, 1>) -> Tables<B> {
    // NUMERICS: only what is added to the angle is computed in f32.
    let more = angles * exp_m1(w).reshape([1, 1, 1, -1]); // [rows, 1, seq, pairs]
    let (cos, sin) = (more.clone().cos(), more.sin());
    Tables {
        cos: tables.cos.clone() * cos.clone() - tables.sin.clone() * sin.clone(),
        sin: tables.sin * cos + tables.cos * sin,
    }
}

impl<B: Backend> Scheme<B> for Rotary<B> {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn is_relative(&self) -> bool {
        !self.follows_length()
    }

    fn cache(&self) -> CachePolicy {
        if self.follows_length() { CachePolicy::RawKey } else { CachePolicy::FinalKey }
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let lengths = self.lengths(pass.keys);
        // The queries are the last of the keys.
        let (n_q, n_k) = (pass.queries.seq, pass.keys.seq);
        let of_queries: Vec<f64> =
            lengths.chunks(n_k.max(1)).flat_map(|row| &row[n_k - n_q..]).copied().collect();
        let q = self.tables(pass.queries, &of_queries, device);
        let k = if self.follows_length() { self.tables(pass.keys, &lengths, device) } else { q.clone() };
        Prepared::new(Turns { q, k, hidden: self.hidden(pass, device) })
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<Turns<B>>().hidden.clone()
    }

    fn retained(&self, cached: &Tokens) -> Option<Vec<usize>> {
        let window = self.config.window? as f64;
        // A column stays where a later query of any row may see it.
        Some(retained(cached, |_, last, position| last + 1.0 - position < window))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let turns = at.prepared.get::<Turns<B>>();
        Views::one(self.turn(q, &turns.q), self.turn(k, &turns.k))
    }
}
