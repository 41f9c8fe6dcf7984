//! Linear chains on the host: a sequence of labels scores the sum of a score at every place and one for every step from
//! a label to the next.
//!
//! Sums over all sequences by forward–backward with scaling (Rabiner 1989), the best one by Viterbi (Forney 1973). In f64,
//! `places · n_labels²` operations each.

/// The scores of steps from label to label; −∞ where there is no way.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The score of each label as the first, `[n_labels]`.
    pub start: Vec<f64>,
    /// The score of each label as the last, `[n_labels]`.
    pub end: Vec<f64>,
    /// The score of each step, `[from, to]`, row-major.
    pub steps: Vec<f64>,
}

/// What the negative log-likelihood of a sequence grows with.
pub(crate) struct Gradient {
    /// `[places, n_labels]`, row-major.
    pub(crate) scores: Vec<f64>,
    pub(crate) start: Vec<f64>,
    pub(crate) end: Vec<f64>,
    pub(crate) steps: Vec<f64>,
}

impl Gradient {
    pub(crate) fn zeros(n_labels: usize) -> Self {
        let zeros = vec![0.0; n_labels];
        Self { scores: Vec::new(), start: zeros.clone(), end: zeros, steps: vec![0.0; n_labels * n_labels] }
    }

    /// Adds that of another sequence, whose places follow.
    pub(crate) fn append(&mut self, more: Self) {
        let add = |sum: &mut [f64], more: &[f64]| sum.iter_mut().zip(more).for_each(|(a, b)| *a += b);
        self.scores.extend(more.scores);
        add(&mut self.start, &more.start);
        add(&mut self.end, &more.end);
        add(&mut self.steps, &more.steps);
    }
}

/// Probabilities relative to the scaled sums of each place.
struct Sums {
    log_sum: f64,
    /// `exp(steps)` up to a factor, `[from, to]`.
    steps: Vec<f64>,
    /// Per place: the share of the ways up to it, and what the ways from it on add.
    forward: Vec<Vec<f64>>,
    backward: Vec<Vec<f64>>,
    /// Per place after the first: `exp(score) · backward / scale`, what a step into a label leads to.
    ahead: Vec<Vec<f64>>,
}

impl Chain {
    /// A chain in which every step is as good as any other.
    ///
    /// ```
    /// use locus_heads::Chain;
    /// let mut chain = Chain::free(2);
    /// assert_eq!(chain.best(&[0.0, 1.0, 0.5, 0.0]), [1, 0]);
    /// chain.forbid(|from, to| from == Some(1) && to == Some(0));
    /// assert_eq!(chain.best(&[0.0, 1.0, 0.5, 0.0]), [1, 1]);
    /// ```
    pub fn free(n_labels: usize) -> Self {
        Self { start: vec![0.0; n_labels], end: vec![0.0; n_labels], steps: vec![0.0; n_labels * n_labels] }
    }

    /// Takes away the steps that are forbidden: from `None` is the start, to `None` the end.
    pub fn forbid(&mut self, forbidden: impl Fn(Option<usize>, Option<usize>) -> bool) {
        let n = self.start.len();
        for label in 0..n {
            if forbidden(None, Some(label)) {
                self.start[label] = f64::NEG_INFINITY;
            }
            if forbidden(Some(label), None) {
                self.end[label] = f64::NEG_INFINITY;
            }
            for to in (0..n).filter(|&to| forbidden(Some(label), Some(to))) {
                self.steps[label * n + to] = f64::NEG_INFINITY;
            }
        }
    }

    /// The best sequence for scores `[places, n_labels]`; of equals the one with the lower labels.
    ///
    /// # Panics
    /// If the scores are no whole number of places.
    pub fn best(&self, scores: &[f64]) -> Vec<usize> {
        let places = self.places(scores);
        let Some(first) = places.first() else { return Vec::new() };
        let n = self.start.len();
        let best_of = |score: &dyn Fn(usize) -> f64| {
            (1..n).fold(0, |best, label| if score(label) > score(best) { label } else { best })
        };
        let mut sums: Vec<f64> = first.iter().zip(&self.start).map(|(a, b)| a + b).collect();
        let mut came_from: Vec<Vec<usize>> = Vec::with_capacity(places.len());
        for place in &places[1..] {
            let from: Vec<usize> =
                (0..n).map(|to| best_of(&|from| sums[from] + self.steps[from * n + to])).collect();
            sums = (0..n).map(|to| sums[from[to]] + self.steps[from[to] * n + to] + place[to]).collect();
            came_from.push(from);
        }
        let mut best = vec![best_of(&|label| sums[label] + self.end[label])];
        for from in came_from.iter().rev() {
            best.push(from[best[best.len() - 1]]);
        }
        best.reverse();
        best
    }

    /// The probability of each label at each place, over all sequences: `[places, n_labels]`, row-major.
    ///
    /// # Panics
    /// If the scores are no whole number of places.
    pub fn marginals(&self, scores: &[f64]) -> Vec<f64> {
        self.sums(&self.places(scores)).map(|sums| sums.marginals()).unwrap_or_default()
    }

    /// The negative log-likelihood of a sequence among all, in nats, and its gradient.
    pub(crate) fn nll(&self, scores: &[f64], labels: &[usize]) -> (f64, Gradient) {
        let n = self.start.len();
        let places = self.places(scores);
        let Some(sums) = self.sums(&places) else {
            return (0.0, Gradient::zeros(n));
        };
        let mut grad = sums.marginals();
        let (mut start, mut end) = (grad[..n].to_vec(), grad[grad.len() - n..].to_vec());
        let mut steps = sums.step_counts();
        let (first, last) = (labels[0], labels[labels.len() - 1]);
        let mut score = self.start[first] + self.end[last];
        start[first] -= 1.0;
        end[last] -= 1.0;
        for (place, &label) in labels.iter().enumerate() {
            score += places[place][label];
            grad[place * n + label] -= 1.0;
        }
        for pair in labels.windows(2) {
            score += self.steps[pair[0] * n + pair[1]];
            steps[pair[0] * n + pair[1]] -= 1.0;
        }
        (sums.log_sum - score, Gradient { scores: grad, start, end, steps })
    }

    fn places<'a>(&self, scores: &'a [f64]) -> Vec<&'a [f64]> {
        let n = self.start.len();
        assert_eq!(scores.len() % n, 0, "scores must be {n} per place");
        scores.chunks_exact(n).collect()
    }

    /// Forward–backward; none for no places.
    fn sums(&self, places: &[&[f64]]) -> Option<Sums> {
        let n = self.start.len();
        let (first, later) = places.split_first()?;
        let ((start, start_max), (end, end_max)) = (exp(&self.start), exp(&self.end));
        let (steps, steps_max) = exp(&self.steps);
        let mut log_sum = start_max + end_max + later.len() as f64 * steps_max;
        let mut scaled = |mut ways: Vec<f64>, max: f64| {
            let scale: f64 = ways.iter().sum();
            ways.iter_mut().for_each(|x| *x /= scale);
            log_sum += scale.ln() + max;
            (ways, scale)
        };
        let (weights, max) = exp(first);
        let mut forward = vec![scaled(weights.iter().zip(&start).map(|(a, b)| a * b).collect(), max).0];
        let mut ahead = Vec::with_capacity(later.len());
        for place in later {
            let (weights, max) = exp(place);
            let mut ways = vec![0.0; n];
            for (share, steps) in forward[forward.len() - 1].iter().zip(steps.chunks_exact(n)) {
                ways.iter_mut().zip(steps).for_each(|(way, step)| *way += share * step);
            }
            ways.iter_mut().zip(&weights).for_each(|(way, weight)| *way *= weight);
            let (ways, scale) = scaled(ways, max);
            forward.push(ways);
            ahead.push(weights.iter().map(|weight| weight / scale).collect::<Vec<f64>>());
        }
        let ends: f64 = forward[later.len()].iter().zip(&end).map(|(a, b)| a * b).sum();
        log_sum += ends.ln();
        let mut backward = vec![end.iter().map(|weight| weight / ends).collect::<Vec<f64>>()];
        for ahead in ahead.iter_mut().rev() {
            ahead.iter_mut().zip(&backward[backward.len() - 1]).for_each(|(a, b)| *a *= b);
            let sum = |steps: &[f64]| steps.iter().zip(&*ahead).map(|(a, b)| a * b).sum();
            backward.push(steps.chunks_exact(n).map(sum).collect());
        }
        backward.reverse();
        Some(Sums { log_sum, steps, forward, backward, ahead })
    }
}

impl Sums {
    fn marginals(&self) -> Vec<f64> {
        let places = self.forward.iter().zip(&self.backward);
        places.flat_map(|(forward, backward)| forward.iter().zip(backward).map(|(a, b)| a * b)).collect()
    }

    /// How often each step is taken on average, `[from, to]`.
    fn step_counts(&self) -> Vec<f64> {
        let n = self.forward[0].len();
        let mut counts = vec![0.0; n * n];
        for (forward, ahead) in self.forward.iter().zip(&self.ahead) {
            for (share, counts) in forward.iter().zip(counts.chunks_exact_mut(n)) {
                counts.iter_mut().zip(ahead).for_each(|(count, ahead)| *count += share * ahead);
            }
        }
        counts.iter_mut().zip(&self.steps).for_each(|(count, step)| *count *= step);
        counts
    }
}

/// `exp(x − max)` and the maximum.
// NUMERICS: a score that lies 300 below the best cannot be told from one that lies 400 below, but a product of two such
// stays above 0, so that sequences which have to take them keep a likelihood. `clamp` lets NaN through.
fn exp(scores: &[f64]) -> (Vec<f64>, f64) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |&x: &f64| if x == f64::NEG_INFINITY { 0.0 } else { (x - max).clamp(-300.0, 0.0).exp() };
    (scores.iter().map(weight).collect(), max)
}
