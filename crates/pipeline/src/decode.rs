//! Which tags contradict each other, by the names of the labels.
//!
//! A token classifier scores words one by one, so its best tags may contradict each other (`I-PER` after `O`). The best
//! sequence without contradictions is found by [`Chain::best`](locus_heads::Chain::best).

/// The rules of a set of tags. With any `E-` or `S-` they are those of BIOES: `B-X` and `I-X` must go on, as `I-X` or
/// `E-X`, and nothing else may. Otherwise they are those of IOB2: `I-X` follows `B-X` or `I-X`.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    /// Prefix and type of each label.
    labels: Vec<(&'a str, &'a str)>,
    closes: bool,
}

impl<'a> Rules<'a> {
    pub(crate) fn of(labels: &'a [String]) -> Self {
        let labels: Vec<_> =
            labels.iter().map(|label| label.split_once('-').unwrap_or((label, ""))).collect();
        let closes = labels.iter().any(|(prefix, _)| ["E", "S"].contains(prefix));
        Self { labels, closes }
    }

    /// Whether `to` may not follow `from`; `None` stands for the start and the end.
    pub(crate) fn forbid(&self, from: Option<usize>, to: Option<usize>) -> bool {
        // The type that is open after `from`, and the one that `to` goes on with.
        let of = |label: Option<usize>, prefixes: [&str; 2]| {
            let (prefix, kind) = self.labels[label?];
            prefixes.contains(&prefix).then_some(kind)
        };
        let open = of(from, ["B", "I"]);
        let goes_on = of(to, ["I", "E"]);
        let may_close = !self.closes && goes_on.is_none();
        open != goes_on && !may_close
    }
}

#[cfg(test)]
mod tests {
    use locus_metrics::tags::{Span, TagScheme, encode, spans};

    use super::Rules;

    /// Every sequence of these labels, and whether it is allowed.
    fn sequences(labels: &[&str], len: usize) -> Vec<(Vec<String>, bool)> {
        let names: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let rules = Rules::of(&names);
        let n = names.len();
        let all = (0..n.pow(len as u32)).map(|idx| {
            let sequence: Vec<usize> = (0..len).map(|place| idx / n.pow(place as u32) % n).collect();
            let steps = sequence.windows(2).map(|pair| (Some(pair[0]), Some(pair[1])));
            let ends = [(None, Some(sequence[0])), (Some(sequence[len - 1]), None)];
            let allowed = ends.into_iter().chain(steps).all(|(from, to)| !rules.forbid(from, to));
            (sequence.iter().map(|&label| names[label].clone()).collect(), allowed)
        });
        all.collect()
    }

    /// What may be said is just what a scheme writes for some entities.
    fn are_what_is_written(labels: &[&str], scheme: TagScheme) {
        let sequences = sequences(labels, 4);
        for (sequence, allowed) in &sequences {
            let found: Vec<Span> = spans(sequence, scheme);
            let written = encode(&found, sequence.len(), scheme).expect("spans that were read");
            assert_eq!(*allowed, *sequence == written, "{sequence:?}");
        }
        assert!(sequences.iter().any(|(_, allowed)| *allowed));
    }

    #[test]
    fn iob2() {
        are_what_is_written(&["O", "B-A", "I-A", "B-B", "I-B"], TagScheme::Iob2);
    }

    #[test]
    fn bioes() {
        let labels = ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"];
        are_what_is_written(&labels, TagScheme::Bioes);
    }
}
