//! Stacks whose layers differ, as published models have them: layers without positions between rotary ones, with a
//! temperature or without, and two bases; and the patterns that write them.

use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::rng::Key;
use locus_embedding::position::{Pass, PositionConfig, PositionScheme, RotaryConfig, TemperatureConfig};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{BlockPass, Stack, StackConfig};
use locus_testkit::on_processors;

use crate::CAUSAL;
use crate::run::{
    VOCAB_SIZE, Vectors, assert_different, assert_same, chunked, shape, starting_at, text, two_layers,
    vectors, whole,
};

/// A hybrid as a configuration writes it, and what that means.
struct Hybrid {
    what: &'static str,
    n_layers: usize,
    pattern: &'static str,
    of_layer: fn(usize) -> PositionConfig,
    /// Whether shifting all positions changes nothing.
    relative: bool,
}

fn rotary(base: f64) -> PositionConfig {
    PositionConfig::Rotary(RotaryConfig { base, ..Default::default() })
}

const HYBRIDS: [Hybrid; 4] = [
    Hybrid {
        what: "every fourth layer without positions",
        n_layers: 8,
        pattern: "['rotary', 'rotary', 'rotary', 'none']",
        of_layer: |layer| if layer % 4 == 3 { PositionConfig::None } else { rotary(10_000.0) },
        relative: true,
    },
    Hybrid {
        what: "every fourth layer with a temperature",
        n_layers: 8,
        pattern: "['rotary', 'rotary', 'rotary', { temperature = { scale = 0.7, floor = 3 } }]",
        of_layer: |layer| match layer % 4 {
            3 => PositionConfig::Temperature(TemperatureConfig { scale: 0.7, floor: 3 }),
            _ => rotary(10_000.0),
        },
        relative: false,
    },
    Hybrid {
        what: "two bases, the pattern cut at the end",
        n_layers: 8,
        pattern: "[{ rotary = { base = 10.0 } }, { rotary = { base = 10.0 } }, { rotary = { base = 1e4 } }]",
        of_layer: |layer| rotary(if layer % 3 == 2 { 1e4 } else { 10.0 }),
        relative: true,
    },
    Hybrid {
        what: "a list",
        n_layers: 3,
        pattern: "['none', 'rotary', 'alibi']",
        of_layer: |layer| match layer {
            0 => PositionConfig::None,
            1 => rotary(10_000.0),
            _ => PositionConfig::Alibi(Default::default()),
        },
        relative: true,
    },
];

impl Hybrid {
    fn config(&self) -> StackConfig {
        let toml = format!("d_model = 12\n n_heads = 2\n layer_positions = {}", self.pattern);
        let config = toml::from_str(&toml).unwrap_or_else(|e| panic!("{}: {e}", self.what));
        let config = StackConfig { n_layers: self.n_layers, ..two_layers(config) };
        assert_eq!(config.check(CAUSAL), [], "{}", self.what);
        config
    }

    fn stack<B: Backend>(&self, device: &B::Device) -> Stack<B> {
        Stack::new(&self.config(), shape(CAUSAL), Key::new(9), device)
    }
}

/// The blocks of a stack one after the other, each under the scheme of its layer alone.
fn by_hand<B: Backend>(stack: &Stack<B>, hybrid: &Hybrid, tokens: &Tokens, device: &B::Device) -> Vectors {
    let batch = TokenBatch::from_host(tokens.clone(), VOCAB_SIZE, device).unwrap();
    let pass = Pass { queries: tokens, keys: tokens, form: CAUSAL, longest_seen: tokens.seq, key: None };
    let spec = MaskSpec {
        batch: tokens.batch,
        q_len: tokens.seq,
        k_len: tokens.seq,
        causal: true,
        keep: Some(tokens.keep.clone()),
        visible: None,
        spans: None,
    };
    let mask = AttentionMask::new(spec, device);
    let mut x = stack.embeddings.forward(&batch).unwrap();
    for (layer, block) in stack.layers.iter().enumerate() {
        let position_shape = hybrid.config().position_shape(CAUSAL);
        let position = (hybrid.of_layer)(layer).init::<B>(&position_shape, Key::new(0), device);
        let scheme = position.scheme();
        let prepared = &scheme.prepare(&pass, device);
        let at = BlockPass { scheme, pass: &pass, prepared, mask: &mask, memory: None, layer, key: None };
        x = block.forward(x, &at, None);
    }
    vectors(&stack.final_norm.as_ref().unwrap().forward(x), tokens)
}

fn each_layer_has_its_scheme<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    for hybrid in &HYBRIDS {
        let stack = hybrid.stack::<B>(device);
        let want = by_hand(&stack, hybrid, &tokens, device);
        assert_same(hybrid.what, &want, &whole(&stack, &tokens));
        // Planted: the layers of the pattern one too early.
        let mut moved = hybrid.config();
        moved.layer_positions.rotate_left(1);
        let moved = Stack::<B>::new(&moved, shape(CAUSAL), Key::new(9), device);
        assert_different(hybrid.what, &want, &whole(&moved, &tokens));
    }
}

fn hybrids_decode_as_they_read<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "##.####"]);
    for hybrid in &HYBRIDS {
        let stack = hybrid.stack::<B>(device);
        let prefill = whole(&stack, &tokens);
        for chunks in [vec![1; 7], vec![3, 2, 1, 1], vec![2, 5]] {
            assert_same(hybrid.what, &prefill, &chunked(&stack, &tokens, &chunks));
        }
        let unpadded = whole(&stack, &text(&["#####"]));
        assert_same(hybrid.what, &unpadded, &prefill[..1].to_vec());
        let shifted = whole(&stack, &starting_at(tokens.clone(), 7.0));
        if hybrid.relative {
            assert_same(hybrid.what, &prefill, &shifted);
        } else {
            assert_different(hybrid.what, &prefill, &shifted);
        }
    }
}

/// Layers of the same scheme share it, or have one each.
#[test]
fn a_pattern_is_the_list_it_stands_for() {
    for hybrid in &HYBRIDS {
        let pattern = hybrid.config();
        let list = (0..hybrid.n_layers).map(hybrid.of_layer).collect();
        let list = StackConfig { layer_positions: list, ..pattern.clone() };
        assert_eq!(pattern.schemes(), list.schemes(), "{}", hybrid.what);
        let written = toml::to_string(&pattern).unwrap();
        assert_eq!(toml::from_str::<StackConfig>(&written).unwrap(), pattern, "{written}");
    }
}

/// What is neither a list nor a pattern that comes twice is more likely a slip.
#[test]
fn a_list_of_another_length_is_refused() {
    let listed = |n_layers: usize, entries: usize| {
        let config = StackConfig {
            n_layers,
            layer_positions: vec![PositionConfig::None; entries],
            ..StackConfig::default()
        };
        config.check(CAUSAL)
    };
    for (n_layers, entries) in [(1, 0), (1, 1), (4, 1), (4, 2), (4, 4), (28, 14), (26, 6)] {
        assert_eq!(listed(n_layers, entries), [], "{entries} for {n_layers} layers");
    }
    for (n_layers, entries) in [(1, 2), (4, 3), (4, 5), (28, 27), (28, 15)] {
        let problems = listed(n_layers, entries);
        assert_eq!(problems.len(), 1, "{entries} for {n_layers} layers: {problems:?}");
        assert_eq!(problems[0].key, "layer_positions");
        let allowed =
            format!("one for each of the {n_layers} layers, or a pattern of at most {}", n_layers / 2);
        assert!(problems[0].allowed.contains(&allowed), "{problems:?}");
    }
}

on_processors!(each_layer_has_its_scheme, hybrids_decode_as_they_read);
