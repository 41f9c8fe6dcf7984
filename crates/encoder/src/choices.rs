//! The choices of a stack's configuration.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

/// The feed-forward activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Gaussian error linear unit, exact (BERT).
    Gelu,
    /// Gaussian error linear unit, tanh approximation (GPT-2).
    GeluTanh,
    /// Rectified linear unit.
    Relu,
    /// Gated: `silu(gate) · up` (Llama).
    Swiglu,
    /// Gated: `gelu(gate) · up` (ModernBERT).
    Geglu,
    /// Sigmoid linear unit, also called swish (Marian).
    Silu,
    /// Gated, with the tanh approximation: `gelu(gate) · up` (T5 v1.1, Gemma).
    GegluTanh,
    /// Gated: `relu(gate) · up`.
    Reglu,
}

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Layer normalisation.
    LayerNorm,
    /// Root mean square normalisation.
    RmsNorm,
    /// Root mean square normalisation that scales by `1 + gamma`, with gamma starting at 0 (Gemma).
    RmsNormPlusOne,
}

/// Where the norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// `x + f(norm(x))`, and a norm after the last block (GPT-2, Llama).
    Pre,
    /// `norm(x + f(x))` (the original transformer, BERT).
    Post,
    /// `x + attention(norm(x)) + ffn(norm(x))`, each with a norm of its own, and a norm after the last block (GPT-NeoX).
    Parallel,
    /// As `parallel`, with one norm for both (Phi).
    ParallelShared,
    /// `x + norm(f(norm(x)))`, and a norm after the last block (Gemma 2).
    Sandwich,
    /// `norm(x) + f(norm(x))`, and a norm after the last block (BLOOM with `apply_residual_connection_post_layernorm`).
    PreNormed,
    /// As `pre`, but the attention of the first block reads the embedding as it is, which is normalised (ModernBERT).
    PreFromSecond,
}

impl Residual {
    /// Whether a norm comes after the last block.
    pub(crate) fn has_final_norm(self) -> bool {
        self != Self::Post
    }
}

/// Which projections and norms have a bias: `true`, `false` (norms keep theirs), or a table that says it for each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bias {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The output projection of attention.
    pub output: bool,
    /// The feed-forward layer.
    pub ffn: bool,
    /// The shift of layer norms.
    pub norm: bool,
}

impl Bias {
    /// Everywhere.
    pub const ALL: Self = Self { qkv: true, output: true, ffn: true, norm: true };
    /// In norms only.
    pub const NONE: Self = Self { qkv: false, output: false, ffn: false, norm: true };
}

/// The table form of [`Bias`].
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ByRole {
    qkv: bool,
    output: bool,
    ffn: bool,
    norm: bool,
}

impl Default for ByRole {
    fn default() -> Self {
        Self { qkv: true, output: true, ffn: true, norm: true }
    }
}

impl Serialize for Bias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::ALL => serializer.serialize_bool(true),
            Self::NONE => serializer.serialize_bool(false),
            Self { qkv, output, ffn, norm } => {
                let mut table = serializer.serialize_struct("Bias", 4)?;
                for (key, value) in [("qkv", qkv), ("output", output), ("ffn", ffn), ("norm", norm)] {
                    table.serialize_field(key, &value)?;
                }
                table.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrTable;
        impl<'de> Visitor<'de> for BoolOrTable {
            type Value = Bias;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table of qkv, output, ffn, norm")
            }

            fn visit_bool<E>(self, all: bool) -> Result<Bias, E> {
                Ok(if all { Bias::ALL } else { Bias::NONE })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bias, A::Error> {
                let ByRole { qkv, output, ffn, norm } = ByRole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Bias { qkv, output, ffn, norm })
            }
        }
        deserializer.deserialize_any(BoolOrTable)
    }
}

/// Whether queries and keys are normalised after projection, before they are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// They are not.
    None,
    /// Each head, by the stack's norm, with one scale for all heads (Qwen 3).
    PerHead,
}

/// The factor of the dot products of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionScale {
    /// The position scheme's, which is `1/√d_head` unless the scheme says otherwise.
    Scheme,
    /// This number, in cross-attention too (1 in T5).
    Value(f64),
    /// This number, in self-attention divided by that of the layer, from 1 (Mistral's GPT-2,
    /// `scale_attn_by_inverse_layer_idx`).
    ByLayer(f64),
}

impl AttentionScale {
    pub(crate) fn value(self) -> Option<f64> {
        match self {
            Self::Scheme => None,
            Self::Value(value) | Self::ByLayer(value) => Some(value),
        }
    }
}

/// What token vectors are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingScale {
    /// 1.
    One,
    /// √d_model, as in the original transformer.
    SqrtDModel,
    /// This number.
    Value(f64),
}

/// Whether token vectors have a width of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EmbeddingProjection {
    /// They are as wide as the model.
    None,
    /// Tokens, positions and segments have this width and are projected to that of the model after the embedding's norm
    /// (ALBERT, arXiv:1909.11942, §3.1; ELECTRA).
    Factorised {
        /// The width.
        width: usize,
    },
    /// Tokens have this width and are projected before positions are added; the output is projected back to it. Without
    /// biases (OPT-350m).
    InAndOut {
        /// The width.
        width: usize,
    },
}

impl EmbeddingProjection {
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Factorised { width } | Self::InAndOut { width } => Some(width),
        }
    }
}

/// Sizes of the decoder of an encoder–decoder; those of the encoder where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderSizes {
    /// Number of blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<usize>,
    /// Number of heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_heads: Option<usize>,
    /// Width of the feed-forward layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_ff: Option<usize>,
}

impl DecoderSizes {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which layers have parameters in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerSharing {
    /// None.
    None,
    /// So many sets of parameters, each for a run of layers (ALBERT has 1); the runs are of one length where they can be, else of two next
    /// to one another.
    Groups(usize),
}

/// Whether the stacks of an encoder–decoder have one token table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenTables {
    /// Each its own.
    Own,
    /// The decoder reads the encoder's (T5, BART).
    Shared,
}

/// Whether layers with the same scheme share its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionSharing {
    /// One instance for all layers of the same scheme (T5).
    AcrossLayers,
    /// An instance for each layer.
    PerLayer,
}

#[cfg(test)]
mod tests {
    use super::Bias;
    use crate::StackConfig;

    #[test]
    fn a_bias_is_a_bool_or_a_table() {
        let read = |text: &str| toml::from_str::<StackConfig>(text).map(|config| config.bias);
        assert_eq!(read("bias = true").expect("reads"), Bias::ALL);
        assert_eq!(read("bias = false").expect("reads"), Bias::NONE);
        let qwen = Bias { qkv: true, ..Bias::NONE };
        assert_eq!(read("bias = { output = false, ffn = false }").expect("reads"), qwen);
        assert!(read("bias = { qvk = false }").is_err_and(|error| error.to_string().contains("qkv")));
        let config = StackConfig { bias: qwen, ..StackConfig::default() };
        let text = toml::to_string(&config).expect("written");
        assert_eq!(toml::from_str::<StackConfig>(&text).expect("reads"), config);
    }
}
