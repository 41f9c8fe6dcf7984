//! Schemes as a crate outside Locus writes them: a module, [`Scheme`], [`PositionScheme`], and
//! [`Stack::with_schemes`](locus_encoder::Stack::with_schemes). They use each hook on its own, whether or not a scheme of ours does.

#[path = "hooks/cache.rs"]
mod cache;
#[path = "hooks/scores.rs"]
mod scores;
#[path = "hooks/views.rs"]
mod views;

use burn::tensor::backend::Backend;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Position, PositionConfig};
use locus_encoder::StackConfig;

use crate::CAUSAL;
use crate::run::{text, two_layers};

/// Implements `PositionScheme` for modules that are schemes themselves.
macro_rules! is_a_scheme {
    ($($name:ident $(<$b:ident>)?),+) => { $(
        impl<B: burn::tensor::backend::Backend> locus_embedding::position::PositionScheme<B>
            for $name $(<$b>)?
        {
            fn scheme(&self) -> &dyn locus_embedding::position::Scheme<B> {
                self
            }
        }
    )+ };
}
use is_a_scheme;

fn config() -> StackConfig {
    two_layers(StackConfig {
        d_model: 10,
        n_heads: 4,
        n_kv_heads: Some(2),
        d_head: Some(6),
        ..StackConfig::default()
    })
}

/// A scheme of ours to wrap or to compare with.
fn ours<B: Backend>(name: &str, device: &B::Device) -> Position<B> {
    PositionConfig::named(name).unwrap().init(&config().position_shape(CAUSAL), Key::new(1), device)
}

/// A row that is padded on the left and one that is not.
fn texts() -> Tokens {
    text(&["..#####", "#######"])
}

const CHUNKS: [&[usize]; 3] = [&[1; 7], &[3, 2, 1, 1], &[5, 2]];
