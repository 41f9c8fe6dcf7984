//! The rows of schemes that change what distance means.

use crate::{CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "rerope-cut",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { rerope = { window = 3 } }",
        forms: &[CAUSAL],
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::LEAK],
        ..ROW
    },
    Row {
        name: "rerope-leaky",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { rerope = { window = 2, leak = 0.25, log_length = 4, pairing = 'interleaved', base = 50.0 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::LEAK, plants::LOG_LENGTH],
        ..ROW
    },
    Row {
        name: "self_extend-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { self_extend = { window = 4, group = 2 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::NEGATED, plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::GROUP],
        ..ROW
    },
    Row {
        name: "self_extend-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { self_extend = { window = 3, group = 3, pairing = 'interleaved', base = 50.0 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::GROUP],
        ..ROW
    },
    Row {
        name: "dual_chunk-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { dual_chunk = { chunk = 5, local = 2 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::OFF_BY_ONE, plants::CHUNK, plants::LOCAL],
        ..ROW
    },
    Row {
        name: "dual_chunk-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { dual_chunk = { chunk = 4, local = 1, pairing = 'interleaved', base = 50.0 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::OFF_BY_ONE, plants::CHUNK],
        ..ROW
    },
    Row {
        name: "temperature-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { temperature = { scale = 0.7, floor = 3 } }",
        forms: &[CAUSAL],
        relative: false,
        plants: &[plants::OFF_BY_ONE, plants::NEGATED, plants::TEMPERATURE],
        ..ROW
    },
    Row {
        name: "attention_sinks-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { attention_sinks = { sinks = 2, window = 3 } }",
        forms: &[CAUSAL],
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::NO_SINKS],
        ..ROW
    },
    Row {
        name: "attention_sinks-interleaved",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 6\n
            position = { attention_sinks = { sinks = 1, window = 2, pairing = 'interleaved', base = 50.0 } }",
        forms: &[CAUSAL],
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::NO_SINKS],
        ..ROW
    },
    Row {
        name: "lambda_mask-halves",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 8\n
            position = { lambda_mask = { sinks = 2, window = 3 } }",
        forms: &[CAUSAL],
        plants: &[plants::BASE, plants::OTHER_PAIRING, plants::WINDOW, plants::NO_SINKS],
        ..ROW
    },
];
