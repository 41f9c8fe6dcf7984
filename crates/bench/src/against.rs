//! Side by side with another program: both run in turn, A B A B, each in a process of its own, and a figure is the
//! median of the ratios of the pairs, because the speed of a machine drifts.

use std::process::{Command, Stdio};

use anyhow::Context;
use serde::Deserialize;

/// A row of another program.
#[derive(Debug, Deserialize)]
struct Measured {
    what: String,
    median_ms: f64,
    peak_memory_bytes: Option<u64>,
    #[serde(default)]
    losses: Vec<f64>,
}

/// Prints for each case ours, theirs and how many times faster ours is.
#[allow(clippy::print_stdout, reason = "the output of the program")]
pub(crate) fn compare(peer: &str, cases: &[Vec<String>], rounds: usize) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    println!(
        "{:<16} {:>10} {:>10} {:>8} {:>8} {:>8}  first losses, ours and theirs",
        "", "ours ms", "theirs ms", "faster", "lowest", "memory"
    );
    for case in cases {
        let mut pairs = Vec::new();
        for _ in 0..rounds.max(1) {
            let ours = rows(Command::new(&own).args(case))?;
            let theirs = rows(Command::new("sh").args(["-c", &format!("{peer} \"$@\""), "sh"]).args(case))?;
            pairs.push((ours, theirs));
        }
        let median = |f: &dyn Fn(&(Measured, Measured)) -> f64| {
            let mut values: Vec<f64> = pairs.iter().map(f).collect();
            values.sort_by(f64::total_cmp);
            (values[values.len() / 2], values[0])
        };
        let faster = median(&|(ours, theirs)| theirs.median_ms / ours.median_ms);
        let memory = median(&|(ours, theirs)| match (ours.peak_memory_bytes, theirs.peak_memory_bytes) {
            (Some(ours), Some(theirs)) => ours as f64 / theirs as f64,
            _ => f64::NAN,
        });
        let Some((ours, theirs)) = pairs.first() else { continue };
        let (ours_ms, theirs_ms) =
            (median(&|(ours, _)| ours.median_ms).0, median(&|(_, theirs)| theirs.median_ms).0);
        let losses = |row: &Measured| {
            row.losses.iter().take(2).map(|loss| format!("{loss:.5}")).collect::<Vec<_>>().join(" ")
        };
        println!(
            "{:<16} {ours_ms:>10.2} {theirs_ms:>10.2} {:>8.2} {:>8.2} {:>8.2}  {} | {}",
            format!("{} {} {}", ours.what, case[2], case[4]),
            faster.0,
            faster.1,
            memory.0,
            losses(ours),
            losses(theirs)
        );
    }
    Ok(())
}

fn rows(command: &mut Command) -> anyhow::Result<Measured> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {command:?}"))?;
    anyhow::ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    let rows: Vec<Measured> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("expected a list of one row in JSON from {command:?}"))?;
    rows.into_iter().next().with_context(|| format!("{command:?} printed no row"))
}
