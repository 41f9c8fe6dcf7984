//! Constrained decoding: the most probable tag sequence among those that are well formed.
//!
//! A token classifier scores words one by one, so its best tags may contradict each other (`I-PER` after `O`). The best
//! sequence under the rule "`I-X` follows `B-X` or `I-X`" is found by the Viterbi algorithm (Forney 1973).

/// For each label, the labels that may stand before it; at the start only labels that need nothing before them.
#[derive(Debug)]
pub(crate) struct Transitions {
    /// The type that an `I-` label continues.
    continues: Vec<Option<String>>,
    /// The type that a label is of.
    kind: Vec<Option<String>>,
}

impl Transitions {
    /// The rules of IOB2 for these labels.
    pub(crate) fn iob2<'a>(labels: impl Iterator<Item = &'a str>) -> Self {
        let (mut continues, mut kind) = (Vec::new(), Vec::new());
        for label in labels {
            let parts = label.split_once('-');
            continues.push(parts.filter(|(prefix, _)| *prefix == "I").map(|(_, kind)| kind.to_owned()));
            kind.push(parts.map(|(_, kind)| kind.to_owned()));
        }
        Self { continues, kind }
    }

    fn allows(&self, before: Option<usize>, label: usize) -> bool {
        match &self.continues[label] {
            None => true,
            wanted => before.is_some_and(|before| self.kind[before] == *wanted),
        }
    }

    /// The best well-formed sequence for these log-probabilities, `[words][labels]`.
    pub(crate) fn best(&self, log_probs: &[&[f64]]) -> Vec<usize> {
        let n_labels = self.kind.len();
        let mut scores: Vec<f64> = Vec::new();
        let mut came_from: Vec<Vec<usize>> = Vec::with_capacity(log_probs.len());
        for (word, log_probs) in log_probs.iter().enumerate() {
            let mut next = vec![f64::NEG_INFINITY; n_labels];
            let mut from = vec![0; n_labels];
            for label in 0..n_labels {
                let before = (0..n_labels).filter(|&before| word > 0 && self.allows(Some(before), label));
                let best = before.max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
                match best {
                    Some(best) => (next[label], from[label]) = (scores[best] + log_probs[label], best),
                    None if word == 0 && self.allows(None, label) => next[label] = log_probs[label],
                    None => {}
                }
            }
            scores = next;
            came_from.push(from);
        }
        let last = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
        let mut label = last.unwrap_or(0);
        let mut best: Vec<usize> = came_from
            .iter()
            .rev()
            .map(|from| {
                let before = from[label];
                std::mem::replace(&mut label, before)
            })
            .collect();
        best.reverse();
        best
    }
}

#[cfg(test)]
mod tests {
    use super::Transitions;

    const LABELS: [&str; 5] = ["O", "B-A", "I-A", "B-B", "I-B"];

    fn well_formed(tags: &[usize]) -> bool {
        let t = Transitions::iob2(LABELS.into_iter());
        (0..tags.len()).all(|i| t.allows(i.checked_sub(1).map(|b| tags[b]), tags[i]))
    }

    #[test]
    fn it_is_the_best_of_all_well_formed_sequences() {
        let t = Transitions::iob2(LABELS.into_iter());
        let key = locus_backend::rng::Key::new(1);
        for case in 0..40 {
            let cell = |w: u64, l: u64| -key.child(case).uniform(w * 5 + l) * 3.0;
            let rows: Vec<Vec<f64>> = (0..4).map(|w| (0..5).map(|l| cell(w, l)).collect()).collect();
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            let score = |tags: &[usize]| tags.iter().zip(&rows).map(|(&l, row)| row[l]).sum::<f64>();
            let all = (0..5_usize.pow(4)).map(|n| [n / 125, n / 25 % 5, n / 5 % 5, n % 5]);
            let want = all.filter(|tags| well_formed(tags)).map(|tags| score(&tags)).fold(f64::MIN, f64::max);
            let got = t.best(&rows);
            assert!(well_formed(&got), "{got:?}");
            assert!((score(&got) - want).abs() < 1e-12);
        }
    }

    #[test]
    fn no_words_have_no_tags() {
        assert!(Transitions::iob2(LABELS.into_iter()).best(&[]).is_empty());
    }
}
