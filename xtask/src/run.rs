//! Building and running `locus`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // xtask lies directly below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The backend of `--backend B` or `--backend=B`; ndarray where there is none.
pub(crate) fn backend(args: &[String]) -> Result<String, String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--backend" {
            return args
                .next()
                .cloned()
                .ok_or_else(|| "--backend needs a name: ndarray, flex, wgpu or cuda".to_owned());
        }
        if let Some(name) = arg.strip_prefix("--backend=") {
            return Ok(name.to_owned());
        }
    }
    Ok("ndarray".to_owned())
}

/// Builds `locus` with the backend that the arguments name, and gives the command that runs it with them.
fn built(args: &[String]) -> Result<Result<Command, u8>, String> {
    let backend = backend(args)?;
    let mut build = cargo();
    build.args(["build", "--profile", &profile()]).args(package());
    // An unknown name is left to `locus`, which answers it with the nearest known one.
    if ["flex", "wgpu", "vulkan", "metal", "webgpu", "cuda"].contains(&backend.as_str()) {
        build.args(["--features", &format!("locus/{backend}")]);
    }
    // Only these verbs need TLS.
    if [["data", "fetch"], ["hub", "pull"]].iter().any(|verb| args.iter().take(2).eq(verb)) {
        build.args(["--features", "locus/download"]);
    }
    if args.iter().any(|arg| arg.contains("parquet")) {
        build.args(["--features", "locus/parquet"]);
    }
    let failed = code(&mut build)?;
    if failed != 0 {
        return Ok(Err(failed));
    }
    let mut locus = Command::new(built_dir().join(exe("locus")));
    locus.args(for_locus(args));
    Ok(Ok(locus))
}

/// The arguments as `locus` takes them: flavours of wgpu are a matter of the build, and only some verbs compute.
fn for_locus(args: &[String]) -> Vec<String> {
    let computes = ["train", "eval", "predict", "embed", "generate", "forward"].contains(&args[0].as_str());
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let name = match arg.strip_prefix("--backend=") {
            Some(name) => Some(name.to_owned()),
            None if arg == "--backend" => args.next().cloned(),
            None => None,
        };
        match name {
            None => kept.push(arg.clone()),
            Some(name) if computes => {
                let flavour = ["vulkan", "metal", "webgpu"].contains(&name.as_str());
                kept.extend(["--backend".to_owned(), if flavour { "wgpu".to_owned() } else { name }]);
            }
            Some(_) => {}
        }
    }
    kept
}

/// Runs `locus` with these arguments and gives its exit code.
pub(crate) fn locus(args: &[String]) -> Result<u8, String> {
    match built(args)? {
        Ok(mut locus) => code(&mut locus),
        Err(failed) => Ok(failed),
    }
}

/// Ends as `locus` with these arguments, so that it gets the signals of the terminal.
pub(crate) fn become_locus(args: &[String]) -> Result<u8, String> {
    match built(args)? {
        #[cfg(unix)]
        Ok(mut locus) => {
            let error = std::os::unix::process::CommandExt::exec(&mut locus);
            Err(format!("cannot run {}: {error}", locus.get_program().to_string_lossy()))
        }
        #[cfg(not(unix))]
        Ok(mut locus) => code(&mut locus),
        Err(failed) => Ok(failed),
    }
}

/// The cargo that runs this program, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs a command and gives its exit code.
pub(crate) fn code(command: &mut Command) -> Result<u8, String> {
    let status = command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().to_string_lossy()))?;
    // A command that a signal ended has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What says to cargo which program is meant. In the profile of the tests it is built with the features that they were built
/// with, from the same dependencies.
pub(crate) fn package() -> &'static [&'static str] {
    if profile() == "dev" { &["--workspace", "--bin", "locus"] } else { &["--package", "locus"] }
}

/// The profile that `locus` is built in: `$LOCUS_PROFILE`, or release.
pub(crate) fn profile() -> String {
    std::env::var("LOCUS_PROFILE")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "release".to_owned())
}

/// Where the programs of that profile lie.
pub(crate) fn built_dir() -> PathBuf {
    target_dir().join(match profile().as_str() {
        "dev" => "debug".to_owned(),
        name => name.to_owned(),
    })
}

pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

pub(crate) fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}
