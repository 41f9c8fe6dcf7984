//! Scores against seqeval and scikit-learn (`oracle/metrics.py`), to 1e-12. Each test also plants an error that the
//! comparison must catch.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use locus_metrics::{
    confusion::ConfusionMatrix,
    entity::EntityScorer,
    lm::LmScorer,
    report::{ClassReport, ReportRow},
    tags::{Span, TagScheme, spans},
};
use serde_json::Value;

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
        gold.iter().zip(predicted).for_each(|(gold, predicted)| scorer.add(gold, predicted));
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

    fn same_scores(case: &Value, n_missing: usize) -> Result<(), String> {
        let nats: Vec<f64> = serde_json::from_value(case["nats"].clone()).unwrap();
        let mut scorer = LmScorer::new();
        scorer.add(0.0, 0, case["n_bytes"].as_u64().unwrap());
        for part in nats.chunks(7) {
            scorer.add(part.iter().sum(), part.len() as u64, 0);
        }
        scorer.add(0.0, n_missing as u64, 0);
        let report = scorer.report().unwrap();
        let want = case["perplexity"].as_f64().unwrap();
        close("perplexity", report.perplexity / want, 1.0)?;
        close("bits per byte", report.bits_per_byte.unwrap(), case["bits_per_byte"].as_f64().unwrap())
    }

    #[test]
    fn scores_equal_numpy() {
        for case in cases(GOLDEN) {
            same_scores(&case, 0).unwrap();
            assert!(same_scores(&case, 1).is_err(), "one token too many must show");
        }
    }
}
