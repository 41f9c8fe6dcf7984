//! Time, memory, and how a row is printed.

use std::time::Instant;

use burn::tensor::backend::Backend;
use serde::Serialize;

use crate::Weights;
use crate::model::Arch;

/// One measured thing.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<Arch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<&'static str>,
    /// How the weights of an inference are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<Weights>,
    pub(crate) median_ms: f64,
    pub(crate) min_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gflops: Option<f64>,
    /// Of the best sgemm of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_of_peak: Option<f64>,
    /// The most memory the process has held until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) losses: Vec<f64>,
}

/// Median and minimum of `repeats` runs in milliseconds, after two that warm up.
pub(crate) fn time<T>(repeats: usize, mut f: impl FnMut() -> T) -> (f64, f64) {
    let mut times: Vec<f64> = (0..repeats.max(1) + 2)
        .map(|_| {
            let start = Instant::now();
            drop(f());
            start.elapsed().as_secs_f64() * 1e3
        })
        .skip(2)
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Waits until everything that was asked of a GPU is done.
pub(crate) fn wait<B: Backend>(device: &B::Device) {
    B::sync(device).unwrap_or_else(|error| panic!("the device gave up: {error:?}"));
}

/// GFLOP/s of the best square product of single floats.
pub(crate) fn best_sgemm() -> f64 {
    [1024_usize, 2048]
        .into_iter()
        .map(|n| {
            let (a, b, mut c) = (vec![0.5_f32; n * n], vec![0.25_f32; n * n], vec![0.0_f32; n * n]);
            let stride = n as isize;
            let (_, best) = time(7, || {
                // SAFETY: the three buffers hold n × n elements under these strides, and c is nobody else's.
                unsafe {
                    gemm::gemm(
                        n,
                        n,
                        n,
                        c.as_mut_ptr(),
                        1,
                        stride,
                        false,
                        a.as_ptr(),
                        1,
                        stride,
                        b.as_ptr(),
                        1,
                        stride,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::Rayon(0),
                    );
                }
            });
            2.0 * (n as f64).powi(3) / best / 1e6
        })
        .fold(0.0, f64::max)
}

/// The most memory this process has held, where the system says.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Prints the rows, as a table or as JSON.
#[allow(clippy::print_stdout, reason = "the output of the program")]
pub(crate) fn print(rows: &[Row], peak: f64, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!("best sgemm {peak:.0} GFLOP/s, {} threads", rayon::current_num_threads());
    println!(
        "{:<34} {:>10} {:>10} {:>10} {:>9} {:>6} {:>9}  first losses",
        "", "median ms", "min ms", "tokens/s", "GFLOP/s", "share", "peak MB"
    );
    for row in rows {
        let arch = row.arch.map_or(String::new(), |arch| format!(" {arch:?}").to_lowercase());
        let weights = match row.weights {
            None | Some(Weights::F32) => String::new(),
            Some(weights) => format!(" {weights:?}").to_lowercase(),
        };
        let name = format!("{}{arch} {}{weights}", row.what, row.size.unwrap_or_default());
        let number = |x: Option<f64>, digits: usize| x.map_or("–".into(), |x| format!("{x:.digits$}"));
        let losses: Vec<String> = row.losses.iter().map(|loss| format!("{loss:.5}")).collect();
        println!(
            "{name:<34} {:>10.2} {:>10.2} {:>10} {:>9} {:>6} {:>9}  {}",
            row.median_ms,
            row.min_ms,
            number(row.tokens_per_second, 0),
            number(row.gflops, 0),
            number(row.share_of_peak.map(|share| share * 100.0), 0),
            number(row.peak_memory_bytes.map(|bytes| bytes as f64 / 1e6), 0),
            losses.join(" ")
        );
    }
    Ok(())
}
