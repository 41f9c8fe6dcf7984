//! Frequencies of context extension: against tables, at their ends, and for schemes whose frequencies follow the length.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Form, Frequencies, PositionShape, RotaryConfig, Scaling};
use locus_encoder::{Stack, StackConfig};
use locus_testkit::{on_processors, worst};

use crate::run::{assert_different, assert_same, chunked, shape, text, two_layers, whole};
use crate::subject::{CASES, Subject, golden};
use crate::{CAUSAL, rows};

/// The cases of `tables` in `oracle/positions_rotary.py`; `max_seq_len` is 4096.
const TABLES: [(&str, &str); 10] = [
    ("linear", "scaling = { type = 'linear', factor = 4 }"),
    ("ntk", "scaling = { type = 'ntk', factor = 5.0 }"),
    ("dynamic_ntk", "scaling = { type = 'dynamic_ntk', factor = 2.0, original_max_positions = 512 }"),
    ("ntk_by_parts", "scaling = { type = 'ntk_by_parts', factor = 4.0, original_max_positions = 2048 }"),
    ("llama3", "base = 5e5\n scaling = { type = 'llama3' }"),
    ("yarn", "scaling = { type = 'yarn', factor = 40.0, original_max_positions = 4096 }"),
    (
        "yarn_mscale",
        "scaling = { type = 'yarn', factor = 40.0, original_max_positions = 4096, mscale = 1.0, mscale_all_dim = 0.707 }",
    ),
    (
        "yarn_exact",
        "base = 15e4\n scaling = { type = 'yarn', factor = 32.0, original_max_positions = 4096, truncate = false,
            attention_factor = 1.25 }",
    ),
    (
        "longrope",
        "scaling = { type = 'longrope', original_max_positions = 512,
            short_factor = [1.0, 1.05, 1.5, 2.5], long_factor = [1.1, 1.7, 3.5, 7.0] }",
    ),
    ("proportional", "fraction = 0.375\n fraction_of = 'frequencies'"),
];

fn config(toml: &str) -> RotaryConfig {
    toml::from_str(toml).unwrap_or_else(|e| panic!("{e}: {toml}"))
}

fn head(d_head: usize) -> PositionShape {
    PositionShape {
        d_model: d_head,
        n_heads: 1,
        n_kv_heads: 1,
        d_head,
        max_seq_len: 4096,
        form: Form::Causal,
    }
}

fn frequencies(toml: &str, d_head: usize, length: f64) -> Frequencies {
    config(toml).frequencies(&head(d_head), length)
}

#[test]
fn frequencies_are_those_of_the_papers_and_of_transformers() {
    let golden = golden("rope-tables");
    for (name, toml) in TABLES {
        for length in ["100", "3000"] {
            let want = golden.values(&format!("{name}.{length}"));
            let found = frequencies(toml, 2 * want.len(), length.parse().unwrap());
            let thetas: Vec<f32> = found.thetas.iter().map(|theta| *theta as f32).collect();
            let (pair, excess) = worst(&thetas, want, 0.0, 1e-6).unwrap();
            assert!(excess <= 0.0, "{name} at {length}, pair {pair}: {} for {}", thetas[pair], want[pair]);
            let magnitude = f64::from(golden.values(&format!("{name}.magnitude"))[0]);
            assert!(
                (found.magnitude - magnitude).abs() < 1e-6,
                "{name}: {} for {magnitude}",
                found.magnitude
            );
        }
    }
}

/// Every scaling that has a factor, with factor 1.
#[test]
fn factor_one_is_the_base_scheme() {
    for (name, toml) in TABLES {
        let mut config = config(toml);
        let base = RotaryConfig { scaling: None, ..config.clone() };
        match &mut config.scaling {
            Some(Scaling::Linear(c) | Scaling::Ntk(c)) => c.factor = 1.0,
            Some(Scaling::DynamicNtk(c)) => c.factor = 1.0,
            Some(Scaling::NtkByParts(c)) => c.factor = 1.0,
            Some(Scaling::Llama3(c)) => c.factor = 1.0,
            Some(Scaling::Yarn(c)) => (c.factor, c.attention_factor) = (1.0, None),
            Some(Scaling::Longrope(c)) => {
                (c.factor, c.long_factor) = (Some(1.0), vec![1.0; 4]);
            }
            None => continue,
        }
        // The base of dynamic scaling still follows the length: its factor is the one at the original length.
        let length = if name == "dynamic_ntk" { 512.0 } else { 3000.0 };
        let d_head = if name == "longrope" { 8 } else { 64 };
        let (found, want) =
            (config.frequencies(&head(d_head), length), base.frequencies(&head(d_head), length));
        assert_eq!(found.magnitude, want.magnitude, "{name}");
        for (found, want) in found.thetas.iter().zip(&want.thetas) {
            assert!((found - want).abs() <= 1e-15 * want, "{name}: {found} for {want}");
        }
    }
}

/// A pair that was faster stays faster; the fastest stays as it was, and the slowest is `s` times as slow.
#[test]
fn scalings_keep_the_order_of_frequencies() {
    for (name, toml) in TABLES {
        if name == "longrope" || name == "proportional" {
            continue; // free factors; zeros
        }
        let plain = RotaryConfig { scaling: None, ..config(toml) }.frequencies(&head(64), 3000.0).thetas;
        let thetas = frequencies(toml, 64, 3000.0).thetas;
        assert!(thetas.windows(2).all(|pair| pair[0] > pair[1]), "{name}: {thetas:?}");
        if name != "linear" {
            assert_eq!(thetas[0], plain[0], "{name}: the fastest pair");
        }
        let slower = match name {
            "dynamic_ntk" => 2.0 * 3000.0 / 512.0 - 1.0,
            "ntk" => 5.0,
            "linear" | "ntk_by_parts" => 4.0,
            "llama3" => 8.0,
            "yarn_exact" => 32.0,
            _ => 40.0,
        };
        let found = plain[31] / thetas[31];
        assert!((found / slower - 1.0).abs() < 1e-9, "{name}: the slowest pair is {found} times as slow");
    }
}

#[test]
fn wrong_scalings_are_refused_with_their_key() {
    for (key, toml) in [
        ("scaling.factor", "scaling = { type = 'linear', factor = 0.5 }"),
        (
            "scaling.original_max_positions",
            "scaling = { type = 'dynamic_ntk', factor = 2, original_max_positions = 0 }",
        ),
        ("scaling.type", "fraction = 0.25\n scaling = { type = 'ntk', factor = 2 }"),
        (
            "scaling.fast_turns",
            "scaling = { type = 'ntk_by_parts', factor = 2, original_max_positions = 9, fast_turns = 1 }",
        ),
        (
            "scaling.beta_slow",
            "scaling = { type = 'yarn', factor = 2, original_max_positions = 9, beta_slow = 0 }",
        ),
        ("scaling.mscale", "scaling = { type = 'yarn', factor = 2, original_max_positions = 9, mscale = 1 }"),
        ("scaling.high_freq_factor", "scaling = { type = 'llama3', high_freq_factor = 0.5 }"),
        (
            "scaling.long_factor",
            "scaling = { type = 'longrope', original_max_positions = 9, short_factor = [1, 1, 1, 1], long_factor = [1] }",
        ),
    ] {
        let stack: StackConfig =
            toml::from_str(&format!("d_model = 16\n n_heads = 2\n [position.rotary]\n{toml}")).unwrap();
        let problems = stack.check(CAUSAL);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [format!("position.rotary.{key}")], "{problems:?}");
    }
    let misspelt = "[position.rotary.scaling]\n type = 'yarn'\n factr = 2.0\n original_max_positions = 9";
    assert!(toml::from_str::<StackConfig>(misspelt).unwrap_err().to_string().contains("factr"));
    let unknown = "[position.rotary.scaling]\n type = 'yam'";
    assert!(toml::from_str::<StackConfig>(unknown).unwrap_err().to_string().contains("yarn"));
}

/// The last tokens of a text see all its raw keys turned for its whole length, cached or not. Keys that were turned for
/// the shorter text, which is what a cache of final keys would hold, give something else.
fn cached_keys_are_turned_for_the_whole_text<B: AutodiffBackend>(device: &B::Device) {
    let mut compared = 0;
    for row in rows().filter(|row| row.follows_length) {
        let golden = golden(row.name);
        let mut follows = false;
        for case in CASES {
            compared += 1;
            let subject = Subject::new(row, &golden, case);
            let width = subject.config.d_model;
            // The columns 0 to 4 and 5 to 6 of both rows.
            let part = |out: &[f32], columns: std::ops::Range<usize>| -> Vec<f32> {
                out.chunks(7 * width)
                    .flat_map(|row| row[columns.start * width..columns.end * width].to_vec())
                    .collect()
            };
            let got = subject.run::<B>(&[5, 2], device).out;
            let want = golden.values(&format!("{case}.out"));
            let (last, want_last) = (part(&got, 5..7), part(want, 5..7));
            let (_, excess) = worst(&last, &want_last, 5e-6, 5e-6).unwrap();
            assert!(excess <= 0.0, "{} {case}: the last tokens", row.name);
            let (_, excess) = worst(&part(&got, 0..5), &part(want, 0..5), 1e-3, 0.0).unwrap();
            follows |= excess > 0.0;
        }
        assert!(follows, "{}: the frequencies do not follow the length", row.name);
    }
    assert_eq!(compared, 4, "rows that follow the length");
}

/// Documents that share a row have the frequencies of their own lengths, one below the original length and one above it.
fn documents_are_turned_for_their_own_length<B: AutodiffBackend>(device: &B::Device) {
    let apart = text(&["###.....", "########"]);
    let ids = apart.ids.iter().zip(&apart.keep).filter(|(_, keep)| **keep).map(|(id, _)| *id).collect();
    let packed = Tokens::new([1, 11], ids, vec![true; 11], None).unwrap();
    let packed = packed.with_documents([vec![0; 3], vec![1; 8]].concat()).unwrap();
    for row in rows().filter(|row| row.follows_length) {
        for form in row.forms {
            let stack = Stack::<B>::new(&two_layers(row.config()), shape(*form), Key::new(3), device);
            let found = whole(&stack, &packed).concat();
            let found = vec![found[..3].to_vec(), found[3..].to_vec()];
            assert_same(&format!("{} {form:?}", row.name), &whole(&stack, &apart), &found);
        }
    }
}

/// Up to the original length nothing is rewritten.
fn short_texts_are_decoded_as_they_are_read<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    for row in rows().filter(|row| row.follows_length) {
        let config = two_layers(row.config());
        let stack = |original: &str| {
            let toml = row.config.replace("original_max_positions = 6", original);
            assert_ne!(toml, row.config);
            Stack::<B>::new(&two_layers(toml::from_str(&toml).unwrap()), shape(CAUSAL), Key::new(3), device)
        };
        let roomy = stack("original_max_positions = 7");
        let want = whole(&roomy, &tokens);
        for chunks in [vec![1; 7], vec![3, 2, 2]] {
            assert_same(row.name, &want, &chunked(&roomy, &tokens, &chunks));
        }
        let tight = Stack::<B>::new(&config, shape(CAUSAL), Key::new(3), device);
        assert_different(row.name, &whole(&tight, &tokens), &chunked(&tight, &tokens, &[1; 7]));
    }
}

on_processors!(
    cached_keys_are_turned_for_the_whole_text,
    documents_are_turned_for_their_own_length,
    short_texts_are_decoded_as_they_are_read
);
