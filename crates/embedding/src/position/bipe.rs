//! Bilevel positions (BiPE): a trained vector per place inside a segment, added to the tokens, and a relative scheme that counts
//! segments. Segments are sentences or lines: longer texts have more of them, hardly longer ones.
//!
//! Formula: a token at place `n` of segment `s` gets `E[n]`, and attention sees it at position `s`, under rotary or ALiBi. He et
//! al. 2024, arXiv:2401.16421. A separator ends its segment. As in the authors' code places from `max_positions` on share
//! the last row, and ALiBi's slopes are `slope_factor = 96` times as large, for there are far fewer segments than tokens.
//! Convention: `s` and `n` count from 0, padding is passed over, a segment goes on in the tokens that follow a cache, and
//! ends with its document; the pairing of [`Rotary`]. Differs: in an encoder ALiBi is symmetric; the authors have decoders.
//! Parameters: `max_positions · d_model`. Limit: none. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{ScoreBias, embedding};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::{SchemeConfig, find_ids};
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::Pairing;
use super::{Alibi, PositionProblem, PositionShape, Rotary, RotaryConfig};
use crate::Tokens;

/// The scheme that counts segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    /// Rotary.
    #[default]
    Rotary,
    /// ALiBi.
    Alibi,
}

/// Configuration of [`BiPe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiPeConfig {
    /// The scheme that counts segments.
    pub between: Between,
    /// The tokens that end a segment, looked up in the tokenizer where `separator_ids` is empty.
    pub separators: Vec<String>,
    /// Their ids. While it is empty a text is one segment.
    pub separator_ids: Vec<u32>,
    /// Number of places in a segment; the model's `max_seq_len` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<usize>,
    /// Standard deviation of the initial values.
    pub init_std: f64,
    /// The base of rotary's frequencies.
    pub base: f64,
    /// Which dimensions form a pair under rotary.
    pub pairing: Pairing,
    /// What ALiBi's slopes are multiplied by.
    pub slope_factor: f64,
}

impl Default for BiPeConfig {
    fn default() -> Self {
        Self {
            between: Between::default(),
            // A newline is Ċ in byte-level vocabularies.
            separators: [".", "\n", "Ċ"].map(str::to_owned).to_vec(),
            separator_ids: Vec::new(),
            max_positions: None,
            init_std: 0.02,
            base: 10_000.0,
            pairing: Pairing::default(),
            slope_factor: 96.0,
        }
    }
}

impl SchemeConfig for BiPeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "adds a trained vector per place in a segment; rotary or ALiBi (`between`) counts segments",
            parameters: "max_positions·d_model",
            longer_texts: "well",
            paper: "arXiv:2401.16421",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let n = self.max_positions(shape);
        PositionProblem::unless(n > 0, problems, "max_positions", n, "at least 1");
        PositionProblem::positive(self.init_std, problems, "init_std");
        PositionProblem::base(self.base, problems);
        PositionProblem::positive(self.slope_factor, problems, "slope_factor");
        if self.between == Between::Rotary {
            PositionProblem::even_head(shape, problems);
        }
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }

    fn place_table(&self) -> Option<&'static str> {
        Some("table")
    }

    fn find_tokens(&mut self, id: &dyn Fn(&str) -> Option<u32>, problems: &mut Vec<PositionProblem>) {
        let default = Self::default().separators;
        let keys = ["separators", "separator_ids"];
        find_ids(&mut self.separator_ids, (&self.separators, &default), id, keys, problems);
    }
}

impl BiPeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> BiPe<B> {
        let Self { base, pairing, .. } = *self;
        let rotary = RotaryConfig { base, pairing, ..RotaryConfig::default() };
        let init = Init::Normal { std: self.init_std };
        BiPe {
            table: init.param([self.max_positions(shape), shape.d_model], key, device),
            inner: match self.between {
                Between::Rotary => Inner::Rotary(rotary.init(shape, key, device)),
                Between::Alibi => Inner::Alibi(Alibi::steeper(shape.n_heads, self.slope_factor)),
            },
            separator_ids: self.separator_ids.clone(),
        }
    }

    fn max_positions(&self, shape: &PositionShape) -> usize {
        self.max_positions.unwrap_or(shape.max_seq_len)
    }
}

/// Adds a trained vector per place in a segment and counts segments in attention.
#[derive(Module, Debug)]
pub struct BiPe<B: Backend> {
    /// The vectors, `[max_positions, d_model]`.
    pub table: Param<Tensor<B, 2>>,
    inner: Inner<B>,
    #[module(skip)]
    separator_ids: Vec<u32>,
}

/// The scheme that counts segments.
#[derive(Module, Debug)]
enum Inner<B: Backend> {
    Rotary(Rotary<B>),
    Alibi(Alibi),
}

/// The axis of [`Tokens`] on which the places in a segment lie; segments lie on the first.
const PLACE: usize = 1;

impl<B: Backend> BiPe<B> {
    fn inner(&self) -> &dyn Scheme<B> {
        match &self.inner {
            Inner::Rotary(scheme) => scheme,
            Inner::Alibi(scheme) => scheme,
        }
    }

    /// Segment and place of the token that follows this one.
    fn after(&self, id: u32, segment: f64, place: f64) -> (f64, f64) {
        let [rows, _] = self.table.dims();
        if self.separator_ids.contains(&id) {
            (segment + 1.0, 0.0)
        } else {
            (segment, (place + 1.0).min(rows as f64 - 1.0))
        }
    }
}

impl<B: Backend> Scheme<B> for BiPe<B> {
    fn name(&self) -> &'static str {
        "bipe"
    }

    fn is_relative(&self) -> bool {
        true // where a text begins plays no part
    }

    fn number(&self, tokens: &mut Tokens, past: Option<&Tokens>, _key: Option<Key>) {
        let (mut segments, mut places) = (Vec::new(), Vec::new());
        for row in 0..tokens.batch {
            let last = past.and_then(|past| past.last_real(row).map(|cell| (past, cell)));
            let (mut segment, mut place) = last.map_or((0.0, 0.0), |(past, cell)| {
                self.after(past.ids[cell], past.positions[cell], past.axis(PLACE)[cell])
            });
            for cell in row * tokens.seq..(row + 1) * tokens.seq {
                if tokens.changes_document(cell, past) {
                    (segment, place) = (0.0, 0.0);
                }
                segments.push(segment);
                places.push(place);
                if tokens.keep[cell] {
                    (segment, place) = self.after(tokens.ids[cell], segment, place);
                }
            }
        }
        (tokens.positions, tokens.axes) = (segments, vec![places]);
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let rows: Vec<i64> = tokens.axis(PLACE).iter().map(|place| *place as i64).collect();
        let rows = Tensor::<B, 2, Int>::from_data(TensorData::new(rows, [batch, seq]), &x.device());
        x + embedding(self.table.val(), rows) // [batch, seq, d_model]
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.inner().prepare(pass, device)
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        self.inner().rotate(q, k, at)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        self.inner().bias(at)
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;

    use super::BiPeConfig;
    use crate::Tokens;
    use crate::position::{Form, PositionShape, Scheme};

    fn numbered(tokens: &Tokens, past: Option<&Tokens>) -> Tokens {
        let shape = PositionShape {
            d_model: 8,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 4,
            max_seq_len: 5,
            form: Form::Causal,
        };
        let config = BiPeConfig { separator_ids: vec![9], max_positions: Some(3), ..Default::default() };
        let scheme = config.init::<NdArray>(&shape, Key::new(1), &Default::default());
        let mut tokens = tokens.clone();
        scheme.number(&mut tokens, past, None);
        tokens
    }

    /// A row that is padded on the left and inside, and one of which a segment is longer than the table.
    fn text() -> Tokens {
        let ids = [9, 9, 1, 9, 9, 9, 2, 1, 2, 3, 4, 9, 5, 6].to_vec();
        let mut keep = vec![true; 14];
        (keep[0], keep[1], keep[4]) = (false, false, false);
        Tokens::new([2, 7], ids, keep, None).expect("fits")
    }

    #[test]
    fn segments_end_at_separators_and_padding_is_passed_over() {
        let tokens = numbered(&text(), None);
        let real = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(&tokens.keep).filter(|(_, keep)| **keep).map(|(value, _)| *value).collect()
        };
        assert_eq!(real(&tokens.positions), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(real(tokens.axis(1)), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn every_document_counts_anew() {
        let documents = vec![3, 3, 3, 3, 5, 5, 5];
        let text = Tokens::new([1, 7], vec![1, 9, 2, 9, 2, 1, 9], vec![true; 7], None).expect("fits");
        let text = text.with_documents(documents).expect("fits");
        let want = numbered(&text, None);
        assert_eq!(want.positions, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(want.axis(1), [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 2.0]);
        for cut in 1..7 {
            let columns: Vec<usize> = (0..7).collect();
            let past = numbered(&text.columns(&columns[..cut]), None);
            let rest = numbered(&text.columns(&columns[cut..]), Some(&past));
            let joined = past.followed_by(&rest);
            assert_eq!((joined.positions, joined.axes), (want.positions.clone(), want.axes.clone()));
        }
    }

    #[test]
    fn a_segment_goes_on_after_a_cache() {
        let want = numbered(&text(), None);
        for cut in 1..7 {
            let columns: Vec<usize> = (0..7).collect();
            let past = numbered(&text().columns(&columns[..cut]), None);
            let rest = numbered(&text().columns(&columns[cut..]), Some(&past));
            let joined = past.followed_by(&rest);
            assert_eq!((joined.positions, joined.axes), (want.positions.clone(), want.axes.clone()));
        }
    }
}
