//! What a detector of replaced tokens is made of, and the sizes of its generator.

use locus_encoder::{ConfigProblem, DecoderSizes, EmbeddingProjection, StackConfig};
use serde::{Deserialize, Serialize};

use crate::{HeadActivation, TransformConfig};

/// The configuration of a [`ReplacedTokenDetector`](crate::ReplacedTokenDetector).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplacedTokensConfig {
    /// The generator's width as a share of the discriminator's, rounded to whole heads of the same width, at least one:
    /// 1/4 to 1/2 in the paper (§3.2).
    pub generator_width: f64,
    /// What the discriminator's loss is multiplied by beside the generator's: λ of the paper (§2).
    pub discriminator_weight: f64,
    /// What the generator's scores are divided by before a token is drawn; 0 takes the best.
    pub temperature: f64,
    /// What stands below the discriminator's scores.
    pub transform: TransformConfig,
}

impl Default for ReplacedTokensConfig {
    fn default() -> Self {
        Self {
            generator_width: 0.25,
            discriminator_weight: 50.0,
            temperature: 1.0,
            transform: TransformConfig { activation: HeadActivation::Gelu, bias: true, norm: false },
        }
    }
}

impl ReplacedTokensConfig {
    /// The generator's stack below the same token table: as deep, with a share of the heads, and of the width and the
    /// feed-forward width that share. Where it is not as wide as the table, token vectors are projected.
    ///
    /// # Example
    /// ```
    /// use locus_encoder::StackConfig;
    /// use locus_heads::ReplacedTokensConfig;
    /// let stack = StackConfig { d_model: 96, n_heads: 8, ..StackConfig::default() };
    /// let generator = ReplacedTokensConfig::default().generator(&stack);
    /// assert_eq!((generator.n_heads, generator.d_model, generator.embedding_width()), (2, 24, 96));
    /// ```
    pub fn generator(&self, stack: &StackConfig) -> StackConfig {
        let all = stack.n_heads.max(1);
        let n_heads = ((all as f64 * self.generator_width).round() as usize).clamp(1, all);
        let share = |size: usize| (size * n_heads / all).max(1);
        let (d_model, width) = (share(stack.d_model), stack.embedding_width());
        let divides_both = |n: usize| {
            (1..=n.min(n_heads))
                .rev()
                .find(|k| n.is_multiple_of(*k) && n_heads.is_multiple_of(*k))
                .unwrap_or(1)
        };
        StackConfig {
            d_model,
            n_heads,
            n_kv_heads: stack.n_kv_heads.map(divides_both),
            d_ff: stack.d_ff.map(share),
            decoder: DecoderSizes::default(),
            embedding_projection: if width == d_model {
                EmbeddingProjection::None
            } else {
                EmbeddingProjection::Factorised { width }
            },
            // Its rows are of one segment.
            n_segments: 0,
            ..stack.clone()
        }
    }

    pub(crate) fn check(&self) -> Vec<ConfigProblem> {
        let Self { generator_width, discriminator_weight, temperature, .. } = *self;
        let at_least_0 = |x: f64| x >= 0.0 && x.is_finite();
        let rules = [
            (
                "generator_width",
                generator_width,
                generator_width > 0.0 && generator_width <= 1.0,
                "a share above 0, at most 1",
            ),
            (
                "discriminator_weight",
                discriminator_weight,
                at_least_0(discriminator_weight),
                "a finite number from 0",
            ),
            ("temperature", temperature, at_least_0(temperature), "a finite number from 0"),
        ];
        let broken = rules.into_iter().filter(|(_, _, fits, _)| !fits);
        let problem = |(key, found, _, allowed): (&str, f64, bool, &str)| ConfigProblem {
            key: key.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_owned(),
        };
        broken.map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(generator_width: f64, stack: &StackConfig) -> StackConfig {
        ReplacedTokensConfig { generator_width, ..ReplacedTokensConfig::default() }.generator(stack)
    }

    #[test]
    fn a_generator_has_whole_heads() {
        let stack = StackConfig {
            d_model: 36,
            n_heads: 6,
            d_ff: Some(35),
            n_kv_heads: Some(2),
            ..StackConfig::default()
        };
        let half = of(0.5, &stack);
        assert_eq!((half.n_heads, half.d_model, half.d_head(), half.d_ff), (3, 18, 6, Some(17)));
        assert_eq!(half.n_kv_heads, Some(1), "two do not divide three");
        assert_eq!(half.embedding_projection, EmbeddingProjection::Factorised { width: 36 });
        assert_eq!(half.check(Default::default()), []);
        assert_eq!(of(0.01, &stack).n_heads, 1);
        let whole = of(1.0, &stack);
        assert_eq!((whole.d_model, whole.embedding_projection), (36, EmbeddingProjection::None));
        let narrow =
            StackConfig { embedding_projection: EmbeddingProjection::Factorised { width: 18 }, ..stack };
        assert_eq!(of(0.5, &narrow).embedding_projection, EmbeddingProjection::None, "as wide as the table");
    }

    #[test]
    fn all_problems_come_at_once() {
        let config = ReplacedTokensConfig {
            generator_width: 0.0,
            discriminator_weight: f64::NAN,
            temperature: -1.0,
            ..ReplacedTokensConfig::default()
        };
        let keys: Vec<String> = config.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["generator_width", "discriminator_weight", "temperature"]);
        assert_eq!(ReplacedTokensConfig::default().check(), []);
    }
}
