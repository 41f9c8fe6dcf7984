//! What a token is to a transformer before its first layer: token, segment and position embedding.
//!
//! [`TokenBatch`] is the one door from host data to tensors. [`Embeddings`] looks tokens and segments up.
//! [`position`] holds the schemes: each is one file that implements [`Scheme`](position::Scheme), the trait through
//! which a scheme acts on the embedding, on queries and keys, on scores, on weights, on values and on the cache.

mod batch;
mod embeddings;
mod error;
pub mod position;
mod tokens;

pub use batch::TokenBatch;
pub use embeddings::{Embeddings, EmbeddingsConfig};
pub use error::EmbeddingError;
pub use tokens::Tokens;
