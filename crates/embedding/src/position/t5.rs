//! T5's relative position bias: a learned scalar per head and bucket of distance.
//!
//! Formula: `b_h[bucket(j − i)]` is added to the scores. Half the buckets hold one distance each, the others grow with
//! the logarithm of the distance up to `max_distance`, and the last holds all beyond. A bidirectional model splits the
//! buckets between the two directions; a causal one gives them all to the past. Raffel et al. 2020, arXiv:1910.10683,
//! §2.1; bucket function: `_relative_position_bucket` of Hugging Face's T5.
//! Convention: [`T5Scale::One`] is T5's own, whose initialisation makes up for the missing `1/√d_head`.
//! Parameters: `n_buckets · n_heads`. Limit: none (distances saturate). Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme, ScoreScale};
use super::{Form, PositionProblem, PositionShape};

/// The factor of the dot products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum T5Scale {
    /// `1/√d_head`, as everywhere else.
    #[default]
    RsqrtDHead,
    /// 1, as in T5's checkpoints.
    One,
}

/// Configuration of [`T5Bias`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct T5Config {
    /// Number of buckets, over both directions in a bidirectional model.
    pub n_buckets: usize,
    /// The distance from which on all share the last bucket.
    pub max_distance: usize,
    /// The factor of the dot products.
    pub score_scale: T5Scale,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for T5Config {
    fn default() -> Self {
        Self { n_buckets: 32, max_distance: 128, score_scale: T5Scale::default(), init_std: 0.02 }
    }
}

impl SchemeConfig for T5Config {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "a learned scalar per head and bucket of distance",
            parameters: "n_buckets·n_heads",
            longer_texts: "saturates",
            paper: "arXiv:1910.10683 §2.1",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let (step, what) = match shape.form {
            Form::Bidirectional => (4, "a positive multiple of 4"),
            Form::Causal => (2, "a positive multiple of 2"),
        };
        let fits = self.n_buckets > 0 && self.n_buckets.is_multiple_of(step);
        PositionProblem::unless(fits, problems, "n_buckets", self.n_buckets, what);
        PositionProblem::positive(self.init_std, problems, "init_std");
        let exact = self.n_buckets / step;
        let allowed = format!("more than {exact}, the distances with buckets of their own");
        PositionProblem::unless(
            self.max_distance > exact,
            problems,
            "max_distance",
            self.max_distance,
            &allowed,
        );
    }
}

impl T5Config {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> T5Bias<B> {
        let init = Init::Normal { std: self.init_std };
        T5Bias {
            table: init.param([self.n_buckets, shape.n_heads], key, device),
            max_distance: self.max_distance,
            unscaled: self.score_scale == T5Scale::One,
        }
    }
}

/// Adds a learned bias per bucket of distance.
#[derive(Module, Debug)]
pub struct T5Bias<B: Backend> {
    /// The biases, `[n_buckets, n_heads]`.
    pub table: Param<Tensor<B, 2>>,
    max_distance: usize,
    unscaled: bool,
}

/// The bucket of a distance `query − key`.
pub fn bucket(distance: f64, form: Form, n_buckets: usize, max_distance: usize) -> usize {
    let (n, side, distance) = match form {
        // Keys after the query have the upper half.
        Form::Bidirectional => {
            (n_buckets / 2, if distance < 0.0 { n_buckets / 2 } else { 0 }, distance.abs())
        }
        Form::Causal => (n_buckets, 0, distance.max(0.0)),
    };
    let exact = n / 2;
    if distance < exact as f64 {
        return side + distance as usize;
    }
    // NUMERICS: in f32 and in this order, because bucket edges fall on exact powers and checkpoints were trained so.
    let (d, exact_f) = (distance as f32, exact as f32);
    let log = (d / exact_f).ln() / (max_distance as f32 / exact_f).ln() * (n - exact) as f32;
    side + (exact + log as usize).min(n - 1)
}

impl<B: Backend> Scheme<B> for T5Bias<B> {
    fn name(&self) -> &'static str {
        "t5"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let [n_buckets, _] = self.table.dims();
        let bias = Relative::of(pass).bias(|distances| {
            let bucket = |&d: &f64| bucket(d, pass.form, n_buckets, self.max_distance) as i64;
            let buckets: Vec<i64> = distances.iter().map(bucket).collect();
            let buckets = Tensor::<B, 1, Int>::from_data(TensorData::new(buckets, [distances.len()]), device);
            self.table.val().select(0, buckets).transpose() // [heads, distances]
        });
        Prepared::new(bias)
    }

    fn score_scale(&self, d_head: usize, _pass: &Pass<'_>) -> ScoreScale {
        ScoreScale::Uniform(if self.unscaled { 1.0 } else { 1.0 / (d_head as f64).sqrt() })
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, bucket};

    #[test]
    fn causal_and_bidirectional_buckets_part_at_distance_nine() {
        let distances = [0.0, 1.0, 5.0, 8.0, 12.0, 16.0, 20.0, 32.0, 64.0, 127.0, 200.0];
        let of = |form| distances.map(|d| bucket(d, form, 32, 128));
        // Printed by `_relative_position_bucket` of transformers.
        assert_eq!(of(Form::Causal), [0, 1, 5, 8, 12, 16, 17, 21, 26, 31, 31]);
        assert_eq!(of(Form::Bidirectional), [0, 1, 5, 8, 9, 10, 10, 12, 14, 15, 15]);
        assert_ne!(bucket(9.0, Form::Causal, 32, 128), bucket(9.0, Form::Bidirectional, 32, 128));
        assert_eq!(bucket(-1.0, Form::Bidirectional, 32, 128), 17);
    }
}
