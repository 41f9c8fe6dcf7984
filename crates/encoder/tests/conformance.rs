//! The conformance table: what every position scheme must show before it is one of ours.
//!
//! A row is one variant of a scheme in one model. It brings golden outputs and gradients from an oracle outside this
//! project (`oracle/positions.py`), planted errors that the comparison must catch, and declarations (relative or not,
//! limit) that the property tests hold it to. Adding a scheme means adding a row; [`every_scheme_has_a_row`] fails
//! until there is one. The rows stand here and not beside the schemes because they need attention.
//!
//! - `architectures`: whole models against those of transformers;
//! - `subject`: one attention layer with everything that a row's golden file says;
//! - `golden`: values, gradients, planted errors, finite differences;
//! - `properties`: cached decoding, padding, shifts, limits, configuration and records, through the whole stack;
//! - `segments`: gradient checkpointing by block;
//! - `equivalences`: rotary pairings, grouped queries;
//! - `scaling`: frequencies of context extension;
//! - `rotary_rows`, `view_rows`, `bias_rows`, `term_rows`, `id_rows`, `content_rows`: the rows of the rotary family, of
//!   schemes that change what distance means, of biases by distance, of scores of content and position, of schemes that
//!   number tokens in their own way, of schemes that depend on content;
//! - `token_ids`: limits of schemes that count by what tokens are;
//! - `hybrids`: stacks whose layers differ;
//! - `page`: the page of the book that names each oracle and each planted error;
//! - `hooks`: schemes as a crate outside Locus writes them, one for each hook.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod architectures;
#[path = "conformance/bias_rows.rs"]
mod bias_rows;
#[path = "conformance/content_rows.rs"]
mod content_rows;
#[path = "conformance/equivalences.rs"]
mod equivalences;
#[path = "conformance/golden.rs"]
mod golden;
#[path = "conformance/hooks.rs"]
mod hooks;
#[path = "conformance/hybrids.rs"]
mod hybrids;
#[path = "conformance/id_rows.rs"]
mod id_rows;
#[path = "conformance/page.rs"]
mod page;
#[path = "conformance/plants.rs"]
mod plants;
#[path = "conformance/properties.rs"]
mod properties;
#[path = "conformance/rotary_rows.rs"]
mod rotary_rows;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/scaling.rs"]
mod scaling;
#[path = "conformance/segments.rs"]
mod segments;
#[path = "conformance/subject.rs"]
mod subject;
#[path = "conformance/term_rows.rs"]
mod term_rows;
#[path = "conformance/token_ids.rs"]
mod token_ids;
#[path = "conformance/view_rows.rs"]
mod view_rows;

use burn::tensor::backend::Backend;
use locus_embedding::position::{Form, Limit, PositionConfig};
use locus_encoder::StackConfig;
use plants::Plant;

/// One variant of a scheme.
struct Row {
    /// The scheme's name and the variant's; the golden file is `positions-<name>.safetensors`.
    name: &'static str,
    /// The form of the golden file.
    form: Form,
    /// The forms that the scheme is for; others must be refused.
    forms: &'static [Form],
    /// The stack, as a configuration file writes it.
    config: &'static str,
    /// Whether shifting all positions must change nothing.
    relative: bool,
    /// Whether the output for a token depends on how long the text is, so that texts that are decoded token by token
    /// differ from those that are read at once.
    follows_length: bool,
    /// What must happen past the positions that the scheme was made for.
    limit: Limit,
    /// How far apart the scheme places neighbours; 0 where it counts by what tokens are, not from where a text begins.
    spacing: f64,
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

/// What most rows have in common.
const ROW: Row = Row {
    name: "",
    form: CAUSAL,
    forms: &[CAUSAL, BIDIRECTIONAL],
    config: "",
    relative: true,
    follows_length: false,
    limit: Limit::None,
    spacing: 1.0,
    plants: &[],
};

/// All rows, family by family.
fn rows() -> impl Iterator<Item = &'static Row> + Clone {
    let families = [
        ROWS,
        rotary_rows::ROWS,
        view_rows::ROWS,
        bias_rows::ROWS,
        term_rows::ROWS,
        id_rows::ROWS,
        content_rows::ROWS,
    ];
    families.into_iter().flatten()
}

const PLAIN_ROTARY: [&str; 3] = ["rotary-halves", "rotary-interleaved", "rotary-partial"];

/// All rows on a processor; on a GPU's backend those that stand in this file, and plain rotary ones. Values and gradients are
/// compared with the oracles' for every scheme on every backend.
fn rows_on<B: Backend>(device: &B::Device) -> impl Iterator<Item = &'static Row> + Clone {
    let all = locus_testkit::on_processor::<B>(device);
    rows().filter(move |row| {
        all || PLAIN_ROTARY.contains(&row.name) || ROWS.iter().any(|here| here.name == row.name)
    })
}

/// The rows of a backend in all forms that they are for.
fn rows_and_forms<B: Backend>(device: &B::Device) -> impl Iterator<Item = (&'static Row, Form)> {
    rows_on::<B>(device).flat_map(|row| row.forms.iter().map(move |form| (row, *form)))
}

const ROWS: &[Row] = &[
    Row {
        name: "none-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'none'",
        plants: &[plants::ALIBI_INSTEAD, plants::SINUSOIDAL_INSTEAD],
        ..ROW
    },
    Row {
        name: "none-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n position = 'none'",
        plants: &[plants::ALIBI_INSTEAD, plants::OTHER_FORM, plants::PADDING_SEEN],
        ..ROW
    },
    Row {
        name: "sinusoidal-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'sinusoidal'",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
        ..ROW
    },
    Row {
        name: "sinusoidal-concatenated",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { sinusoidal = { layout = 'concatenated', base = 500.0 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
        ..ROW
    },
    Row {
        name: "sinusoidal-timescales",
        form: CAUSAL,
        config: "d_model = 11\n n_heads = 3\n d_head = 4\n
            position = { sinusoidal = { layout = 'timescales', scale = 0.5 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
        ..ROW
    },
    Row {
        name: "learned-plain",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { learned = { init_std = 0.5 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED],
        ..ROW
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
        ..ROW
    },
    Row {
        name: "random_projection-added",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { random_projection = { m = 5 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::TABLE_SHIFTED, plants::PROJECTION_REVERSED],
        ..ROW
    },
    Row {
        name: "random_projection-concatenated",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { random_projection = { m = 5, combine = { concat = { width = 3 } }, scale = 0.7 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[plants::OFF_BY_ONE, plants::PROJECTION_REVERSED, plants::PROJECTION_SCALE],
        ..ROW
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
        ..ROW
    },
    Row {
        name: "alibi-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n position = 'alibi'",
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "alibi-symmetric",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n position = 'alibi'",
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "alibi-six",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 6\n d_head = 4\n position = 'alibi'",
        plants: &[plants::HEADS_REVERSED, plants::DOUBLED, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "t5-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE, plants::T5_SCALE],
        ..ROW
    },
    Row {
        name: "t5-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "t5-unscaled",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { t5 = { n_buckets = 8, max_distance = 16, score_scale = 'one', init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::T5_SCALE],
        ..ROW
    },
    Row {
        name: "shaw-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { shaw = { max_distance = 2, init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::VALUES_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "shaw-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { shaw = { max_distance = 2, init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::VALUES_SHIFTED, plants::NEGATED, plants::OTHER_FORM],
        ..ROW
    },
];

/// Fails where a scheme has no row: it would be a scheme that nobody has compared with anything.
#[test]
fn every_scheme_has_a_row() {
    let tested: Vec<&str> = rows().map(|row| row.config().position.name()).collect();
    let untested: Vec<&str> =
        PositionConfig::NAMES.into_iter().filter(|name| !tested.contains(name)).collect();
    assert!(untested.is_empty(), "no row in the conformance table for {untested:?}");
}

#[test]
fn rows_are_named_after_their_scheme_and_once() {
    for (idx, row) in rows().enumerate() {
        assert_eq!(row.name.split('-').next(), Some(row.config().position.name()), "{}", row.name);
        assert!(!row.plants.is_empty(), "{} has no planted error", row.name);
        assert!(rows().take(idx).all(|other| other.name != row.name), "two rows named {}", row.name);
    }
}
