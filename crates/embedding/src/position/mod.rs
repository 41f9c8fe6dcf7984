//! Position schemes: one scheme, one file, behind one trait.
//!
//! [`PositionConfig`] is what a configuration file says (`position = "alibi"`, or `[model.position.rotary] base = 5e5`);
//! [`Position`] is the scheme it makes. To add one: a file here, an arm in each of the two enums and in
//! [`PositionConfig::init`] and [`Position::scheme`](PositionScheme), and a row in the conformance table, which stands in
//! `crates/encoder/tests/conformance.rs` because its rows need attention. A crate outside Locus needs none of this: it
//! implements [`Scheme`] for its own module and hands that to the stacks, which take any scheme type.

mod alibi;
mod config;
mod learned;
mod none;
mod random_projection;
mod relative;
mod rotary;
mod scheme;
mod shaw;
mod sinusoidal;
mod t5;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::backend::Backend;
use locus_backend::rng::Key;

pub use alibi::{Alibi, AlibiConfig, slopes as alibi_slopes};
pub use config::{PositionConfig, PositionProblem, PositionShape};
pub use learned::{Learned, LearnedConfig};
pub use none::NoPosition;
pub use random_projection::{Combine, RandomProjection, RandomProjectionConfig};
pub use relative::Relative;
pub use rotary::{Pairing, Rotary, RotaryConfig};
pub use scheme::{CachePolicy, Form, LayerPass, Limit, Pass, Prepared, Scheme, ScoreScale, Views};
pub use shaw::{Shaw, ShawConfig};
pub use sinusoidal::{Layout, Sinusoidal, SinusoidalConfig};
pub use t5::{T5Bias, T5Config, T5Scale, bucket as t5_bucket};

/// A module that is or holds a position scheme: what a stack is generic over.
pub trait PositionScheme<B: Backend>: Module<B> + ModuleDisplay {
    /// The scheme.
    fn scheme(&self) -> &dyn Scheme<B>;
}

/// Any scheme of this crate.
#[derive(Module, Debug)]
pub enum Position<B: Backend> {
    /// None.
    None(NoPosition),
    /// Sinusoidal.
    Sinusoidal(Sinusoidal),
    /// Learned absolute.
    Learned(Learned<B>),
    /// A fixed matrix times random vectors.
    RandomProjection(RandomProjection<B>),
    /// Rotary.
    Rotary(Rotary),
    /// ALiBi.
    Alibi(Alibi),
    /// T5's bias.
    T5(T5Bias<B>),
    /// Shaw's relative keys and values.
    Shaw(Shaw<B>),
}

impl<B: Backend> PositionScheme<B> for Position<B> {
    fn scheme(&self) -> &dyn Scheme<B> {
        match self {
            Self::None(scheme) => scheme,
            Self::Sinusoidal(scheme) => scheme,
            Self::Learned(scheme) => scheme,
            Self::RandomProjection(scheme) => scheme,
            Self::Rotary(scheme) => scheme,
            Self::Alibi(scheme) => scheme,
            Self::T5(scheme) => scheme,
            Self::Shaw(scheme) => scheme,
        }
    }
}

impl PositionConfig {
    /// Makes the scheme. Check the configuration first.
    pub fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Position<B> {
        match self {
            Self::None => Position::None(NoPosition {}),
            Self::Sinusoidal(config) => Position::Sinusoidal(config.init()),
            Self::Learned(config) => Position::Learned(config.init(shape, key, device)),
            Self::RandomProjection(config) => Position::RandomProjection(config.init(shape, key, device)),
            Self::Rotary(config) => Position::Rotary(config.init(shape)),
            Self::Alibi(config) => Position::Alibi(config.init(shape)),
            Self::T5(config) => Position::T5(config.init(shape, key, device)),
            Self::Shaw(config) => Position::Shaw(config.init(shape, key, device)),
        }
    }
}
