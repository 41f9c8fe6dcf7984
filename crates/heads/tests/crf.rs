//! The CRF against every sequence of labels there is: likelihood, gradients, marginals, the best sequence.
//!
//! `oracle/losses.py` writes the golden. Planted errors beside it must be seen.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor};
use locus_backend::ops::IGNORE;
use locus_heads::{Chain, Crf};
use locus_testkit::{Golden, on_backends, worst};

const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-5;
/// Words 5, 1 and 3 over four labels, padded to six columns; two tokens without a label stand inside.
const COLUMNS: [&[usize]; 3] = [&[0, 1, 3, 4, 5], &[2], &[0, 2, 3]];
const LABELS: [&[i32]; 3] = [&[2, 0, 3, 3, 1], &[1], &[0, 2, 2]];
const SEQ: usize = 6;

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/crf.safetensors"))
}

fn crf<B: Backend>(golden: &Golden, device: &B::Device) -> Crf<B> {
    Crf {
        start: golden.param("crf.start", device),
        end: golden.param("crf.end", device),
        transitions: golden.param("crf.transitions", device),
    }
}

/// The golden's emissions in a batch: every labelled word at its column, numbers that must not count elsewhere.
fn batch(golden: &Golden) -> (Vec<f32>, Vec<i32>) {
    let mut emissions = vec![7.5; 3 * SEQ * 4];
    let mut labels = vec![IGNORE; 3 * SEQ];
    let mut words = golden.values("crf.emissions").chunks(4);
    for (row, (columns, gold)) in COLUMNS.iter().zip(LABELS).enumerate() {
        for (column, label) in columns.iter().zip(gold) {
            let place = row * SEQ + column;
            emissions[place * 4..][..4].copy_from_slice(words.next().unwrap());
            labels[place] = *label;
        }
    }
    (emissions, labels)
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The loss and the gradients of `loss · upstream`, those of the emissions for the words alone.
fn run<B: AutodiffBackend>(
    crf: &Crf<B>,
    labels: &[i32],
    device: &B::Device,
) -> Vec<(&'static str, Vec<f32>)> {
    let golden = golden();
    let (emissions, _) = batch(&golden);
    let emissions =
        Tensor::<B, 1>::from_floats(&emissions[..], device).reshape([3, SEQ, 4]).detach().require_grad();
    let loss = crf.loss(emissions.clone(), labels).unwrap();
    let grads = (loss.sum.clone() * golden.tensor("crf.upstream", device)).backward();
    let grad = values(emissions.grad(&grads).unwrap());
    let place = |row: usize, column: &usize| grad[(row * SEQ + column) * 4..][..4].to_vec();
    let of_words =
        COLUMNS.iter().enumerate().flat_map(|(row, columns)| columns.iter().flat_map(move |c| place(row, c)));
    let of_words: Vec<f32> = of_words.collect();
    let elsewhere: f32 =
        grad.iter().map(|g| g.abs()).sum::<f32>() - of_words.iter().map(|g| g.abs()).sum::<f32>();
    assert!(elsewhere.abs() < 1e-4, "tokens without a label have no gradient");
    vec![
        ("out", values(loss.sum)),
        ("grad.emissions", of_words),
        ("grad.start", values(crf.start.val().grad(&grads).unwrap())),
        ("grad.end", values(crf.end.val().grad(&grads).unwrap())),
        ("grad.transitions", values(crf.transitions.val().grad(&grads).unwrap())),
    ]
}

fn excess(run: &[(&'static str, Vec<f32>)]) -> f64 {
    let golden = golden();
    let parts =
        run.iter().map(|(key, got)| worst(got, golden.values(&format!("crf.{key}")), ATOL, RTOL).unwrap().1);
    parts.fold(f64::MIN, f64::max)
}

fn likelihood_and_gradients<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let (_, labels) = batch(&golden);
    let right = run(&crf::<B>(&golden, device), &labels, device);
    assert!(excess(&right) <= 0.0, "{:e}", excess(&right));

    let planted = |error: &str, crf: Crf<B>, labels: &[i32]| {
        assert!(excess(&run(&crf, labels, device)) > 1e-3, "the planted error '{error}' was not seen");
    };
    let mut turned = crf::<B>(&golden, device);
    turned.transitions = turned.transitions.map(|t| t.transpose().detach().require_grad());
    planted("transitions turned", turned, &labels);
    let mut swapped = crf::<B>(&golden, device);
    std::mem::swap(&mut swapped.start, &mut swapped.end);
    planted("start and end swapped", swapped, &labels);
    let mut other = labels.clone();
    other[SEQ + 2] = 3;
    planted("another label", crf::<B>(&golden, device), &other);
    other[SEQ + 2] = IGNORE;
    planted("a label left out", crf::<B>(&golden, device), &other);
}

fn marginals_and_best<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let chain = crf::<B>(&golden, device).chain();
    let scores: Vec<f64> = golden.values("crf.emissions").iter().map(|&x| f64::from(x)).collect();
    let (mut marginals, mut best) = (Vec::new(), Vec::new());
    for range in [0..20, 20..24, 24..36] {
        marginals.extend(chain.marginals(&scores[range.clone()]).iter().map(|&p| p as f32));
        best.extend(chain.best(&scores[range]).iter().map(|&label| label as f32));
    }
    let (idx, excess) = worst(&marginals, golden.values("crf.marginals"), 1e-6, 0.0).unwrap();
    assert!(excess <= 0.0, "{idx}: {excess:e}");
    assert_eq!(best, golden.values("crf.best"));
}

fn forbidden_steps_are_never_taken<B: AutodiffBackend>(_: &B::Device) {
    // Labels 0 and 2 may not follow each other in this order, 1 is never first, 3 never last.
    let forbidden = |from, to| matches!((from, to), (Some(0), Some(2)) | (None, Some(1)) | (Some(3), None));
    let mut chain = Chain::free(4);
    chain.forbid(forbidden);
    let key = locus_backend::rng::Key::new(9);
    for case in 0..30 {
        let scores: Vec<f64> = (0..20).map(|idx| 3.0 * key.child(case).uniform(idx)).collect();
        let allowed = (0..4_usize.pow(5)).map(|n| [n / 256, n / 64 % 4, n / 16 % 4, n / 4 % 4, n % 4]);
        let allowed = allowed.filter(|labels| {
            let ends = [(None, Some(labels[0])), (Some(labels[4]), None)];
            let steps = labels.windows(2).map(|pair| (Some(pair[0]), Some(pair[1])));
            ends.into_iter().chain(steps).all(|(from, to)| !forbidden(from, to))
        });
        let score = |labels: &[usize]| labels.iter().enumerate().map(|(i, l)| scores[i * 4 + l]).sum::<f64>();
        let best = allowed.clone().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        assert_eq!(chain.best(&scores), best);
        // Marginals are shares of the allowed sequences.
        let total: f64 = allowed.clone().map(|labels| score(&labels).exp()).sum();
        let with = allowed.filter(|labels| labels[2] == 2).map(|labels| score(&labels).exp()).sum::<f64>();
        assert!((chain.marginals(&scores)[2 * 4 + 2] - with / total).abs() < 1e-12);
    }
}

fn extreme_scores_stay_finite<B: AutodiffBackend>(device: &B::Device) {
    let crf = Crf::<B>::new(3, device);
    let loss = |row: [f32; 3], labels: &[i32]| {
        let emissions = Tensor::<B, 1>::from_floats([row; 4].concat().as_slice(), device).reshape([1, 4, 3]);
        crf.loss(emissions, labels).unwrap().sum.into_scalar().elem::<f32>()
    };
    assert!(loss([1e4, 0.0, -1e4], &[0; 4]).abs() < 1e-3);
    assert!((loss([1e4, 0.0, -1e4], &[2; 4]) - 8e4).abs() < 1.0);
    assert!(loss([f32::NAN, 0.0, 0.0], &[1; 4]).is_nan());
    assert_eq!(loss([f32::NAN, 0.0, 0.0], &[IGNORE; 4]), 0.0);
    let long = Chain::free(3).marginals(&vec![0.5; 3 * 5000]);
    assert!(long.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-9));
    assert!(Chain::free(3).best(&[]).is_empty() && Chain::free(3).marginals(&[]).is_empty());
}

fn labels_that_do_not_fit_are_refused<B: AutodiffBackend>(device: &B::Device) {
    let crf = Crf::<B>::new(3, device);
    let error = |labels: &[i32]| crf.loss(Tensor::zeros([1, 2, 3], device), labels).unwrap_err().to_string();
    assert_eq!(error(&[0]), "expected 2 labels, found 1");
    assert!(error(&[0, 3]).contains("label 3 at index 1"));
}

on_backends!(
    likelihood_and_gradients,
    marginals_and_best,
    forbidden_steps_are_never_taken,
    extreme_scores_stay_finite,
    labels_that_do_not_fit_are_refused,
);
