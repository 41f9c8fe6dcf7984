//! The choice of a scheme, as a configuration file writes it.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};

use super::{
    AlibiConfig, Form, LearnedConfig, RandomProjectionConfig, RotaryConfig, ShawConfig, SinusoidalConfig,
    T5Config,
};

/// A scheme and its parameters. A bare name means the scheme's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionConfig {
    /// No positions.
    #[default]
    None,
    /// Sines and cosines, added.
    Sinusoidal(SinusoidalConfig),
    /// A trained vector per position, added.
    Learned(LearnedConfig),
    /// A fixed matrix times random vectors, added or appended.
    RandomProjection(RandomProjectionConfig),
    /// Rotation of queries and keys.
    Rotary(RotaryConfig),
    /// A linear penalty on distance.
    Alibi(AlibiConfig),
    /// A learned bias per bucket of distance.
    T5(T5Config),
    /// Learned vectors per distance, on keys and values.
    Shaw(ShawConfig),
}

/// What the schemes need to know of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionShape {
    /// Width of the model.
    pub d_model: usize,
    /// Number of query heads.
    pub n_heads: usize,
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
    /// The key, below that of the scheme.
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

impl PositionConfig {
    /// The names of all schemes.
    pub const NAMES: [&'static str; 8] =
        ["none", "sinusoidal", "learned", "random_projection", "rotary", "alibi", "t5", "shaw"];

    /// The scheme of this name with its defaults.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "sinusoidal" => Self::Sinusoidal(Default::default()),
            "learned" => Self::Learned(Default::default()),
            "random_projection" => Self::RandomProjection(Default::default()),
            "rotary" => Self::Rotary(Default::default()),
            "alibi" => Self::Alibi(Default::default()),
            "t5" => Self::T5(Default::default()),
            "shaw" => Self::Shaw(Default::default()),
            _ => return None,
        })
    }

    /// The name of the scheme.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sinusoidal(_) => "sinusoidal",
            Self::Learned(_) => "learned",
            Self::RandomProjection(_) => "random_projection",
            Self::Rotary(_) => "rotary",
            Self::Alibi(_) => "alibi",
            Self::T5(_) => "t5",
            Self::Shaw(_) => "shaw",
        }
    }

    /// How much of the model's width the scheme takes for itself.
    pub fn extra_width(&self) -> usize {
        match self {
            Self::RandomProjection(config) => config.extra_width(),
            Self::None
            | Self::Sinusoidal(_)
            | Self::Learned(_)
            | Self::Rotary(_)
            | Self::Alibi(_)
            | Self::T5(_)
            | Self::Shaw(_) => 0,
        }
    }

    /// Whether the scheme acts on the token embedding, before the first layer.
    pub fn acts_on_embedding(&self) -> bool {
        match self {
            Self::Sinusoidal(_) | Self::Learned(_) | Self::RandomProjection(_) => true,
            Self::None | Self::Rotary(_) | Self::Alibi(_) | Self::T5(_) | Self::Shaw(_) => false,
        }
    }

    /// Everything that is wrong with the scheme in a model of this shape.
    pub fn check(&self, shape: &PositionShape) -> Vec<PositionProblem> {
        let mut problems = Vec::new();
        match self {
            Self::None | Self::Alibi(_) => {}
            Self::Sinusoidal(config) => config.check(&mut problems),
            Self::Learned(config) => config.check(shape, &mut problems),
            Self::RandomProjection(config) => config.check(shape, &mut problems),
            Self::Rotary(config) => config.check(shape, &mut problems),
            Self::T5(config) => config.check(shape, &mut problems),
            Self::Shaw(config) => config.check(&mut problems),
        }
        problems
    }
}

impl<'de> Deserialize<'de> for PositionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

/// The same choice, in the form serde reads a table of one key as.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Table {
    None(Empty),
    Sinusoidal(SinusoidalConfig),
    Learned(LearnedConfig),
    RandomProjection(RandomProjectionConfig),
    Rotary(RotaryConfig),
    Alibi(AlibiConfig),
    T5(T5Config),
    Shaw(ShawConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl<'de> Visitor<'de> for NameOrTable {
    type Value = PositionConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a position scheme ({}) or a table of one", PositionConfig::NAMES.join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PositionConfig, E> {
        PositionConfig::named(name).ok_or_else(|| {
            let nearest = PositionConfig::NAMES
                .into_iter()
                .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))
                .unwrap_or_default();
            E::custom(format!(
                "unknown position scheme '{name}': did you mean '{nearest}'? Known schemes: {}",
                PositionConfig::NAMES.join(", ")
            ))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PositionConfig, A::Error> {
        Ok(match Table::deserialize(MapAccessDeserializer::new(map))? {
            Table::None(Empty {}) => PositionConfig::None,
            Table::Sinusoidal(config) => PositionConfig::Sinusoidal(config),
            Table::Learned(config) => PositionConfig::Learned(config),
            Table::RandomProjection(config) => PositionConfig::RandomProjection(config),
            Table::Rotary(config) => PositionConfig::Rotary(config),
            Table::Alibi(config) => PositionConfig::Alibi(config),
            Table::T5(config) => PositionConfig::T5(config),
            Table::Shaw(config) => PositionConfig::Shaw(config),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PositionConfig;

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
        let error = toml::from_str::<Model>("[position.rotary]\nbse = 1").err().expect("refused").to_string();
        assert!(error.contains("bse") && error.contains("base"), "{error}");
    }
}
