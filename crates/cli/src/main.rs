//! The `locus` command: train, evaluate, predict and generate with transformers whose position embedding you choose.
//!
//! Exit codes: 0 done, 1 the run failed, 2 bad usage or configuration.

mod args;
mod class_weights;
mod cmd;
mod experiment;
mod init;
mod recipes;
mod report;
mod run_file;
mod samples;

use std::fmt;
use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;

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

fn main() -> ExitCode {
    keep_freed_memory();
    let result = match Args::parse().command {
        Command::Train(args) => cmd::train::run(&args),
        Command::Eval(args) => cmd::eval::run(&args),
        Command::Predict(args) => cmd::predict::run(&args),
        Command::Generate(args) => cmd::generate::run(&args),
        Command::Recipes(args) => cmd::recipes::run(&args),
        Command::Config(args) => cmd::config::run(&args),
        Command::Data(args) => cmd::data::run(&args),
        Command::Doctor => cmd::doctor::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
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
}

/// Whoever read our output has seen enough (`locus predict … | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
