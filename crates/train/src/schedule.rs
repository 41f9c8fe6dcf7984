//! The learning rate of a step: warm-up, then a fall.

use crate::{FitConfig, Schedule, Warmup};

/// The learning rate of `step` (from 0) of `total_steps`.
///
/// Warm-up is linear and reaches the full rate at its last step, so that no step has rate 0:
/// `lr · (step + 1) / warmup`. Afterwards, with `p = (step − warmup) / (total − warmup)`, the rate is multiplied by 1,
/// `1 − p` or `(1 + cos πp) / 2`.
///
/// Differs: the schedules of Hugging Face start warm-up at rate 0 (`lr · step / warmup`).
pub fn learning_rate(config: &FitConfig, step: usize, total_steps: usize) -> f64 {
    let warmup = match config.warmup {
        Warmup::Steps(steps) => steps,
        Warmup::Ratio(ratio) => (ratio * total_steps as f64).ceil() as usize,
    };
    if step < warmup {
        return config.learning_rate * (step + 1) as f64 / warmup as f64;
    }
    let progress = ((step - warmup) as f64 / total_steps.saturating_sub(warmup).max(1) as f64).min(1.0);
    config.learning_rate
        * match config.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
}

/// How many optimizer steps a run has.
pub(crate) fn total_steps(config: &FitConfig, n_batches: usize) -> usize {
    let all = config.epochs * n_batches.div_ceil(config.accumulate);
    config.max_steps.map_or(all, |max| max.min(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: Warmup, total: usize) -> Vec<f64> {
        let config = FitConfig { learning_rate: 2.0, schedule, warmup, ..FitConfig::default() };
        (0..total).map(|step| learning_rate(&config, step, total)).collect()
    }

    #[test]
    fn warm_up_ends_at_the_full_rate_and_falls_from_there() {
        assert_eq!(rates(Schedule::Linear, Warmup::Steps(2), 6), [1.0, 2.0, 2.0, 1.5, 1.0, 0.5]);
        assert_eq!(rates(Schedule::Constant, Warmup::Ratio(0.3), 5), [1.0, 2.0, 2.0, 2.0, 2.0]);
        let cosine = rates(Schedule::Cosine, Warmup::Steps(0), 4);
        let half = std::f64::consts::FRAC_1_SQRT_2;
        for (got, want) in cosine.iter().zip([2.0, 1.0 + half, 1.0, 1.0 - half]) {
            assert!((got - want).abs() < 1e-12, "{cosine:?}");
        }
    }

    #[test]
    fn a_warm_up_longer_than_the_run_only_rises() {
        assert_eq!(rates(Schedule::Cosine, Warmup::Steps(4), 3), [0.5, 1.0, 1.5]);
    }
}
