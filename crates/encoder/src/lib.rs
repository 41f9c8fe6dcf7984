//! Transformer stacks: encoder, decoder and encoder–decoder from one configuration.
//!
//! Architectures are configurations of one [`Stack`]: pre-, post- or parallel residuals, layer or RMS norm, five
//! feed-forward activations, multi-head, grouped-query or multi-query attention, causal or not, with or without
//! cross-attention, and a position scheme for all layers or for each. The stack owns the scheme instances and says which
//! layer uses which; blocks borrow them from the context of a pass. There is one `forward`; the cache is an argument.

mod attention;
mod block;
mod cache;
mod config;
mod encoder_decoder;
mod feed_forward;
mod inspect;
mod linear;
mod norm;
mod pack;
mod projections;
mod segments;
mod stack;

pub use attention::Attention;
pub use block::{Block, BlockPass};
pub use cache::{KvCache, LayerCache};
pub use config::{
    Activation, ConfigProblem, EmbeddingScale, NormKind, PositionSharing, Residual, StackConfig, StackShape,
};
pub use encoder_decoder::EncoderDecoder;
pub use feed_forward::FeedForward;
pub use inspect::{Array, Inspection, Look, Part, inspect};
pub use linear::Linear;
pub use norm::{LayerNorm, Norm, RmsNorm};
pub use segments::{Segments, add_gradients};
pub use stack::{Memory, Stack};
