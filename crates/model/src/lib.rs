//! A model folder: `config.json`, `model.safetensors`, `tokenizer.json`.
//!
//! Saving is atomic: the folder appears whole or not at all, and an earlier one stays until then. Loading is strict:
//! parameters that are missing, superfluous or of another shape are one error that lists them all.

mod atomic;
mod config;
mod convert;
mod error;
mod folder;
mod generation;
mod question;
mod tables;

pub use atomic::{replace_dir, write_file};
pub use config::{FORMAT_VERSION, ModelConfig, Packing, TokenIds};
pub use convert::{Conversion, Rule, Step, convert};
pub use error::ModelError;
pub use folder::{CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, load, load_config, save};
pub use generation::{Generation, NeverEnd, OneOrMany, SearchEnd};
pub use question::{QuestionConfig, QuestionSizes};
pub use tables::{HostTable, Table, change_tables, read_positions, read_random_projection, table_shapes};
