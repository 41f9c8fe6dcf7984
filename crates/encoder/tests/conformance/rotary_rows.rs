//! The rows of the rotary family.

use locus_embedding::position::Limit;

use crate::{BIDIRECTIONAL, CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "rotary-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n position = 'rotary'",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "rotary-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n position = { rotary = { pairing = 'interleaved' } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "rotary-partial",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n position = { rotary = { fraction = 0.5 } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::ALL_TURNED],
        ..ROW
    },
    Row {
        name: "rotary-partial-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { fraction = 0.5, pairing = 'interleaved' } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::ALL_TURNED],
        ..ROW
    },
    Row {
        name: "rotary-base",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 1\n d_head = 8\n position = { rotary = { base = 50.0 } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "rotary-linear",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { scaling = { type = 'linear', factor = 4.0 } } }",
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-ntk",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { pairing = 'interleaved', scaling = { type = 'ntk', factor = 4 } } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-dynamic_ntk",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { scaling = { type = 'dynamic_ntk', factor = 3.0, original_max_positions = 6 } } }",
        relative: false,
        follows_length: true,
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::ORIGINAL_LENGTH, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-ntk_by_parts",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { base = 50.0, scaling = {
                type = 'ntk_by_parts', factor = 4.0, original_max_positions = 40, fast_turns = 5.0 } } }",
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::RAMP_REVERSED, plants::ORIGINAL_LENGTH, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-yarn",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { base = 50.0, scaling = {
                type = 'yarn', factor = 4.0, original_max_positions = 40, beta_fast = 5.0 } } }",
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::RAMP_REVERSED, plants::RAMP_ROUNDED, plants::ORIGINAL_LENGTH, plants::MAGNITUDE, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-yarn_mscale",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { pairing = 'interleaved', base = 50.0, scaling = {
                type = 'yarn', factor = 4.0, original_max_positions = 40, beta_fast = 5.0,
                mscale = 1.5, mscale_all_dim = 0.7, truncate = false } } }",
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::RAMP_REVERSED, plants::RAMP_ROUNDED, plants::MAGNITUDE, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-yarn_partial",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 2\n d_head = 16\n
            position = { rotary = { fraction = 0.5, base = 50.0, scaling = {
                type = 'yarn', factor = 4.0, original_max_positions = 40, beta_fast = 5.0,
                attention_factor = 1.5 } } }",
        plants: &[plants::NEGATED, plants::ALL_TURNED, plants::RAMP_REVERSED, plants::MAGNITUDE, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-longrope",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n max_seq_len = 24\n
            position = { rotary = { scaling = { type = 'longrope', original_max_positions = 6,
                short_factor = [1.0, 1.05, 1.5, 2.5], long_factor = [1.1, 1.7, 3.5, 7.0] } } }",
        relative: false,
        follows_length: true,
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::SHORT_FOR_LONG, plants::FACTORS_MULTIPLIED, plants::MAGNITUDE, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-llama3",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { base = 50.0, scaling = { type = 'llama3', original_max_positions = 40 } } }",
        plants: &[plants::NEGATED, plants::OTHER_PAIRING, plants::RAMP_REVERSED, plants::ORIGINAL_LENGTH, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "rotary-proportional",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { fraction = 0.5, fraction_of = 'frequencies' } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::FRACTION_OF, plants::ALL_TURNED],
        ..ROW
    },
    Row {
        name: "rotary-trained",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rotary = { train_frequencies = true } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::FACTORS_NEGATED],
        ..ROW
    },
    Row {
        name: "rotary-trained_yarn",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { rotary = { pairing = 'interleaved', train_frequencies = true, base = 50.0, scaling = {
                type = 'yarn', factor = 4.0, original_max_positions = 40, beta_fast = 5.0 } } }",
        plants: &[plants::NEGATED, plants::FACTORS_NEGATED, plants::MAGNITUDE, plants::SCALING_FORGOTTEN, plants::SCALING_FACTOR],
        ..ROW
    },
    Row {
        name: "xpos-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { xpos = { scale_base = 8.0 } }",
        forms: &[CAUSAL],
        limit: Limit::Error(510),
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::XPOS_SCALE, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "xpos-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { xpos = { scale_base = 5.0, base = 50.0, pairing = 'halves' } }",
        forms: &[CAUSAL],
        limit: Limit::Error(319),
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::XPOS_SCALE, plants::DOUBLED],
        ..ROW
    },
    Row {
        name: "axial-raster",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 8\n
            position = { axial = { width = 3 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::BASE, plants::OTHER_PAIRING, plants::GRID_WIDTH],
        ..ROW
    },
    Row {
        name: "axial-axes",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { axial = { width = 3, base = 50.0, pairing = 'halves' } }",
        relative: false,
        plants: &[plants::AXES_SWAPPED, plants::AXES_FORGOTTEN, plants::BASE, plants::OTHER_PAIRING, plants::NEGATED],
        ..ROW
    },
    Row {
        name: "mrope-sections",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 2\n d_head = 16\n
            position = 'mrope'",
        plants: &[plants::AXES_SWAPPED, plants::AXES_FORGOTTEN, plants::AXIS_ORDER, plants::BASE, plants::OTHER_PAIRING, plants::NEGATED],
        ..ROW
    },
    Row {
        name: "mrope-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 12\n
            position = { mrope = {
                base = 50.0, order = 'interleaved', sections = [3, 2, 1], pairing = 'interleaved' } }",
        plants: &[plants::AXES_SWAPPED, plants::AXES_FORGOTTEN, plants::AXIS_ORDER, plants::BASE, plants::OTHER_PAIRING, plants::NEGATED],
        ..ROW
    },
    Row {
        name: "fope-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { fope = { base = 50.0, training_length = 40 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::MIXTURES_SWAPPED, plants::MIXTURES_TRANSPOSED],
        ..ROW
    },
    Row {
        name: "fope-all",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { fope = { base = 10.0, training_length = 200 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::BASE, plants::MIXTURES_SWAPPED, plants::MIXTURES_TRANSPOSED],
        ..ROW
    },
    Row {
        name: "pope-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 5\n
            position = 'pope'",
        plants: &[plants::NEGATED, plants::BASE, plants::PHASES_FORGOTTEN, plants::STEP_OFF_BY_ONE, plants::TABLE_SHIFTED],
        ..ROW
    },
    Row {
        name: "pope-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = 'pope'",
        plants: &[plants::NEGATED, plants::BASE, plants::PHASES_FORGOTTEN, plants::OTHER_FORM, plants::TABLE_SHIFTED],
        ..ROW
    },
    Row {
        name: "rope_plus_plus-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = 'rope_plus_plus'",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE, plants::IMAGINARY_FIRST, plants::IMAGINARY_APART],
        ..ROW
    },
    Row {
        name: "rope_plus_plus-interleaved",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { rope_plus_plus = { base = 50.0, pairing = 'interleaved' } }",
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::STEP_OFF_BY_ONE, plants::IMAGINARY_FIRST, plants::IMAGINARY_APART],
        ..ROW
    },
];
