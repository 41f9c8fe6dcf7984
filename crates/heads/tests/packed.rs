//! Models with bf16 and int8 weights answer nearly as before, alike with and without a cache, and say where they cannot.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::packed::{PackError, Packed, Precision};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{DebertaConfig, DebertaProjections, PositionConfig};
use locus_encoder::{Activation, StackConfig};
use locus_heads::{HeadConfig, Pooling, TagDecoding, TaskModel};
use locus_testkit::on_backends;

const VOCAB: usize = 29;

/// Precision, and how far scores may be off: in units of the largest, about the step of the weights times some layers.
const PRECISIONS: [(Precision, f32); 2] = [(Precision::Bf16, 0.03), (Precision::Int8, 0.05)];

fn heads() -> [HeadConfig; 6] {
    [
        HeadConfig::TokenClassification {
            n_labels: 5,
            decoding: TagDecoding::default(),
            layers: Default::default(),
        },
        HeadConfig::SequenceClassification {
            n_labels: 3,
            pooling: Pooling::Mean,
            layers: Default::default(),
        },
        HeadConfig::CausalLm { tied: true, output: Default::default() },
        HeadConfig::CausalLm { tied: false, output: Default::default() },
        HeadConfig::Seq2Seq { tied: true, output: Default::default() },
        HeadConfig::Seq2Seq { tied: false, output: Default::default() },
    ]
}

fn model<B: AutodiffBackend>(head: &HeadConfig, device: &B::Device) -> TaskModel<B> {
    let stack = StackConfig {
        d_model: 20,
        n_layers: 2,
        n_heads: 2,
        init_std: 0.2,
        activation: Activation::Swiglu,
        ..StackConfig::default()
    };
    assert_eq!(head.check(&stack), []);
    TaskModel::new(head, &stack, VOCAB, Key::new(3), device)
}

fn tokens(ids: &[u32]) -> Tokens {
    Tokens::new([1, ids.len()], ids.to_vec(), vec![true; ids.len()], None).unwrap()
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn scores<B: Backend>(model: &TaskModel<B>) -> Vec<f32> {
    let text = tokens(&[3, 14, 15, 9, 2]);
    match model {
        TaskModel::TokenClassifier(model) => host(model.logits(&text, None).unwrap()),
        TaskModel::SequenceClassifier(model) => host(model.logits(&text, None).unwrap()),
        TaskModel::CausalLm(model) => host(model.logits(&text, None, None).unwrap()),
        TaskModel::Seq2Seq(model) => {
            let memory = model.encode(&tokens(&[6, 5]), None).unwrap();
            host(model.logits(&text, &memory, None, None).unwrap())
        }
        TaskModel::SpanClassifier(_)
        | TaskModel::QuestionAnswerer(_)
        | TaskModel::SentenceEmbedder(_)
        | TaskModel::MaskedLm(_)
        | TaskModel::ReplacedTokenDetector(_)
        | TaskModel::Bare(_) => unreachable!("this test makes none"),
    }
}

/// Whether the backend has kernels for packed weights.
fn packs<B: Backend>(device: &B::Device) -> bool {
    Packed::new(Tensor::<B, 2>::ones([2, 3], device), Precision::Int8).is_ok()
}

fn scores_are_nearly_those_of_f32<B: AutodiffBackend>(device: &B::Device) {
    for head in heads().iter().filter(|_| packs::<B::InnerBackend>(device)) {
        let plain = model::<B>(head, device).valid();
        let want = scores(&plain);
        let largest = want.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        for (precision, tolerance) in PRECISIONS {
            let mut packed = plain.clone();
            packed.pack(precision).unwrap();
            let far = scores(&packed).iter().zip(&want).fold(0.0_f32, |far, (x, y)| {
                let apart = (x - y).abs() / largest;
                if apart <= far { far } else { apart }
            });
            assert!(far > 0.0 && far < tolerance, "{head:?}, {precision:?}: {far}");
            assert!(packed.is_packed() && !plain.is_packed());
            // The f32 weights are gone.
            let n_params = |model: &TaskModel<B::InnerBackend>| model.num_params();
            assert!(
                n_params(&packed) < n_params(&plain) / 2,
                "{} of {}",
                n_params(&packed),
                n_params(&plain)
            );
            // Again changes nothing.
            let once = scores(&packed);
            packed.pack(Precision::Bf16).unwrap();
            assert_eq!(scores(&packed), once);
        }
    }
}

/// DeBERTa sends vectors of distances through the layer's projections.
fn positions_pass_through_packed_projections<B: AutodiffBackend>(device: &B::Device) {
    if !packs::<B::InnerBackend>(device) {
        return;
    }
    let position = PositionConfig::Deberta(DebertaConfig {
        span: 4,
        projections: DebertaProjections::Layer,
        ..DebertaConfig::default()
    });
    let stack = StackConfig { d_model: 20, n_heads: 2, init_std: 0.2, position, ..StackConfig::default() };
    let [head, ..] = heads();
    assert_eq!(head.check(&stack), []);
    let plain = TaskModel::<B>::new(&head, &stack, VOCAB, Key::new(3), device).valid();
    let mut packed = plain.clone();
    packed.pack(Precision::Int8).unwrap();
    let want = scores(&plain);
    let largest = want.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (got, want) in scores(&packed).iter().zip(&want) {
        assert!((got - want).abs() < 0.1 * largest, "{got}, expected {want}");
    }
}

fn token_by_token_is_all_at_once<B: AutodiffBackend>(device: &B::Device) {
    for (precision, _) in PRECISIONS.into_iter().filter(|_| packs::<B::InnerBackend>(device)) {
        let mut model =
            model::<B>(&HeadConfig::CausalLm { tied: true, output: Default::default() }, device).valid();
        model.pack(precision).unwrap();
        let TaskModel::CausalLm(model) = model else { panic!("another head") };
        let ids = [3, 14, 15, 9, 2];
        let at_once = host(model.logits(&tokens(&ids), None, None).unwrap());
        let mut cache = model.decoder.new_cache();
        for (idx, &id) in ids.iter().enumerate() {
            let next = host(model.next_logits(&tokens(&[id]), Some(&mut cache)).unwrap());
            for (next, want) in next.iter().zip(&at_once[idx * VOCAB..]) {
                // An activation near the middle of two int8 may be rounded to the other by what attention sums differently.
                assert!((next - want).abs() < 0.05, "{precision:?}, token {idx}: {next}, all at once {want}");
            }
        }
    }
}

fn a_model_that_is_trained_cannot_be_packed<B: AutodiffBackend>(device: &B::Device) {
    let error = model::<B>(&HeadConfig::CausalLm { tied: false, output: Default::default() }, device)
        .pack(Precision::Bf16)
        .unwrap_err();
    assert!(matches!(error, PackError::Backend { .. }));
    assert!(error.to_string().contains("ndarray or flex and no gradients"), "{error}");
}

on_backends!(
    scores_are_nearly_those_of_f32,
    positions_pass_through_packed_projections,
    token_by_token_is_all_at_once,
    a_model_that_is_trained_cannot_be_packed
);
