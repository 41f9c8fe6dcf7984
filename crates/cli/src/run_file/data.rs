//! `[data]` and `[tokenizer]`: where the examples come from, and how text becomes tokens.

use std::path::PathBuf;

use locus_data::{ReadOptions, TokenizerConfig};
use locus_pipeline::Packing;

use super::Problem;
use super::section::section;

section! {
    /// Where the examples come from: a known set, or files.
    #[derive(Default)]
    pub(crate) struct DataSection {
        /// A set with a manifest (`locus data list`).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) set: Option<String>,
        /// The folder in which the set lies; `--data-dir` where given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) dir: Option<PathBuf>,
        /// A file or folder to train on.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) train: Option<PathBuf>,
        /// A file or folder to choose on; cut from `train` by hash where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) dev: Option<PathBuf>,
        /// A file or folder that is read once, at the end.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) test: Option<PathBuf>,
        /// Of dev and of test the first so many examples alone are scored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) max_eval_examples: Option<usize>,
        /// A folder of `locus data pack` to train on.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) corpus: Option<PathBuf>,
        /// How documents become rows of a language model.
        pub(crate) packing: Packing,
        /// The language of targets: translations are scored by BLEU and chrF where it is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) target_language: Option<String>,
        /// The probability that an input token is replaced by the unknown token in training.
        pub(crate) token_dropout: f64,
        /// The label of texts that fit none of the others: it is not learned, and scores tell how such texts are found.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) out_of_scope: Option<String>,
        flattened("format")
        /// How files are read.
        pub(crate) read: ReadOptions,
    }
}

section! {
    /// How text becomes tokens: by a tokenizer that is trained on the training texts, or by a `file`.
    #[derive(Default)]
    pub(crate) struct TokenizerSection {
        /// A tokenizer file or folder to load instead of training one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) file: Option<PathBuf>,
        flattened("kind")
        /// What to train.
        pub(crate) config: TokenizerConfig,
    }
}

impl DataSection {
    /// Everything wrong with where the examples come from.
    pub(super) fn check(&self) -> Vec<Problem> {
        let n_sources = usize::from(self.set.is_some())
            + usize::from(self.train.is_some())
            + usize::from(self.corpus.is_some());
        let sources = match n_sources {
            0 => "neither",
            2 => "both",
            _ => "all",
        };
        let one = "exactly one of data.train (a file), data.set (a name from `locus data list`) and data.corpus \
                   (a folder of `locus data pack`)";
        let kind = self.read.kind.map(|kind| kind.to_string()).unwrap_or_default();
        let dropout = self.token_dropout;
        let checks = [
            Problem::unless(n_sources == 1, "data", sources, one),
            Problem::unless(
                kind.is_empty(),
                "data.kind",
                &kind,
                "no such key: `task` decides which examples are read",
            ),
            Problem::unless(
                self.max_eval_examples != Some(0),
                "data.max_eval_examples",
                0,
                "1 or more, or no such key",
            ),
            Problem::unless(
                (0.0..1.0).contains(&dropout),
                "data.token_dropout",
                dropout,
                "0 or more and below 1",
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}
