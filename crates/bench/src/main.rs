//! `cargo xtask bench`: how long things take, in rows that can be compared with those of other programs.
//!
//! Every figure is the median after a warm-up. Models, weights and tokens are those of `oracle/bench_torch.py`, so the
//! losses that a row prints show that both compute the same.

mod against;
mod lengths;
mod measure;
mod model;
mod operations;
mod suites;

use std::process::ExitCode;

use burn::tensor::backend::AutodiffBackend;
use clap::{Parser, Subcommand};
use locus_backend::device::{Job, run_on};
use locus_backend::ops::Products;
use locus_backend::packed::Precision;
use locus_embedding::position::PositionConfig;

use measure::{Row, best_sgemm, print};
use model::{Arch, SIZES, Size, Variant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As `locus` does.
fn keep_freed_memory() {
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: it sets a number in the allocator's table of options, which may be done at any time.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}

/// Times the operations, training, the forward pass and generation.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Model sizes, separated by commas: T, S, M.
    #[arg(long, global = true, value_delimiter = ',', default_value = "S")]
    sizes: Vec<String>,
    /// Architectures: bert, gpt.
    #[arg(long, global = true, value_delimiter = ',', default_value = "bert,gpt")]
    archs: Vec<Arch>,
    /// How many times each thing is measured after the warm-up.
    #[arg(long, global = true, default_value_t = 7)]
    repeats: usize,
    /// The position scheme by its name in a run file.
    #[arg(long, global = true, default_value = "learned")]
    position: String,
    /// Dropout, in the blocks and on attention weights.
    #[arg(long, global = true, default_value_t = 0.0)]
    dropout: f64,
    /// A mask of padding: rows end up to three eighths before the batch does, and what is past their end does not count.
    #[arg(long, global = true)]
    padding: bool,
    /// Hold the factors of products in bf16, in training and forward.
    #[arg(long, global = true)]
    bf16: bool,
    /// Train with gradient checkpointing by block: less memory, more time.
    #[arg(long, global = true)]
    checkpointing: bool,
    /// Threads; as many as there are cores unless given.
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Rows of the forward pass, separated by commas.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,16")]
    rows: Vec<usize>,
    /// How forward and generate hold the weights of linear layers, separated by commas: f32, bf16, int8.
    #[arg(long, global = true, value_delimiter = ',', default_value = "f32")]
    weights: Vec<Weights>,
    /// Another program that takes the same flags, for instance 'python oracle/bench_torch.py'; both run in turn.
    #[arg(long, global = true, value_name = "COMMAND")]
    against: Option<String>,
    /// How many times each of both runs.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// The backend, out of those built in.
    #[arg(long, global = true)]
    backend: Option<String>,
    /// The backend's device, as `locus` takes it.
    #[arg(long, global = true)]
    device: Option<String>,
    /// Print the rows as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Lengths of the text for attention (512 unless given) and positions (128, 1024, 4096), separated by commas.
    #[arg(long, global = true, value_delimiter = ',')]
    lengths: Vec<usize>,
    /// For attention and positions: these biases or schemes, separated by commas; all unless given.
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Single operations, forward and backward, with their reference bodies beside them.
    Ops,
    /// Causal attention, forward and backward, under each form of bias and without, in turn.
    Attention,
    /// Two layers, forward and backward, under each position scheme and without, in turn.
    Positions,
    /// A training step: forward, backward, AdamW.
    Train,
    /// The forward pass, of one row and of sixteen.
    Forward,
    /// Greedy generation of 128 tokens after a prompt of 32, one row.
    Generate,
}

/// How the weights of linear layers are held.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Weights {
    F32,
    Bf16,
    Int8,
}

impl Weights {
    /// What they are rounded to.
    fn precision(self) -> Option<Precision> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(Precision::Bf16),
            Self::Int8 => Some(Precision::Int8),
        }
    }
}

fn main() -> ExitCode {
    keep_freed_memory();
    let args = Args::parse();
    let done = run_on(args.backend.as_deref(), args.device.as_deref(), Run(&args));
    match done.map_err(anyhow::Error::from).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// What the command line asks for.
struct Run<'a>(&'a Args);

impl Job for Run<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        run::<B>(self.0, &device)
    }
}

fn run<B: AutodiffBackend>(args: &Args, device: &B::Device) -> anyhow::Result<()> {
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    if matches!(args.what, What::Attention | What::Positions) {
        let plain = args.against.is_none()
            && !args.bf16
            && !args.padding
            && !args.checkpointing
            && args.dropout == 0.0;
        anyhow::ensure!(
            plain,
            "attention and positions take --only, --lengths, --repeats, --threads and --json"
        );
        anyhow::ensure!(!args.lengths.contains(&0), "--lengths: expected lengths of 1 or more, found 0");
        return beside_plain::<B>(args, device);
    }
    anyhow::ensure!(
        !args.checkpointing || matches!(args.what, What::Train) && args.against.is_none(),
        "--checkpointing is of `bench train` alone: forward, generate and ops have no backward pass of blocks, and other \
         programs do not know it"
    );
    if let Some(peer) = &args.against {
        return against::compare(peer, &cases(args)?, args.rounds);
    }
    let sizes = args.sizes.iter().map(|name| size(name)).collect::<anyhow::Result<Vec<Size>>>()?;
    let products = if args.bf16 { Products::Bf16 } else { Products::F32 };
    let Args { dropout, padding, checkpointing, .. } = *args;
    let variant = Variant { position: position(&args.position)?, dropout, padding, products, checkpointing };
    let peak = best_sgemm();
    let rows = measure_all::<B>(args, device, &sizes, &variant, peak)?;
    print(&rows, peak, args.json)
}

/// What stands beside attention, or a layer, without position: one case here, or each in a process of its own.
fn beside_plain<B: AutodiffBackend>(args: &Args, device: &B::Device) -> anyhow::Result<()> {
    let attention = matches!(args.what, What::Attention);
    let (what, all, lengths): (_, &[&str], &[usize]) = match attention {
        true => ("attention", &lengths::BIASES, &[512]),
        false => ("positions", &PositionConfig::NAMES, &[128, 1024, 4096]),
    };
    let lengths = if args.lengths.is_empty() { lengths } else { &args.lengths };
    if let ([name], &[length]) = (&args.only[..], lengths) {
        let row = match attention {
            true => lengths::attention::<B>(name, length, args.repeats, device),
            false => lengths::scheme::<B>(name, length, args.repeats, device),
        };
        return lengths::print(&[row?], args.json);
    }
    let all: Vec<String> = all.iter().map(|&name| name.to_owned()).collect();
    let names = if args.only.is_empty() { &all } else { &args.only };
    let mut rest = vec!["--repeats".to_owned(), args.repeats.to_string()];
    rest.extend(args.threads.iter().flat_map(|threads| ["--threads".to_owned(), threads.to_string()]));
    rest.extend(place(args));
    let check = |name: &str, length| match attention {
        true => Ok(()),
        // The defaults of a scheme may be for shorter texts.
        false => lengths::fitting(name, length).map(drop),
    };
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        anyhow::bail!("unknown '{unknown}'; known: {}", all.join(", "));
    }
    lengths::print(&lengths::in_processes(what, names, lengths, &rest, check)?, args.json)
}

/// The flags that say where to compute.
fn place(args: &Args) -> impl Iterator<Item = String> {
    let flags = [("--backend", &args.backend), ("--device", &args.device)];
    flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?])).flatten()
}

/// The flags of every single measurement, for this program and for another.
fn cases(args: &Args) -> anyhow::Result<Vec<Vec<String>>> {
    let what = match args.what {
        What::Ops | What::Attention | What::Positions => {
            anyhow::bail!("single operations have no counterpart; compare train, forward or generate")
        }
        What::Train => "train",
        What::Forward => "forward",
        What::Generate => "generate",
    };
    let mut cases = Vec::new();
    for size in &args.sizes {
        for arch in args.archs.iter().filter(|arch| what != "generate" || **arch == Arch::Gpt) {
            let (arch, repeats) = (format!("{arch:?}").to_lowercase(), args.repeats.to_string());
            let flags = [what, "--archs", &arch, "--sizes", size, "--json", "--repeats", &repeats];
            let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
            flags.extend(["--position".to_owned(), args.position.clone()]);
            flags.extend(["--dropout".to_owned(), args.dropout.to_string()]);
            flags.extend(args.padding.then(|| "--padding".to_owned()));
            flags.extend(args.bf16.then(|| "--bf16".to_owned()));
            if let Some(threads) = args.threads {
                flags.extend(["--threads".to_owned(), threads.to_string()]);
            }
            if what == "train" {
                cases.push(flags);
                continue;
            }
            for weights in &args.weights {
                let mut flags = flags.clone();
                if weights.precision().is_some() {
                    flags.extend(["--weights".to_owned(), format!("{weights:?}").to_lowercase()]);
                }
                match what {
                    "forward" => cases.extend(args.rows.iter().map(|rows| {
                        flags.iter().cloned().chain(["--rows".to_owned(), rows.to_string()]).collect()
                    })),
                    _ => cases.push(flags),
                }
            }
        }
    }
    Ok(cases)
}

fn measure_all<B: AutodiffBackend>(
    args: &Args,
    device: &B::Device,
    sizes: &[Size],
    variant: &Variant,
    peak: f64,
) -> anyhow::Result<Vec<Row>> {
    if matches!(args.what, What::Ops) {
        return Ok(operations::rows::<B>(args.repeats, device));
    }
    let mut rows = Vec::new();
    for size in sizes {
        for &arch in &args.archs {
            let with =
                |weights| suites::Case { arch, size: *size, variant, repeats: args.repeats, peak, weights };
            match args.what {
                What::Train => rows.push(with(Weights::F32).train::<B>(device)?),
                What::Forward => {
                    for (&weights, &n) in
                        args.weights.iter().flat_map(|w| args.rows.iter().map(move |n| (w, n)))
                    {
                        rows.push(with(weights).forward::<B::InnerBackend>(n, device)?);
                    }
                }
                What::Generate if arch == Arch::Bert => {}
                What::Generate => {
                    for &weights in &args.weights {
                        rows.push(with(weights).generate::<B::InnerBackend>(device)?);
                    }
                }
                What::Ops | What::Attention | What::Positions => unreachable!("answered above"),
            }
        }
    }
    Ok(rows)
}

fn size(name: &str) -> anyhow::Result<Size> {
    let known = || SIZES.map(|size| size.name).join(", ");
    let found = SIZES.into_iter().find(|size| size.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| anyhow::anyhow!("unknown size '{name}'; known sizes: {}", known()))
}

fn position(name: &str) -> anyhow::Result<PositionConfig> {
    serde_json::from_value(serde_json::json!(name))
        .map_err(|error| anyhow::anyhow!("position scheme '{name}': {error}"))
}
