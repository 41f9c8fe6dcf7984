//! The rows of schemes that depend on content through gates, counts, networks over scores, other normalisations and
//! reflections; and what holds for them beside it.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_encoder::{Stack, StackConfig};
use locus_testkit::on_backends;

use crate::run::{assert_different, assert_same, shape, text, two_layers, whole};
use crate::{BIDIRECTIONAL, CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "fox-gqa",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { fox = { init_std = 0.5, init_bias = 1.0 } }",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::GATES_NEGATED,
            plants::GATE_BIAS_FORGOTTEN,
            plants::HEADS_REVERSED,
            plants::PADDING_SEEN,
        ],
        ..ROW
    },
    Row {
        name: "fox-heads",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = 'fox'",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::GATES_NEGATED,
            plants::GATE_BIAS_FORGOTTEN,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "cable-gqa",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { cable = { init_std = 0.5 } }",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::GATES_NEGATED,
            plants::GATE_BIAS_FORGOTTEN,
            plants::HEADS_REVERSED,
            plants::PADDING_SEEN,
        ],
        ..ROW
    },
    Row {
        name: "cope-gqa",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { cope = { n_positions = 3, init_std = 0.5 } }",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::TABLE_SHIFTED,
            plants::TABLE_SHORTER,
            plants::PADDING_SEEN,
        ],
        ..ROW
    },
    Row {
        name: "cope-long",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { cope = { n_positions = 9, init_std = 0.5 } }",
        forms: &[CAUSAL],
        plants: &[plants::SCHEME_FORGOTTEN, plants::TABLE_SHIFTED, plants::PADDING_SEEN],
        ..ROW
    },
    Row {
        name: "dape-kerple",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { dape = { hidden = 5 } }",
        plants: &[
            plants::NETWORK_FORGOTTEN,
            plants::HALVES_SWAPPED,
            plants::OVER_ANOTHER,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
            plants::OTHER_FORM,
        ],
        ..ROW
    },
    Row {
        name: "dape-alibi",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { dape = { over = 'alibi', hidden = 6 } }",
        plants: &[
            plants::NETWORK_FORGOTTEN,
            plants::HALVES_SWAPPED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "dape-fire",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { dape = { over = { fire = { hidden = 3, threshold = 4.0 } }, hidden = 5 } }",
        relative: false,
        plants: &[
            plants::NETWORK_FORGOTTEN,
            plants::HALVES_SWAPPED,
            plants::OVER_ANOTHER,
            plants::OFF_BY_ONE,
            plants::DOUBLED,
        ],
        ..ROW
    },
    Row {
        name: "stick_breaking-plain",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = 'stick_breaking'",
        forms: &[CAUSAL],
        plants: &[plants::SCHEME_FORGOTTEN, plants::CURRENT, plants::REMAINDER, plants::PADDING_SEEN],
        ..ROW
    },
    Row {
        name: "stick_breaking-remainder",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { stick_breaking = { remainder = true } }",
        forms: &[CAUSAL],
        plants: &[plants::SCHEME_FORGOTTEN, plants::CURRENT, plants::REMAINDER, plants::PADDING_SEEN],
        ..ROW
    },
    Row {
        name: "stick_breaking-current",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { stick_breaking = { attend_current = true } }",
        forms: &[CAUSAL],
        plants: &[plants::SCHEME_FORGOTTEN, plants::CURRENT, plants::REMAINDER, plants::PADDING_SEEN],
        ..ROW
    },
    Row {
        name: "path-gqa",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { path = { rank = 3 } }",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::REFLECTIONS_SWAPPED,
            plants::REFLECTIONS_WEAK,
            plants::HEADS_REVERSED,
            plants::PADDING_SEEN,
        ],
        ..ROW
    },
    Row {
        name: "path-chunks",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { path = { rank = 4, chunk = 2 } }",
        forms: &[CAUSAL],
        plants: &[
            plants::SCHEME_FORGOTTEN,
            plants::REFLECTIONS_SWAPPED,
            plants::REFLECTIONS_WEAK,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
];

fn stack<B: AutodiffBackend>(config: StackConfig, device: &B::Device) -> Stack<B> {
    Stack::new(&two_layers(config), shape(CAUSAL), Key::new(12), device)
}

/// Gates, counts, shares and reflections of padding inside a row are as if they were not there.
fn padding_inside_a_row_adds_nothing<B: AutodiffBackend>(device: &B::Device) {
    let want = text(&["#####"]);
    for row in ROWS.iter().filter(|row| row.forms.contains(&CAUSAL)) {
        let stack = stack::<B>(row.config(), device);
        let inside = whole(&stack, &text(&["##..#.##"]));
        assert_same(row.name, &whole(&stack, &want), &inside);
    }
}

/// What a scheme becomes when its gates stand open or its network is silent.
fn open_gates_leave_attention_as_it_is<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    let of = |position: &str| {
        let toml =
            format!("d_model = 12\n n_heads = 2\n n_kv_heads = 1\n d_head = 6\n position = {position}");
        whole(&stack::<B>(toml::from_str(&toml).unwrap(), device), &tokens)
    };
    let plain = of("'none'");
    assert_same("gates", &plain, &of("{ fox = { init_bias = 40.0 } }"));
    assert_different("gates", &plain, &of("{ fox = { init_bias = 0.0 } }"));
    assert_same("vectors of zero", &plain, &of("'cope'"));
    assert_different("vectors", &plain, &of("{ cope = { init_std = 0.5 } }"));
}

/// The length of a chunk changes nothing.
fn chunks_are_no_part_of_the_result<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    let of = |chunk: usize| {
        let toml = format!(
            "d_model = 12\n n_heads = 2\n d_head = 6\n position = {{ path = {{ chunk = {chunk} }} }}"
        );
        whole(&stack::<B>(toml::from_str(&toml).unwrap(), device), &tokens)
    };
    let want = of(7);
    for chunk in [1, 2, 3, 32] {
        assert_same("chunks", &want, &of(chunk));
    }
}

on_backends!(
    padding_inside_a_row_adds_nothing,
    open_gates_leave_attention_as_it_is,
    chunks_are_no_part_of_the_result,
);
