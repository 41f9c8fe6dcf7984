//! The conformance table: what every position scheme must show before it is one of ours.
//!
//! A row is one variant of a scheme in one model. It brings golden outputs and gradients from an oracle outside this
//! project (`oracle/positions.py`), planted errors that the comparison must catch, and declarations (relative or not,
//! limit) that the property tests hold it to. Adding a scheme means adding a row; [`every_scheme_has_a_row`] fails
//! until there is one. The rows stand here and not beside the schemes because they need attention.
//!
//! - `subject`: one attention layer with everything that a row's golden file says;
//! - `golden`: values, gradients, planted errors, finite differences;
//! - `properties`: cached decoding, padding, shifts, limits, configuration and records, through the whole stack;
//! - `equivalences`: rotary pairings, grouped queries;
//! - `hooks`: schemes as a crate outside Locus writes them, for the hooks that none of ours uses.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "conformance/equivalences.rs"]
mod equivalences;
#[path = "conformance/golden.rs"]
mod golden;
#[path = "conformance/hooks.rs"]
mod hooks;
#[path = "conformance/plants.rs"]
mod plants;
#[path = "conformance/properties.rs"]
mod properties;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/subject.rs"]
mod subject;

use locus_embedding::position::{Form, Limit, PositionConfig};
use locus_encoder::StackConfig;
use plants::Plant;

/// One variant of a scheme.
struct Row {
    /// The scheme's name and the variant's; the golden file is `positions-<name>.safetensors`.
    name: &'static str,
    /// The form of the golden file.
    form: Form,
    /// The stack, as a configuration file writes it.
    config: &'static str,
    /// Whether shifting all positions must change nothing.
    relative: bool,
    /// What must happen past the positions that the scheme was made for.
    limit: Limit,
    /// Errors that the golden comparison must catch.
    plants: &'static [Plant],
}

impl Row {
    fn config(&self) -> StackConfig {
        toml::from_str(self.config).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

const CAUSAL: Form = Form::Causal;
const BIDIRECTIONAL: Form = Form::Bidirectional;

const ROWS: &[Row] = &[
    Row {
        name: "none-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'none'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::ALIBI_INSTEAD, plants::SINUSOIDAL_INSTEAD],
    },
    Row {
        name: "none-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n position = 'none'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::ALIBI_INSTEAD, plants::OTHER_FORM, plants::PADDING_SEEN],
    },
    Row {
        name: "sinusoidal-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'sinusoidal'",
        relative: false,
        limit: Limit::None,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
    },
    Row {
        name: "sinusoidal-concatenated",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { sinusoidal = { layout = 'concatenated', base = 500.0 } }",
        relative: false,
        limit: Limit::None,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
    },
    Row {
        name: "sinusoidal-timescales",
        form: CAUSAL,
        config: "d_model = 11\n n_heads = 3\n d_head = 4\n
            position = { sinusoidal = { layout = 'timescales', scale = 0.5 } }",
        relative: false,
        limit: Limit::None,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
    },
    Row {
        name: "learned-plain",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { learned = { init_std = 0.5 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED],
    },
    Row {
        name: "learned-offset",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            max_seq_len = 19
 position = { learned = { max_positions = 23, offset = 2, pad_row = 1, init_std = 0.5 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED, plants::NO_OFFSET, plants::NO_PAD_ROW],
    },
    Row {
        name: "random_projection-added",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { random_projection = { m = 5 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED, plants::PROJECTION_REVERSED],
    },
    Row {
        name: "random_projection-concatenated",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { random_projection = { m = 5, combine = { concat = { width = 3 } }, scale = 0.7 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::PROJECTION_REVERSED, plants::PROJECTION_SCALE],
    },
    Row {
        name: "random_projection-trained",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            max_seq_len = 19
 position = { random_projection = { m = 5, max_positions = 23, train_vectors = true } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED, plants::PROJECTION_SCALE],
    },
    Row {
        name: "rotary-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n position = 'rotary'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "rotary-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n position = { rotary = { pairing = 'interleaved' } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "rotary-partial",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n position = { rotary = { fraction = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::ALL_TURNED],
    },
    Row {
        name: "rotary-partial-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { fraction = 0.5, pairing = 'interleaved' } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::ALL_TURNED],
    },
    Row {
        name: "rotary-base",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 1\n d_head = 8\n position = { rotary = { base = 50.0 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "alibi-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n position = 'alibi'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "alibi-symmetric",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'alibi'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE, plants::OTHER_FORM],
    },
    Row {
        name: "alibi-six",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 6\n d_head = 4\n position = 'alibi'",
        relative: true,
        limit: Limit::None,
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "t5-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, init_std = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE, plants::T5_SCALE],
    },
    Row {
        name: "t5-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, init_std = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE, plants::OTHER_FORM],
    },
    Row {
        name: "t5-unscaled",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, score_scale = 'one', init_std = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::T5_SCALE],
    },
    Row {
        name: "shaw-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { shaw = { max_distance = 2, init_std = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::TABLE_SHIFTED, plants::VALUES_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE],
    },
    Row {
        name: "shaw-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { shaw = { max_distance = 2, init_std = 0.5 } }",
        relative: true,
        limit: Limit::None,
        plants: &[plants::TABLE_SHIFTED, plants::VALUES_SHIFTED, plants::NEGATED, plants::OTHER_FORM],
    },
];

/// Fails where a scheme has no row: it would be a scheme that nobody has compared with anything.
#[test]
fn every_scheme_has_a_row() {
    let tested: Vec<&str> = ROWS.iter().map(|row| row.config().position.name()).collect();
    let untested: Vec<&str> =
        PositionConfig::NAMES.into_iter().filter(|name| !tested.contains(name)).collect();
    assert!(untested.is_empty(), "no row in the conformance table for {untested:?}");
}

#[test]
fn rows_are_named_after_their_scheme_and_once() {
    for (idx, row) in ROWS.iter().enumerate() {
        assert_eq!(row.name.split('-').next(), Some(row.config().position.name()), "{}", row.name);
        assert!(!row.plants.is_empty(), "{} has no planted error", row.name);
        assert!(ROWS[..idx].iter().all(|other| other.name != row.name), "two rows named {}", row.name);
    }
}
