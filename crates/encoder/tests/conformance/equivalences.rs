//! Different ways to write the same attention: rotary pairings, grouped queries, schemes without their own part; and what a
//! rotation is.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{
    Form, FractionOf, LayerPass, Pairing, Pass, PositionConfig, PositionScheme, PositionShape, RotaryConfig,
};
use locus_encoder::{Stack, StackConfig};
use locus_testkit::{assert_close, on_processors, worst};

use crate::run::{assert_same, chunked_with, shape, text, two_layers, whole};
use crate::subject::{CASES, Host, Subject, golden};
use crate::{plants, rows};

#[track_caller]
fn assert_values(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let (idx, excess) = worst(got, want, 1e-5, 1e-5).unwrap();
    assert!(excess <= 0.0, "{what}: element {idx} is {}, want {}", got[idx], want[idx]);
}

/// The projections of a checkpoint in one pairing, with the columns of each head in the order of the other.
fn reorder_heads(host: &mut Host, d_head: usize, source: &[usize]) {
    for head in host.values.chunks_mut(d_head) {
        let old = head.to_vec();
        head.iter_mut().zip(source).for_each(|(new, &column)| *new = old[column]);
    }
}

fn pairings_agree_after_permuting_the_projections<B: AutodiffBackend>(device: &B::Device) {
    let mut compared = 0;
    for row in rows() {
        let mut position = row.config().position;
        let d_head = row.config().d_head();
        let turned = match &position {
            PositionConfig::Rotary(c) if c.fraction_of == FractionOf::Dimensions => {
                (c.fraction * d_head as f64) as usize
            }
            _ => d_head,
        };
        let Some(pairing) = plants::pairing(&mut position) else { continue };
        compared += 1;
        // Where each column of the other pairing comes from: pair `n` is (n, n + r/2) here and (2n, 2n + 1) there.
        let source: Vec<usize> = match pairing {
            Pairing::Halves => {
                let pairs = (0..turned / 2).flat_map(|n| [n, n + turned / 2]);
                pairs.chain(turned..d_head).collect()
            }
            Pairing::Interleaved => {
                let halves = (0..turned / 2).map(|n| 2 * n).chain((0..turned / 2).map(|n| 2 * n + 1));
                halves.chain(turned..d_head).collect()
            }
        };
        *pairing = plants::other(*pairing);
        let golden = golden(row.name);
        for case in CASES {
            let mut subject = Subject::new(row, &golden, case);
            subject.config.position = position.clone();
            for name in ["q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"] {
                reorder_heads(subject.tensors.get_mut(name).unwrap(), d_head, &source);
            }
            let out = subject.run::<B>(&[7], device).out;
            assert_values(&format!("{} {case}", row.name), &out, golden.values(&format!("{case}.out")));
        }
    }
    assert!(compared >= 20, "only {compared} rows turn pairs");
}

/// Keys and values of `n_kv_heads` heads, written out once per query head.
fn repeat_heads(host: &mut Host, d_head: usize, times: usize) {
    host.values = host.values.chunks(d_head).flat_map(|head| head.repeat(times)).collect();
    *host.shape.last_mut().unwrap() *= times;
}

fn grouped_queries_are_repeated_keys<B: AutodiffBackend>(device: &B::Device) {
    let mut groups = Vec::new();
    for row in rows() {
        let config = row.config();
        let times = config.n_heads / config.n_kv_heads();
        if times == 1 {
            continue;
        }
        groups.push(config.n_kv_heads());
        let golden = golden(row.name);
        for case in CASES {
            let mut subject = Subject::new(row, &golden, case);
            subject.config.n_kv_heads = None;
            for name in ["k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"] {
                repeat_heads(subject.tensors.get_mut(name).unwrap(), config.d_head(), times);
            }
            // What PaTH has of each key head.
            let of_key_heads =
                [("position.up", config.d_head()), ("position.beta_weight", 1), ("position.beta_bias", 1)];
            for (name, width) in of_key_heads {
                if let Some(host) = subject.tensors.get_mut(name) {
                    repeat_heads(host, width, times);
                }
            }
            let out = subject.run::<B>(&[7], device).out;
            assert_values(&format!("{} {case}", row.name), &out, golden.values(&format!("{case}.out")));
        }
    }
    assert!(groups.contains(&1) && groups.contains(&2), "{groups:?}");
}

/// What a scheme becomes when its own part is taken away.
const SPECIAL_CASES: [(&str, &str); 18] = [
    ("'mrope'", "'rotary'"),
    (
        "{ mrope = { order = 'interleaved', pairing = 'interleaved' } }",
        "{ rotary = { pairing = 'interleaved' } }",
    ),
    ("{ xpos = { scale_base = 1e9 } }", "{ rotary = { pairing = 'interleaved' } }"),
    ("{ rerope = { window = 7 } }", "'rotary'"),
    ("{ rerope = { window = 2, leak = 1.0 } }", "'rotary'"),
    ("{ rerope = { log_length = 7 } }", "'rotary'"),
    ("{ self_extend = { window = 7, group = 2 } }", "'rotary'"),
    ("{ self_extend = { window = 3, group = 1 } }", "'rotary'"),
    ("{ dual_chunk = { chunk = 8, local = 1 } }", "'rotary'"),
    ("{ attention_sinks = { window = 7 } }", "'rotary'"),
    ("{ lambda_mask = { sinks = 0, window = 7 } }", "'rotary'"),
    ("{ rotary = { scaling = { type = 'linear', factor = 1 } } }", "'rotary'"),
    ("{ rotary = { fraction_of = 'frequencies' } }", "'rotary'"),
    ("'temperature'", "'none'"),
    ("{ cape = { base = 500.0 } }", "{ sinusoidal = { base = 500.0 } }"),
    ("{ randomised = { over = 'alibi', max = 128 } }", "'alibi'"),
    ("'xlnet'", "'transformer_xl'"),
    ("{ transformer_xl = { clamp = 7 } }", "'transformer_xl'"),
];

fn schemes_become_their_base<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    for (special, base) in SPECIAL_CASES {
        let outputs = [special, base].map(|position| {
            let toml =
                format!("d_model = 12\n n_heads = 2\n n_kv_heads = 1\n d_head = 8\n position = {position}");
            let config: StackConfig = toml::from_str(&toml).unwrap_or_else(|e| panic!("{special}: {e}"));
            assert_eq!(config.check(Form::Causal), [], "{special}");
            whole(&Stack::<B>::new(&two_layers(config), shape(Form::Causal), Key::new(6), device), &tokens)
        });
        assert_same(special, &outputs[0], &outputs[1]);
    }
}

/// A cache of attention sinks does not grow: it keeps what a later token may see.
fn sinks_bound_the_cache<B: AutodiffBackend>(device: &B::Device) {
    let toml = "d_model = 12\n n_heads = 2\n position = { attention_sinks = { sinks = 2, window = 3 } }";
    let config = two_layers(toml::from_str(toml).unwrap());
    let stack = Stack::<B>::new(&config, shape(Form::Causal), Key::new(6), device);
    let mut cache = stack.new_cache();
    let keep = "#".repeat(12);
    chunked_with(&stack, &text(&[&keep]), &[1; 12], &mut cache);
    let [_, _, columns, _] = cache.layers[1].keys[0].get().dims();
    // Two sinks, and two that are less than three before the next token.
    assert_eq!(columns, 4);
    assert_eq!(cache.tokens[0].as_ref().unwrap().positions, [0.0, 1.0, 10.0, 11.0]);
}

/// Queries after the rotary hook, for tokens at these positions.
fn turned<B: AutodiffBackend>(config: RotaryConfig, q: Tensor<B, 4>, positions: &[f64]) -> Tensor<B, 4> {
    let ([_, n_heads, seq, d_head], device) = (q.dims(), q.device());
    let mut tokens = Tokens::new([1, seq], vec![0; seq], vec![true; seq], None).unwrap();
    tokens.positions = positions.to_vec();
    let pass = Pass { queries: &tokens, keys: &tokens, form: Form::Causal, longest_seen: seq, key: None };
    let form = Form::Causal;
    let shape = PositionShape { d_model: 3, n_heads, n_kv_heads: n_heads, d_head, max_seq_len: seq, form };
    let position = PositionConfig::Rotary(config).init::<B>(&shape, Key::new(0), &device);
    let scheme = position.scheme();
    let prepared = scheme.prepare(&pass, &device);
    let hidden = Tensor::zeros([1, seq, 3], &device);
    let at = LayerPass {
        pass: &pass,
        prepared: &prepared,
        layer: 0,
        hidden: &hidden,
        state: None,
        scale: 1.0,
        projections: None,
    };
    scheme.rotate(q.clone(), q, &at).views.swap_remove(0).0
}

fn rotation_keeps_the_norm<B: AutodiffBackend>(device: &B::Device) {
    let key = Key::new(2);
    let values: Vec<f32> = (0..3 * 5 * 8).map(|idx| key.normal(idx) as f32).collect();
    let q = Tensor::<B, 4>::from_data(TensorData::new(values, [1, 3, 5, 8]), device);
    let norm = |x: Tensor<B, 4>| (x.clone() * x).sum_dim(3);
    let want: Vec<f32> = norm(q.clone()).to_data().iter::<f32>().collect();
    for pairing in [Pairing::Halves, Pairing::Interleaved] {
        for fraction in [1.0, 0.5] {
            let config = RotaryConfig { pairing, fraction, ..RotaryConfig::default() };
            let q = turned(config, q.clone(), &[0.0, 1.0, 7.0, 1e3, 1e6]);
            assert_close(&format!("{pairing:?} {fraction}"), &norm(q), &want, 1e-5, 1e-5);
        }
    }
}

/// At position 10^6 neighbouring f32 numbers are 0.06 apart, so angles in f32 would fail.
fn angles_far_out_are_right<B: AutodiffBackend>(device: &B::Device) {
    const D_HEAD: usize = 8;
    let positions = [999_983.0, 1_000_000.0, 1_000_003.0];
    // Pairs (1, 0) turn into (cos, sin).
    let q: Vec<f32> = (0..3 * D_HEAD).map(|idx| if idx % D_HEAD < D_HEAD / 2 { 1.0 } else { 0.0 }).collect();
    let q = Tensor::<B, 4>::from_data(TensorData::new(q, [1, 1, 3, D_HEAD]), device);
    let half = D_HEAD as i32 / 2;
    let angle = |p: f64, n: i32| p / 10_000.0_f64.powf(f64::from(n) / f64::from(half));
    let row =
        |p: f64| (0..half).map(move |n| angle(p, n).cos()).chain((0..half).map(move |n| angle(p, n).sin()));
    let want: Vec<f32> = positions.iter().flat_map(|&p| row(p)).map(|x| x as f32).collect();
    let got = turned(RotaryConfig::default(), q.clone(), &positions);
    assert_close("cos and sin", &got, &want, 1e-6, 0.0);
    let trained = RotaryConfig { train_frequencies: true, ..RotaryConfig::default() };
    assert_close("before training", &turned(trained, q, &positions), &want, 1e-6, 0.0);
    let in_f32 = |p: f64, n: i32| f64::from(angle(p, n) as f32);
    let off = positions.iter().flat_map(|&p| (0..half).map(move |n| (in_f32(p, n) - angle(p, n)).abs()));
    assert!(off.fold(0.0, f64::max) > 1e-3, "the positions chosen do not tell f32 angles from f64 angles");
}

on_processors!(
    schemes_become_their_base,
    sinks_bound_the_cache,
    pairings_agree_after_permuting_the_projections,
    grouped_queries_are_repeated_keys,
    rotation_keeps_the_norm,
    angles_far_out_are_right,
);
