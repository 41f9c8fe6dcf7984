//! Limits of schemes that count by what tokens are: where a text begins plays no part, how long its runs are does.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::{EmbeddingError, Tokens};
use locus_encoder::{Stack, StackConfig};
use locus_testkit::on_processors;

use crate::CAUSAL;
use crate::run::{assert_same, chunked, chunked_with, shape, try_pass, two_layers, whole};

fn row(ids: &[u32]) -> Tokens {
    Tokens::new([1, ids.len()], ids.to_vec(), vec![true; ids.len()], None).unwrap()
}

/// A table of four rows, for numbers of three digits.
fn abacus<B: AutodiffBackend>(device: &B::Device) -> Stack<B> {
    let toml = "d_model = 12\n n_heads = 2\n
        position = { abacus = { digit_ids = [1, 2], max_positions = 4, max_offset = 2, init_std = 0.5 } }";
    let config: StackConfig = toml::from_str(toml).unwrap();
    assert_eq!(config.check(CAUSAL), []);
    Stack::new(&two_layers(config), shape(CAUSAL), Key::new(6), device)
}

fn a_number_may_be_as_long_as_the_table<B: AutodiffBackend>(device: &B::Device) {
    let stack = abacus::<B>(device);
    let fits = row(&[1, 2, 1, 7, 2, 2, 1, 5, 5, 5, 5, 5]);
    assert!(whole(&stack, &fits).iter().flatten().flatten().all(|x| x.is_finite()));
    let error = try_pass(&stack, &row(&[1, 2, 1, 7, 2, 2, 1, 1]), None).unwrap_err();
    let want = EmbeddingError::PastLimit { scheme: "abacus", position: 4.0, last: 3, limit: 4 };
    assert_eq!(error, want);
}

/// How many tokens a text may have is not what the limit of positions says.
fn texts_are_as_long_as_their_schemes_read<B: AutodiffBackend>(device: &B::Device) {
    assert_eq!(abacus::<B>(device).max_positions(), None);
    let toml = "d_model = 12\n n_heads = 2\n max_seq_len = 4\n position = { randomised = { max = 10 } }";
    let config: StackConfig = toml::from_str(toml).unwrap();
    let stack = Stack::<B>::new(&two_layers(config), shape(CAUSAL), Key::new(6), device);
    // Positions 0, 2, 4, 6 and 8.
    assert_eq!(stack.max_positions(), Some(5));
    assert!(try_pass(&stack, &row(&[1; 5]), None).is_ok() && try_pass(&stack, &row(&[1; 6]), None).is_err());
}

/// The digits that were cached count; a refused step leaves the cache as it was.
fn a_number_goes_on_after_the_cache<B: AutodiffBackend>(device: &B::Device) {
    let stack = abacus::<B>(device);
    let mut cache = stack.new_cache();
    let first = chunked_with(&stack, &row(&[7, 1, 2]), &[2, 1], &mut cache);
    assert!(try_pass(&stack, &row(&[1, 1]), Some(&mut cache)).is_err());
    let rest = chunked_with(&stack, &row(&[1, 7, 1]), &[1, 2], &mut cache);
    let all = vec![[first[0].clone(), rest[0].clone()].concat()];
    assert_same("abacus", &whole(&stack, &row(&[7, 1, 2, 1, 7, 1])), &all);
}

/// BiPE whose segments end at 9.
fn bipe<B: AutodiffBackend>(device: &B::Device) -> Stack<B> {
    let toml = "d_model = 12\n n_heads = 2\n
        position = { bipe = { separator_ids = [9], max_positions = 4, init_std = 0.5 } }";
    Stack::new(&two_layers(toml::from_str(toml).unwrap()), shape(CAUSAL), Key::new(6), device)
}

/// Two digits at the end of a document and two at the start of the next are no number of four, which the table could not
/// hold.
fn numbers_and_segments_end_with_their_document<B: AutodiffBackend>(device: &B::Device) {
    let packed = row(&[9, 1, 2, 1, 2, 9, 1]).with_documents(vec![0, 0, 0, 1, 1, 1, 1]).unwrap();
    for stack in [abacus::<B>(device), bipe::<B>(device)] {
        let apart = [whole(&stack, &row(&[9, 1, 2])), whole(&stack, &row(&[1, 2, 9, 1]))];
        let want = vec![apart.concat().concat()];
        assert_same("packed", &want, &whole(&stack, &packed));
        for chunks in [vec![1; 7], vec![3, 4], vec![2, 5]] {
            assert_same("decoded", &want, &chunked(&stack, &packed, &chunks));
        }
    }
}

/// A beam that branches takes its numbers and segments along.
fn branches_count_on<B: AutodiffBackend>(device: &B::Device) {
    for stack in [abacus::<B>(device), bipe::<B>(device)] {
        let past = Tokens::new([2, 3], vec![7, 1, 2, 9, 1, 9], vec![true; 6], None).unwrap();
        let mut cache = stack.new_cache();
        chunked_with(&stack, &past, &[3], &mut cache);
        cache.select(&[1, 0, 1]);
        let next = Tokens::new([3, 2], vec![1, 1, 1, 9, 2, 1], vec![true; 6], None).unwrap();
        let branched = chunked_with(&stack, &next, &[1, 1], &mut cache);
        for (branch, whole_text) in [[9, 1, 9, 1, 1], [7, 1, 2, 1, 9], [9, 1, 9, 2, 1]].iter().enumerate() {
            let want = vec![whole(&stack, &row(whole_text))[0][3..].to_vec()];
            assert_same("a branch", &want, &branched[branch..=branch].to_vec());
        }
    }
}

on_processors!(
    texts_are_as_long_as_their_schemes_read,
    a_number_may_be_as_long_as_the_table,
    a_number_goes_on_after_the_cache,
    numbers_and_segments_end_with_their_document,
    branches_count_on
);
