//! The rows of biases by distance.

use crate::{BIDIRECTIONAL, CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "kerple-log",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = 'kerple'",
        plants: &[
            plants::KERNEL,
            plants::PARAMS_SWAPPED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "kerple-power",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { kerple = { kernel = 'power' } }",
        plants: &[
            plants::KERNEL,
            plants::PARAMS_SWAPPED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "sandwich-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { sandwich = { dims = 6 } }",
        plants: &[
            plants::BASE,
            plants::DIMS,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "sandwich-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { sandwich = { base = 50.0 } }",
        plants: &[
            plants::BASE,
            plants::DIMS,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "fire-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { fire = { hidden = 5, threshold = 4.0 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::DOUBLED, plants::THRESHOLD, plants::HEADS_REVERSED],
        ..ROW
    },
    Row {
        name: "fire-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { fire = { hidden = 5, threshold = 3.0 } }",
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::DOUBLED, plants::THRESHOLD, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "dynamic_bias-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { dynamic_bias = { hidden = 5 } }",
        plants: &[plants::NEGATED, plants::DOUBLED, plants::STEP_OFF_BY_ONE, plants::HEADS_REVERSED],
        ..ROW
    },
    Row {
        name: "dynamic_bias-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { dynamic_bias = { hidden = 5 } }",
        plants: &[plants::NEGATED, plants::DOUBLED, plants::STEP_OFF_BY_ONE, plants::OTHER_FORM],
        ..ROW
    },
];
