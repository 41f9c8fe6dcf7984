//! How a token is chosen from scores.

use locus_backend::rng::Key;

/// Temperature and truncation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by it; 0 takes the best token.
    pub temperature: f64,
    /// Only the best `top_k` tokens can be chosen; all where 0.
    pub top_k: usize,
    /// Only the smallest set of best tokens whose probability reaches `top_p` can be chosen (arXiv:1904.09751); all
    /// where 1.
    pub top_p: f64,
}

impl Sampling {
    /// Always the best token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0 };

    /// What is out of range, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Some(format!("temperature must be 0 or more, found {}", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Some(format!("top_p must be above 0 and at most 1, found {}", self.top_p));
        }
        None
    }
}

/// Chooses tokens; the choice is a function of the key, the step and the row.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    sampling: Sampling,
    key: Key,
}

impl Sampler {
    /// Makes a sampler.
    pub fn new(sampling: Sampling, key: Key) -> Self {
        Self { sampling, key }
    }

    /// The token chosen from these scores. Tokens with equal scores are taken in the order of their ids.
    pub fn choose(&self, logits: &[f32], step: usize, row: usize) -> u32 {
        let mut ranked: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&x| f64::from(x))).collect();
        // Descending; NaN ranks last.
        ranked.sort_by(|a, b| {
            b.1.partial_cmp(&a.1).unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan())).then(a.0.cmp(&b.0))
        });
        if self.sampling.temperature == 0.0 {
            return ranked.first().map_or(0, |best| best.0);
        }
        let weights = self.weights(&ranked);
        let total: f64 = weights.iter().sum();
        let mut left = self.key.child(step as u64).uniform(row as u64) * total;
        for (token, weight) in ranked.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return token.0;
            }
        }
        ranked.first().map_or(0, |best| best.0)
    }

    /// Unnormalised probabilities of the tokens that may be chosen, best first.
    fn weights(&self, ranked: &[(u32, f64)]) -> Vec<f64> {
        let k = if self.sampling.top_k == 0 { ranked.len() } else { self.sampling.top_k };
        let best = ranked.first().map_or(0.0, |token| token.1);
        let weight = |score: f64| ((score - best) / self.sampling.temperature).exp();
        let weights: Vec<f64> = ranked.iter().take(k).map(|token| weight(token.1)).collect();
        let enough = self.sampling.top_p * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        // The token that crosses the threshold is still in.
        let n = weights.iter().take_while(|weight| {
            let before = reached;
            reached += **weight;
            before < enough
        });
        let n = n.count();
        weights[..n].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Sampling};
    use locus_backend::rng::Key;

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, -1.0, 2.0];

    fn chosen(sampling: Sampling) -> Vec<usize> {
        let sampler = Sampler::new(sampling, Key::new(5));
        let mut counts = vec![0; LOGITS.len()];
        (0..20_000).for_each(|step| counts[sampler.choose(&LOGITS, step, 0) as usize] += 1);
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(chosen(Sampling::GREEDY), [0, 20_000, 0, 0, 0]);
    }

    #[test]
    fn frequencies_are_the_softmax() {
        let counts = chosen(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 });
        let total: f64 = LOGITS.iter().map(|x| f64::from(*x).exp()).sum();
        for (count, logit) in counts.iter().zip(LOGITS) {
            let expected = f64::from(logit).exp() / total;
            // Five standard errors.
            let error = 5.0 * (expected * (1.0 - expected) / 20_000.0).sqrt();
            assert!((*count as f64 / 20_000.0 - expected).abs() < error, "{counts:?}");
        }
    }

    #[test]
    fn truncation_leaves_only_the_best() {
        let top_k = chosen(Sampling { temperature: 1.0, top_k: 3, top_p: 1.0 });
        assert!(top_k[0] == 0 && top_k[3] == 0 && top_k[2] > 0, "{top_k:?}");
        // The two best hold 0.79 of the probability: 0.7 needs both, and not the third.
        let top_p = chosen(Sampling { temperature: 1.0, top_k: 0, top_p: 0.7 });
        assert!(top_p[2] == 0 && top_p[1] > 0 && top_p[4] > 0, "{top_p:?}");
    }
}
