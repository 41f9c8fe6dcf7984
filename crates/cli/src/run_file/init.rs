//! `[model.init]`: tables of a new model that do not begin at random.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ModelSection, Problem, is_usual};

/// Where tables of a new model come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InitSection {
    /// Word vectors for the token table: a text file of word2vec, GloVe or fastText.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) word_vectors: Option<PathBuf>,
    /// What word vectors are multiplied by.
    pub(crate) vector_scale: VectorScale,
    /// Whether the token table stays as it is in training.
    pub(crate) freeze_tokens: bool,
    /// Positions of another model: its folder, or `FILE.safetensors:TENSOR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) positions: Option<String>,
    /// What happens to a table of another length.
    pub(crate) position_fit: PositionFit,
    /// Rows of that table ahead of position 0 (2 in RoBERTa and OPT).
    pub(crate) position_offset: usize,
}

/// What word vectors are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VectorScale {
    /// Nothing: the table holds the numbers of the file.
    #[default]
    None,
    /// One factor, which gives them the standard deviation that the table begins with (`model.init_std`).
    InitStd,
}

/// What happens to a table of positions that has another length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PositionFit {
    /// It is refused.
    #[default]
    Exact,
    /// The first rows are taken.
    Cut,
    /// Rows in between, on straight lines.
    Interpolate,
}

impl InitSection {
    /// The file or folder of `positions`, and the tensor.
    pub(crate) fn position_source(&self) -> Option<(&Path, Option<&str>)> {
        let positions = self.positions.as_deref()?;
        Some(match positions.rsplit_once(".safetensors:") {
            Some((file, tensor)) => {
                (Path::new(&positions[..file.len() + ".safetensors".len()]), Some(tensor))
            }
            None => (Path::new(positions), None),
        })
    }

    /// `positions` with another file or folder.
    pub(crate) fn set_position_path(&mut self, path: &Path) {
        let tensor = self.position_source().and_then(|(_, tensor)| tensor.map(str::to_owned));
        let path = path.display();
        self.positions = Some(tensor.map_or_else(|| path.to_string(), |tensor| format!("{path}:{tensor}")));
    }

    pub(super) fn check(&self, model: &ModelSection) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, found: String, allowed: &str| {
            problems.push(Problem::new(&format!("model.init.{key}"), found, allowed));
        };
        if let Some(from) = model.from.as_ref().filter(|_| !is_usual(self)) {
            let found = format!("beside model.from = {}", from.display());
            problem("*", found, "one of the two: a model is taken over, or it is new");
        }
        if self.word_vectors.is_none() && (self.freeze_tokens || self.vector_scale != VectorScale::None) {
            problem("word_vectors", "nothing".to_owned(), "a file, for freeze_tokens and vector_scale");
        }
        if self.positions.is_none() && (self.position_offset > 0 || self.position_fit != PositionFit::Exact) {
            problem("positions", "nothing".to_owned(), "a source, for position_fit and position_offset");
        }
        let schemes = model.stack.schemes().0;
        let has_table =
            schemes.iter().any(|scheme| ["learned", "random_projection"].contains(&scheme.name()));
        if let Some(positions) = self.positions.as_ref().filter(|_| !has_table) {
            let names: Vec<&str> = schemes.iter().map(|scheme| scheme.name()).collect();
            let found = format!("{positions:?} with model.position = {}", names.join(", "));
            problem(
                "positions",
                found,
                "model.position = \"learned\" or \"random_projection\", which have a table",
            );
        }
        problems
    }
}
