//! How a token is chosen from scores.

/// Temperature and truncation, applied in the order of the fields.
///
/// ```
/// use locus_heads::generate::Sampling;
/// let sampling = Sampling { temperature: 1.0, top_k: 2, ..Sampling::GREEDY };
/// let scores = [0.0, 2.0, 1.0, 2.0];
/// assert_eq!(sampling.distribution(&scores), [(1, 0.5), (3, 0.5)]);
/// assert_eq!(sampling.choose(&scores, 0.7), Some(3));
/// assert_eq!(Sampling::GREEDY.choose(&scores, 0.7), Some(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by it; 0 takes the best token.
    pub temperature: f64,
    /// Only the best `top_k` tokens, and those that score as high as the last of them, can be chosen; all where 0.
    pub top_k: usize,
    /// Only the smallest set of best tokens whose probability reaches `top_p` can be chosen (Holtzman et al. 2019,
    /// arXiv:1904.09751); of equally probable tokens the one of the lower id comes first; all where 1.
    pub top_p: f64,
    /// Only tokens that are at least `min_p` times as probable as the best can be chosen (Nguyen et al. 2024,
    /// arXiv:2407.01082); all where 0.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
}

impl Sampling {
    /// Always the best token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    /// Everything that is out of range.
    pub fn problems(&self) -> Vec<String> {
        let Self { temperature, top_k: _, top_p, min_p } = *self;
        let rules = [
            (temperature >= 0.0 && temperature.is_finite(), "temperature must be 0 or more", temperature),
            (top_p > 0.0 && top_p <= 1.0, "top_p must be above 0 and at most 1", top_p),
            ((0.0..=1.0).contains(&min_p), "min_p must be 0 to 1", min_p),
        ];
        let broken = rules.into_iter().filter(|(fits, ..)| !fits);
        broken.map(|(_, rule, found)| format!("{rule}, found {found}")).collect()
    }

    /// The tokens that can be chosen, with their probabilities. A score of −∞ rules a token out.
    pub fn distribution(&self, scores: &[f32]) -> Vec<(u32, f64)> {
        let mut tokens = self.weights(scores);
        let total: f64 = tokens.iter().map(|token| token.1).sum();
        tokens.iter_mut().for_each(|token| token.1 /= total);
        tokens
    }

    /// The token at the quantile `at` (0 or more, below 1) of the distribution; `None` where all are ruled out.
    pub fn choose(&self, scores: &[f32], at: f64) -> Option<u32> {
        let tokens = self.weights(scores);
        let mut left = at * tokens.iter().map(|token| token.1).sum::<f64>();
        let chosen = tokens.iter().find(|token| {
            left -= token.1;
            left < 0.0
        });
        // Rounding may leave the rest at exactly 0 behind the last token.
        chosen.or(tokens.last()).map(|token| token.0)
    }

    /// The tokens that can be chosen, with their probabilities relative to the best.
    fn weights(&self, scores: &[f32]) -> Vec<(u32, f64)> {
        let Some(best) = best(scores) else { return Vec::new() };
        if self.temperature == 0.0 {
            return vec![(best, 1.0)];
        }
        let (best, least) = (f64::from(scores[best as usize]), kth_best(scores, self.top_k));
        let weight = |score: f32| ((f64::from(score) - best) / self.temperature).exp();
        let tokens = (0..).zip(scores).filter(|(_, score)| **score >= least);
        let mut tokens: Vec<(u32, f64)> =
            tokens.map(|(id, &score)| (id, weight(score))).filter(|token| token.1 > 0.0).collect();
        if self.top_p < 1.0 {
            tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let enough = self.top_p * tokens.iter().map(|token| token.1).sum::<f64>();
            let mut reached = 0.0;
            // The token that crosses the threshold is still in.
            let n = tokens.iter().take_while(|token| {
                let before = reached;
                reached += token.1;
                before < enough
            });
            tokens.truncate(n.count());
        }
        tokens.retain(|token| token.1 >= self.min_p);
        tokens
    }
}

/// The first of the best tokens.
fn best(scores: &[f32]) -> Option<u32> {
    let tokens = (0..).zip(scores.iter().copied()).filter(|(_, score)| *score > f32::NEG_INFINITY);
    tokens.reduce(|best, token| if token.1 > best.1 { token } else { best }).map(|token| token.0)
}

/// The score of the `k`-th best token; −∞ where all count.
fn kth_best(scores: &[f32], k: usize) -> f32 {
    if k == 0 || k >= scores.len() {
        return f32::NEG_INFINITY;
    }
    *scores.to_vec().select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

#[cfg(test)]
mod tests {
    use super::Sampling;
    use locus_backend::rng::Key;

    const SCORES: [f32; 5] = [0.0, 2.0, 1.0, -1.0, 2.0];

    fn chosen(sampling: Sampling) -> Vec<usize> {
        let mut counts = vec![0; SCORES.len()];
        for step in 0..20_000 {
            let id = sampling.choose(&SCORES, Key::new(5).uniform(step));
            counts[id.expect("there is a choice") as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(chosen(Sampling::GREEDY), [0, 20_000, 0, 0, 0]);
    }

    #[test]
    fn frequencies_are_the_softmax() {
        let counts = chosen(Sampling { temperature: 1.0, ..Sampling::GREEDY });
        let total: f64 = SCORES.iter().map(|x| f64::from(*x).exp()).sum();
        for (count, score) in counts.iter().zip(SCORES) {
            let expected = f64::from(score).exp() / total;
            // Five standard errors.
            let error = 5.0 * (expected * (1.0 - expected) / 20_000.0).sqrt();
            assert!((*count as f64 / 20_000.0 - expected).abs() < error, "{counts:?}");
        }
    }

    #[test]
    fn what_cannot_be_chosen() {
        let all_out = [f32::NEG_INFINITY; 3];
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { temperature, ..Sampling::GREEDY };
            assert_eq!(sampling.choose(&all_out, 0.5), None);
            assert_eq!(sampling.choose(&[f32::NEG_INFINITY, -3.0], 0.0), Some(1));
            assert_eq!(sampling.choose(&[], 0.0), None);
        }
        // A temperature near 0 is greedy, not a division by 0.
        let cold = Sampling { temperature: 1e-300, ..Sampling::GREEDY };
        assert_eq!(cold.distribution(&SCORES), [(1, 0.5), (4, 0.5)]);
    }
}
