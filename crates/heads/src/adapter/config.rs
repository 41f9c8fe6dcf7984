//! Which adapter to make.

use std::fmt;

use locus_encoder::ConfigProblem;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A kind of adapter with its settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterConfig {
    /// A product of two narrow matrices beside each weight (arXiv:2106.09685).
    Lora(LoraConfig),
    /// The same, with the lengths of the weight's columns trained apart (arXiv:2402.09353).
    Dora(LoraConfig),
    /// A factor for each output of keys and values and each input of the second feed-forward layer (arXiv:2205.05638).
    Ia3(Ia3Config),
}

/// The settings of LoRA and DoRA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The rank: the width between the two matrices.
    pub r: usize,
    /// What their product is multiplied by, before the rank divides it.
    pub alpha: f64,
    /// How the rank divides it.
    pub scaling: RankScaling,
    /// The probability that a number of an input is dropped in training.
    pub dropout: f64,
    /// The projections that are changed.
    pub targets: Vec<Target>,
    /// The layers, from 0, that are changed; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Parts of paths of parameters that are trained besides: `embeddings`, `final_norm`. A classifier always is.
    pub also_train: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            alpha: 16.0,
            scaling: RankScaling::Rank,
            dropout: 0.0,
            targets: vec![Target::QProj, Target::VProj],
            layers: None,
            also_train: Vec::new(),
        }
    }
}

/// The settings of (IA)³.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// The projections that are changed: outputs are multiplied, of `down_proj` the inputs.
    pub targets: Vec<Target>,
    /// As in [`LoraConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// As in [`LoraConfig`].
    pub also_train: Vec<String>,
}

impl Default for Ia3Config {
    fn default() -> Self {
        let targets = vec![Target::KProj, Target::VProj, Target::DownProj];
        Self { targets, layers: None, also_train: Vec::new() }
    }
}

/// How the rank divides alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankScaling {
    /// `alpha / rank`.
    #[default]
    Rank,
    /// `alpha / √rank`, which keeps the size of what is added at any rank: rsLoRA (arXiv:2312.03732).
    SqrtRank,
}

impl RankScaling {
    /// What the product is multiplied by.
    pub fn scaling(self, alpha: f64, rank: usize) -> f64 {
        match self {
            Self::Rank => alpha / rank as f64,
            Self::SqrtRank => alpha / (rank as f64).sqrt(),
        }
    }
}

/// A projection of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Queries, of self- and cross-attention.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// What attention gives.
    OProj,
    /// The gate of a gated feed-forward layer.
    GateProj,
    /// The first feed-forward layer.
    UpProj,
    /// The second.
    DownProj,
}

impl Target {
    const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// The projection at the end of a path.
    pub fn of(path: &str) -> Option<Self> {
        let last = path.rsplit('.').next()?;
        Self::ALL.into_iter().find(|target| target.name() == last)
    }
}

impl AdapterConfig {
    const NAMES: [&str; 3] = ["lora", "dora", "ia3"];

    /// The name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::Dora(_) => "dora",
            Self::Ia3(_) => "ia3",
        }
    }

    pub(super) fn targets(&self) -> &[Target] {
        match self {
            Self::Lora(config) | Self::Dora(config) => &config.targets,
            Self::Ia3(config) => &config.targets,
        }
    }

    pub(super) fn layers(&self) -> Option<&Vec<usize>> {
        match self {
            Self::Lora(config) | Self::Dora(config) => config.layers.as_ref(),
            Self::Ia3(config) => config.layers.as_ref(),
        }
    }

    pub(super) fn also_train(&self) -> &[String] {
        match self {
            Self::Lora(config) | Self::Dora(config) => &config.also_train,
            Self::Ia3(config) => &config.also_train,
        }
    }

    /// The same kind with these parameters trained whole besides.
    #[must_use]
    pub fn also_training(mut self, paths: &[String]) -> Self {
        let names = match &mut self {
            Self::Lora(config) | Self::Dora(config) => &mut config.also_train,
            Self::Ia3(config) => &mut config.also_train,
        };
        names.extend_from_slice(paths);
        self
    }

    pub(super) fn dropout(&self) -> f64 {
        match self {
            Self::Lora(config) | Self::Dora(config) => config.dropout,
            Self::Ia3(_) => 0.0,
        }
    }

    /// Everything that is wrong with the settings by themselves; keys are below that of the adapter.
    pub fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, found: String, allowed: &str| {
            if !fits {
                let (key, allowed) = (format!("{}.{key}", self.name()), allowed.to_owned());
                problems.push(ConfigProblem { key, found, allowed });
            }
        };
        if let Self::Lora(config) | Self::Dora(config) = self {
            unless((1..=1 << 16).contains(&config.r), "r", config.r.to_string(), "1 to 65536; 8 is usual");
            let alpha = config.alpha;
            unless(alpha.is_finite() && alpha > 0.0, "alpha", alpha.to_string(), "a number above 0");
            let dropout = config.dropout;
            unless((0.0..1.0).contains(&dropout), "dropout", dropout.to_string(), "0 or more and below 1");
        }
        unless(!self.targets().is_empty(), "targets", "none".to_owned(), "at least one projection");
        let empty = self.layers().is_some_and(Vec::is_empty);
        unless(!empty, "layers", "none".to_owned(), "at least one layer, or no such key for all");
        problems
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "lora" => Some(Self::Lora(LoraConfig::default())),
            "dora" => Some(Self::Dora(LoraConfig::default())),
            "ia3" => Some(Self::Ia3(Ia3Config::default())),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for AdapterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = AdapterConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a kind of adapter ({}) or a table of one", AdapterConfig::NAMES.join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AdapterConfig, E> {
        AdapterConfig::named(name).ok_or_else(|| E::unknown_variant(name, &AdapterConfig::NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AdapterConfig, A::Error> {
        let Some(name) = map.next_key::<String>()? else { return Err(A::Error::invalid_length(0, &self)) };
        let config = match name.as_str() {
            "lora" => AdapterConfig::Lora(map.next_value()?),
            "dora" => AdapterConfig::Dora(map.next_value()?),
            "ia3" => AdapterConfig::Ia3(map.next_value()?),
            _ => return Err(A::Error::unknown_variant(&name, &AdapterConfig::NAMES)),
        };
        match map.next_key::<String>()? {
            None => Ok(config),
            Some(other) => {
                Err(A::Error::custom(format!("two kinds of adapter, '{name}' and '{other}': choose one")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AdapterConfig, LoraConfig, Target};

    #[test]
    fn a_kind_is_a_name_or_a_table() -> Result<(), serde_json::Error> {
        let named: AdapterConfig = serde_json::from_str(r#""dora""#)?;
        assert_eq!(named, AdapterConfig::Dora(LoraConfig::default()));
        let table: AdapterConfig = serde_json::from_str(r#"{"lora": {"r": 3, "targets": ["o_proj"]}}"#)?;
        let config = LoraConfig { r: 3, targets: vec![Target::OProj], ..LoraConfig::default() };
        assert_eq!(table, AdapterConfig::Lora(config));
        assert_eq!(serde_json::from_str::<AdapterConfig>(&serde_json::to_string(&table)?)?, table);
        for wrong in [r#""lore""#, r#"{"lora": {"rank": 3}}"#, r#"{"lora": {"targets": ["query"]}}"#] {
            assert!(serde_json::from_str::<AdapterConfig>(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let config =
            LoraConfig { r: 0, alpha: f64::NAN, dropout: 1.0, targets: vec![], ..Default::default() };
        let keys: Vec<_> = AdapterConfig::Lora(config).check().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["lora.r", "lora.alpha", "lora.dropout", "lora.targets"]);
    }
}
