//! `locus positions`.

mod choice;
mod list;
mod shown;
mod svg;
mod text;

use std::path::Path;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, PositionConfig, PositionShape};
use locus_encoder::{Inspection, Look, inspect};

use super::say;
use crate::UsageError;
use crate::args::{PositionsArgs, PositionsVerb, ShowArgs};
use crate::run_file::{ConfigErrors, Problem};

pub(crate) use choice::{choose, keys_of};

pub(crate) fn run(args: &PositionsArgs) -> anyhow::Result<()> {
    match &args.verb {
        PositionsVerb::List { json, markdown } => list::run(*json, *markdown),
        PositionsVerb::Show(args) => show(args),
    }
}

/// More numbers than anybody reads.
const MOST_NUMBERS: usize = 1 << 24;

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let (config, look) = checked(args)?;
    let inspection = run_on(None, None, Show(&config, &look))??;
    if let Some(path) = &args.svg {
        write_svg(path, &svg::draw(config.name(), &look, &inspection))?;
    }
    if args.json {
        return say(shown::json(&config, &look, &inspection)?);
    }
    say(text::describe(&config, &look, &inspection).trim_end())?;
    match &args.svg {
        Some(path) => say(format_args!("\nwrote {}", path.display())),
        None => Ok(()),
    }
}

struct Show<'a>(&'a PositionConfig, &'a Look);

impl Job for Show<'_> {
    type Out = anyhow::Result<Inspection>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let Self(config, look) = self;
        let scheme = config.init::<B::InnerBackend>(&look.shape, Key::new(look.seed), &device);
        Ok(inspect::<B::InnerBackend, _>(&scheme, look, &device)?)
    }
}

fn write_svg(path: &Path, drawing: &str) -> anyhow::Result<()> {
    std::fs::write(path, drawing).map_err(|error| {
        UsageError(format!("--svg {}: expected a file that can be written: {error}", path.display())).into()
    })
}

/// The scheme and the sizes, or everything that is wrong with them.
fn checked(args: &ShowArgs) -> anyhow::Result<(PositionConfig, Look)> {
    let ShowArgs { q, k, heads, d_head, .. } = *args;
    let mut problems = Vec::new();
    let mut unless = |fits: bool, flag: &str, found: String, allowed: &str| {
        if !fits {
            problems.push(Problem::new(flag, found, allowed));
        }
    };
    for (flag, size) in [("--q", q), ("--k", k), ("--heads", heads), ("--d-head", d_head)] {
        unless((1..=1 << 20).contains(&size), flag, size.to_string(), "1 to 1048576");
    }
    unless(q <= k, "--q", q.to_string(), &format!("at most --k = {k}: the queries are the last tokens"));
    let numbers = [heads, k, q.max(d_head.saturating_mul(d_head))].into_iter().fold(1, usize::saturating_mul);
    let allowed = format!("heads · k · max(q, d_head²) of at most {MOST_NUMBERS}");
    unless(numbers <= MOST_NUMBERS, "sizes", numbers.to_string(), &allowed);
    let max_seq_len = args.max_seq_len.unwrap_or(128.max(k));
    unless(
        (k..=1 << 20).contains(&max_seq_len),
        "--max-seq-len",
        max_seq_len.to_string(),
        &format!("--k = {k} to 1048576"),
    );
    let ids = args.ids.clone().unwrap_or_else(|| (0..k.min(MOST_NUMBERS) as u32).collect());
    unless(
        args.ids.is_none() || ids.len() == k,
        "--ids",
        format!("{} ids", ids.len()),
        &format!("{k}, as --k"),
    );
    if let Some(segments) = &args.segments {
        let found = format!("{} segments", segments.len());
        unless(segments.len() == k, "--segments", found, &format!("{k}, as --k"));
    }
    let d_model = heads.saturating_mul(d_head);
    let numbers = d_model.saturating_mul(d_model.max(max_seq_len));
    let allowed =
        format!("heads · d_head · max(heads · d_head, max_seq_len) of at most {}", 16 * MOST_NUMBERS);
    unless(numbers <= 16 * MOST_NUMBERS, "sizes", numbers.to_string(), &allowed);
    let sizes_fit = problems.is_empty();
    let form = if args.bidirectional && !args.causal { Form::Bidirectional } else { Form::Causal };
    let shape = PositionShape { d_model, n_heads: heads, n_kv_heads: heads, d_head, max_seq_len, form };
    let look = Look { q, k, shape, seed: args.seed, ids, segments: args.segments.clone() };
    let chosen = choose(&args.name, Default::default(), &args.sets).and_then(|config| {
        let wrong = if sizes_fit { config.check(&shape) } else { Vec::new() };
        let problems: Vec<Problem> = wrong
            .into_iter()
            .map(|p| Problem::new(if p.key.is_empty() { config.name() } else { &p.key }, p.found, &p.allowed))
            .collect();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    });
    match chosen {
        Ok(config) if problems.is_empty() => Ok((config, look)),
        chosen => {
            problems.extend(chosen.err().unwrap_or_default());
            Err(ConfigErrors { origin: format!("positions show {}", args.name), problems }.into())
        }
    }
}
