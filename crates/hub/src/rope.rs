//! Rotary positions, as the configurations of many families write them.

use locus_embedding::position::{
    DynamicNtk, Factor, Llama3, Longrope, PositionConfig, RotaryConfig, Scaling, Yarn,
};
use serde::{Deserialize, Serialize};

/// `rope_scaling`; the names are those of `transformers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RopeScaling {
    #[serde(alias = "type")]
    pub(crate) rope_type: String,
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
    /// `original_max_position_embeddings` beside the scaling, as Phi 3 writes it.
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
        let mut need = |key: &str| problems.push(format!("rope_scaling.{key} is missing"));
        let original =
            scaling.original_max_position_embeddings.or(self.original).unwrap_or(self.max_positions);
        let mut factor = || {
            scaling.factor.unwrap_or_else(|| {
                need("factor");
                1.0
            })
        };
        match scaling.rope_type.as_str() {
            "default" => None,
            "linear" => Some(Scaling::Linear(Factor { factor: factor() })),
            // Here the trained length is that of the model.
            "dynamic" => Some(Scaling::DynamicNtk(DynamicNtk {
                factor: factor(),
                original_max_positions: self.max_positions,
            })),
            "yarn" => Some(Scaling::Yarn(Yarn {
                factor: factor(),
                original_max_positions: original,
                beta_slow: scaling.beta_slow.unwrap_or(1.0),
                beta_fast: scaling.beta_fast.unwrap_or(32.0),
                attention_factor: scaling.attention_factor,
                mscale: scaling.mscale,
                mscale_all_dim: scaling.mscale_all_dim,
                truncate: scaling.truncate.unwrap_or(true),
            })),
            "llama3" => Some(Scaling::Llama3(Llama3 {
                factor: factor(),
                original_max_positions: original,
                low_freq_factor: scaling.low_freq_factor.unwrap_or(1.0),
                high_freq_factor: scaling.high_freq_factor.unwrap_or(4.0),
            })),
            "longrope" => {
                let factors = |list: &Option<Vec<f64>>| list.clone().unwrap_or_default();
                Some(Scaling::Longrope(Longrope {
                    original_max_positions: original,
                    short_factor: factors(&scaling.short_factor),
                    long_factor: factors(&scaling.long_factor),
                    factor: scaling.factor,
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

/// How a scheme's scaling is written; none where it cannot be.
pub(crate) fn written(config: &RotaryConfig) -> Option<Option<RopeScaling>> {
    let blank = |rope_type: &str| RopeScaling { rope_type: rope_type.to_owned(), ..RopeScaling::default() };
    Some(match &config.scaling {
        None => None,
        Some(Scaling::Linear(Factor { factor })) => {
            Some(RopeScaling { factor: Some(*factor), ..blank("linear") })
        }
        Some(Scaling::DynamicNtk(c)) => Some(RopeScaling { factor: Some(c.factor), ..blank("dynamic") }),
        Some(Scaling::Yarn(c)) => Some(RopeScaling {
            factor: Some(c.factor),
            original_max_position_embeddings: Some(c.original_max_positions),
            beta_fast: Some(c.beta_fast),
            beta_slow: Some(c.beta_slow),
            attention_factor: c.attention_factor,
            mscale: c.mscale,
            mscale_all_dim: c.mscale_all_dim,
            truncate: Some(c.truncate),
            ..blank("yarn")
        }),
        Some(Scaling::Llama3(c)) => Some(RopeScaling {
            factor: Some(c.factor),
            original_max_position_embeddings: Some(c.original_max_positions),
            low_freq_factor: Some(c.low_freq_factor),
            high_freq_factor: Some(c.high_freq_factor),
            ..blank("llama3")
        }),
        Some(Scaling::Longrope(c)) => Some(RopeScaling {
            factor: c.factor,
            original_max_position_embeddings: Some(c.original_max_positions),
            attention_factor: c.attention_factor,
            short_factor: Some(c.short_factor.clone()),
            long_factor: Some(c.long_factor.clone()),
            ..blank("longrope")
        }),
        Some(Scaling::Ntk(_) | Scaling::NtkByParts(_)) => return None,
    })
}
