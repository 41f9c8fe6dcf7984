//! Scores against seqeval, scikit-learn and SciPy (`oracle/metrics.py`, `oracle/metrics_text.py`), to 1e-12 unless a test says why not. Each test
//! also plants an error that the comparison must catch.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use locus_metrics::{
    confusion::ConfusionMatrix,
    entity::EntityScorer,
    lm::LmScorer,
    report::{ClassReport, ReportRow},
    tags::{Span, TagScheme, spans},
};
use serde_json::Value;

#[path = "golden/text.rs"]
mod text;

const TOLERANCE: f64 = 1e-12;

fn cases(golden: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// NaN on either side is an error: no comparison with it is true.
fn close(what: &str, got: f64, want: f64) -> Result<(), String> {
    if (got - want).abs() <= TOLERANCE { Ok(()) } else { Err(format!("{what}: got {got}, want {want}")) }
}

fn same_row(got: &ReportRow, want: &Value) -> Result<(), String> {
    let label = want["label"].as_str().unwrap();
    if got.label != label {
        return Err(format!("got row {:?}, want {label:?}", got.label));
    }
    close(&format!("{label} precision"), got.precision, want["precision"].as_f64().unwrap())?;
    close(&format!("{label} recall"), got.recall, want["recall"].as_f64().unwrap())?;
    close(&format!("{label} f1"), got.f1, want["f1"].as_f64().unwrap())?;
    close(&format!("{label} support"), got.support as f64, want["support"].as_f64().unwrap())
}

fn same_rows<'a>(got: impl IntoIterator<Item = &'a ReportRow>, want: &Value) -> Result<(), String> {
    let (got, want): (Vec<_>, _) = (got.into_iter().collect(), want.as_array().unwrap());
    if got.len() != want.len() {
        return Err(format!("got {} rows, want {}", got.len(), want.len()));
    }
    got.into_iter().zip(want).try_for_each(|(got, want)| same_row(got, want))
}

fn swapped(report: &ClassReport) -> Vec<ReportRow> {
    let swap = |row: &ReportRow| ReportRow { precision: row.recall, recall: row.precision, ..row.clone() };
    report.rows().iter().map(swap).collect()
}

mod entity {
    use super::*;

    const GOLDEN: &str = include_str!("golden/entity.json");

    fn sentences(case: &Value, side: &str) -> Vec<Vec<Span>> {
        let scheme: TagScheme = case["scheme"].as_str().unwrap().parse().unwrap();
        case[side].as_array().unwrap().iter().map(|tags| spans(&strings(tags), scheme)).collect()
    }

    fn oracle_spans(case: &Value, side: &str) -> Vec<Vec<Span>> {
        let spans: Vec<Vec<(usize, usize, String)>> = serde_json::from_value(case[side].clone()).unwrap();
        let span = |(start, end, label)| Span { start, end, label };
        spans.into_iter().map(|sentence| sentence.into_iter().map(span).collect()).collect()
    }

    fn report(gold: &[Vec<Span>], predicted: &[Vec<Span>]) -> ClassReport {
        let mut scorer = EntityScorer::new();
        for (gold, predicted) in gold.iter().zip(predicted) {
            scorer.add(gold, predicted);
        }
        scorer.report()
    }

    /// Every multi-token span, one token short.
    fn one_short(mut sentences: Vec<Vec<Span>>) -> Vec<Vec<Span>> {
        sentences
            .iter_mut()
            .flatten()
            .filter(|span| span.end > span.start + 1)
            .for_each(|span| span.end -= 1);
        sentences
    }

    #[test]
    fn spans_equal_seqeval() {
        for case in cases(GOLDEN) {
            for (tags, want) in [("gold", "gold_spans"), ("predicted", "predicted_spans")] {
                let (got, want) = (sentences(&case, tags), oracle_spans(&case, want));
                assert_eq!(got, want, "{}", case["name"]);
                assert_ne!(one_short(got), want, "planted error not seen in {}", case["name"]);
            }
        }
    }

    #[test]
    fn report_equals_seqeval() {
        for case in cases(GOLDEN) {
            let (gold, predicted) = (sentences(&case, "gold"), sentences(&case, "predicted"));
            let report = report(&gold, &predicted);
            same_rows(report.rows(), &case["rows"])
                .unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            assert_eq!(report.accuracy(), None);
            assert_eq!(report.to_string(), case["text"].as_str().unwrap(), "{}", case["name"]);
        }
    }

    #[test]
    fn report_catches_planted_errors() {
        let (mut n_swapped, mut n_short, mut n_cases) = (0, 0, 0);
        for case in cases(GOLDEN) {
            let (gold, predicted) = (sentences(&case, "gold"), sentences(&case, "predicted"));
            n_swapped += usize::from(same_rows(&swapped(&report(&gold, &predicted)), &case["rows"]).is_err());
            let short = report(&gold, &one_short(predicted));
            n_short += usize::from(same_rows(short.rows(), &case["rows"]).is_err());
            n_cases += 1;
        }
        // In one case nothing matches, so every score is 0 and neither error can show there.
        assert_eq!((n_swapped, n_short), (n_cases - 1, n_cases - 1));
    }
}

mod classes {
    use super::*;

    const GOLDEN: &str = include_str!("golden/classes.json");

    fn matrix(gold: &Value, predicted: &Value) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new();
        matrix.extend(&strings(gold), &strings(predicted)).unwrap();
        matrix
    }

    fn report(case: &Value, matrix: &ConfusionMatrix) -> ClassReport {
        match &case["only"] {
            Value::Null => matrix.report(),
            only => matrix.report_of(&strings(only)),
        }
    }

    /// Where scikit-learn prints the accuracy in place of the micro average, ours must carry the same number.
    fn same_report(got: &ClassReport, case: &Value) -> Result<(), String> {
        let Some(accuracy) = case["accuracy"].as_f64() else {
            return same_rows(got.rows(), &case["rows"]);
        };
        let micro = got.micro();
        for score in [got.accuracy().unwrap_or(f64::NAN), micro.precision, micro.recall, micro.f1] {
            close("accuracy", score, accuracy)?;
        }
        let averages = [got.macro_avg(), got.weighted_avg()];
        same_rows(got.labels().iter().chain(averages), &case["rows"])
    }

    #[test]
    fn report_equals_sklearn() {
        for case in cases(GOLDEN) {
            let report = report(&case, &matrix(&case["gold"], &case["predicted"]));
            same_report(&report, &case).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            assert_eq!(report.accuracy().is_some(), case["accuracy"].is_f64(), "{}", case["name"]);
            assert_eq!(format!("{report:.2}"), case["text"]["2"].as_str().unwrap());
            assert_eq!(report.to_string(), case["text"]["4"].as_str().unwrap());
        }
    }

    #[test]
    fn matthews_equals_sklearn() {
        for case in cases(GOLDEN) {
            let want = case["matthews"].as_f64().unwrap();
            close("matthews", matrix(&case["gold"], &case["predicted"]).matthews(), want)
                .unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            let mut gold = strings(&case["gold"]);
            gold.rotate_left(1);
            let shifted = matrix(&serde_json::to_value(gold).unwrap(), &case["predicted"]).matthews();
            assert!(case["name"] == "one label" || close("shifted", shifted, want).is_err());
        }
    }

    #[test]
    fn matrix_equals_sklearn() {
        for case in cases(GOLDEN) {
            let got = serde_json::to_value(matrix(&case["gold"], &case["predicted"])).unwrap();
            assert_eq!(got, case["confusion"], "{}", case["name"]);
        }
    }

    #[test]
    fn swapping_gold_and_predicted_is_caught() {
        let differs = |case: &Value| {
            let transposed = matrix(&case["predicted"], &case["gold"]);
            let matrix = serde_json::to_value(&transposed).unwrap();
            same_report(&report(case, &transposed), case).is_err() && matrix != case["confusion"]
        };
        let missed: Vec<Value> = cases(GOLDEN).into_iter().filter(|case| !differs(case)).collect();
        let names: Vec<&str> = missed.iter().map(|case| case["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["one label"]); // One label is right everywhere, so there is nothing to swap.
    }
}

mod lm {
    use super::*;

    const GOLDEN: &str = include_str!("golden/lm.json");

    fn same_scores(case: &Value, n_missing: u64) -> Result<(), String> {
        let nats: Vec<f64> = serde_json::from_value(case["nats"].clone()).unwrap();
        let mut scorer = LmScorer::new();
        scorer.add_text(case["text"].as_str().unwrap());
        for part in nats.chunks(7) {
            scorer.add(part.iter().sum(), part.len() as u64);
        }
        scorer.add(0.0, n_missing);
        let report = scorer.report().unwrap();
        let want = |name: &str| case[name].as_f64().unwrap();
        close("perplexity", report.perplexity / want("perplexity"), 1.0)?;
        close("bits per byte", report.bits_per_byte.unwrap(), want("bits_per_byte"))?;
        close("bits per character", report.bits_per_char.unwrap(), want("bits_per_char"))
    }

    #[test]
    fn scores_equal_numpy() {
        for case in cases(GOLDEN) {
            same_scores(&case, 0).unwrap();
            assert!(same_scores(&case, 1).is_err(), "one token too many must show");
        }
    }
}

mod multilabel {
    use locus_metrics::multilabel::{MultiLabelReport, MultiLabelScorer};

    use super::*;

    const GOLDEN: &str = include_str!("golden/multilabel.json");

    fn report(case: &Value, gold: &str, predicted: &str) -> MultiLabelReport {
        let mut scorer = MultiLabelScorer::new(strings(&case["labels"]));
        let rows = |side: &str| -> Vec<Vec<bool>> { serde_json::from_value(case[side].clone()).unwrap() };
        for (gold, predicted) in rows(gold).iter().zip(rows(predicted)) {
            scorer.add(gold, &predicted).unwrap();
        }
        scorer.report().unwrap()
    }

    #[test]
    fn report_equals_sklearn() {
        for case in cases(GOLDEN) {
            let report = report(&case, "gold", "predicted");
            same_rows(report.classes.rows(), &case["rows"])
                .unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            assert_eq!(report.classes.to_string(), case["text"].as_str().unwrap(), "{}", case["name"]);
            let want = |name: &str| case[name].as_f64().unwrap();
            close("subset accuracy", report.subset_accuracy, want("subset_accuracy")).unwrap();
            close("Hamming loss", report.hamming_loss, want("hamming_loss")).unwrap();
        }
    }

    #[test]
    fn swapping_gold_and_predicted_is_caught() {
        for case in cases(GOLDEN).iter().filter(|case| case["name"] != "nothing at all") {
            let swapped = report(case, "predicted", "gold");
            assert!(same_rows(swapped.classes.rows(), &case["rows"]).is_err(), "{}", case["name"]);
        }
    }
}

mod ranking {
    use locus_metrics::{
        MetricsError,
        ranking::{average_precision, one_vs_rest, roc_auc},
    };

    use super::*;

    const GOLDEN: &str = include_str!("golden/ranking.json");

    type Score = fn(&[bool], &[f64]) -> Result<f64, MetricsError>;
    const SCORES: [(&str, Score); 2] = [("roc_auc", roc_auc), ("average_precision", average_precision)];

    fn same_scores(case: &Value, gold: &[usize], scores: &[Vec<f64>]) -> Result<(), String> {
        for (name, score) in SCORES {
            for (class, want) in case[name].as_array().unwrap().iter().enumerate() {
                let gold: Vec<bool> = gold.iter().map(|&gold| gold == class).collect();
                let scores: Vec<f64> = scores.iter().map(|row| row[class]).collect();
                close(name, score(&gold, &scores).unwrap(), want.as_f64().unwrap())?;
            }
            let mean = one_vs_rest(score, gold, scores).unwrap();
            close("mean", mean, case[format!("{name}_mean")].as_f64().unwrap())?;
        }
        Ok(())
    }

    #[test]
    fn areas_equal_sklearn() {
        for case in cases(GOLDEN) {
            let gold: Vec<usize> = serde_json::from_value(case["gold"].clone()).unwrap();
            let mut scores: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
            same_scores(&case, &gold, &scores).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            // A tie broken by the order of the examples, or any order but that of the scores.
            scores
                .iter_mut()
                .enumerate()
                .for_each(|(at, row)| row.iter_mut().for_each(|s| *s += at as f64 * 1e-3));
            assert!(same_scores(&case, &gold, &scores).is_err(), "{}", case["name"]);
        }
    }
}

mod calibration {
    use locus_metrics::calibration::{Reliability, brier, log_loss};

    use super::*;

    const GOLDEN: &str = include_str!("golden/calibration.json");

    fn same_scores(case: &Value, gold: &[usize]) -> Result<(), String> {
        let probabilities: Vec<Vec<f64>> = serde_json::from_value(case["probabilities"].clone()).unwrap();
        let n_bins = case["n_bins"].as_u64().unwrap() as usize;
        let table = Reliability::of_classes(gold, &probabilities, n_bins).unwrap();
        assert_eq!(table.bins.len(), n_bins);
        let filled: Vec<_> = table.bins.iter().filter(|bin| bin.n > 0).collect();
        let sizes: Vec<usize> = filled.iter().map(|bin| bin.n).collect();
        assert_eq!(sizes, serde_json::from_value::<Vec<usize>>(case["sizes"].clone()).unwrap());
        for (at, bin) in filled.iter().enumerate() {
            close("accuracy", bin.accuracy, case["accuracy"][at].as_f64().unwrap())?;
            close("confidence", bin.confidence, case["confidence"][at].as_f64().unwrap())?;
        }
        let want = |name: &str| case[name].as_f64().unwrap();
        close("ece", table.ece, want("ece"))?;
        close("brier", brier(gold, &probabilities).unwrap(), want("brier"))?;
        close("log loss", log_loss(gold, &probabilities).unwrap(), want("log_loss"))
    }

    #[test]
    fn scores_equal_sklearn() {
        for case in cases(GOLDEN) {
            let mut gold: Vec<usize> = serde_json::from_value(case["gold"].clone()).unwrap();
            same_scores(&case, &gold).unwrap();
            gold.rotate_left(1);
            assert!(same_scores(&case, &gold).is_err(), "labels of other examples must show");
        }
    }
}

mod regression {
    use locus_metrics::regression::RegressionReport;

    use super::*;

    const GOLDEN: &str = include_str!("golden/regression.json");

    fn same_scores(case: &Value, gold: &[f64], predicted: &[f64]) -> Result<(), String> {
        let got = serde_json::to_value(RegressionReport::new(gold, predicted).unwrap()).unwrap();
        for name in ["mse", "rmse", "mae", "r2", "pearson", "spearman"] {
            close(name, got[name].as_f64().unwrap(), case[name].as_f64().unwrap())?;
        }
        Ok(())
    }

    #[test]
    fn scores_equal_sklearn_and_scipy() {
        for case in cases(GOLDEN) {
            let numbers = |side: &str| -> Vec<f64> { serde_json::from_value(case[side].clone()).unwrap() };
            let (gold, predicted) = (numbers("gold"), numbers("predicted"));
            same_scores(&case, &gold, &predicted).unwrap();
            assert!(same_scores(&case, &predicted, &gold).is_err(), "R² is not symmetric");
        }
    }
}

mod bootstrap {
    use locus_metrics::bootstrap::{Bootstrap, Interval};

    use super::*;

    const GOLDEN: &str = include_str!("golden/bootstrap.json");

    fn f1(sums: &[f64]) -> f64 {
        2.0 * sums[0] / (sums[1] + sums[2])
    }

    /// Other draws than SciPy's: with 20,000 of them an end wanders by about 0.5 % of the width (one standard deviation).
    fn same_interval(got: Interval, want: &Value) -> Result<(), String> {
        let [low, high]: [f64; 2] = serde_json::from_value(want.clone()).unwrap();
        let tolerance = 0.03 * (high - low);
        let near = |got: f64, want: f64| (got - want).abs() <= tolerance;
        if near(got.low, low) && near(got.high, high) { Ok(()) } else { Err(format!("{got:?}, not {want}")) }
    }

    #[test]
    fn intervals_equal_scipy() {
        for case in cases(GOLDEN) {
            let systems: Vec<Vec<[f64; 3]>> = serde_json::from_value(case["systems"].clone()).unwrap();
            let n_resamples = case["n_resamples"].as_u64().unwrap() as usize;
            let bootstrap = Bootstrap { n_resamples, ..Bootstrap::default() };
            for (system, want) in systems.iter().zip(case["intervals"].as_array().unwrap()) {
                same_interval(bootstrap.interval_of_sums(system, f1).unwrap(), want).unwrap();
                let narrow = Bootstrap { confidence: 0.9, ..bootstrap };
                assert!(same_interval(narrow.interval_of_sums(system, f1).unwrap(), want).is_err());
            }
            let want = &case["difference"];
            let difference = |a: &[_], b: &[_]| bootstrap.difference_of_sums(a, b, f1).unwrap();
            same_interval(difference(&systems[0], &systems[1]), want).unwrap();
            let mut unpaired = systems[1].clone();
            unpaired.rotate_left(1);
            assert!(
                same_interval(difference(&systems[0], &unpaired), want).is_err(),
                "pairs must stay pairs"
            );
        }
    }
}

mod samples {
    use locus_metrics::bootstrap::{Bootstrap, Interval};
    use locus_metrics::samples::{Formula, Samples};
    use serde::de::DeserializeOwned;

    use super::*;

    const GOLDEN: &str = include_str!("golden/samples.json");

    fn read<T: DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    /// What the scorers count of each example: per label right, predicted and gold; or the squared error.
    fn counts(case: &Value) -> (Formula, Vec<Vec<f64>>) {
        let formula: Formula = read(&case["formula"]);
        let (gold, predicted) = (&case["gold"], &case["predicted"]);
        let rows = match formula {
            Formula::MacroF1 => {
                let (gold, predicted): (Vec<Vec<bool>>, Vec<Vec<bool>>) = (read(gold), read(predicted));
                let label = |(&gold, &found): (&bool, &bool)| {
                    [gold && found, found, gold].map(u8::from).map(f64::from)
                };
                let row = |(gold, found): (&Vec<bool>, &Vec<bool>)| {
                    gold.iter().zip(found).flat_map(label).collect()
                };
                gold.iter().zip(&predicted).map(row).collect()
            }
            _ => {
                let (gold, predicted): (Vec<f64>, Vec<f64>) = (read(gold), read(predicted));
                gold.iter().zip(&predicted).map(|(gold, found)| vec![(gold - found).powi(2), 1.0]).collect()
            }
        };
        (formula, rows)
    }

    /// Other draws than SciPy's: an end of 1,000 resamples wanders by about 2.5 % of the width, of 10,000 by 0.7 % (one
    /// standard deviation); both are allowed four times that.
    fn same(got: Interval, case: &Value, tolerance: f64) -> Result<(), String> {
        let [low, high]: [f64; 2] = read(&case["interval"]);
        let near = |got: f64, want: f64| (got - want).abs() <= tolerance * (high - low);
        let same = near(got.low, low) && near(got.high, high);
        if same { Ok(()) } else { Err(format!("{got:?}, not {low} to {high}")) }
    }

    #[test]
    fn intervals_of_labels_and_numbers_equal_scipy() {
        for case in cases(GOLDEN) {
            let (formula, rows) = counts(&case);
            let samples = Samples::new(formula, rows.clone());
            close("score", samples.score(), case["score"].as_f64().unwrap()).unwrap();
            same(samples.interval().unwrap(), &case, 0.1).unwrap();
            let bootstrap = Bootstrap {
                n_resamples: case["n_resamples"].as_u64().unwrap() as usize,
                ..Bootstrap::default()
            };
            let interval =
                |bootstrap: Bootstrap| bootstrap.interval_of_sums(&rows, |sums| formula.score(sums)).unwrap();
            same(interval(bootstrap), &case, 0.04).unwrap();
            assert!(same(interval(Bootstrap { confidence: 0.9, ..bootstrap }), &case, 0.04).is_err());
        }
    }
}
