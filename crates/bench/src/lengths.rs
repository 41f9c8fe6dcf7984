//! What positions cost: attention under each form of bias, and a layer under each scheme, by the length of the text.
//!
//! Memory is the highest of a process, so each case runs in one of its own; times are taken in turn with those of the
//! plain case, and a ratio is the median of the ratios of the pairs.

use std::cell::RefCell;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use burn::tensor::{Tensor, backend::AutodiffBackend};
use locus_backend::init::Init;
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::{self, AttentionOptions, ScoreBias};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, PositionConfig};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Stack, StackConfig, StackShape};
use serde::{Deserialize, Serialize};

use crate::measure::{peak_memory, wait};

/// A case beside the plain one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    what: String,
    length: usize,
    median_ms: f64,
    /// Of the plain case, in turn with this one.
    plain_ms: f64,
    /// The median of the ratios.
    slower: f64,
    peak_memory_bytes: Option<u64>,
}

/// What stands beside attention without position.
pub(crate) const BIASES: [&str; 5] = ["none", "rotary", "toeplitz", "cumulative", "dense"];

const N_HEADS: usize = 4;
const D_HEAD: usize = 64;
/// How many tokens a batch has, where one text is not longer.
const TOKENS: usize = 4096;

/// Runs each case in a process of its own.
pub(crate) fn in_processes(
    what: &str,
    names: &[String],
    lengths: &[usize],
    rest: &[String],
    check: impl Fn(&str, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Beside>> {
    let own = std::env::current_exe()?;
    let mut rows = Vec::new();
    for (&length, name) in lengths.iter().flat_map(|length| names.iter().map(move |name| (length, name))) {
        if let Err(why) = check(name, length) {
            eprintln!("{name}, {length}: left out: {why}");
            continue;
        }
        let mut command = Command::new(&own);
        command.args([what, "--only", name, "--lengths", &length.to_string(), "--json"]).args(rest);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{name}, {length}: {}", said.trim());
        let found: Vec<Beside> = serde_json::from_slice(&output.stdout).context("expected a row in JSON")?;
        rows.extend(found);
    }
    Ok(rows)
}

/// Causal attention, forward and backward, under one bias.
pub(crate) fn attention<B: AutodiffBackend>(
    bias: &str,
    length: usize,
    repeats: usize,
    device: &B::Device,
) -> anyhow::Result<Beside> {
    let batch = (TOKENS / length).max(1);
    let random =
        |shape, name: &str| Init::Normal { std: 1.0 }.tensor::<B, 4>(shape, Key::new(7).named(name), device);
    let leaf = |name| random([batch, length, N_HEADS, D_HEAD], name).require_grad();
    let [q, k, v] = ["q", "k", "v"].map(leaf);
    let angles = random([1, 1, length, D_HEAD / 2], "angles");
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    let line = |len: usize, name| random([1, 1, N_HEADS, len], name).require_grad();
    let score_bias = match bias {
        "none" | "rotary" => ScoreBias::None,
        "toeplitz" => ScoreBias::Toeplitz(line(2 * length - 1, "bias").reshape([N_HEADS, 2 * length - 1])),
        "cumulative" => ScoreBias::Keys(line(length, "bias").reshape([1, N_HEADS, length])),
        "dense" => ScoreBias::Dense(random([1, N_HEADS, length, length], "bias").require_grad()),
        other => anyhow::bail!("unknown bias '{other}'; known: {}", BIASES.join(", ")),
    };
    let spec = MaskSpec { batch, q_len: length, k_len: length, causal: true, ..MaskSpec::default() };
    let mask = AttentionMask::new(spec, device);
    let options = AttentionOptions { scale: (D_HEAD as f64).powf(-0.5), dropout: 0.0, key: None };
    let run = |bias: &ScoreBias<B>, rotary: bool| {
        let turn = |x: &Tensor<B, 4>| {
            let x = x.clone().swap_dims(1, 2);
            if rotary { ops::rotary(x, cos.clone(), sin.clone(), false) } else { x }
        };
        let v = v.clone().swap_dims(1, 2);
        drop(ops::attention(turn(&q), turn(&k), v, bias, &mask, options).sum().backward());
        wait::<B>(device);
    };
    Ok(beside(bias, length, repeats, || run(&ScoreBias::None, false), || run(&score_bias, bias == "rotary")))
}

/// Two layers of width 256 for texts of this length.
fn config(position: PositionConfig, length: usize) -> StackConfig {
    StackConfig {
        d_model: N_HEADS * D_HEAD,
        n_layers: 2,
        n_heads: N_HEADS,
        max_seq_len: length,
        dropout: 0.0,
        attention_dropout: 0.0,
        position,
        ..StackConfig::default()
    }
}

/// The scheme of this name with its defaults, if they are for texts of this length.
pub(crate) fn fitting(name: &str, length: usize) -> anyhow::Result<PositionConfig> {
    let position = PositionConfig::named(name).with_context(|| format!("unknown scheme '{name}'"))?;
    match config(position.clone(), length).check(Form::Causal).first() {
        Some(problem) => {
            anyhow::bail!("{}: {}, but needs {}", problem.key, problem.found, problem.allowed)
        }
        None => Ok(position),
    }
}

/// Two layers of width 256 under one scheme, forward and backward, as a decoder.
pub(crate) fn scheme<B: AutodiffBackend>(
    name: &str,
    length: usize,
    repeats: usize,
    device: &B::Device,
) -> anyhow::Result<Beside> {
    let batch = (TOKENS / length).max(1);
    let position = fitting(name, length)?;
    let config = |position| config(position, length);
    let shape = StackShape { vocab_size: 512, form: Form::Causal, cross_attention: false };
    let stack = |position| Stack::<B>::new(&config(position), shape, Key::new(1), device);
    let (plain, under) = (stack(PositionConfig::None), stack(position));
    let ids = (0..batch * length).map(|token| (token * 7 % 512) as u32).collect();
    let tokens = Tokens::new([batch, length], ids, vec![true; batch * length], None)?;
    let ids = TokenBatch::from_host(tokens, 512, device)?;
    let failure = RefCell::new(None);
    let run = |stack: &Stack<B>| match stack.forward(&ids, None, None, Some(Key::new(2))) {
        Ok(out) => {
            drop(out.sum().backward());
            wait::<B>(device);
        }
        Err(error) => *failure.borrow_mut() = Some(error),
    };
    let row = beside(name, length, repeats, || run(&plain), || run(&under));
    failure.into_inner().map_or(Ok(row), |error| Err(error.into()))
}

fn beside(what: &str, length: usize, repeats: usize, mut plain: impl FnMut(), mut f: impl FnMut()) -> Beside {
    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e3
    };
    // The case itself first: afterwards the plain one cannot raise the highest memory by much.
    time(&mut f);
    let peak_memory_bytes = peak_memory();
    time(&mut plain);
    let pairs: Vec<(f64, f64)> = (0..repeats.max(1)).map(|_| (time(&mut plain), time(&mut f))).collect();
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Beside {
        what: what.to_owned(),
        length,
        median_ms: median(&|pair| pair.1),
        plain_ms: median(&|pair| pair.0),
        slower: median(&|pair| pair.1 / pair.0),
        peak_memory_bytes,
    }
}

/// Prints the rows, as a table or as JSON.
#[allow(clippy::print_stdout, reason = "the output of the program")]
pub(crate) fn print(rows: &[Beside], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!("{:<22} {:>7} {:>11} {:>11} {:>7} {:>8}", "", "length", "ms", "plain ms", "ratio", "peak MB");
    for row in rows {
        let peak =
            row.peak_memory_bytes.map_or("–".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
        println!(
            "{:<22} {:>7} {:>11.2} {:>11.2} {:>7.2} {peak:>8}",
            row.what, row.length, row.median_ms, row.plain_ms, row.slower
        );
    }
    Ok(())
}
