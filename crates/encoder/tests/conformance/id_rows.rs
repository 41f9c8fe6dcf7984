//! The rows of schemes that number tokens in their own way.

use locus_embedding::position::Limit;

use crate::{BIDIRECTIONAL, CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "cape-evaluation",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { cape = { base = 500.0 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
        ..ROW
    },
    Row {
        name: "shape-evaluation",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { shape = { layout = 'concatenated', scale = 0.5 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::OTHER_LAYOUT],
        ..ROW
    },
    Row {
        name: "randomised-sinusoidal",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { randomised = { max = 128 } }",
        relative: false,
        limit: Limit::Error(128),
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::OTHER_SPACING],
        ..ROW
    },
    Row {
        name: "randomised-learned",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 23\n
            position = { randomised = { over = 'learned', max = 50 } }",
        relative: false,
        limit: Limit::Error(50),
        spacing: 2.0,
        plants: &[plants::OFF_BY_ONE, plants::OTHER_SPACING],
        ..ROW
    },
    Row {
        name: "randomised-rotary",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { randomised = { over = 'rotary', max = 384, continuous = true } }",
        limit: Limit::Error(384),
        spacing: 3.0,
        plants: &[plants::NEGATED, plants::OTHER_SPACING, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "randomised-alibi",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n d_head = 4\n
            position = { randomised = { over = 'alibi', max = 256 } }",
        limit: Limit::Error(256),
        spacing: 2.0,
        plants: &[plants::OTHER_SPACING, plants::HEADS_REVERSED, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "abacus-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { abacus = { digit_ids = [10, 12, 13, 14, 15, 1, 2, 3], max_positions = 23, max_offset = 5, init_std = 0.5 } }",
        limit: Limit::Error(23),
        spacing: 0.0,
        plants: &[plants::TABLE_SHIFTED, plants::IDS_SHIFTED, plants::DIGITS],
        ..ROW
    },
    Row {
        name: "bipe-rotary",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { bipe = { separator_ids = [9, 6, 5], max_positions = 3, init_std = 0.5 } }",
        spacing: 0.0,
        plants: &[plants::TABLE_SHIFTED, plants::IDS_SHIFTED, plants::SEPARATORS, plants::PLACES_CUT, plants::BASE, plants::OTHER_PAIRING],
        ..ROW
    },
    Row {
        name: "bipe-alibi",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { bipe = { between = 'alibi', separator_ids = [9, 6, 5], max_positions = 5, init_std = 0.5, slope_factor = 9.0 } }",
        spacing: 0.0,
        plants: &[plants::TABLE_SHIFTED, plants::IDS_SHIFTED, plants::SEPARATORS, plants::SLOPES, plants::HEADS_REVERSED],
        ..ROW
    },
];
