//! What is wrong with a stack under a head.

use locus_embedding::position::Form;
use locus_encoder::{ConfigProblem, EmbeddingProjection, StackConfig};

use crate::head_config::BOTH;
use crate::{FeatureScale, HeadConfig};

/// No head has more labels: far above any, and small enough that a slip of the pen does not exhaust the memory.
const LARGEST: usize = 1 << 20;

impl HeadConfig {
    /// Everything that is wrong with a stack under this head.
    pub fn check(&self, stack: &StackConfig) -> Vec<ConfigProblem> {
        let mut problems: Vec<ConfigProblem> = Vec::new();
        let has_both = self.forms() == BOTH;
        let of_form = |&form: &Form| match form {
            Form::Causal if has_both => stack.of_decoder().check(form),
            _ => stack.check(form),
        };
        for problem in self.forms().iter().flat_map(of_form) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if let Self::SentenceEmbedding(config) = self {
            problems.extend(config.check());
        }
        if let Self::ReplacedTokens(config) = self {
            problems.extend(config.check());
        }
        if let Self::SpanClassification { spans, .. } = self {
            problems.extend(spans.check(stack.max_seq_len));
        }
        let mut problem = |key: &str, found: String, allowed: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), found, allowed: allowed.to_owned() });
        };
        let of_tokens = matches!(self, Self::TokenClassification { .. } | Self::SpanClassification { .. });
        if of_tokens && self.layers().is_some_and(|layers| layers.decoder.is_some()) {
            problem("layers.decoder", "a decoder".to_owned(), "none: labels of tokens stand on one stack");
        }
        if has_both && matches!(self.layers(), Some(layers) if layers.form == Form::Causal) {
            problem("layers.form", "causal".to_owned(), "bidirectional: the decoder comes after an encoder");
        }
        if let Some(n_labels) = self.n_labels().filter(|n| !(1..=LARGEST).contains(n)) {
            problem("n_labels", n_labels.to_string(), &format!("1 to {LARGEST}"));
        }
        if let Self::Regression { mean, std, .. } = self {
            if !mean.is_finite() {
                problem("mean", mean.to_string(), "a finite number");
            }
            if !(std.is_finite() && *std > 0.0) {
                problem("std", std.to_string(), "a finite number above 0");
            }
        }
        if let Self::Ranking { features, .. } = self {
            for (idx, FeatureScale { mean, std }) in features.iter().enumerate() {
                if !(mean.is_finite() && std.is_finite() && *std > 0.0) {
                    let found = format!("mean {mean}, std {std}");
                    problem(&format!("features.{idx}"), found, "finite numbers, and a std above 0");
                }
            }
        }
        // The scheme instances are made only of a stack that can be.
        if !problems.is_empty() {
            return problems;
        }
        let extra: usize = stack.schemes().0.iter().map(|scheme| scheme.extra_width()).sum();
        if let Self::ReplacedTokens(config) = self {
            if extra > 0 {
                problems.push(ConfigProblem {
                    key: "position".to_owned(),
                    found: format!("{extra} appended dimensions"),
                    allowed: "none: the token table is the generator's output, and would be narrower than its vectors".to_owned(),
                });
            }
            let of_generator = config.generator(stack).check(Form::Bidirectional).into_iter();
            problems.extend(of_generator.map(|p| ConfigProblem { key: format!("generator.{}", p.key), ..p }));
        }
        let tied = |head: &Self| {
            matches!(
                head,
                Self::CausalLm { tied: true, .. }
                    | Self::Seq2Seq { tied: true, .. }
                    | Self::MaskedLm { tied: true, .. }
            )
        };
        let factorised = matches!(stack.embedding_projection, EmbeddingProjection::Factorised { .. });
        if factorised && tied(self) && !matches!(self, Self::MaskedLm { .. }) {
            problems.push(ConfigProblem {
                key: "tied".to_owned(),
                found: "true".to_owned(),
                allowed: "false: a factorised token table is narrower than the model".to_owned(),
            });
        }
        if extra > 0 && tied(self) {
            problems.push(ConfigProblem {
                key: "tied".to_owned(),
                found: "true".to_owned(),
                allowed: format!(
                    "false: a position of {extra} appended dimensions leaves the token table narrower than the model"
                ),
            });
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use locus_encoder::{DecoderSizes, StackConfig};

    use crate::HeadConfig;

    #[test]
    fn a_decoders_scheme_sees_its_own_heads() {
        let head = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
        let with = |n_heads| {
            let decoder = DecoderSizes { n_heads: Some(n_heads), ..DecoderSizes::default() };
            let stack = StackConfig { d_model: 12, n_heads: 2, decoder, ..StackConfig::default() };
            head.check(&stack)
        };
        assert_eq!(with(3), []);
        // Heads of 3 dimensions do not turn in pairs.
        assert!(with(4).iter().any(|problem| problem.key.starts_with("position.rotary")), "{:?}", with(4));
    }
}
