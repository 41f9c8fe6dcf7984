//! Hugging Face checkpoints in and out.
//!
//! A folder as `transformers` writes it (`config.json`, `model.safetensors` or shards with an index) becomes a
//! [`TaskModel`](locus_heads::TaskModel), and the other way round. A family is one file in `families/`: a mapping of its
//! configuration to ours and a literal map of keys, used both ways; there is no model code here.
//!
//! Loading is strict. Everything that is missing, superfluous or of another shape is one error that lists it all; the one
//! exception is a head that a checkpoint never had, whose weights are drawn anew and named in [`Loaded::new`]. Weights are read
//! from safetensors only, tensor by tensor from a mapped file.

mod config;
mod error;
mod families;
mod generation;
mod inspect;
mod keys;
mod load;
mod peft;
mod permute;
mod problems;
#[cfg(feature = "download")]
mod pull;
mod rope;
mod save;
mod sentence;
mod tensors;
mod weights;

pub use config::{Checkpoint, HeadKind, Request};
pub use error::HubError;
pub use families::family_names;
pub use inspect::{Inspection, inspect};
pub use load::{Loaded, is_checkpoint, load, load_checkpoint, load_with, read_config};
pub use peft::{
    AdapterBase, adapted_model, check_adapter, is_adapter, read_adapted_config, read_adapter,
    with_adapted_head, write_adapter,
};
#[cfg(feature = "download")]
pub use pull::pull;
pub use save::{Saved, save};
pub use sentence::{SentenceCheckpoint, is_sentence_folder, load_sentence, read_sentence};
pub use weights::{TensorFacts, Weights};
