//! What an evaluation says, and what a run came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// What an evaluation says of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// All figures by name, for the event stream.
    #[serde(deserialize_with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// The figure that decides which model is best: higher is better. One that is not a number is never better.
    #[serde(deserialize_with = "number")]
    pub score: f64,
    /// Its name.
    pub score_name: String,
    /// Text that is printed as it is, for instance a report per class.
    pub table: Option<String>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All epochs are done.
    Finished,
    /// The score did not improve for `patience` evaluations.
    EarlyStopped,
    /// Someone asked for it; the run can be resumed.
    Interrupted,
    /// `max_steps` was reached.
    MaxSteps,
}

/// What a run came to. Counts include the parts before it was resumed.
#[derive(Clone, Debug)]
pub struct FitReport<I> {
    /// Optimizer steps.
    pub steps: usize,
    /// Completed epochs.
    pub epochs: usize,
    /// Tokens trained on, without padding.
    pub tokens: u64,
    /// Wall-clock time, with evaluation and saving.
    pub seconds: f64,
    /// Tokens over the time spent in steps, waiting for data included, evaluation and saving left out.
    pub tokens_per_second: f64,
    /// Steps left out because their gradient was not finite or no token had a label.
    pub skipped_steps: usize,
    /// The largest resident memory of the process so far; `None` where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// The best score.
    pub best_score: Option<f64>,
    /// The step after which it was measured.
    pub best_step: Option<usize>,
    /// Why the run ended.
    pub stopped: Stopped,
    /// The model with the best score; the last one where no evaluation gave a number.
    pub best_model: I,
    /// What the last evaluation said.
    pub last_evaluation: Option<Evaluation>,
}

// JSON has no NaN: serde_json writes null for it, and refuses to read that as a number.

fn number<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let numbers = BTreeMap::<String, Option<f64>>::deserialize(input)?;
    Ok(numbers.into_iter().map(|(name, number)| (name, number.unwrap_or(f64::NAN))).collect())
}

/// The largest resident memory of this process: `VmHWM` in `/proc/self/status`, which only Linux has.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_without_a_number_survives_json() -> Result<(), serde_json::Error> {
        let metrics = BTreeMap::from([("a".to_owned(), 0.1), ("b".to_owned(), f64::INFINITY)]);
        let evaluation = Evaluation { score: f64::NAN, metrics, ..Evaluation::default() };
        let read: Evaluation = serde_json::from_str(&serde_json::to_string(&evaluation)?)?;
        assert!(read.score.is_nan() && read.metrics["a"] == 0.1 && read.metrics["b"].is_nan());
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_is_known_on_linux() {
        // A test binary of this crate is at least a mebibyte.
        assert!(peak_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
