//! Rotary positions, as the configurations of many families write them.

use locus_embedding::position::{
    DynamicNtk, Factor, Llama3, Longrope, PositionConfig, RotaryConfig, Scaling, Yarn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::families::{is_set, put};

/// `rope_scaling`; the names are those of `transformers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RopeScaling {
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    /// Its earlier name; `transformers` writes both.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    old_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_fast: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_slow: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale_all_dim: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_factor: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long_factor: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
}

/// What the rotary scheme of a model depends on.
pub(crate) struct Rope<'a> {
    pub(crate) base: f64,
    pub(crate) fraction: f64,
    pub(crate) window: Option<usize>,
    pub(crate) scaling: Option<&'a RopeScaling>,
    pub(crate) max_positions: usize,
    /// `original_max_position_embeddings` beside the scaling, where LongRoPE has it.
    pub(crate) original: Option<usize>,
}

impl Rope<'_> {
    /// The scheme.
    pub(crate) fn scheme(&self, problems: &mut Vec<String>) -> PositionConfig {
        let scaling = self.scaling.and_then(|scaling| self.read(scaling, problems));
        let Self { base, fraction, window, .. } = *self;
        PositionConfig::Rotary(RotaryConfig { base, fraction, window, scaling, ..RotaryConfig::default() })
    }

    fn read(&self, scaling: &RopeScaling, problems: &mut Vec<String>) -> Option<Scaling> {
        if let Some(inner) = scaling.rope_theta.filter(|inner| *inner != self.base) {
            problems.push(format!("rope_scaling.rope_theta = {inner}: expected {}, as beside it", self.base));
        }
        let rope_type = match (&scaling.rope_type, &scaling.old_type) {
            (Some(new), Some(old)) if new != old => {
                problems.push(format!("rope_scaling.type = {old:?}: expected {new:?}, as rope_type says"));
                return None;
            }
            (Some(name), _) | (None, Some(name)) => name.as_str(),
            (None, None) => {
                problems.push("rope_scaling.rope_type is missing".to_owned());
                return None;
            }
        };
        let mut need = |key: &str, value: Option<f64>| {
            value.unwrap_or_else(|| {
                problems.push(format!("rope_scaling.{key} is missing"));
                1.0
            })
        };
        let inner = scaling.original_max_position_embeddings;
        match rope_type {
            "default" => None,
            "linear" => Some(Scaling::Linear(Factor { factor: need("factor", scaling.factor) })),
            // Here the trained length is that of the model.
            "dynamic" => Some(Scaling::DynamicNtk(DynamicNtk {
                factor: need("factor", scaling.factor),
                original_max_positions: self.max_positions,
            })),
            "yarn" => Some(Scaling::Yarn(Yarn {
                factor: need("factor", scaling.factor),
                original_max_positions: inner.unwrap_or(self.max_positions),
                beta_slow: scaling.beta_slow.unwrap_or(1.0),
                beta_fast: scaling.beta_fast.unwrap_or(32.0),
                attention_factor: scaling.attention_factor,
                mscale: scaling.mscale,
                mscale_all_dim: scaling.mscale_all_dim,
                truncate: scaling.truncate.unwrap_or(true),
            })),
            "llama3" => {
                need("original_max_position_embeddings", inner.map(|n| n as f64));
                Some(Scaling::Llama3(Llama3 {
                    factor: need("factor", scaling.factor),
                    original_max_positions: inner.unwrap_or(self.max_positions),
                    low_freq_factor: need("low_freq_factor", scaling.low_freq_factor),
                    high_freq_factor: need("high_freq_factor", scaling.high_freq_factor),
                }))
            }
            "longrope" => {
                // transformers 4.57.6 looks for the trained length beside the scaling only, and the ratio of the lengths then
                // takes the place of `factor`.
                let factor = match (self.original, scaling.attention_factor) {
                    (Some(_), _) => None,
                    (None, Some(_)) => scaling.factor,
                    (None, None) => Some(need("factor", scaling.factor)),
                };
                let factors = |list: &Option<Vec<f64>>| list.clone().unwrap_or_default();
                Some(Scaling::Longrope(Longrope {
                    original_max_positions: self.original.unwrap_or(self.max_positions),
                    short_factor: factors(&scaling.short_factor),
                    long_factor: factors(&scaling.long_factor),
                    factor,
                    attention_factor: scaling.attention_factor,
                }))
            }
            other => {
                problems.push(format!(
                    "rope_scaling.rope_type = {other:?}: expected default, linear, dynamic, yarn, llama3 or longrope"
                ));
                None
            }
        }
    }
}

/// What a family calls the parts of its rotary scheme.
pub(crate) struct RopeKeys {
    pub(crate) base: &'static str,
    /// The base of layers that see a window, where it is another.
    pub(crate) local_base: Option<&'static str>,
    pub(crate) fraction: Option<&'static str>,
}

impl RopeKeys {
    /// Where all layers turn alike, and turn whole heads.
    pub(crate) const PLAIN: Self = Self { base: "rope_theta", local_base: None, fraction: None };

    /// A configuration as version 4 of `transformers` writes it, also of one with the `rope_parameters` of version 5.
    pub(crate) fn flat(&self, json: &Map<String, Value>, problems: &mut Vec<String>) -> Map<String, Value> {
        let mut all = json.clone();
        match all.remove("rope_parameters") {
            None | Some(Value::Null) => {}
            Some(Value::Object(kinds)) if kinds.values().any(Value::is_object) => {
                self.by_kind(&mut all, &kinds, problems);
            }
            Some(Value::Object(parameters)) => self.put_all(&mut all, &parameters, problems),
            Some(other) => problems.push(format!("rope_parameters = {other}: expected a table")),
        }
        let whole = all.get("partial_rotary_factor").and_then(Value::as_f64).unwrap_or(1.0);
        if self.fraction.is_none() && whole != 1.0 {
            problems
                .push(format!("partial_rotary_factor = {whole}: expected 1, this family turns whole heads"));
        }
        all
    }

    /// Parameters by kind of layer.
    fn by_kind(&self, all: &mut Map<String, Value>, kinds: &Map<String, Value>, problems: &mut Vec<String>) {
        for (kind, parameters) in kinds {
            let name = format!("rope_parameters.{kind}");
            match (kind.as_str(), parameters, self.local_base) {
                ("full_attention", Value::Object(parameters), Some(_)) => {
                    self.put_all(all, parameters, problems);
                }
                ("sliding_attention", Value::Object(parameters), Some(key)) => {
                    for (inner, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
                        match (inner.as_str(), value.as_str()) {
                            ("rope_theta", _) => {
                                put(all, key, value, &format!("{name}.rope_theta"), problems)
                            }
                            ("rope_type", Some("default")) => {}
                            _ => problems.push(format!("{name}.{inner} = {value}: expected none")),
                        }
                    }
                }
                (_, _, Some(_)) => {
                    problems.push(format!("{name}: expected full_attention or sliding_attention"));
                }
                (_, _, None) => problems.push(format!("{name}: expected one scheme for all layers")),
            }
        }
    }

    /// Parameters of all layers, each where version 4 has it.
    fn put_all(&self, all: &mut Map<String, Value>, found: &Map<String, Value>, problems: &mut Vec<String>) {
        let longrope = found.get("rope_type").and_then(Value::as_str) == Some("longrope");
        let mut scaling = Map::new();
        for (key, value) in found.iter().filter(|(_, value)| !value.is_null()) {
            let name = format!("rope_parameters.{key}");
            match (key.as_str(), self.fraction) {
                ("rope_theta", _) => put(all, self.base, value, &name, problems),
                ("partial_rotary_factor", Some(fraction)) => put(all, fraction, value, &name, problems),
                ("partial_rotary_factor", None) => put(all, "partial_rotary_factor", value, &name, problems),
                // Version 5 has them here and prefers the factor, version 4 the ratio of the lengths.
                ("original_max_position_embeddings", _) if longrope => put(all, key, value, &name, problems),
                ("factor", _) if longrope => {
                    problems.push(format!("{name} = {value}: expected none beside longrope"));
                }
                _ => drop(scaling.insert(key.clone(), value.clone())),
            }
        }
        let plain =
            scaling.iter().all(|(key, value)| key == "rope_type" && value.as_str() == Some("default"));
        match all.get("rope_scaling").filter(|old| is_set(old)) {
            Some(_) => problems.push("rope_parameters: expected none beside rope_scaling".to_owned()),
            None if plain => {}
            None => drop(all.insert("rope_scaling".to_owned(), Value::Object(scaling))),
        }
    }
}

/// How a scheme's scaling is written, and `original_max_position_embeddings` beside it; none where it cannot be.
pub(crate) fn written(
    config: &RotaryConfig,
    max_positions: usize,
) -> Option<(Option<RopeScaling>, Option<usize>)> {
    let blank = |rope_type: &str| {
        let rope_type = Some(rope_type.to_owned());
        RopeScaling { rope_type, ..RopeScaling::default() }
    };
    let (scaling, original) = match &config.scaling {
        None => return Some((None, None)),
        Some(Scaling::Linear(Factor { factor })) => {
            (RopeScaling { factor: Some(*factor), ..blank("linear") }, None)
        }
        Some(Scaling::DynamicNtk(c)) => (RopeScaling { factor: Some(c.factor), ..blank("dynamic") }, None),
        Some(Scaling::Yarn(c)) => {
            let scaling = RopeScaling {
                factor: Some(c.factor),
                original_max_position_embeddings: Some(c.original_max_positions),
                beta_fast: Some(c.beta_fast),
                beta_slow: Some(c.beta_slow),
                attention_factor: c.attention_factor,
                mscale: c.mscale,
                mscale_all_dim: c.mscale_all_dim,
                truncate: Some(c.truncate),
                ..blank("yarn")
            };
            (scaling, None)
        }
        Some(Scaling::Llama3(c)) => {
            let scaling = RopeScaling {
                factor: Some(c.factor),
                original_max_position_embeddings: Some(c.original_max_positions),
                low_freq_factor: Some(c.low_freq_factor),
                high_freq_factor: Some(c.high_freq_factor),
                ..blank("llama3")
            };
            (scaling, None)
        }
        // A factor of its own goes with the trained length of the model only.
        Some(Scaling::Longrope(c)) if c.factor.is_some() && c.original_max_positions != max_positions => {
            return None;
        }
        Some(Scaling::Longrope(c)) => {
            let scaling = RopeScaling {
                factor: c.factor,
                attention_factor: c.attention_factor,
                short_factor: Some(c.short_factor.clone()),
                long_factor: Some(c.long_factor.clone()),
                ..blank("longrope")
            };
            (scaling, c.factor.is_none().then_some(c.original_max_positions))
        }
        Some(Scaling::Ntk(_) | Scaling::NtkByParts(_)) => return None,
    };
    Some((Some(scaling), original))
}
