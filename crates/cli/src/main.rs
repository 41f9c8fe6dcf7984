//! The `locus` command: train, evaluate, predict and generate with transformers whose position embedding you choose.
//!
//! Exit codes: 0 done, 1 the run failed, 2 bad usage or configuration. Whoever reads the output may stop reading: the program
//! then ends with 0 when it next writes, and what it would say on standard error is dropped.

#![deny(clippy::print_stderr, reason = "it panics where nobody reads standard error; `tell!` does not")]

/// Says a line on standard error, as `eprintln!` does; where nobody reads it, nobody can be told.
macro_rules! tell {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stderr(), $($line)*).unwrap_or_default()
    }};
}

mod args;
mod class_weights;
mod cmd;
mod experiment;
mod init;
mod recipes;
mod report;
mod run_file;
mod samples;
mod take_over;

use std::fmt;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use args::{Args, Command};
use clap::Parser;
use locus_hub::HubError;

// PERF: a training step allocates and frees large buffers; with the system's allocator it spends a quarter of its time
// in page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets the allocator keep what is freed, unless `MIMALLOC_PURGE_DELAY` says otherwise.
// PERF: given back to the system, the largest buffers of a step were cleared anew in every step: 23 % of the time.
fn keep_freed_memory() {
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: it sets a number in the allocator's table of options, which may be done at any time.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}

const NDARRAY_THREADS: &str = "MATMUL_NUM_THREADS";

/// Starts the threads that all computing on a CPU shares. Without a number rayon decides, by `RAYON_NUM_THREADS` if set.
fn set_threads(threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    // burn-ndarray's own products, which schemes that see the scores use, have threads of their own.
    if std::env::var_os(NDARRAY_THREADS).is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(NDARRAY_THREADS, threads.to_string()) };
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build_global()
        .with_context(|| format!("cannot start {threads} threads; give fewer by --threads or LOCUS_THREADS"))
}

fn main() -> ExitCode {
    keep_freed_memory();
    let args = Args::parse();
    let result = set_threads(args.threads).and_then(|()| match args.command {
        Command::Train(args) => cmd::train::run(&args),
        Command::Eval(args) => cmd::eval::run(&args),
        Command::Compare(args) => cmd::compare::run(&args),
        Command::Predict(args) => cmd::predict::run(&args),
        Command::Embed(args) => cmd::embed::run(&args),
        Command::Generate(args) => cmd::generate::run(&args),
        Command::Recipes(args) => cmd::recipes::run(&args),
        Command::Config(args) => cmd::config::run(&args),
        Command::Data(args) => cmd::data::run(&args),
        Command::Positions(args) => cmd::positions::run(&args),
        Command::Model(args) => cmd::model::run(&args),
        Command::Hub(args) => cmd::hub::run(&args),
        Command::Forward(args) => cmd::forward::run(&args),
        Command::Doctor => cmd::doctor::run(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("error: {error:#}");
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// A mistake in what was asked for, rather than in carrying it out.
#[derive(Debug)]
struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<UsageError>()
        || error.is::<run_file::ConfigErrors>()
        || error.is::<locus_backend::device::BackendError>()
        || matches!(error.downcast_ref(), Some(locus_train::TrainError::Config(_)))
        || matches!(error.downcast_ref(), Some(HubError::Config { .. } | HubError::UnknownFamily { .. }))
}

/// Whoever read our output has seen enough (`locus predict … | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
