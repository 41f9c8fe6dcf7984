//! Position schemes: one scheme, one file, behind one trait.
//!
//! [`PositionConfig`] is what a configuration file says (`position = "alibi"`, or `[model.position.rotary] base = 5e5`);
//! [`Position`] is the scheme it makes. To add one: a file here, which also says what lists and pages tell of it ([`Facts`]),
//! a line in the table below, and a row in the conformance table, which stands in `crates/encoder/tests/conformance.rs`
//! because its rows need attention. A crate outside Locus needs none of this: it implements [`Scheme`] for its own module
//! and hands that to the stacks, which take any scheme type.
#![allow(clippy::large_enum_variant, reason = "a stack holds one scheme or a few")]

#[macro_use]
mod table;

mod abacus;
mod alibi;
mod axial;
mod bipe;
mod cable;
mod cape;
mod config;
mod cope;
mod dape;
mod deberta;
mod distances;
mod dual_chunk;
mod dynamic_bias;
mod facts;
mod fire;
mod fope;
mod fox;
mod kerple;
mod known;
mod learned;
mod mrope;
mod none;
mod numerics;
mod path;
mod pope;
mod random_projection;
mod randomised;
mod relative;
mod relative_projection;
mod rerope;
mod rope_plus_plus;
mod rotary;
mod sandwich;
mod scheme;
mod self_extend;
mod shape;
mod shaw;
mod sinks;
mod sinusoidal;
mod stick_breaking;
mod sums;
mod t5;
mod temperature;
mod transformer_xl;
mod tupe;
mod turns;
mod views;
mod xlnet;
mod xpos;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::backend::Backend;
use config::{Empty, SchemeConfig};
use locus_backend::rng::Key;
use serde::{Serialize, de::MapAccess};

pub use abacus::{Abacus, AbacusConfig};
pub use alibi::{Alibi, AlibiConfig, slopes as alibi_slopes};
pub use axial::{Axial, AxialConfig};
pub use bipe::{Between, BiPe, BiPeConfig};
pub use cable::{Cable, CableConfig};
pub use cape::{Cape, CapeConfig};
pub use config::{PositionProblem, PositionShape};
pub use cope::{CoPe, CoPeConfig};
pub use dape::{Dape, DapeConfig, DapeOver};
pub use deberta::{
    Deberta, DebertaConfig, DebertaDistances, DebertaProjections, DebertaTerms, deberta_bucket,
};
pub use dual_chunk::{DualChunk, DualChunkConfig};
pub use dynamic_bias::{DynamicBias, DynamicBiasConfig};
pub use facts::{Cached, Facts, Family, Properties};
pub use fire::{Fire, FireConfig};
pub use fope::{FoPe, FoPeConfig};
pub use fox::{Fox, FoxConfig};
pub use kerple::{Kernel, Kerple, KerpleConfig};
pub use learned::{Learned, LearnedConfig};
pub use mrope::{AxisOrder, MRope, MRopeConfig};
pub use none::NoPosition;
pub use path::{Path, PathConfig};
pub use pope::{PoPe, PoPeConfig};
pub use random_projection::{Combine, RandomProjection, RandomProjectionConfig};
pub use randomised::{Over, Randomised, RandomisedConfig};
pub use relative::Relative;
pub use relative_projection::{RelativeProjection, RelativeProjectionConfig};
pub use rerope::{ReRope, ReRopeConfig};
pub use rope_plus_plus::{RoPePlusPlus, RoPePlusPlusConfig};
pub use rotary::{
    DynamicNtk, Factor, FractionOf, Frequencies, Llama3, Longrope, NtkByParts, Rotary, RotaryConfig, Scaling,
    Yarn,
};
pub use sandwich::{Sandwich, SandwichConfig};
pub use scheme::{
    CachePolicy, Form, LayerPass, Limit, Pass, Prepared, Projection, Projections, Scheme, ScoreScale, Views,
};
pub use self_extend::{SelfExtend, SelfExtendConfig};
pub use shape::{Shape, ShapeConfig};
pub use shaw::{Shaw, ShawConfig};
pub use sinks::{AttentionSinksConfig, LambdaMaskConfig, Sinks};
pub use sinusoidal::{Layout, Sinusoidal, SinusoidalConfig};
pub use stick_breaking::{StickBreaking, StickBreakingConfig};
pub use t5::{T5Bias, T5Config, T5Scale, bucket as t5_bucket};
pub use temperature::{Temperature, TemperatureConfig};
pub use transformer_xl::{TransformerXl, TransformerXlConfig};
pub use tupe::{Tupe, TupeBuckets, TupeConfig};
pub use turns::Pairing;
pub use xlnet::{Segments as XlNetSegments, XlNet, XlNetConfig};
pub use xpos::{XPos, XPosConfig};

/// A module that is or holds a position scheme: what a stack is generic over.
pub trait PositionScheme<B: Backend>: Module<B> + ModuleDisplay {
    /// The scheme.
    fn scheme(&self) -> &dyn Scheme<B>;
}

schemes! {
    /// Sines and cosines, added.
    Sinusoidal = "sinusoidal": SinusoidalConfig => Sinusoidal;
    /// Sines and cosines of positions that are moved and stretched in training, added.
    Cape = "cape": CapeConfig => Cape;
    /// Sines and cosines of positions that are shifted in training, added.
    Shape = "shape": ShapeConfig => Shape;
    /// Another scheme at random positions.
    Randomised = "randomised": RandomisedConfig => Randomised<B>;
    /// A trained vector per position, added.
    Learned = "learned": LearnedConfig => Learned<B>;
    /// A trained vector per place in a number, added.
    Abacus = "abacus": AbacusConfig => Abacus<B>;
    /// A trained vector per place in a segment, added, and another scheme between segments.
    BiPe = "bipe": BiPeConfig => BiPe<B>;
    /// A fixed matrix times random vectors, added or appended.
    RandomProjection = "random_projection": RandomProjectionConfig => RandomProjection<B>;
    /// Rotation of queries and keys.
    Rotary = "rotary": RotaryConfig => Rotary<B>;
    /// Rotation of queries and keys, with a second head for the imaginary part.
    RoPePlusPlus = "rope_plus_plus": RoPePlusPlusConfig => RoPePlusPlus;
    /// Rotation with decay.
    XPos = "xpos": XPosConfig => XPos;
    /// Rotation by row and column.
    Axial = "axial": AxialConfig => Axial;
    /// Rotation by time, height and width.
    MRope = "mrope": MRopeConfig => MRope;
    /// Rotation by mixtures of frequencies.
    FoPe = "fope": FoPeConfig => FoPe<B>;
    /// Magnitudes from content, angles from positions.
    PoPe = "pope": PoPeConfig => PoPe<B>;
    /// Rotation by distances that stop growing.
    ReRope = "rerope": ReRopeConfig => ReRope;
    /// Rotation by distances of groups beyond a window.
    SelfExtend = "self_extend": SelfExtendConfig => SelfExtend;
    /// Rotation by places in chunks.
    DualChunk = "dual_chunk": DualChunkConfig => DualChunk;
    /// Queries that grow with their position.
    Temperature = "temperature": TemperatureConfig => Temperature;
    /// Rotation inside a window and to the first tokens, with positions counted in the cache.
    AttentionSinks = "attention_sinks": AttentionSinksConfig => Sinks;
    /// Rotation inside a window and to the first tokens, at no more than a distance.
    LambdaMask = "lambda_mask": LambdaMaskConfig => Sinks;
    /// A linear penalty on distance.
    Alibi = "alibi": AlibiConfig => Alibi;
    /// A learned kernel of distance.
    Kerple = "kerple": KerpleConfig => Kerple<B>;
    /// The inner products of sinusoidal embeddings.
    Sandwich = "sandwich": SandwichConfig => Sandwich;
    /// A small network of the distance, relative to the position.
    Fire = "fire": FireConfig => Fire<B>;
    /// A small network of the distance.
    DynamicBias = "dynamic_bias": DynamicBiasConfig => DynamicBias<B>;
    /// A learned bias per bucket of distance.
    T5 = "t5": T5Config => T5Bias<B>;
    /// Learned vectors per distance, on keys and values.
    Shaw = "shaw": ShawConfig => Shaw<B>;
    /// Scores of the distance beside those of content, with a bias for each.
    TransformerXl = "transformer_xl": TransformerXlConfig => TransformerXl<B>;
    /// Transformer-XL's scores to both sides, and those of segments.
    XlNet = "xlnet": XlNetConfig => XlNet<B>;
    /// Scores of content to position and of position to content.
    Deberta = "deberta": DebertaConfig => Deberta<B>;
    /// Scores of two positions, untied from content.
    Tupe = "tupe": TupeConfig => Tupe<B>;
    /// Learned curves over distance that each token chooses.
    RelativeProjection = "relative_projection": RelativeProjectionConfig => RelativeProjection<B>;
    /// Gates that forget what lies behind.
    Fox = "fox": FoxConfig => Fox<B>;
    /// Steps that tokens decide, added up to distances.
    Cable = "cable": CableConfig => Cable<B>;
    /// Positions that a query counts.
    CoPe = "cope": CoPeConfig => CoPe<B>;
    /// A network that corrects scores and bias.
    Dape = "dape": DapeConfig => Dape<B>;
    /// Weights of what nearer keys leave.
    StickBreaking = "stick_breaking": StickBreakingConfig => StickBreaking;
    /// Reflections by the tokens in between.
    Path = "path": PathConfig => Path<B>;
}
