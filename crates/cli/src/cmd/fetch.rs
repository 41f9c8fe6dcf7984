//! `locus data fetch`.
//!
//! Downloads need TLS, which a normal build does without: they are behind the feature `download`, and `cargo xtask data
//! fetch` builds with it. Copies from a folder need no feature.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, bail};
use locus_data::{Opened, PublicFile, fetch};

use super::say;
use crate::UsageError;
use crate::args::FetchArgs;
use crate::samples;

pub(crate) fn run(args: &FetchArgs) -> anyhow::Result<()> {
    let to = samples::fetch_dir(args.data_dir.as_deref())
        .context("there is no cache folder here; say where the files are to be put with --data-dir")?;
    // A folder or a mirror may have a copy of the project's own sets.
    let built_in =
        |name: &str| samples::built_in(name).filter(|_| args.from.is_none() || samples::is_synthetic(name));
    let names: Vec<&str> =
        args.names.iter().map(String::as_str).filter(|name| built_in(name).is_none()).collect();
    let manifests: Vec<_> = names.iter().map(|name| samples::manifest(name)).collect::<Result<_, _>>()?;
    for (name, how) in args.names.iter().filter_map(|name| Some((name, built_in(name)?))) {
        say(format_args!(
            "{name}: {how}, so there is nothing to fetch; `locus train` and `locus data` take its name"
        ))?;
    }
    if manifests.is_empty() {
        return Ok(());
    }
    let from = match &args.from {
        Some(address) if address.contains("://") => From::Mirror(address.trim_end_matches('/').to_owned()),
        Some(folder) if Path::new(folder).is_dir() => From::Folder(folder.into()),
        Some(folder) => {
            return Err(UsageError(format!(
                "--from {folder}: expected a folder that is there, or an address"
            ))
            .into());
        }
        None => From::Source,
    };
    if !cfg!(feature = "download") && !matches!(from, From::Folder(_)) {
        bail!(
            "this build cannot download. Use `cargo xtask data fetch {}`, which builds one that can; or copy the files \
             from a folder that has them with --from DIR; or name such a folder with --data-dir or $LOCUS_DATA",
            names.join(" ")
        );
    }
    let mut problems = Vec::new();
    for manifest in &manifests {
        let report = fetch(manifest, &to, &|file| from.open(file));
        say(format_args!(
            "{}: {} fetched, {} already there, {} failed; licence: {}",
            manifest.name,
            report.fetched.len(),
            report.kept.len(),
            report.problems.len(),
            manifest.licence
        ))?;
        problems.extend(report.problems);
    }
    if problems.is_empty() {
        return say(format_args!("in {}", to.display()));
    }
    let missing = problems.len();
    bail!(
        "{missing} files are missing; what is there is kept, so that the same command goes on. Without a network, name \
         a folder that has them with --from DIR, --data-dir or $LOCUS_DATA\n  {}",
        problems.join("\n  ")
    )
}

/// Where files come from.
enum From {
    /// Each from its own source.
    Source,
    /// An address with the layout of a data folder.
    Mirror(String),
    /// A data folder.
    Folder(std::path::PathBuf),
}

impl From {
    fn open(&self, file: &PublicFile) -> Opened {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(&file.path);
                let opened = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Box::new(BufReader::new(opened)))
            }
            Self::Mirror(address) => download(&format!("{address}/{}", file.path)),
            Self::Source => match &file.url {
                Some(url) => download(url),
                None => {
                    Err("its source has no such file (it was derived from others); copy it with --from DIR"
                        .into())
                }
            },
        }
    }
}

#[cfg(feature = "download")]
fn download(url: &str) -> Opened {
    let response = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    Ok(Box::new(response.into_body().into_reader()))
}

#[cfg(not(feature = "download"))]
fn download(url: &str) -> Opened {
    Err(format!("{url}: this build cannot download"))
}
