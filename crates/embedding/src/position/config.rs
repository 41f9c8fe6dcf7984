//! The choice of a scheme, as a configuration file writes it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::facts::Facts;
use super::{Form, PositionConfig};

/// What the schemes need to know of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionShape {
    /// Width of the model.
    pub d_model: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// The longest sequence the model is made for.
    pub max_seq_len: usize,
    /// Where attention happens.
    pub form: Form,
}

/// One thing wrong with a scheme's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionProblem {
    /// The key, below that of the scheme; empty where the scheme as a whole does not fit the model.
    pub key: String,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl PositionProblem {
    pub(super) fn positive(x: f64, problems: &mut Vec<Self>, key: &str) {
        Self::unless(x.is_finite() && x > 0.0, problems, key, x, "a positive number");
    }

    pub(super) fn base(base: f64, problems: &mut Vec<Self>) {
        Self::unless(base > 1.0 && base.is_finite(), problems, "base", base, "a number above 1");
    }

    /// A scheme that turns pairs.
    pub(super) fn even_head(shape: &PositionShape, problems: &mut Vec<Self>) {
        let (d_head, allowed) = (shape.d_head, "an even d_head: dimensions turn in pairs");
        Self::unless(
            d_head > 0 && d_head.is_multiple_of(2),
            problems,
            "",
            format!("d_head = {d_head}"),
            allowed,
        );
    }

    /// A scheme that is not for encoders.
    pub(super) fn causal(shape: &PositionShape, why: &str, problems: &mut Vec<Self>) {
        let allowed = format!("a decoder: {why}");
        Self::unless(shape.form == Form::Causal, problems, "", "an encoder", &allowed);
    }

    pub(super) fn unless(
        fits: bool,
        problems: &mut Vec<Self>,
        key: &str,
        found: impl ToString,
        allowed: &str,
    ) {
        if !fits {
            let (found, allowed) = (found.to_string(), allowed.to_owned());
            problems.push(Self { key: key.to_owned(), found, allowed });
        }
    }
}

/// What the configuration of a scheme says of itself.
pub(super) trait SchemeConfig {
    /// What lists and pages say of the scheme.
    fn facts(&self) -> Facts;

    /// Adds everything that is wrong with it in a model of this shape.
    fn check(&self, _shape: &PositionShape, _problems: &mut Vec<PositionProblem>) {}

    /// How much of the model's width the scheme takes for itself.
    fn extra_width(&self) -> usize {
        0
    }

    /// Whether the scheme acts on the token embedding, before the first layer.
    fn acts_on_embedding(&self) -> bool {
        false
    }

    /// The parameter whose rows are positions, and how many of its rows come before that of position 0.
    fn position_table(&self) -> Option<(&'static str, usize)> {
        None
    }

    /// The parameter whose rows are places in a part of a text, such as a number: a longer table goes on with its last row.
    fn place_table(&self) -> Option<&'static str> {
        None
    }

    /// Whether an encoder that has nothing else can tell the order of tokens.
    fn tells_order(&self) -> bool {
        true
    }

    /// Why a query may see no key after its own token, where that is so; [`PositionProblem::causal`] takes the same words.
    fn only_earlier(&self) -> Option<&'static str> {
        None
    }

    /// Looks up the ids of tokens that the configuration names.
    fn find_tokens(&mut self, _id: &dyn Fn(&str) -> Option<u32>, _problems: &mut Vec<PositionProblem>) {}
}

/// What vocabularies write before a token: nothing, or a mark of where it stands in a word (WordPiece, SentencePiece,
/// byte-level BPE).
const MARKS: [&str; 4] = ["", INNER_MARK, WORD_MARKS[0], WORD_MARKS[1]];

/// The marks of what begins a word.
pub(super) const WORD_MARKS: [&str; 2] = ["▁", "Ġ"];

/// The mark of what goes on with a word.
pub(super) const INNER_MARK: &str = "##";

/// Fills empty `ids` with those of the named tokens, with every mark, that a vocabulary has; not one of them is a problem.
/// Ids that are set stay, but must be those of the names where somebody chose these.
pub(super) fn find_ids(
    ids: &mut Vec<u32>,
    (names, default): (&[String], &[String]),
    id: &dyn Fn(&str) -> Option<u32>,
    [names_key, ids_key]: [&str; 2],
    problems: &mut Vec<PositionProblem>,
) {
    let marked = names.iter().flat_map(|name| MARKS.iter().map(move |mark| format!("{mark}{name}")));
    let found: Vec<u32> = marked.filter_map(|token| id(&token)).collect();
    if ids.is_empty() {
        let none = format!("none of {names:?} in the vocabulary");
        let allowed = "the ids of such tokens: name some that the tokenizer has, or choose another tokenizer";
        PositionProblem::unless(!found.is_empty(), problems, names_key, none, allowed);
        *ids = found;
    } else if names != default {
        let agree = found.len() == ids.len() && found.iter().all(|id| ids.contains(id));
        let allowed =
            format!("{found:?}, the ids of {names:?} in the vocabulary; leave out {ids_key} or {names_key}");
        PositionProblem::unless(agree, problems, ids_key, format!("{ids:?}"), &allowed);
    }
}

impl PositionConfig {
    /// How much of the model's width the scheme takes for itself.
    pub fn extra_width(&self) -> usize {
        self.config().map_or(0, SchemeConfig::extra_width)
    }

    /// Whether the scheme acts on the token embedding, before the first layer.
    pub fn acts_on_embedding(&self) -> bool {
        self.config().is_some_and(SchemeConfig::acts_on_embedding)
    }

    /// The parameter whose rows are positions, and how many of its rows come before that of position 0: what can be made
    /// longer by interpolation.
    pub fn position_table(&self) -> Option<(&'static str, usize)> {
        self.config().and_then(SchemeConfig::position_table)
    }

    /// The parameter whose rows are places in a part of a text, such as a number: a longer table goes on with its last row.
    pub fn place_table(&self) -> Option<&'static str> {
        self.config().and_then(SchemeConfig::place_table)
    }

    /// Whether an encoder that has nothing else can tell the order of tokens.
    pub fn tells_order(&self) -> bool {
        self.config().is_some_and(SchemeConfig::tells_order)
    }

    /// Why a query may see no key after its own token, where that is so: such a scheme can read no prefix in both
    /// directions.
    pub fn only_earlier(&self) -> Option<&'static str> {
        self.config().and_then(SchemeConfig::only_earlier)
    }

    /// Looks up the ids of tokens that the scheme counts by, where they are not set, and says what it does not find. `id`
    /// gives the id of a token as the vocabulary writes it.
    pub fn find_tokens(&mut self, id: &dyn Fn(&str) -> Option<u32>) -> Vec<PositionProblem> {
        let mut problems = Vec::new();
        if let Some(config) = self.config_mut() {
            config.find_tokens(id, &mut problems);
        }
        problems
    }

    /// Everything that is wrong with the scheme in a model of this shape.
    pub fn check(&self, shape: &PositionShape) -> Vec<PositionProblem> {
        let mut problems = too_large(self);
        // Sizes are added and multiplied from here on.
        if let Some(config) = self.config().filter(|_| problems.is_empty()) {
            config.check(shape, &mut problems);
        }
        problems
    }
}

/// The whole numbers of a configuration that are far above any model's; ids of tokens are none.
fn too_large(config: &PositionConfig) -> Vec<PositionProblem> {
    const LARGEST: u64 = 1 << 20;
    fn visit(value: &Value, key: &str, problems: &mut Vec<PositionProblem>) {
        match value {
            Value::Object(below) => {
                for (name, value) in below.iter().filter(|(name, _)| !name.ends_with("_ids")) {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    visit(value, &key, problems);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| visit(value, key, problems)),
            Value::Number(n) if n.as_u64().is_some_and(|n| n > LARGEST) => {
                PositionProblem::unless(false, problems, key, n, &format!("at most {LARGEST}"));
            }
            _ => {}
        }
    }
    let mut problems = Vec::new();
    let written = serde_json::to_value(config).unwrap_or_default();
    visit(written.get(config.name()).unwrap_or(&Value::Null), "", &mut problems);
    problems
}

impl<'de> Deserialize<'de> for PositionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

/// A table without keys: the parameters of `none`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

impl<'de> Visitor<'de> for NameOrTable {
    type Value = PositionConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a position scheme ({}) or a table of one", PositionConfig::NAMES.join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PositionConfig, E> {
        PositionConfig::named(name).ok_or_else(|| unknown(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PositionConfig, A::Error> {
        let Some(name) = map.next_key::<String>()? else { return Err(A::Error::invalid_length(0, &self)) };
        let config = PositionConfig::read(&name, &mut map)?;
        match map.next_key::<String>()? {
            None => Ok(config),
            Some(other) => Err(A::Error::custom(format!(
                "two position schemes, '{name}' and '{other}': choose one, or one for each layer in layer_positions"
            ))),
        }
    }
}

/// The error for a name that no scheme has.
pub(super) fn unknown<E: Error>(name: &str) -> E {
    let known = PositionConfig::NAMES;
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let nearest = nearest.copied().unwrap_or_default();
    let known = known.join(", ");
    E::custom(format!("unknown position scheme '{name}': did you mean '{nearest}'? Known schemes: {known}"))
}

#[cfg(test)]
mod tests {
    use super::{Form, PositionConfig, PositionShape};

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Model {
        position: PositionConfig,
    }

    #[test]
    fn every_name_is_read_bare_and_written_back() {
        for name in PositionConfig::NAMES {
            let model: Model = toml::from_str(&format!("position = \"{name}\"")).expect(name);
            assert_eq!(model.position.name(), name);
            let written = toml::to_string(&model).expect(name);
            let again: Model = toml::from_str(&written).expect(&written);
            assert_eq!(again.position, model.position);
        }
    }

    #[test]
    fn an_unknown_name_or_key_is_refused() {
        let error = toml::from_str::<Model>("position = \"rotory\"").err().expect("refused").to_string();
        assert!(error.contains("did you mean 'rotary'"), "{error}");
        let error = toml::from_str::<Model>("[position.rotory]").err().expect("refused").to_string();
        assert!(error.contains("did you mean 'rotary'"), "{error}");
        let error = toml::from_str::<Model>("[position.rotary]\nbse = 1").err().expect("refused").to_string();
        assert!(error.contains("bse") && error.contains("base"), "{error}");
        let two = "[position.rotary]\n[position.alibi]";
        let error = toml::from_str::<Model>(two).err().expect("refused").to_string();
        assert!(error.contains("rotary") && error.contains("alibi"), "{error}");
    }

    #[test]
    fn sizes_far_above_any_model_are_refused_before_anything_is_computed_with_them() {
        let shape = PositionShape {
            d_model: 8,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 4,
            max_seq_len: 5,
            form: Form::Causal,
        };
        for (toml, key) in [
            ("learned = { max_positions = 9223372036854775807, offset = 9 }", "max_positions"),
            ("deberta = { span = 4611686018427387904 }", "span"),
            ("dape = { over = { fire = { hidden = 1048577 } } }", "over.fire.hidden"),
        ] {
            let config: PositionConfig = toml::from_str(toml).expect("reads");
            let problems = config.check(&shape);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!((problems[0].key.as_str(), problems[0].allowed.as_str()), (key, "at most 1048576"));
        }
        let ids: PositionConfig = toml::from_str("abacus = { digit_ids = [4000000000] }").expect("reads");
        assert_eq!(ids.check(&shape), []);
    }
}
