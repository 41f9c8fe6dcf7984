//! The rows of schemes that add scores of content and position, and DeBERTa's buckets.

use locus_embedding::position::{Limit, deberta_bucket};
use locus_encoder::StackConfig;

use crate::subject::golden;
use crate::{BIDIRECTIONAL, CAUSAL, ROW, Row, plants};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "shaw-keys",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { shaw = { max_distance = 2, values = false, init_std = 0.5 } }",
        plants: &[plants::TABLE_SHIFTED, plants::NEGATED, plants::STEP_OFF_BY_ONE],
        ..ROW
    },
    Row {
        name: "transformer_xl-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { transformer_xl = { init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::BASE,
            plants::BIASES_SWAPPED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
            plants::SINES_FOR_COSINES,
        ],
        ..ROW
    },
    Row {
        name: "transformer_xl-clamped",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { transformer_xl = { base = 50.0, clamp = 3, init_std = 0.5 } }",
        plants: &[plants::NEGATED, plants::BASE, plants::BIASES_SWAPPED, plants::CLAMP, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "xlnet-segments",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { xlnet = { segments = true, init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::BASE,
            plants::SEGMENTS_SWAPPED,
            plants::SEGMENTS_FORGOTTEN,
            plants::SEGMENT_BIAS_FORGOTTEN,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "xlnet-clamped",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { xlnet = { base = 50.0, clamp = 4, init_std = 0.5 } }",
        plants: &[plants::NEGATED, plants::BASE, plants::BIASES_SWAPPED, plants::CLAMP],
        ..ROW
    },
    Row {
        name: "deberta-clipped",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { deberta = { distances = 'clipped', span = 3, norm = false, init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::TABLE_SHIFTED,
            plants::DISTANCES,
            plants::POSITION_TO_CONTENT_FORGOTTEN,
            plants::PROJECTIONS_SWAPPED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "deberta-log",
        form: CAUSAL,
        config:
            "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { deberta = { distances = { log = { max_distance = 9 } }, span = 4, init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::TABLE_SHIFTED,
            plants::POSITION_TO_CONTENT_FORGOTTEN,
            plants::PROJECTIONS_SWAPPED,
            plants::NORM_FORGOTTEN,
            plants::STEP_OFF_BY_ONE,
        ],
        ..ROW
    },
    Row {
        name: "deberta-c2p",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { deberta = { distances = { log = { max_distance = 9 } }, span = 4, norm = false, \
                terms = 'content_to_position', init_std = 0.5 } }",
        plants: &[plants::NEGATED, plants::TABLE_SHIFTED, plants::TERMS, plants::OTHER_FORM],
        ..ROW
    },
    Row {
        name: "deberta-p2c",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { deberta = { distances = 'clipped', span = 3, terms = 'position_to_content', \
                init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::TABLE_SHIFTED,
            plants::TERMS,
            plants::NORM_FORGOTTEN,
            plants::HEADS_REVERSED,
        ],
        ..ROW
    },
    Row {
        name: "tupe-absolute",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n max_seq_len = 23\n
            position = { tupe = { first_token = false, init_std = 0.7 } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[
            plants::OFF_BY_ONE,
            plants::TABLE_SHIFTED,
            plants::PROJECTIONS_SWAPPED,
            plants::HEADS_REVERSED,
            plants::OTHER_FORM,
        ],
        ..ROW
    },
    Row {
        name: "tupe-relative",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n max_seq_len = 19\n
            position = { tupe = { max_positions = 23, init_std = 0.7, \
                relative = { n_buckets = 8, max_distance = 16 } } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[
            plants::OFF_BY_ONE,
            plants::TABLE_SHIFTED,
            plants::PROJECTIONS_SWAPPED,
            plants::FIRST_TOKEN_TIED,
            plants::FIRST_TOKEN_SWAPPED,
            plants::BUCKETS_SHIFTED,
        ],
        ..ROW
    },
    Row {
        name: "tupe-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n max_seq_len = 23\n
            position = { tupe = { init_std = 0.7, relative = { n_buckets = 8, max_distance = 12 } } }",
        relative: false,
        limit: Limit::Error(23),
        plants: &[
            plants::OFF_BY_ONE,
            plants::TABLE_SHIFTED,
            plants::FIRST_TOKEN_TIED,
            plants::BUCKETS_SHIFTED,
            plants::STEP_OFF_BY_ONE,
        ],
        ..ROW
    },
    Row {
        name: "relative_projection-causal",
        form: CAUSAL,
        config: "d_model = 10\n n_heads = 4\n n_kv_heads = 2\n d_head = 4\n
            position = { relative_projection = { d_rel = 3, extent = 4, init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::TABLE_SHIFTED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::HEADS_REVERSED,
            plants::OTHER_FORM,
        ],
        ..ROW
    },
    Row {
        name: "relative_projection-bidirectional",
        form: BIDIRECTIONAL,
        config: "d_model = 10\n n_heads = 3\n d_head = 4\n
            position = { relative_projection = { d_rel = 3, extent = 4, init_std = 0.5 } }",
        plants: &[
            plants::NEGATED,
            plants::TABLE_SHIFTED,
            plants::DOUBLED,
            plants::STEP_OFF_BY_ONE,
            plants::OTHER_FORM,
        ],
        ..ROW
    },
];

/// Several sizes, distances on both sides of every edge, as `make_log_bucket_position` of transformers gives them.
#[test]
fn deberta_buckets_are_those_of_transformers() {
    let golden = golden("deberta-buckets");
    let mut rounded_up = 0;
    for cell in golden.values("cells").chunks(4) {
        let bucket = deberta_bucket(f64::from(cell[0]), cell[1] as usize, cell[2] as usize);
        assert_eq!(bucket, f64::from(cell[3]), "distance, span, max_distance, bucket: {cell:?}");
        rounded_up += usize::from(cell[0].abs() > cell[1] / 2.0 && cell[3].abs() > cell[1] / 2.0);
    }
    assert!(rounded_up > 500, "only {rounded_up} distances past those with buckets of their own");
}

#[test]
fn what_does_not_fit_is_refused() {
    let cases = [
        ("d_model = 9\n n_heads = 3\n position = 'transformer_xl'", "transformer_xl"),
        ("d_model = 9\n n_heads = 3\n position = 'xlnet'", "xlnet"),
        ("position = { xlnet = { clamp = 0 } }", "xlnet.clamp"),
        ("position = { deberta = { span = 2 } }", "deberta.span"),
        (
            "position = { deberta = { distances = { log = { max_distance = 129 } } } }",
            "deberta.distances.log.max_distance",
        ),
        ("max_seq_len = 9\n position = { tupe = { max_positions = 8 } }", "tupe.max_positions"),
        ("position = { tupe = { relative = { n_buckets = 6 } } }", "tupe.relative.n_buckets"),
        ("position = { relative_projection = { extent = 0 } }", "relative_projection.extent"),
        ("position = { relative_projection = { d_rel = 0 } }", "relative_projection.d_rel"),
    ];
    for (config, key) in cases {
        let config: StackConfig = toml::from_str(config).unwrap_or_else(|e| panic!("{config}: {e}"));
        let problems = config.check(BIDIRECTIONAL);
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [format!("position.{key}")], "{problems:?}");
    }
}
