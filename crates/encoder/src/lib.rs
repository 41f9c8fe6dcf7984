//! Transformer stacks: encoder, decoder and encoder–decoder from one configuration.
//!
//! Architectures are configurations of one [`Stack`]: six arrangements of norms, layer or RMS norm, eight feed-forward
//! activations, multi-head, grouped-query or multi-query attention, biases by role, norms of queries and keys, factorised
//! embeddings, shared layers, causal or not, with or without cross-attention, and a position scheme for all layers or for
//! each. The stack owns the scheme instances and says which
//! layer uses which; blocks borrow them from the context of a pass. There is one `forward`; the cache is an argument.

mod adapter;
mod attention;
mod block;
mod cache;
mod choices;
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

pub use adapter::{Adapter, AdapterError, Change, LowRank, Scale};
pub use attention::Attention;
pub use block::{Block, BlockPass};
pub use cache::{KvCache, LayerCache};
pub use choices::{
    Activation, AttentionScale, Bias, DecoderSizes, EmbeddingProjection, EmbeddingScale, LayerSharing,
    NormKind, PositionSharing, QkNorm, Residual, TokenTables,
};
pub use config::{ConfigProblem, StackConfig, StackShape};
pub use encoder_decoder::EncoderDecoder;
pub use feed_forward::FeedForward;
pub use inspect::{Array, Inspection, Look, Part, inspect};
pub use linear::Linear;
pub use norm::{LayerNorm, Norm, RmsNorm};
pub use segments::{Segments, add_gradients};
pub use stack::{Memory, Stack};
