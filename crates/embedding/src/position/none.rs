//! No position scheme (NoPE): the control of every comparison.
//!
//! Papers: Haviv et al. 2022, arXiv:2203.16634; Kazemnejad et al. 2023, arXiv:2305.19466. A causal decoder can still tell
//! positions apart through its mask; a bidirectional encoder cannot and treats its input as a bag of tokens.
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::facts::{Facts, Family};
use super::scheme::Scheme;

/// Does nothing.
#[derive(Module, Clone, Debug, Default)]
pub struct NoPosition {}

impl NoPosition {
    /// What [`SchemeConfig`](super::config::SchemeConfig) asks of schemes with a configuration.
    pub(super) const FACTS: Facts = Facts {
        family: Family::None,
        does: "nothing; a causal mask alone still tells positions apart",
        parameters: "0",
        longer_texts: "often well",
        paper: "arXiv:2203.16634, arXiv:2305.19466",
    };
}

impl<B: Backend> Scheme<B> for NoPosition {
    fn name(&self) -> &'static str {
        "none"
    }

    fn is_relative(&self) -> bool {
        true
    }
}
