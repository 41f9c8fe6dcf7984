//! Tests and continuous integration. Every step is a plain command that also runs by hand.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::run::{backend, built_dir, cargo, code, exe, root, target_dir};
use crate::{book, layers, results, run};

/// All tests on one backend. On ndarray that is everything; elsewhere it is what computes with tensors.
pub(crate) fn test(args: &[String]) -> Result<u8, String> {
    match backend(args)?.as_str() {
        "ndarray" => test_all(),
        other => test_on(other),
    }
}

/// The tests of the workspace, then those of a feature that a normal build is without.
fn test_all() -> Result<u8, String> {
    let parquet = ["--package", "locus-data", "--features", "parquet", "--lib", "parquet"];
    // Examples are looked at by clippy; built here, each would compile the models anew.
    for of in [&["--workspace", "--lib", "--bins", "--tests"][..], &["--workspace", "--doc"], &parquet] {
        match code(cargo().arg("test").args(of))? {
            0 => {}
            failed => return Ok(failed),
        }
    }
    Ok(0)
}

/// Writes the tables and pages of the book that are made from the code: the tests that compare them write them instead. The
/// pages of schemes read what "How we checked" says, so that comes first.
pub(crate) fn positions() -> Result<u8, String> {
    let tests = [
        ("locus-encoder", "conformance", "the_page_names"),
        ("locus", "positions", "_of_the_book_are_the_"),
        ("locus-hub", "parity", "outputs_gradients"),
    ];
    for (package, program, name) in tests {
        let mut test = cargo();
        test.args(["test", "--package", package, "--test", program, name]).env("LOCUS_WRITE_PAGES", "1");
        match code(&mut test)? {
            0 => {}
            failed => return Ok(failed),
        }
    }
    Ok(0)
}

/// Builds the benchmarks in release and runs them.
pub(crate) fn bench(args: &[String]) -> Result<u8, String> {
    let backend = backend(args)?;
    let wgpu = ["vulkan", "metal", "webgpu"].contains(&backend.as_str());
    if !wgpu && !["ndarray", "flex", "wgpu", "cuda"].contains(&backend.as_str()) {
        return Err(format!("benchmarks run on ndarray, flex, wgpu and cuda, not on '{backend}'"));
    }
    let mut bench = cargo();
    bench.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "locus-bench",
        "--no-default-features",
        "--features",
    ]);
    bench.args([backend.as_str(), "--", "--backend", if wgpu { "wgpu" } else { &backend }]);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--backend" => drop(rest.next()),
            arg if arg.starts_with("--backend=") => {}
            arg => drop(bench.arg(arg)),
        }
    }
    code(&mut bench)
}

/// The crates whose tests are emitted per backend.
const TENSOR_CRATES: [&str; 6] =
    ["locus-testkit", "locus-embedding", "locus-encoder", "locus-heads", "locus-model", "locus-pipeline"];

fn test_on(backend: &str) -> Result<u8, String> {
    if !["flex", "wgpu"].contains(&backend) {
        return Err(format!("tests run on ndarray, flex and wgpu, not on '{backend}'"));
    }
    let mut test = cargo();
    test.args([
        "test",
        "--tests",
        "--no-default-features",
        "--features",
        &format!("locus-testkit/{backend},locus/{backend}"),
        // Has no such tests, but its program is built with them, from the same dependencies.
        "--package",
        "locus",
    ]);
    // What the pipeline adds is computed on the host, and `agree` runs it on wgpu.
    for name in TENSOR_CRATES.iter().filter(|name| backend != "wgpu" || **name != "locus-pipeline") {
        test.args(["--package", name]);
    }
    if backend == "wgpu" {
        // What computes is not compiled here but on the device; so the code around it need not be fast, but quick to build.
        test.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    }
    // One thread: the tests of a backend share its device.
    test.args(["--", &format!("{backend}::"), "--test-threads", "1"]);
    if backend == "wgpu" {
        // Whole trainings take minutes on a software adapter; gradients are compared there, and `agree` trains.
        test.args(["--skip", "learns::"]);
    }
    code(&mut test)
}

/// Name, budget in minutes on two cores with nothing built, and what it does.
type Stage = (&'static str, u64, fn() -> Result<u8, String>);

const STAGES: [Stage; 8] = [
    ("format", 1, || code(cargo().args(["fmt", "--all", "--check"]))),
    ("layers", 1, layers::check),
    ("clippy", 8, || {
        let lint = ["--all-targets", "--quiet", "--", "--deny", "warnings"];
        match code(cargo().args(["clippy", "--workspace"]).args(lint))? {
            0 => {
                code(cargo().args(["clippy", "--package", "locus-data", "--features", "parquet"]).args(lint))
            }
            failed => Ok(failed),
        }
    }),
    ("doc", 4, || {
        code(
            cargo()
                .args(["doc", "--workspace", "--no-deps", "--quiet"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
        )
    }),
    ("test", 30, || match results::run(&["--check".to_owned()])? {
        0 => test_all(),
        failed => Ok(failed),
    }),
    ("run", 6, first_run),
    ("book", 8, book::check),
    ("wgpu", 25, wgpu),
];

/// All stages, or the ones named.
pub(crate) fn ci(names: &[String]) -> Result<u8, String> {
    if let Some(unknown) = names.iter().find(|name| STAGES.iter().all(|stage| stage.0 != **name)) {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.0).collect();
        return Err(format!("unknown stage '{unknown}'; known stages: {}", known.join(", ")));
    }
    for (name, budget, stage) in
        STAGES.iter().filter(|stage| names.is_empty() || names.iter().any(|name| name == stage.0))
    {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let code = stage()?;
        eprintln!(
            "== {name}: {} after {} s",
            if code == 0 { "passed" } else { "FAILED" },
            start.elapsed().as_secs()
        );
        if code != 0 {
            return Ok(code);
        }
        if start.elapsed().as_secs() > 60 * budget {
            eprintln!("== {name}: over its budget of {budget} min; see what has become slow");
        }
    }
    Ok(0)
}

/// The README's commands, as a new user runs them.
fn first_run() -> Result<u8, String> {
    let out = scratch("first-run")?;
    let train = ["train", "--out", &out.to_string_lossy()].map(str::to_owned);
    match run::locus(&train)? {
        0 => {}
        failed => return Ok(failed),
    }
    let model = out.join("model");
    let model = model.to_string_lossy();
    for verb in [
        vec!["eval", "--model", &model, "--data", "datasets/first-news/test.conll"],
        vec!["predict", "--model", &model, "--input", "README.md", "--json"],
        vec!["config", "explain", "first-news"],
        vec!["recipes", "ls"],
        vec!["positions", "list"],
        vec!["data", "check", "first-news"],
        vec!["doctor"],
    ] {
        match code(locus().args(&verb).stdout(std::process::Stdio::null()))? {
            0 => {}
            failed => {
                eprintln!("locus {} failed", verb.join(" "));
                return Ok(failed);
            }
        }
    }
    Ok(0)
}

/// The tests on wgpu, the first steps of a run compared with ndarray, and a model of one on the other.
fn wgpu() -> Result<u8, String> {
    for step in [crate::agree::keep_ndarray, || test_on("wgpu")] {
        match step()? {
            0 => {}
            failed => return Ok(failed),
        }
    }
    // The code for the other backends is looked at too.
    let lint = [
        "clippy",
        "--package",
        "locus-backend",
        "--features",
        "flex,wgpu",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ];
    match code(cargo().args(lint))? {
        0 => crate::agree::check(),
        failed => Ok(failed),
    }
}

/// The built program, in the workspace.
fn locus() -> Command {
    let mut locus = Command::new(built_dir().join(exe("locus")));
    locus.current_dir(root());
    locus
}

/// A new folder below the target folder.
pub(crate) fn scratch(name: &str) -> Result<PathBuf, String> {
    let dir = target_dir().join("ci").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|error| format!("cannot clear {}: {error}", dir.display()))?;
    }
    Ok(dir)
}
