//! What is known of a scheme before anything runs: what its file says ([`Facts`]), and what the made scheme shows
//! ([`Properties`]), so that lists and pages repeat nothing by hand.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;

use super::config::SchemeConfig;
use super::scheme::{CachePolicy, Form, LayerPass, Limit, Pass, Prepared, Scheme};
use super::{NoPosition, PositionConfig, PositionScheme, PositionShape};
use crate::Tokens;

/// What a scheme's file says of it, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it acts.
    pub family: Family,
    /// What it does, in a line of Markdown.
    pub does: &'static str,
    /// The number of its trained parameters in words of its configuration and of [`PositionShape`]: that of the defaults,
    /// then `, or …` for other choices.
    pub parameters: &'static str,
    /// What its paper claims, or what is known, of texts longer than those of training.
    pub longer_texts: &'static str,
    /// Where it is from.
    pub paper: &'static str,
}

/// Where a scheme acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Nowhere.
    None,
    /// On the token embedding, or on how tokens are numbered.
    Absolute,
    /// On queries and keys.
    Rotary,
    /// On the factor of the dot products.
    Factor,
    /// On the scores, by position alone.
    Bias,
    /// On the scores, or on values, by products of content with vectors of positions.
    Terms,
    /// On the scores, by what lies between query and key.
    Contextual,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Absolute, Self::Rotary, Self::Factor, Self::Bias, Self::Terms, Self::Contextual];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Absolute => "absolute",
            Self::Rotary => "rotary",
            Self::Factor => "factor",
            Self::Bias => "bias",
            Self::Terms => "relative terms",
            Self::Contextual => "contextual",
        })
    }
}

/// What a scheme shows of itself once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Number of trained parameters.
    pub n_trained: usize,
    /// Number of fixed parameters, which a model file holds too.
    pub n_fixed: usize,
    /// What happens to positions that it was not made for.
    pub limit: Limit,
    /// Whether shifting all positions changes nothing.
    pub is_relative: bool,
    /// What a decoder keeps of past tokens.
    pub cached: Cached,
    /// How much of the model's width it takes for itself.
    pub extra_width: usize,
}

/// What a decoder keeps of past tokens beside the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The key as the scores use it, or before rotation.
    pub policy: CachePolicy,
    /// Numbers per key head.
    pub key_width: usize,
    /// Numbers of the scheme's own per token.
    pub state_width: usize,
    /// Whether all tokens stay; else those that a later query may see.
    pub keeps_all: bool,
}

impl PositionConfig {
    /// What the scheme's file says of it.
    pub fn facts(&self) -> Facts {
        self.config().map_or(NoPosition::FACTS, SchemeConfig::facts)
    }

    /// The forms of attention that the scheme is for in a model of this shape, whose own form is not looked at.
    pub fn forms(&self, shape: &PositionShape) -> Vec<Form> {
        let fits = |form: &Form| self.check(&PositionShape { form: *form, ..*shape }).is_empty();
        [Form::Bidirectional, Form::Causal].into_iter().filter(fits).collect()
    }

    /// What the scheme shows of itself in a model of this shape. Check the configuration first. Only a backend that
    /// differentiates knows which parameters are trained.
    pub fn properties<B: AutodiffBackend>(&self, shape: &PositionShape, device: &B::Device) -> Properties {
        let position = self.init::<B>(shape, Key::new(0), device);
        let mut count = Count::default();
        position.visit(&mut count);
        let scheme = position.scheme();
        Properties {
            n_trained: count.trained,
            n_fixed: count.fixed,
            limit: scheme.limit(),
            is_relative: scheme.is_relative(),
            cached: cached(scheme, shape, device),
            extra_width: scheme.extra_width(),
        }
    }
}

/// Counts the numbers of a module.
#[derive(Default)]
struct Count {
    trained: usize,
    fixed: usize,
}

impl<B: Backend> ModuleVisitor<B> for Count {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let n = param.shape().num_elements();
        *(if param.is_require_grad() { &mut self.trained } else { &mut self.fixed }) += n;
    }
}

/// What is stored of one token.
fn cached<B: Backend>(scheme: &dyn Scheme<B>, shape: &PositionShape, device: &B::Device) -> Cached {
    let token = Tokens {
        batch: 1,
        seq: 1,
        ids: vec![0],
        keep: vec![true],
        positions: vec![0.0],
        ..Tokens::default()
    };
    let policy = scheme.cache();
    let hidden = Tensor::zeros([1, 1, shape.d_model], device);
    let state = scheme.state(&hidden); // [1, 1, width]
    let key_width = match policy {
        CachePolicy::RawKey => shape.d_head,
        CachePolicy::FinalKey => {
            let pass = Pass { queries: &token, keys: &token, form: shape.form, longest_seen: 1, key: None };
            let prepared: Prepared = scheme.prepare(&pass, device);
            let at = LayerPass {
                pass: &pass,
                prepared: &prepared,
                layer: 0,
                hidden: &hidden,
                state: None,
                scale: 1.0,
                projections: None,
            };
            let heads = Tensor::zeros([1, shape.n_heads, 1, shape.d_head], device);
            scheme.rotate(heads.clone(), heads, &at).views.iter().map(|(_, k)| k.dims()[3]).sum()
        }
    };
    Cached {
        policy,
        key_width,
        state_width: state.map_or(0, |state| state.dims()[2]),
        keeps_all: scheme.retained(&token).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use locus_testkit::device::NdArray;

    use super::*;

    const SHAPE: PositionShape = PositionShape {
        d_model: 24,
        n_heads: 3,
        n_kv_heads: 3,
        d_head: 8,
        max_seq_len: 101,
        form: Form::Causal,
    };

    /// Names in formulas that are no keys. FoPE keeps the frequencies 1 and 0.1, which turn once in 101 positions.
    const NAMES: [(&str, f64); 6] = [
        ("k", 2.0),
        ("d_model", 24.0),
        ("n_heads", 3.0),
        ("n_kv_heads", 3.0),
        ("d_head", 8.0),
        ("max_positions", 101.0),
    ];

    fn properties(config: &PositionConfig) -> Properties {
        let form = *config.forms(&SHAPE).last().expect("fits a form");
        config.properties::<Autodiff<NdArray>>(&PositionShape { form, ..SHAPE }, &Default::default())
    }

    #[test]
    fn formulas_give_the_number_of_trained_parameters() {
        for name in PositionConfig::NAMES {
            let config = PositionConfig::named(name).expect("known");
            let keys = toml::Value::try_from(&config).expect("serialises");
            let named = |word: &str| {
                let key = keys.get(name).and_then(|keys| keys.get(word)).and_then(toml::Value::as_integer);
                let other = NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
                key.map(|key| key as f64)
                    .or(other)
                    .unwrap_or_else(|| panic!("{name}: '{word}' is neither a key nor a size"))
            };
            let Facts { parameters, .. } = config.facts();
            let formula = parameters.split(", or ").next().unwrap_or_default();
            assert_eq!(value(formula, &named), properties(&config).n_trained as f64, "{name}: {parameters}");
        }
    }

    #[test]
    fn facts_are_lines_of_text() {
        for name in PositionConfig::NAMES {
            let Facts { does, parameters, longer_texts, paper, family } =
                PositionConfig::named(name).expect("known").facts();
            for text in [does, parameters, longer_texts, paper] {
                let fits = !text.is_empty() && text.trim() == text && !text.contains('\n');
                assert!(fits && !text.ends_with('.'), "{name}: {text:?}");
            }
            assert!(Family::ALL.contains(&family));
        }
    }

    #[test]
    fn properties_are_those_of_the_made_scheme() {
        let of = |name| properties(&PositionConfig::named(name).expect("known"));
        let key = Cached { policy: CachePolicy::FinalKey, key_width: 8, state_width: 0, keeps_all: true };
        assert_eq!(of("alibi").cached, key);
        assert_eq!(of("pope").cached, Cached { key_width: 16, ..key });
        assert_eq!(of("rerope").cached, Cached { policy: CachePolicy::RawKey, ..key });
        let sinks = Cached { policy: CachePolicy::RawKey, keeps_all: false, ..key };
        assert_eq!(of("attention_sinks").cached, sinks);
        assert_eq!(of("learned").limit, Limit::Error(101));
        assert_eq!(
            (of("random_projection").n_trained, of("random_projection").n_fixed),
            (0, 64 * (24 + 101))
        );
        assert!(of("t5").is_relative && !of("sinusoidal").is_relative);
        let forms = |name| PositionConfig::named(name).expect("known").forms(&SHAPE);
        assert_eq!(forms("rerope"), [Form::Causal]);
        assert_eq!(forms("t5"), [Form::Bidirectional, Form::Causal]);
    }

    #[test]
    fn the_reader_of_formulas_knows_its_arithmetic() {
        let named = |word: &str| if word == "n" { 3.0 } else { panic!("{word}") };
        for (formula, want) in
            [("0", 0.0), ("2·(2·n + 1)·n", 42.0), ("2 + n·(n + 1) + n²", 23.0), ("2·n²", 18.0)]
        {
            assert_eq!(value(formula, &named), want, "{formula}");
        }
    }

    /// The value of sums and products of numbers, names and squares.
    fn value(formula: &str, named: &dyn Fn(&str) -> f64) -> f64 {
        let formula: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
        let (value, rest) = sum(&formula, named);
        assert_eq!(rest, "", "{formula}");
        value
    }

    fn sum<'a>(text: &'a str, named: &dyn Fn(&str) -> f64) -> (f64, &'a str) {
        let (mut total, mut rest) = product(text, named);
        while let Some(after) = rest.strip_prefix('+') {
            let (term, after) = product(after, named);
            (total, rest) = (total + term, after);
        }
        (total, rest)
    }

    fn product<'a>(text: &'a str, named: &dyn Fn(&str) -> f64) -> (f64, &'a str) {
        let (mut total, mut rest) = factor(text, named);
        while let Some(after) = rest.strip_prefix('·') {
            let (term, after) = factor(after, named);
            (total, rest) = (total * term, after);
        }
        (total, rest)
    }

    fn factor<'a>(text: &'a str, named: &dyn Fn(&str) -> f64) -> (f64, &'a str) {
        let (value, rest) = match text.strip_prefix('(') {
            Some(inner) => {
                let (value, rest) = sum(inner, named);
                (value, rest.strip_prefix(')').unwrap_or_else(|| panic!("no ')' in {text}")))
            }
            None => {
                let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
                let (word, rest) = text.split_at(end);
                (word.parse().unwrap_or_else(|_| named(word)), rest)
            }
        };
        match rest.strip_prefix('²') {
            Some(rest) => (value * value, rest),
            None => (value, rest),
        }
    }
}
