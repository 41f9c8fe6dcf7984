//! Abacus embeddings: a trained vector per place in a number, added to the tokens, so that digits of the same significance
//! match. For numbers that are written a token per digit, least significant first.
//!
//! Formula: `e = E[p]`, `p` the place in a run of digit tokens from 1, and 0 for every other token; in training `p + k` for
//! digits, `k` from `U{0, …, max_offset}`, so that rows of long numbers are trained by short ones. McLeish et al. 2024,
//! arXiv:2405.17399; defaults of the authors' `abacus.py`. Differs: they draw `k` once for a batch, here for each text,
//! and never so large that a number that fits the table would not.
//! Convention: padding is passed over; a run goes on in the tokens that follow a cache, and ends with its document. Where a
//! vocabulary marks words (`▁`, `Ġ` or `##`), a digit that begins a word begins a number; where it does not, numbers that stand
//! side by side are one. It says nothing of where a number stands in the text: name another scheme for most layers in
//! `layer_positions` (an embedding acts once, on whichever layer it is named).
//! Parameters: `max_positions · d_model`. Limit: an error for numbers of `max_positions` digits or more. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::embedding;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::{INNER_MARK, SchemeConfig, WORD_MARKS, find_ids};
use super::facts::{Facts, Family};
use super::scheme::{Limit, Scheme};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Configuration of [`Abacus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbacusConfig {
    /// The tokens that are digits, looked up in the tokenizer where `digit_ids` is empty.
    pub digits: Vec<String>,
    /// Their ids. While it is empty no token is a digit.
    pub digit_ids: Vec<u32>,
    /// Those of them that always begin a number, looked up with the others: digits that a vocabulary marks as the beginning
    /// of a word (`▁`, `Ġ`).
    pub first_digit_ids: Vec<u32>,
    /// Those of them that always go on with a word (`##`), looked up with the others. A digit that is not of them begins a
    /// number after one that is.
    pub inner_digit_ids: Vec<u32>,
    /// Number of rows: one more than the largest number of digits.
    pub max_positions: usize,
    /// By how much the places of a text's digits are moved in training, at most.
    pub max_offset: usize,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for AbacusConfig {
    fn default() -> Self {
        Self {
            digits: ('0'..='9').map(String::from).collect(),
            digit_ids: Vec::new(),
            first_digit_ids: Vec::new(),
            inner_digit_ids: Vec::new(),
            max_positions: 1024,
            max_offset: 99,
            init_std: 0.02,
        }
    }
}

impl SchemeConfig for AbacusConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "adds a trained vector per place in a number; in training places are moved; digits of a number from the last to the first",
            parameters: "max_positions·d_model",
            longer_texts: "longer numbers, by the moves",
            paper: "arXiv:2405.17399",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let n = self.max_positions;
        let allowed = "at least 2: row 0 is that of tokens that are no digits";
        PositionProblem::unless(n > 1, problems, "max_positions", n, allowed);
        let allowed = format!("below max_positions - 1 = {}", n.saturating_sub(1));
        let fits = n <= 1 || self.max_offset < n - 1;
        PositionProblem::unless(fits, problems, "max_offset", self.max_offset, &allowed);
        PositionProblem::positive(self.init_std, problems, "init_std");
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }

    fn place_table(&self) -> Option<&'static str> {
        Some("table")
    }

    fn tells_order(&self) -> bool {
        false // of digits alone
    }

    fn find_tokens(&mut self, id: &dyn Fn(&str) -> Option<u32>, problems: &mut Vec<PositionProblem>) {
        if self.digit_ids.is_empty() {
            let of_marks = |marks: &[&str]| {
                let names = self
                    .digits
                    .iter()
                    .flat_map(|digit| marks.iter().map(move |mark| format!("{mark}{digit}")));
                names.filter_map(|name| id(&name)).collect()
            };
            self.first_digit_ids = of_marks(&WORD_MARKS);
            self.inner_digit_ids = of_marks(&[INNER_MARK]);
        }
        let default = Self::default().digits;
        find_ids(&mut self.digit_ids, (&self.digits, &default), id, ["digits", "digit_ids"], problems);
    }
}

impl AbacusConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Abacus<B> {
        let init = Init::Normal { std: self.init_std };
        Abacus {
            table: init.param([self.max_positions, shape.d_model], key, device),
            digit_ids: self.digit_ids.clone(),
            first_digit_ids: self.first_digit_ids.clone(),
            inner_digit_ids: self.inner_digit_ids.clone(),
            max_offset: self.max_offset,
        }
    }
}

/// Adds a trained vector per place in a number.
#[derive(Module, Debug)]
pub struct Abacus<B: Backend> {
    /// The vectors, `[max_positions, d_model]`; row 0 is that of tokens that are no digits.
    pub table: Param<Tensor<B, 2>>,
    #[module(skip)]
    digit_ids: Vec<u32>,
    #[module(skip)]
    first_digit_ids: Vec<u32>,
    #[module(skip)]
    inner_digit_ids: Vec<u32>,
    max_offset: usize,
}

impl<B: Backend> Abacus<B> {
    fn rows(&self) -> usize {
        let [rows, _] = self.table.dims();
        rows
    }

    /// Whether the number that the token before belongs to goes on with a digit.
    fn goes_on(&self, before: u32, id: u32) -> bool {
        let inner = |id| self.inner_digit_ids.contains(&id);
        !self.first_digit_ids.contains(&id) && (inner(id) || !inner(before))
    }

    /// The places of a row's tokens, after those of `past`; runs that begin here begin at `first`.
    fn places(&self, row: usize, tokens: &Tokens, past: Option<&Tokens>, first: f64) -> Vec<f64> {
        let last =
            past.and_then(|past| past.last_real(row).map(|cell| (past.ids[cell], past.positions[cell])));
        let (mut before, mut place) = last.unwrap_or_default();
        let next = |cell: usize| {
            if tokens.changes_document(cell, past) {
                place = 0.0;
            }
            if !tokens.keep[cell] {
                return 0.0;
            }
            let id = tokens.ids[cell];
            place = match self.digit_ids.contains(&id) {
                false => 0.0,
                true if place > 0.0 && self.goes_on(before, id) => place + 1.0,
                true => first,
            };
            before = id;
            place
        };
        (row * tokens.seq..(row + 1) * tokens.seq).map(next).collect()
    }
}

impl<B: Backend> Scheme<B> for Abacus<B> {
    fn name(&self) -> &'static str {
        "abacus"
    }

    fn is_relative(&self) -> bool {
        true // where a text begins plays no part
    }

    fn number(&self, tokens: &mut Tokens, past: Option<&Tokens>, key: Option<Key>) {
        tokens.positions.clear();
        for row in 0..tokens.batch {
            let mut places = self.places(row, tokens, past, 1.0);
            if let Some(key) = key {
                let longest = places.iter().copied().fold(0.0, f64::max) as usize;
                let room = (self.rows() - 1).saturating_sub(longest).min(self.max_offset);
                let offset = key.below(row as u64, room as u64 + 1) as f64;
                places = self.places(row, tokens, past, 1.0 + offset);
            }
            tokens.positions.extend(places);
        }
    }

    fn limit(&self) -> Limit {
        Limit::Error(self.rows())
    }

    fn max_tokens(&self) -> Option<usize> {
        None // only numbers are limited
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let rows: Vec<i64> = tokens.positions.iter().map(|place| *place as i64).collect();
        let rows = Tensor::<B, 2, Int>::from_data(TensorData::new(rows, [batch, seq]), &x.device());
        x + embedding(self.table.val(), rows) // [batch, seq, d_model]
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;

    use super::{Abacus, AbacusConfig};
    use crate::Tokens;
    use crate::position::config::SchemeConfig;
    use crate::position::{Form, PositionShape, Scheme};

    fn abacus(max_positions: usize) -> Abacus<NdArray> {
        let shape = PositionShape {
            d_model: 8,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 4,
            max_seq_len: 5,
            form: Form::Causal,
        };
        let config =
            AbacusConfig { digit_ids: vec![1, 2, 3], max_positions, max_offset: 4, ..Default::default() };
        config.init(&shape, Key::new(1), &Default::default())
    }

    /// Digits are `1`, `2`, `3`; `.` is padding.
    fn tokens(rows: [&str; 2]) -> Tokens {
        let text = rows.concat();
        let ids = text.chars().map(|c| c.to_digit(10).unwrap_or(1)).collect();
        let keep = text.chars().map(|c| c != '.').collect();
        Tokens::new([2, rows[0].len()], ids, keep, None).expect("fits")
    }

    fn numbered(tokens: &Tokens, past: Option<&Tokens>, key: Option<Key>) -> Tokens {
        let mut tokens = tokens.clone();
        abacus(32).number(&mut tokens, past, key);
        tokens
    }

    #[test]
    fn runs_of_digits_are_counted_and_padding_is_passed_over() {
        let places = numbered(&tokens(["..31.27", "9123451"]), None, None).positions;
        assert_eq!(places[..7], [0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 0.0]);
        assert_eq!(places[7..], [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 1.0]);
    }

    /// `12 34` in a vocabulary that marks the beginning of words, and in one that marks the rest of them.
    #[test]
    fn marks_of_words_separate_numbers() {
        let shape = PositionShape {
            d_model: 8,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 4,
            max_seq_len: 5,
            form: Form::Causal,
        };
        let places = |config: AbacusConfig, ids: [u32; 5]| {
            let scheme = config.init::<NdArray>(&shape, Key::new(1), &Default::default());
            let text = Tokens::new([1, 5], ids.to_vec(), vec![true; 5], None).expect("fits");
            let number = |columns: &[usize], past: Option<&Tokens>| {
                let mut tokens = text.columns(columns);
                scheme.number(&mut tokens, past, None);
                tokens
            };
            let whole = number(&[0, 1, 2, 3, 4], None);
            for cut in 1..5 {
                let (past, rest): (Vec<usize>, Vec<usize>) = (0..5).partition(|column| *column < cut);
                let past = number(&past, None);
                let rest = number(&rest, Some(&past));
                assert_eq!(past.followed_by(&rest).positions, whole.positions, "cut at {cut}");
            }
            whole.positions
        };
        let config = || AbacusConfig { digit_ids: vec![1, 2, 3, 4], max_positions: 32, ..Default::default() };
        let words = AbacusConfig { first_digit_ids: vec![3, 4], ..config() };
        assert_eq!(places(words, [3, 1, 4, 2, 9]), [1.0, 2.0, 1.0, 2.0, 0.0]);
        let pieces = AbacusConfig { inner_digit_ids: vec![3, 4], ..config() };
        assert_eq!(places(pieces.clone(), [1, 3, 2, 4, 9]), [1.0, 2.0, 1.0, 2.0, 0.0]);
        // Without any mark nothing tells where one ends.
        assert_eq!(places(pieces, [1, 2, 1, 2, 9]), [1.0, 2.0, 3.0, 4.0, 0.0]);
    }

    #[test]
    fn a_run_ends_with_its_document() {
        let text = tokens(["..31.27", "9123321"]);
        let documents = [vec![4, 4, 4, 4, 4, 6, 6], vec![4, 4, 4, 4, 6, 6, 6]].concat();
        let text = text.with_documents(documents).expect("fits");
        let want = numbered(&text, None, None);
        assert_eq!(want.positions[..7], [0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 0.0]);
        assert_eq!(want.positions[7..], [0.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        for cut in 1..7 {
            let columns: Vec<usize> = (0..7).collect();
            let past = numbered(&text.columns(&columns[..cut]), None, None);
            let rest = numbered(&text.columns(&columns[cut..]), Some(&past), None);
            assert_eq!(past.followed_by(&rest).positions, want.positions, "cut at {cut}");
        }
    }

    #[test]
    fn a_run_goes_on_after_a_cache() {
        let text = tokens(["..31.27", "9123321"]);
        let want = numbered(&text, None, None);
        for cut in 1..7 {
            let columns: Vec<usize> = (0..7).collect();
            let past = numbered(&text.columns(&columns[..cut]), None, None);
            let rest = numbered(&text.columns(&columns[cut..]), Some(&past), None);
            assert_eq!(past.followed_by(&rest).positions, want.positions, "cut at {cut}");
        }
    }

    #[test]
    fn texts_are_moved_as_a_whole_in_training_only() {
        let text = tokens(["1291339", "9112.19"]);
        let plain = numbered(&text, None, None).positions;
        let mut counts = [[0_usize; 5]; 5];
        for seed in 0..2500 {
            let moved = numbered(&text, None, Some(Key::new(seed))).positions;
            let offsets = [moved[0] - 1.0, moved[8] - 1.0];
            for (cell, (moved, plain)) in moved.iter().zip(&plain).enumerate() {
                let want = if *plain > 0.0 { plain + offsets[cell / 7] } else { 0.0 };
                assert_eq!(*moved, want, "cell {cell}");
            }
            counts[offsets[0] as usize][offsets[1] as usize] += 1;
        }
        // All 25 pairs of offsets, 100 each with a standard deviation of 10.
        assert!(counts.iter().flatten().all(|n| n.abs_diff(100) < 50), "{counts:?}");
    }

    #[test]
    fn no_number_is_moved_out_of_the_table() {
        let text = tokens(["1231239", "1111111"]);
        let longest = |seed| {
            let mut tokens = text.clone();
            abacus(8).number(&mut tokens, None, Some(Key::new(seed)));
            (tokens.positions[5], tokens.positions[13])
        };
        let found: Vec<_> = (0..50).map(longest).collect();
        assert!(found.iter().all(|(six, seven)| *six <= 7.0 && *seven == 7.0), "{found:?}");
        assert!(found.iter().any(|(six, _)| *six == 7.0), "{found:?}");
    }

    #[test]
    fn digits_are_found_in_a_vocabulary() {
        let vocabulary = ["a", "0", "##0", "Ġ7"];
        let id = |token: &str| vocabulary.iter().position(|t| *t == token).map(|id| id as u32);
        let (mut config, mut problems) = (AbacusConfig::default(), Vec::new());
        config.find_tokens(&id, &mut problems);
        assert_eq!((config.digit_ids.as_slice(), problems.len()), ([1, 2, 3].as_slice(), 0));
        assert_eq!(
            (config.first_digit_ids.as_slice(), config.inner_digit_ids.as_slice()),
            (&[3][..], &[2][..])
        );
        // What is set stays.
        config.find_tokens(&|_| Some(9), &mut problems);
        assert_eq!(config.digit_ids, [1, 2, 3]);
        // Unless names that somebody chose say otherwise.
        let digits = vec!["7".to_owned()];
        let mut other = AbacusConfig { digits, ..config.clone() };
        other.find_tokens(&id, &mut problems);
        assert!(problems.len() == 1 && problems[0].key == "digit_ids", "{problems:?}");
        problems.clear();
        config.digit_ids.clear();
        config.find_tokens(&|_| None, &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].found.contains("\"7\"") && problems[0].key == "digits", "{problems:?}");
    }
}
