//! What holds for every scheme without an oracle, through whole stacks, in both forms.

use burn::module::{AutodiffModule, Module};
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Limit, PositionConfig, PositionScheme};
use locus_embedding::{EmbeddingError, Tokens};
use locus_encoder::{KvCache, Stack, StackConfig};
use locus_testkit::on_backends;

use crate::run::{
    assert_different, assert_same, chunked, chunked_with, shape, starting_at, text, try_pass, two_layers,
    whole,
};
use crate::subject::trained_params;
use crate::{BIDIRECTIONAL, CAUSAL, Row, rows, rows_and_forms, rows_on};

fn stack<B: AutodiffBackend>(row: &Row, form: Form, seed: u64, device: &B::Device) -> Stack<B> {
    Stack::new(&two_layers(row.config()), shape(form), Key::new(seed), device)
}

fn the_scheme_is_what_its_row_declares<B: AutodiffBackend>(device: &B::Device) {
    for row in rows_on::<B>(device) {
        let config = two_layers(row.config());
        for form in [CAUSAL, BIDIRECTIONAL] {
            if !row.forms.contains(&form) {
                assert_ne!(config.check(form), [], "{} is not for {form:?}", row.name);
                continue;
            }
            assert_eq!(config.check(form), [], "{}", row.name);
            let stack = stack::<B>(row, form, 1, device);
            let scheme = stack.schemes[0].scheme();
            assert_eq!(scheme.name(), config.position.name());
            assert_eq!(scheme.is_relative(), row.relative, "{}", row.name);
            assert_eq!(scheme.limit(), row.limit, "{}", row.name);
            assert_eq!(scheme.extra_width(), config.position.extra_width(), "{}", row.name);
        }
    }
}

/// The rows whose output for a token does not depend on what follows it; see [`crate::scaling`] for the others.
fn decoders<B: Backend>(device: &B::Device) -> impl Iterator<Item = &'static Row> {
    rows_on::<B>(device).filter(|row| row.forms.contains(&CAUSAL) && !row.follows_length)
}

fn prefill_is_decode<B: AutodiffBackend>(device: &B::Device) {
    // The last text has padding inside a row: a row that waits while another one goes on.
    for keep in [["#######", "#######"], ["..#####", "#######"], ["##.##.#", ".#####."]] {
        let tokens = text(&keep);
        for row in decoders::<B>(device) {
            let stack = stack::<B>(row, CAUSAL, 2, device);
            let prefill = whole(&stack, &tokens);
            for chunks in [vec![1; 7], vec![3, 2, 1, 1], vec![2, 5]] {
                let decode = chunked(&stack, &tokens, &chunks);
                assert_same(&format!("{} {keep:?} in {chunks:?}", row.name), &prefill, &decode);
            }
        }
    }
}

fn a_later_start_is_kept_by_the_cache<B: AutodiffBackend>(device: &B::Device) {
    let tokens = starting_at(text(&["..#####", "#######"]), 4.0);
    for row in decoders::<B>(device) {
        let stack = stack::<B>(row, CAUSAL, 2, device);
        let decode = chunked(&stack, &tokens, &[1; 7]);
        assert_same(row.name, &whole(&stack, &tokens), &decode);
    }
}

fn padding_changes_nothing<B: AutodiffBackend>(device: &B::Device) {
    let plain = text(&["#####"]);
    for (row, form) in rows_and_forms::<B>(device) {
        let stack = stack::<B>(row, form, 3, device);
        let unpadded = whole(&stack, &plain);
        for keep in [["..#####", "#######"], ["#####..", "#######"], [".#####.", "#######"]] {
            let padded = whole(&stack, &text(&keep))[..1].to_vec();
            assert_same(&format!("{} {form:?} {keep:?}", row.name), &unpadded, &padded);
        }
    }
}

/// Documents that share a row are as in rows of their own.
fn packed_documents_are_as_alone<B: AutodiffBackend>(device: &B::Device) {
    let apart = text(&["###.", "####"]);
    let ids = apart.ids.iter().zip(&apart.keep).filter(|(_, keep)| **keep).map(|(id, _)| *id).collect();
    let packed = Tokens::new([1, 7], ids, vec![true; 7], None).unwrap();
    let packed = packed.with_documents(vec![4, 4, 4, 9, 9, 9, 9]).unwrap();
    for (row, form) in rows_and_forms::<B>(device) {
        let stack = stack::<B>(row, form, 6, device);
        let found = whole(&stack, &packed).concat();
        let found = vec![found[..3].to_vec(), found[3..].to_vec()];
        assert_same(&format!("{} {form:?}", row.name), &whole(&stack, &apart), &found);
    }
}

/// Documents that share a row are decoded as they are read, also where a pass or the cache ends with one.
fn packed_documents_are_decoded_apart<B: AutodiffBackend>(device: &B::Device) {
    for documents in [[4, 4, 4, 9, 9, 9, 9], [4, 4, 4, 4, 4, 9, 9]] {
        let packed = text(&["#######"]).with_documents(documents.to_vec()).unwrap();
        for row in decoders::<B>(device) {
            let stack = stack::<B>(row, CAUSAL, 6, device);
            let prefill = whole(&stack, &packed);
            for chunks in [vec![1; 7], vec![3, 2, 2], vec![2, 5]] {
                let decode = chunked(&stack, &packed, &chunks);
                assert_same(&format!("{} {documents:?} in {chunks:?}", row.name), &prefill, &decode);
            }
        }
    }
}

/// A prefix is read in both directions, or refused by schemes whose queries may see no later keys.
fn a_prefix_is_read_whole_or_refused<B: AutodiffBackend>(device: &B::Device) {
    let plain = text(&["#######"]);
    let with = |n: usize| plain.clone().with_prefix((0..7).map(|cell| cell < n).collect()).unwrap();
    for row in rows_on::<B>(device).filter(|row| row.forms.contains(&CAUSAL)) {
        let (config, stack) = (row.config(), stack::<B>(row, CAUSAL, 6, device));
        let (scheme, why) = (config.position.name(), config.position.only_earlier());
        // An encoder with `temperature` alone cannot tell the order of tokens, which is another reason.
        let decoders_only = !row.forms.contains(&BIDIRECTIONAL) && scheme != "temperature";
        assert_eq!(why.is_some(), decoders_only, "{}", row.name);
        assert_eq!(config.check_prefix().len(), usize::from(decoders_only), "{}", row.name);
        if let Some(why) = why {
            let error = try_pass(&stack, &with(3), None).unwrap_err();
            assert_eq!(error, EmbeddingError::PrefixUnseen { scheme, why }, "{}", row.name);
            let told = error.to_string();
            assert!(told.contains(scheme) && told.contains(why), "{told}");
            continue;
        }
        assert_same(row.name, &whole(&stack, &plain), &whole(&stack, &with(0)));
        let three = whole(&stack, &with(3));
        assert_different(row.name, &three, &whole(&stack, &plain));
        if !row.follows_length {
            let start = whole(&stack, &with(3).columns(&[0, 1, 2]));
            assert_same(row.name, &start, &vec![three[0][..3].to_vec()]);
            assert_same(row.name, &three, &chunked(&stack, &with(3), &[3, 1, 3]));
        }
    }
}

/// A row that is all prefix is an encoder's; what follows a prefix is a decoder's.
fn a_prefix_sees_itself_whole<B: AutodiffBackend>(device: &B::Device) {
    let config = two_layers(StackConfig {
        d_model: 12,
        n_heads: 2,
        position: PositionConfig::named("rotary").unwrap(),
        ..StackConfig::default()
    });
    let of = |form| Stack::<B>::new(&config, shape(form), Key::new(6), device);
    let (encoder, decoder) = (of(BIDIRECTIONAL), of(CAUSAL));
    let plain = text(&["#######"]);
    let with = |n: usize| plain.clone().with_prefix((0..7).map(|cell| cell < n).collect()).unwrap();
    assert_same("all prefix", &whole(&encoder, &plain), &whole(&decoder, &with(7)));
    assert_same("no prefix", &whole(&decoder, &plain), &whole(&decoder, &with(0)));
    let three = whole(&decoder, &with(3));
    assert_different("three of seven", &three, &whole(&decoder, &plain));
    let start = whole(&encoder, &plain.columns(&[0, 1, 2]));
    assert_same("its start", &start, &vec![three[0][..3].to_vec()]);
    assert_same("in two passes", &three, &chunked(&decoder, &with(3), &[3, 1, 3]));
}

fn shifting_all_positions<B: AutodiffBackend>(device: &B::Device) {
    let keep = ["..#####", "#######"];
    for (row, form) in rows_and_forms::<B>(device) {
        let stack = stack::<B>(row, form, 4, device);
        let (here, there) = (whole(&stack, &text(&keep)), whole(&stack, &starting_at(text(&keep), 7.0)));
        let what = format!("{} {form:?}", row.name);
        if row.relative {
            assert_same(&what, &here, &there);
            // Angles in f32 would be wrong by 0.03 there.
            if row.limit == Limit::None {
                assert_same(&what, &here, &whole(&stack, &starting_at(text(&keep), 1e6)));
            }
        } else {
            assert_different(&what, &here, &there);
        }
    }
}

/// Order matters to every scheme but `none`, and to that one in a decoder.
fn order_matters<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["#######"]);
    let mut swapped = tokens.clone();
    swapped.ids.swap(0, 1);
    assert_ne!(swapped.ids, tokens.ids);
    for (row, form) in rows_and_forms::<B>(device) {
        let stack = stack::<B>(row, form, 5, device);
        let last = |tokens| vec![vec![whole(&stack, tokens)[0][6].clone()]];
        let (a, b) = (last(&tokens), last(&swapped));
        let what = format!("{} {form:?}", row.name);
        let config = row.config();
        // In the second layer of a decoder the keys know what they have seen.
        if config.position == PositionConfig::None && form == BIDIRECTIONAL {
            assert_same(&what, &a, &b);
        } else {
            assert_different(&what, &a, &b);
        }
    }
}

fn past_the_limit_is_as_declared<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["#######", "..#####"]);
    for row in rows_on::<B>(device) {
        let stack = stack::<B>(row, row.form, 6, device);
        match row.limit {
            Limit::Error(_) if row.spacing == 0.0 => {} // see `crate::token_ids`
            Limit::None => {
                let far = whole(&stack, &starting_at(tokens.clone(), 100_000.0));
                assert!(far.iter().flatten().flatten().all(|x| x.is_finite()), "{}", row.name);
            }
            Limit::Clamp(_) => unreachable!("no scheme of ours clamps; see hooks"),
            Limit::Error(limit) => {
                let start = limit as f64 / row.spacing - 7.0;
                assert!(try_pass(&stack, &starting_at(tokens.clone(), start), None).is_ok(), "{}", row.name);
                let error = try_pass(&stack, &starting_at(tokens.clone(), start + 1.0), None).unwrap_err();
                let (scheme, position) = (row.config().position.name(), limit as f64);
                let want = EmbeddingError::PastLimit { scheme, position, last: limit - 1, limit };
                assert_eq!(error, want, "{}", row.name);
                let told = error.to_string();
                for part in [scheme.to_owned(), limit.to_string(), (limit - 1).to_string()] {
                    assert!(told.contains(&part), "{told}");
                }
            }
        }
    }
}

/// Far apart as in a text of 32k positions: nothing overflows, and what vanishes does so quietly.
fn distant_tokens_are_finite<B: AutodiffBackend>(device: &B::Device) {
    let mut tokens = text(&["#######"]);
    tokens.positions = vec![0.0, 1.0, 2.0, 1000.0, 16_384.0, 32_766.0, 32_767.0];
    for (row, form) in rows_and_forms::<B>(device) {
        if let Limit::Error(limit) = row.limit
            && limit < 32_768
        {
            continue;
        }
        let far = whole(&stack::<B>(row, form, 6, device), &tokens);
        assert!(far.iter().flatten().flatten().all(|x| x.is_finite()), "{} {form:?}", row.name);
    }
}

/// A short text after a cache of 32 760 tokens, as a decoder meets it: finite, and done.
fn short_queries_of_long_texts_are_finite<B: AutodiffBackend>(device: &B::Device) {
    const CACHED: usize = 32_760;
    let few = text(&["########"]);
    for row in rows().filter(|row| row.forms.contains(&CAUSAL)) {
        if matches!(row.limit, Limit::Error(limit) if limit < CACHED + 8) {
            continue;
        }
        let stack = stack::<B>(row, CAUSAL, 6, device).valid();
        let mut cache = stack.new_cache();
        chunked_with(&stack, &few, &[8], &mut cache);
        fill(&stack, &mut cache, &few, CACHED);
        let far = chunked_with(&stack, &few, &[3, 1, 4], &mut cache);
        assert_eq!(far[0].len(), 8);
        assert!(far.iter().flatten().flatten().all(|x| x.is_finite()), "{}", row.name);
    }
}

/// Repeats a text and what is cached of it, up to `n` tokens: what a scheme does not retain is left out.
fn fill<B: Backend>(stack: &Stack<B>, cache: &mut KvCache<B>, tokens: &Tokens, n: usize) {
    let columns: Vec<usize> = (0..n).map(|column| column % tokens.seq).collect();
    let mut long = tokens.columns(&columns);
    long.number_from(&[0.0]);
    (cache.next_positions, cache.seen) = (long.next_positions(), vec![n]);
    let scheme = stack.schemes[0].scheme();
    scheme.number(&mut long, None, None);
    let kept = scheme.retained(&long);
    let long = kept.map_or_else(|| long.clone(), |columns| long.columns(&columns));
    let stretched = |len: usize| long.seq.div_ceil(len);
    for layer in &mut cache.layers {
        let of_heads =
            |x: Tensor<B, 4>| x.clone().repeat_dim(2, stretched(x.dims()[2])).narrow(2, 0, long.seq);
        layer.keys = layer.keys.drain(..).map(|k| k.map(of_heads)).collect();
        layer.values = layer.values.take().map(|v| v.map(of_heads));
        let of_tokens =
            |x: Tensor<B, 3>| x.clone().repeat_dim(1, stretched(x.dims()[1])).narrow(1, 0, long.seq);
        layer.state = layer.state.take().map(|s| s.map(of_tokens));
    }
    cache.tokens = vec![Some(long)];
}

/// The limit of a scheme that counts from where a text begins.
fn limit_of_starts(row: &Row) -> Option<usize> {
    match row.limit {
        Limit::Error(limit) if row.spacing > 0.0 => Some(limit),
        _ => None,
    }
}

/// A refused step leaves the cache as it was.
fn a_refused_step_leaves_the_cache<B: AutodiffBackend>(device: &B::Device) {
    for row in rows_on::<B>(device) {
        let Some(limit) = limit_of_starts(row) else { continue };
        let tokens = starting_at(text(&["#######"]), limit as f64 / row.spacing - 7.0);
        let stack = stack::<B>(row, CAUSAL, 6, device);
        let mut cache = stack.new_cache();
        let first = chunked_with(&stack, &tokens.columns(&[0, 1, 2, 3]), &[4], &mut cache);
        assert!(try_pass(&stack, &tokens.columns(&[3, 3, 3, 3]), Some(&mut cache)).is_err(), "{}", row.name);
        let rest = chunked_with(&stack, &tokens.columns(&[4, 5, 6]), &[2, 1], &mut cache);
        let all = vec![[first[0].clone(), rest[0].clone()].concat()];
        assert_same(row.name, &whole(&stack, &tokens), &all);
    }
}

/// A row that ends at the limit may wait while another one goes on.
fn padding_is_never_past_the_limit<B: AutodiffBackend>(device: &B::Device) {
    let mut tokens = text(&["##...", "#####"]);
    for row in rows_on::<B>(device) {
        let Some(limit) = limit_of_starts(row) else { continue };
        tokens.number_from(&[limit as f64 / row.spacing - 2.0, 0.0]);
        let stack = stack::<B>(row, CAUSAL, 6, device);
        assert_same(row.name, &whole(&stack, &tokens), &chunked(&stack, &tokens, &[1; 5]));
    }
}

#[test]
fn configurations_survive_toml() {
    for row in rows() {
        let config = row.config();
        let written = toml::to_string(&config).unwrap();
        let again: StackConfig =
            toml::from_str(&written).unwrap_or_else(|e| panic!("{}: {e}\n{written}", row.name));
        assert_eq!(again, config, "{}", row.name);
    }
}

#[test]
fn unknown_keys_are_refused() {
    for row in rows() {
        let config = row.config();
        let name = config.position.name();
        let mut table: toml::Table = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        let mut scheme =
            table["position"].as_table().and_then(|t| t[name].as_table()).cloned().unwrap_or_default();
        scheme.insert("bsae".to_owned(), 1.into());
        table
            .insert("position".to_owned(), toml::Table::from_iter([(name.to_owned(), scheme.into())]).into());
        let error = toml::from_str::<StackConfig>(&table.to_string()).unwrap_err().to_string();
        assert!(error.contains("bsae"), "{}: {error}", row.name);
    }
}

fn records_survive<B: AutodiffBackend>(device: &B::Device) {
    let tokens = text(&["..#####", "#######"]);
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    for row in rows_on::<B>(device) {
        let saved = stack::<B>(row, row.form, 7, device);
        let want = whole(&saved, &tokens);
        let bytes = Recorder::<B>::record(&recorder, saved.clone().into_record(), ()).unwrap();
        let other = stack::<B>(row, row.form, 8, device);
        assert_different(row.name, &want, &whole(&other, &tokens));
        let loaded = other.load_record(Recorder::<B>::load(&recorder, bytes, device).unwrap());
        assert_eq!(whole(&loaded, &tokens), want, "{}", row.name);
        let trained = |stack: &Stack<B>| trained_params(&stack.schemes[0]);
        assert_eq!(trained(&loaded), trained(&saved), "{}: what is frozen", row.name);
    }
}

/// A stack whose layers differ: every scheme counts and caches for itself.
fn schemes_may_differ_by_layer<B: AutodiffBackend>(device: &B::Device) {
    let config: StackConfig = toml::from_str(
        "d_model = 12\n n_heads = 3\n layer_positions = ['learned', 'rotary', 'none', { shaw = { max_distance = 2 } }]",
    )
    .unwrap();
    let config = StackConfig { n_layers: 4, ..two_layers(config) };
    assert_eq!(config.check(CAUSAL), []);
    let stack = Stack::<B>::new(&config, shape(CAUSAL), Key::new(9), device);
    let tokens = text(&["..#####", "#######"]);
    let prefill = whole(&stack, &tokens);
    for chunks in [vec![1; 7], vec![3, 2, 2]] {
        assert_same("four schemes", &prefill, &chunked(&stack, &tokens, &chunks));
    }
}

on_backends!(
    the_scheme_is_what_its_row_declares,
    prefill_is_decode,
    a_later_start_is_kept_by_the_cache,
    padding_changes_nothing,
    packed_documents_are_as_alone,
    a_prefix_sees_itself_whole,
    shifting_all_positions,
    order_matters,
    past_the_limit_is_as_declared,
    distant_tokens_are_finite,
    a_refused_step_leaves_the_cache,
    padding_is_never_past_the_limit,
    records_survive,
    schemes_may_differ_by_layer,
);

mod long {
    use super::{
        a_prefix_is_read_whole_or_refused, packed_documents_are_decoded_apart,
        short_queries_of_long_texts_are_finite,
    };

    locus_testkit::on_processors!(
        short_queries_of_long_texts_are_finite,
        packed_documents_are_decoded_apart,
        a_prefix_is_read_whole_or_refused,
    );
}
