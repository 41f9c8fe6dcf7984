//! Values and gradients against the golden files, in one pass and through the cache; planted errors; finite differences.

use burn::module::{Param, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Form, Position, Scheme, t5_bucket};
use locus_encoder::StackConfig;
use locus_testkit::device::NdArray;
use locus_testkit::{Golden, on_backends, worst};

use crate::subject::{CASES, Outcome, Subject, golden};
use crate::{Row, rows, rows_on};

/// Absolute and relative tolerance of values.
const VALUES: (f64, f64) = (5e-6, 5e-6);
/// Of gradients, which sum up to `batch · seq` products.
const GRADIENTS: (f64, f64) = (2e-5, 2e-5);

/// One pass; and for decoders five tokens, then two more that look back on them.
fn schedules(row: &Row) -> &'static [&'static [usize]] {
    if row.form == Form::Causal && !row.follows_length { &[&[7], &[5, 2]] } else { &[&[7]] }
}

/// Everything in which an outcome's values differ from the golden file.
fn value_errors(outcome: &Outcome, golden: &Golden, case: &str) -> Vec<String> {
    let pairs = [("embedded", &outcome.embedded), ("out", &outcome.out)];
    let errors = pairs.map(|(what, got)| error(what, got, golden.values(&format!("{case}.{what}")), VALUES));
    errors.into_iter().flatten().collect()
}

/// Everything in which its gradients differ, the ones that should not be there included.
fn gradient_errors(subject: &Subject, outcome: &Outcome, golden: &Golden, case: &str) -> Vec<String> {
    let of = |name: &String| {
        let key = format!("{case}.grad.{name}");
        match (outcome.grads.get(name), golden.has(&key)) {
            (Some(got), true) => error(&key, got, golden.values(&key), GRADIENTS),
            (None, false) => None,
            (got, _) => {
                Some(format!("{key}: {}", if got.is_some() { "should be frozen" } else { "has no gradient" }))
            }
        }
    };
    subject.tensors.keys().filter_map(of).collect()
}

fn error(what: &str, got: &[f32], want: &[f32], (atol, rtol): (f64, f64)) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{what}: {} elements, want {}", got.len(), want.len()));
    }
    let (idx, excess) = worst(got, want, atol, rtol)?;
    (excess > 0.0).then(|| format!("{what}[{idx}] is {}, want {}", got[idx], want[idx]))
}

fn max_error(got: &[f32], want: &[f32]) -> f64 {
    got.iter().zip(want).map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max)
}

fn values_and_gradients_are_the_oracles<B: AutodiffBackend>(device: &B::Device) {
    let mut errors = Vec::new();
    let in_full: Vec<&str> = rows_on::<B>(device).map(|row| row.name).collect();
    let mut seen = Vec::new();
    for row in rows() {
        // Of the rows that a GPU's backend passes over, one of each scheme, in one case.
        let n_cases = if in_full.contains(&row.name) { usize::MAX } else { 1 };
        let scheme = row.config().position.name();
        if n_cases == 1 && seen.contains(&scheme) {
            continue;
        }
        seen.push(scheme);
        let golden = golden(row.name);
        let (mut off, mut gradient_off) = (0.0_f64, 0.0_f64);
        let cases = CASES.iter().flat_map(|case| schedules(row).iter().map(move |c| (case, c)));
        for (case, &chunks) in cases.take(n_cases) {
            let subject = Subject::new(row, &golden, case);
            let outcome = subject.run::<B>(chunks, device);
            let found =
                [value_errors(&outcome, &golden, case), gradient_errors(&subject, &outcome, &golden, case)];
            errors.extend(found.concat().into_iter().map(|e| format!("{} {chunks:?} {case}: {e}", row.name)));
            off = off.max(max_error(&outcome.out, golden.values(&format!("{case}.out"))));
            let grads = outcome.grads.iter().filter(|(name, _)| golden.has(&format!("{case}.grad.{name}")));
            let grads =
                grads.map(|(name, got)| max_error(got, golden.values(&format!("{case}.grad.{name}"))));
            gradient_off = grads.fold(gradient_off, f64::max);
        }
        eprintln!("{:<32} largest error of values {off:.1e}, of gradients {gradient_off:.1e}", row.name);
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

fn planted_errors_are_caught<B: AutodiffBackend>(device: &B::Device) {
    let mut missed = Vec::new();
    for row in rows_on::<B>(device) {
        let golden = golden(row.name);
        for (case, plant) in CASES.iter().flat_map(|case| row.plants.iter().map(move |plant| (case, plant))) {
            let mut subject = Subject::new(row, &golden, case);
            (plant.plant)(&mut subject);
            let outcome = subject.run::<B>(&[7], device);
            if value_errors(&outcome, &golden, case).is_empty() {
                missed.push(format!("{} {case}: {}", row.name, plant.what));
            }
        }
    }
    assert!(missed.is_empty(), "planted errors that nothing caught:\n{}", missed.join("\n"));
}

/// A gradient that lies one element further, or that of a single number negated, must fail, for every tensor whose gradient is not zero by symmetry.
fn shifted_gradients_are_caught<B: AutodiffBackend>(device: &B::Device) {
    for row in rows_on::<B>(device) {
        let golden = golden(row.name);
        let subject = Subject::new(row, &golden, "padded");
        let mut outcome = subject.run::<B>(&[7], device);
        let mut powerful = 0;
        for name in outcome.grads.keys().cloned().collect::<Vec<_>>() {
            let grad = outcome.grads.get_mut(&name).unwrap();
            if grad.iter().all(|g| g.abs() < 1e-3) {
                continue;
            }
            powerful += 1;
            let whole = grad.clone();
            match grad.as_mut_slice() {
                [single] => *single = -*single,
                several => several.rotate_right(1),
            }
            let caught = gradient_errors(&subject, &outcome, &golden, "padded");
            assert!(caught.iter().any(|e| e.contains(&name)), "{}: a shifted gradient of {name}", row.name);
            outcome.grads.insert(name, whole);
        }
        // All but that of the key bias, which the softmax cancels where keys do not turn.
        assert!(powerful >= subject.tensors.len() - 3, "{}: only {powerful} gradients to compare", row.name);
    }
}

/// The gradient of every trained parameter of a scheme along random directions, by central differences.
fn gradients_are_finite_differences<B: AutodiffBackend>(device: &B::Device) {
    // The functional is a sum of a few hundred f32 numbers near 1: its error over the step stays below 1e-3.
    const STEP: f32 = 1e-2;
    let trains = |row: &&Row| golden(row.name).names().any(|name| name.starts_with("holes.grad.position."));
    for row in rows_on::<B>(device).filter(trains) {
        let name = row.name;
        let golden = golden(name);
        let subject = Subject::new(row, &golden, "holes");
        let grads = subject.run::<B>(&[7], device).grads;
        for (param, grad) in grads.iter().filter(|(param, _)| param.starts_with("position.")) {
            let norm = grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            for key in (0..3).map(|idx| Key::new(idx).named(param)) {
                let sign = |idx: usize| if key.bits(idx as u64) & 1 == 0 { 1.0_f32 } else { -1.0 };
                let at = |step: f32| {
                    let mut moved = subject.clone();
                    let values = &mut moved.tensors.get_mut(param).unwrap().values;
                    values.iter_mut().enumerate().for_each(|(idx, value)| *value += step * sign(idx));
                    moved.run::<B>(&[7], device).functional
                };
                let want = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
                let got: f64 = grad.iter().enumerate().map(|(idx, &g)| f64::from(g * sign(idx))).sum();
                let off = (got - want).abs();
                // Some have none, because the softmax cancels what all keys share.
                assert!(
                    off < 1e-2 * norm + 1e-3,
                    "{name} {param}: {got}, by differences {want} (norm {norm})"
                );
            }
        }
    }
}

/// Both forms, several sizes, distances on both sides of every edge, as the definition in Hugging Face's T5 gives them.
#[test]
fn t5_buckets_are_hugging_faces() {
    let golden = golden("t5-buckets");
    for cell in golden.values("cells").chunks(5) {
        let form = if cell[1] == 0.0 { Form::Causal } else { Form::Bidirectional };
        let bucket = t5_bucket(f64::from(cell[0]), form, cell[2] as usize, cell[3] as usize);
        assert_eq!(
            bucket, cell[4] as usize,
            "distance, bidirectional, n_buckets, max_distance, bucket: {cell:?}"
        );
    }
}

/// RoBERTa's and OPT's numbering of padded texts: the row that a real token reads, and the one that all padding reads.
#[test]
fn padding_aware_ids_are_those_of_transformers() {
    let golden = golden("padding-ids");
    let keep = golden.values("keep");
    let (batch, seq) = (golden.shape("keep")[0], golden.shape("keep")[1]);
    let kept = keep.iter().map(|&keep| keep != 0.0).collect();
    let tokens = Tokens::new([batch, seq], vec![0; batch * seq], kept, None).unwrap();
    let read = |learned: &str| {
        let device = Default::default();
        let toml = format!(
            "d_model = 1\n n_heads = 1\n max_seq_len = 40\n position = {{ learned = {{ {learned} }} }}"
        );
        let stack: StackConfig = toml::from_str(&toml).unwrap();
        let shape = stack.position_shape(Form::Bidirectional);
        let position = stack.position.init::<NdArray>(&shape, Key::new(0), &device);
        let Position::Learned(mut learned) = position else { panic!("not learned") };
        // A table whose rows are their own numbers.
        let rows: Vec<f32> = (0..42).map(|row| row as f32).collect();
        let table = Tensor::from_data(TensorData::new(rows, [42, 1]), &device);
        learned.table = Param::initialized(ParamId::new(), table);
        let read = learned.embed(Tensor::zeros([batch, seq, 1], &device), &tokens);
        read.to_data().iter::<f32>().collect::<Vec<_>>()
    };
    for model in ["roberta", "opt"] {
        assert_eq!(read("offset = 2, pad_row = 1"), golden.values(model), "{model}");
        assert_ne!(read("offset = 2"), golden.values(model), "padding that reads the row of its position");
        assert_ne!(
            read("offset = 1, pad_row = 1, max_positions = 41"),
            golden.values(model),
            "an offset of 1"
        );
    }
}

on_backends!(
    values_and_gradients_are_the_oracles,
    planted_errors_are_caught,
    shifted_gradients_are_caught,
    gradients_are_finite_differences,
);
