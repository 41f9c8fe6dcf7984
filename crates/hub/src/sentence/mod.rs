//! Folders of `sentence-transformers`: a checkpoint with a list of modules behind it, in `modules.json`.

mod parts;
mod read;
mod write;

pub use read::{SentenceCheckpoint, is_sentence_folder, load_sentence, read_sentence};

pub(crate) use write::save;
