//! Context extension of rotary models: other frequencies for a model that reads longer texts than it was trained on.
//!
//! Notation: `θ_n` are the frequencies before, `λ_n = 2π/θ_n` their wavelengths, `r` the number of dimensions in the
//! exponent, `s` the factor of extension, `L0` the original number of positions. Every scaling of factor 1 is plain
//! rotary. Which key may be cached: the final one, except under [`Scaling::DynamicNtk`] and [`Scaling::Longrope`], whose
//! frequencies follow the length of the text, so that raw keys are kept and turned anew.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::super::PositionProblem;
use super::Wheel;

/// How frequencies change, by `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Scaling {
    /// Position interpolation, `θ_n / s`: Chen et al. 2023, arXiv:2306.15595. Needs fine-tuning.
    Linear(Factor),
    /// NTK-aware, `base · s^(r/(r−2))`, so that the highest frequency stays and the lowest becomes `θ/s`: arXiv:2309.00071,
    /// §3.1.
    Ntk(Factor),
    /// NTK-aware with a base that follows the text: `s·L/L0 − (s − 1)` in place of `s` for texts of `L > L0` positions
    /// (arXiv:2309.00071, §3.3; `dynamic` in Hugging Face). The output for a token then depends on how long
    /// the text is, so a text decoded token by token differs from one that is read at once.
    DynamicNtk(DynamicNtk),
    /// NTK-by-parts: a blend of `θ_n` and `θ_n / s` by the number of turns `L0/λ_n`: arXiv:2309.00071, §3.2.
    NtkByParts(NtkByParts),
    /// YaRN: a blend by the index of the pair, and longer queries and keys: arXiv:2309.00071, §3.4.
    Yarn(Yarn),
    /// LongRoPE, `θ_n / f_n` with factors found by a search: Ding et al. 2024, arXiv:2402.13753.
    Longrope(Longrope),
    /// That of Llama 3.1, which is NTK-by-parts with other bounds: arXiv:2407.21783.
    Llama3(Llama3),
}

/// Parameters of [`Scaling::Linear`] and [`Scaling::Ntk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// `s`.
    pub factor: f64,
}

/// Parameters of [`Scaling::DynamicNtk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicNtk {
    /// `s`.
    pub factor: f64,
    /// `L0`.
    pub original_max_positions: usize,
}

/// Parameters of [`Scaling::NtkByParts`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NtkByParts {
    /// `s`.
    pub factor: f64,
    /// `L0`.
    pub original_max_positions: usize,
    /// `α`: pairs that make fewer turns over `L0` are interpolated.
    #[serde(default = "one")]
    pub slow_turns: f64,
    /// `β`: pairs that make more turns stay as they are.
    #[serde(default = "thirty_two")]
    pub fast_turns: f64,
}

/// Parameters of [`Scaling::Yarn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// `s`.
    pub factor: f64,
    /// `L0`.
    pub original_max_positions: usize,
    /// `α`: the ramp ends at the pair that makes this many turns over `L0`; slower pairs are interpolated.
    #[serde(default = "one")]
    pub beta_slow: f64,
    /// `β`: the ramp begins at the pair that makes this many turns; faster pairs stay as they are.
    #[serde(default = "thirty_two")]
    pub beta_fast: f64,
    /// What cosines and sines are multiplied by; where absent `m(1)`, or `m(mscale) / m(mscale_all_dim)`, with
    /// `m(x) = 0.1 · x · ln s + 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
    /// See `attention_factor` (DeepSeek).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale: Option<f64>,
    /// See `attention_factor` (DeepSeek).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale_all_dim: Option<f64>,
    /// Whether the ends of the ramp are rounded to whole pairs, outwards, as the authors' code does.
    #[serde(default = "yes")]
    pub truncate: bool,
}

/// Parameters of [`Scaling::Longrope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Longrope {
    /// `L0`.
    pub original_max_positions: usize,
    /// `f_n` for texts of up to `L0` positions, one for each pair.
    pub short_factor: Vec<f64>,
    /// `f_n` for longer texts.
    pub long_factor: Vec<f64>,
    /// `s`; the model's `max_seq_len / L0` where absent. It matters to `attention_factor` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// What cosines and sines are multiplied by; `√(1 + ln s / ln L0)` where absent, and 1 for `s ≤ 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
}

/// Parameters of [`Scaling::Llama3`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Llama3 {
    /// `s`.
    pub factor: f64,
    /// `L0`.
    pub original_max_positions: usize,
    /// Pairs that make fewer turns over `L0` are interpolated.
    pub low_freq_factor: f64,
    /// Pairs that make more turns stay as they are.
    pub high_freq_factor: f64,
}

impl Default for Llama3 {
    fn default() -> Self {
        Self { factor: 8.0, original_max_positions: 8192, low_freq_factor: 1.0, high_freq_factor: 4.0 }
    }
}

fn one() -> f64 {
    1.0
}

fn thirty_two() -> f64 {
    32.0
}

fn yes() -> bool {
    true
}

impl Scaling {
    /// Whether frequencies depend on how long the text is.
    pub(super) fn follows_length(&self) -> bool {
        matches!(self, Self::DynamicNtk(_) | Self::Longrope(_))
    }

    /// The frequencies of a text of `length` positions.
    pub(super) fn thetas(&self, wheel: &Wheel, length: f64) -> Vec<f64> {
        let plain = wheel.thetas(wheel.base);
        match self {
            Self::Linear(Factor { factor }) => plain.into_iter().map(|theta| theta / factor).collect(),
            Self::Ntk(Factor { factor }) => wheel.thetas(ntk_base(wheel, *factor)),
            Self::DynamicNtk(DynamicNtk { factor, original_max_positions }) => {
                let times = (length / *original_max_positions as f64).max(1.0);
                wheel.thetas(ntk_base(wheel, factor * times - (factor - 1.0)))
            }
            Self::NtkByParts(c) => {
                by_turns(plain, c.factor, c.original_max_positions, c.slow_turns, c.fast_turns)
            }
            Self::Llama3(c) => {
                by_turns(plain, c.factor, c.original_max_positions, c.low_freq_factor, c.high_freq_factor)
            }
            Self::Yarn(config) => config.thetas(plain, wheel),
            Self::Longrope(config) => {
                let long = length > config.original_max_positions as f64;
                let factors = if long { &config.long_factor } else { &config.short_factor };
                plain.iter().zip(factors).map(|(theta, factor)| theta / factor).collect()
            }
        }
    }

    /// What cosines and sines are multiplied by.
    pub(super) fn magnitude(&self, max_seq_len: usize) -> f64 {
        match self {
            Self::Yarn(config) => config.magnitude(),
            Self::Longrope(config) => config.magnitude(max_seq_len),
            _ => 1.0,
        }
    }

    pub(super) fn check(&self, wheel: &Wheel, problems: &mut Vec<PositionProblem>) {
        let (factor, original, turns) = match self {
            Self::Linear(c) | Self::Ntk(c) => (c.factor, None, None),
            Self::DynamicNtk(c) => (c.factor, Some(c.original_max_positions), None),
            Self::NtkByParts(c) => {
                let turns = [("slow_turns", c.slow_turns), ("fast_turns", c.fast_turns)];
                (c.factor, Some(c.original_max_positions), Some(turns))
            }
            Self::Yarn(c) => {
                let turns = [("beta_slow", c.beta_slow), ("beta_fast", c.beta_fast)];
                (c.factor, Some(c.original_max_positions), Some(turns))
            }
            Self::Llama3(c) => {
                let turns =
                    [("low_freq_factor", c.low_freq_factor), ("high_freq_factor", c.high_freq_factor)];
                (c.factor, Some(c.original_max_positions), Some(turns))
            }
            Self::Longrope(c) => (c.factor.unwrap_or(1.0), Some(c.original_max_positions), None),
        };
        let fits = factor >= 1.0 && factor.is_finite();
        PositionProblem::unless(fits, problems, "scaling.factor", factor, "1 or more");
        if let Some(n) = original {
            PositionProblem::unless(n > 1, problems, "scaling.original_max_positions", n, "at least 2");
        }
        if let Some([slow, fast]) = turns {
            PositionProblem::positive(slow.1, problems, &format!("scaling.{}", slow.0));
            let allowed = format!("more than {} = {}", slow.0, slow.1);
            let fits = fast.1 > slow.1 && fast.1.is_finite();
            PositionProblem::unless(fits, problems, &format!("scaling.{}", fast.0), fast.1, &allowed);
        }
        match self {
            Self::Ntk(_) | Self::DynamicNtk(_) => {
                let allowed = "at least 4 dimensions that turn, for the exponent r/(r − 2)";
                PositionProblem::unless(wheel.dims > 2, problems, "scaling.type", wheel.dims, allowed);
            }
            Self::Yarn(config) => config.check(problems),
            Self::Longrope(config) => config.check(wheel, problems),
            Self::Linear(_) | Self::NtkByParts(_) | Self::Llama3(_) => {}
        }
    }
}

/// The base that makes the lowest frequency `s` times as slow and leaves the highest.
fn ntk_base(wheel: &Wheel, factor: f64) -> f64 {
    let r = wheel.dims as f64;
    wheel.base * factor.powf(r / (r - 2.0))
}

/// A blend of `θ_n` and `θ_n / s` by the number of turns over `L0`.
fn by_turns(thetas: Vec<f64>, factor: f64, original: usize, slow: f64, fast: f64) -> Vec<f64> {
    let scaled = |theta: f64| {
        let turns = original as f64 * theta / TAU;
        let kept = ((turns - slow) / (fast - slow)).clamp(0.0, 1.0);
        (1.0 - kept) * theta / factor + kept * theta
    };
    thetas.into_iter().map(scaled).collect()
}

impl Yarn {
    fn thetas(&self, thetas: Vec<f64>, wheel: &Wheel) -> Vec<f64> {
        let dims = wheel.dims as f64;
        // The index of the pair that makes this many turns over L0.
        let pair = |turns: f64| {
            dims * (self.original_max_positions as f64 / (turns * TAU)).ln() / (2.0 * wheel.base.ln())
        };
        let (mut low, mut high) = (pair(self.beta_fast), pair(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dims - 1.0));
        if low == high {
            high += 0.001; // as the authors' code does
        }
        let scaled = |(n, theta): (usize, f64)| {
            let ramp = ((n as f64 - low) / (high - low)).clamp(0.0, 1.0);
            ramp * theta / self.factor + (1.0 - ramp) * theta
        };
        thetas.into_iter().enumerate().map(scaled).collect()
    }

    fn magnitude(&self) -> f64 {
        let m = |x: f64| if self.factor <= 1.0 { 1.0 } else { 0.1 * x * self.factor.ln() + 1.0 };
        self.attention_factor.unwrap_or(match (self.mscale, self.mscale_all_dim) {
            (Some(mscale), Some(all)) => m(mscale) / m(all),
            _ => m(1.0),
        })
    }

    fn check(&self, problems: &mut Vec<PositionProblem>) {
        for (key, value) in [
            ("scaling.attention_factor", self.attention_factor),
            ("scaling.mscale", self.mscale),
            ("scaling.mscale_all_dim", self.mscale_all_dim),
        ] {
            PositionProblem::positive(value.unwrap_or(1.0), problems, key);
        }
        let together = self.mscale.is_some() == self.mscale_all_dim.is_some();
        let found = if self.mscale.is_some() { "mscale alone" } else { "mscale_all_dim alone" };
        PositionProblem::unless(together, problems, "scaling.mscale", found, "both or neither");
    }
}

impl Longrope {
    fn magnitude(&self, max_seq_len: usize) -> f64 {
        let original = self.original_max_positions as f64;
        let factor = self.factor.unwrap_or(max_seq_len as f64 / original);
        let recommended = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        self.attention_factor.unwrap_or(recommended)
    }

    fn check(&self, wheel: &Wheel, problems: &mut Vec<PositionProblem>) {
        for (key, factors) in
            [("scaling.short_factor", &self.short_factor), ("scaling.long_factor", &self.long_factor)]
        {
            let n = wheel.pairs;
            let allowed = format!("{n} factors, one for each pair of dimensions");
            let found = format!("{} factors", factors.len());
            PositionProblem::unless(factors.len() == n, problems, key, found, &allowed);
            factors.iter().for_each(|factor| PositionProblem::positive(*factor, problems, key));
        }
        let factor = self.attention_factor.unwrap_or(1.0);
        PositionProblem::positive(factor, problems, "scaling.attention_factor");
    }
}
