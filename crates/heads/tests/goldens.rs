//! Generation against transformers, token for token, and its processors alone. `oracle/generation.py` writes the goldens.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{LearnedConfig, PositionConfig, T5Config, T5Scale};
use locus_encoder::{Activation, NormKind, StackConfig};
use locus_heads::generate::{
    Beams, Constraints, EarlyStopping, Finish, GenerateOptions, Generated, Penalties, Sampling,
    continue_prompts, translate,
};
use locus_heads::{CausalLm, HeadConfig, Seq2Seq, TaskModel};
use locus_testkit::{Golden, on_backends, worst};
use serde::Deserialize;
use serde_json::Value;

const VOCAB: usize = 29;
const START: u32 = 1;

#[derive(Deserialize)]
struct File {
    gpt2: Vec<Case>,
    t5: Vec<Case>,
    processors: Vec<Processed>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    prompts: Vec<Vec<u32>>,
    options: Options,
    texts: Vec<Text>,
}

/// The arguments of transformers' `generate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    stop: Vec<u32>,
    max_new_tokens: usize,
    #[serde(default)]
    min_new_tokens: usize,
    #[serde(default = "one")]
    repetition_penalty: f64,
    #[serde(default)]
    no_repeat_ngram_size: usize,
    forced_bos_token_id: Option<u32>,
    forced_eos_token_id: Option<u32>,
    #[serde(default)]
    suppress_tokens: Vec<u32>,
    #[serde(default)]
    begin_suppress_tokens: Vec<u32>,
    num_beams: Option<usize>,
    num_return_sequences: Option<usize>,
    length_penalty: Option<f64>,
    early_stopping: Option<Value>,
}

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
    finish: String,
    score: Option<f64>,
}

#[derive(Deserialize)]
struct Processed {
    options: ProcessorOptions,
    text: Vec<u32>,
    n_prompt: usize,
    scores: Vec<f32>,
    /// `None` is −∞.
    penalised: Vec<Option<f32>>,
    probs: Vec<f32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessorOptions {
    #[serde(default = "one")]
    repetition: f64,
    #[serde(default)]
    presence: f64,
    #[serde(default)]
    frequency: f64,
    #[serde(default)]
    no_repeat_ngram: usize,
    #[serde(default = "one")]
    temperature: f64,
    #[serde(default)]
    top_k: usize,
    #[serde(default = "one")]
    top_p: f64,
    #[serde(default)]
    min_p: f64,
}

fn one() -> f64 {
    1.0
}

fn path(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn file() -> File {
    serde_json::from_slice(&std::fs::read(path("generation.json")).unwrap()).unwrap()
}

// Models.

fn base() -> StackConfig {
    StackConfig {
        d_model: 15,
        n_layers: 2,
        n_heads: 3,
        d_ff: Some(17),
        max_seq_len: 31,
        ..StackConfig::default()
    }
}

fn gpt2<B: Backend>(device: &B::Device) -> CausalLm<B> {
    let config = StackConfig {
        activation: Activation::GeluTanh,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..base()
    };
    let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
    let model = TaskModel::new(&head, &config, VOCAB, Key::new(1), device);
    let TaskModel::CausalLm(model) = model else { panic!() };
    Golden::read(path("generation-gpt2.safetensors")).load(model, device)
}

fn t5<B: Backend>(device: &B::Device) -> Seq2Seq<B> {
    let position =
        T5Config { n_buckets: 8, max_distance: 16, score_scale: T5Scale::One, ..Default::default() };
    let config = StackConfig {
        activation: Activation::Relu,
        norm: NormKind::RmsNorm,
        norm_eps: 1e-6,
        bias: locus_encoder::Bias::NONE,
        position: PositionConfig::T5(position),
        ..base()
    };
    let head = HeadConfig::Seq2Seq { tied: false, output: Default::default() };
    let model = TaskModel::new(&head, &config, VOCAB, Key::new(1), device);
    let TaskModel::Seq2Seq(model) = model else { panic!() };
    Golden::read(path("generation-t5.safetensors")).load(model, device)
}

// Texts.

fn options(case: &Options) -> GenerateOptions {
    let early_stopping = match &case.early_stopping {
        None | Some(Value::Bool(false)) => EarlyStopping::Heuristic,
        Some(Value::Bool(true)) => EarlyStopping::Full,
        Some(never) => {
            assert_eq!(never, "never");
            EarlyStopping::Never
        }
    };
    let length_penalty = case.length_penalty.unwrap_or(1.0);
    GenerateOptions {
        max_new_tokens: case.max_new_tokens,
        min_new_tokens: case.min_new_tokens,
        stop: case.stop.clone(),
        penalties: Penalties {
            repetition: case.repetition_penalty,
            no_repeat_ngram: case.no_repeat_ngram_size,
            ..Penalties::NONE
        },
        constraints: Constraints {
            forced_first: case.forced_bos_token_id,
            forced_last: case.forced_eos_token_id,
            suppressed: case.suppress_tokens.clone(),
            suppressed_first: case.begin_suppress_tokens.clone(),
        },
        beams: case.num_beams.map(|width| Beams { width, length_penalty, early_stopping }),
        n_sequences: case.num_return_sequences.unwrap_or(1),
        ..GenerateOptions::default()
    }
}

/// What is not as the golden says.
fn difference(case: &Case, texts: &[Generated]) -> Option<String> {
    if texts.len() != case.texts.len() {
        return Some(format!("{}: {} texts", case.name, texts.len()));
    }
    let same = |got: &Generated, want: &Text| {
        let scores = match (got.score, want.score) {
            (Some(got), Some(want)) => (got - want).abs() <= 1e-4 + 1e-5 * want.abs(),
            (got, want) => got == want,
        };
        got.ids == want.ids && got.finish.name() == want.finish && scores
    };
    let at = texts.iter().zip(&case.texts).position(|(got, want)| !same(got, want))?;
    let (got, want) = (&texts[at], &case.texts[at]);
    Some(format!("{}, text {at}: {got:?}, want {:?} {} {:?}", case.name, want.ids, want.finish, want.score))
}

fn check(cases: &[Case], generate: impl Fn(&[Vec<u32>], &GenerateOptions) -> Vec<Generated>) {
    for case in cases {
        let options = options(&case.options);
        let difference_of = |options| difference(case, &generate(&case.prompts, options));
        assert_eq!(difference_of(&options), None);
        // Prompt by prompt as in a batch.
        let alone = case.prompts.iter().flat_map(|p| generate(std::slice::from_ref(p), &options));
        assert_eq!(difference(case, &alone.collect::<Vec<_>>()), None, "alone");
    }
    // Without what a case is about, its texts are others.
    type Change = (&'static str, fn(&mut GenerateOptions));
    let planted: [Change; 10] = [
        ("repetition after", |o| o.penalties.repetition = 1.0),
        ("no token twice", |o| o.penalties.no_repeat_ngram = 2),
        ("at least nine tokens", |o| o.min_new_tokens = 0),
        ("greedy with stop tokens", |o| o.stop.clear()),
        ("a forced first token", |o| o.constraints.forced_first = None),
        ("a forced last token", |o| o.constraints.forced_last = None),
        ("suppressed tokens", |o| o.constraints.suppressed.clear()),
        ("tokens suppressed at first", |o| o.constraints.suppressed_first.clear()),
        ("length penalty 2.5, early stopping never", |o| {
            o.beams.as_mut().unwrap().early_stopping = EarlyStopping::Full;
        }),
        ("length penalty -0.8, early stopping never", |o| o.beams.as_mut().unwrap().length_penalty = 0.0),
    ];
    for (name, change) in planted {
        let seen = cases.iter().filter(|case| case.name.starts_with(name)).any(|case| {
            let mut options = options(&case.options);
            change(&mut options);
            difference(case, &generate(&case.prompts, &options)).is_some()
        });
        assert!(seen, "{name}");
    }
}

fn a_decoder_writes_what_transformers_writes<B: AutodiffBackend>(device: &B::Device) {
    let model = gpt2::<B::InnerBackend>(device);
    check(&file().gpt2, |prompts, options| continue_prompts(&model, prompts, options, &mut ()).unwrap());
}

fn an_encoder_decoder_writes_what_transformers_writes<B: AutodiffBackend>(device: &B::Device) {
    let model = t5::<B::InnerBackend>(device);
    check(&file().t5, |sources, options| translate(&model, sources, START, options, &mut ()).unwrap());
}

on_backends!(a_decoder_writes_what_transformers_writes, an_encoder_decoder_writes_what_transformers_writes);

// Scores.

const ATOL: f64 = 1e-6;
const RTOL: f64 = 1e-6;

/// By how much scores and probabilities are off, at most.
fn excess(case: &Processed, options: &ProcessorOptions) -> f64 {
    let ProcessorOptions {
        repetition,
        presence,
        frequency,
        no_repeat_ngram,
        temperature,
        top_k,
        top_p,
        min_p,
    } = *options;
    let mut scores = case.scores.clone();
    let penalties = Penalties { repetition, presence, frequency, no_repeat_ngram };
    penalties.apply(&mut scores, &case.text, case.n_prompt);
    let mut probs = vec![0.0; VOCAB];
    for (id, p) in (Sampling { temperature, top_k, top_p, min_p }).distribution(&scores) {
        probs[id as usize] = p as f32;
    }
    // Tokens that cannot be chosen are the same: where one says −∞ or 0, so does the other.
    let banned = |got: &f32, want: &Option<f32>| (*got == f32::NEG_INFINITY) == want.is_none();
    let same = scores.iter().zip(&case.penalised).all(|(got, want)| banned(got, want))
        && probs.iter().zip(&case.probs).all(|(got, want)| (*got == 0.0) == (*want == 0.0));
    if !same {
        return f64::INFINITY;
    }
    let finite = scores.iter().zip(&case.penalised).filter_map(|(got, want)| want.map(|want| (*got, want)));
    let (got, want): (Vec<f32>, Vec<f32>) = finite.unzip();
    let of_scores = worst(&got, &want, ATOL, RTOL).unwrap().1;
    of_scores.max(worst(&probs, &case.probs, ATOL, RTOL).unwrap().1)
}

#[test]
fn scores_are_processed_as_transformers_does() {
    for (idx, case) in file().processors.iter().enumerate() {
        let excess = excess(case, &case.options);
        assert!(excess <= 0.0, "case {idx}, {:?}: off by {excess:e}", case.options);
    }
}

#[test]
fn planted_errors_are_seen() {
    type Plant = (fn(&ProcessorOptions) -> bool, fn(&mut ProcessorOptions));
    let plants: [Plant; 7] = [
        (|o| o.repetition > 1.0, |o| o.repetition = 1.0 / o.repetition),
        (|o| o.presence == 0.7, |o| (o.presence, o.frequency) = (0.0, 0.7)),
        (|o| o.no_repeat_ngram == 2, |o| o.no_repeat_ngram = 3),
        (|o| o.temperature == 1.9, |o| o.temperature = 1.0 / 1.9),
        (|o| o.top_k == 4, |o| o.top_k = 5),
        (|o| o.top_p == 0.93, |o| o.top_p = 0.94),
        (|o| o.min_p == 0.05, |o| o.min_p = 0.06),
    ];
    let file = file();
    for (idx, (of, plant)) in plants.iter().enumerate() {
        let seen = file.processors.iter().filter(|case| of(&case.options)).any(|case| {
            let mut wrong = case.options.clone();
            plant(&mut wrong);
            excess(case, &wrong) > 0.0
        });
        assert!(seen, "plant {idx}");
    }
}

#[test]
fn finishes_have_names_of_their_own() {
    use Finish::{Interrupted, Length, NoChoice, PositionLimit, Stop};
    let mut names = [Length, Stop, PositionLimit, NoChoice, Interrupted].map(Finish::name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 5);
}
