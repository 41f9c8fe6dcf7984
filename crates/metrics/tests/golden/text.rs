//! Answers, translations, summaries, rankings and paired tests against `oracle/metrics_text.py`.

use locus_metrics::{
    bleu::{Bleu, BleuScorer, BleuTokenizer},
    chrf::{Chrf, ChrfScorer},
    qa::{QaPart, QaReport, QaScorer, QaStyle},
    ranking::fpr_at_tpr,
    retrieval::RetrievalScorer,
    rouge::{Rouge, RougeScorer},
    samples::{Formula, Samples},
    significance::PairedTest,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{cases, close, strings};

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// That numbers are equal, and that the same numbers a place further are not.
fn same_rows(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        close(what, *got, *want).unwrap();
    }
    let shifted =
        got.iter().zip(want.iter().cycle().skip(1)).any(|(got, want)| close(what, *got, *want).is_err());
    assert!(shifted || want.len() < 2, "{what}: a shift must show");
}

fn qa_scorer(style: QaStyle, case: &Value) -> QaScorer {
    let (gold, predicted): (Vec<Vec<String>>, _) = (read(&case["gold"]), strings(&case["predicted"]));
    let mut scorer = QaScorer::new(style);
    for (gold, predicted) in gold.iter().zip(&predicted) {
        scorer.add(&borrowed(gold), predicted);
    }
    scorer
}

fn same_qa(got: &QaReport, want: &Value) -> Result<(), String> {
    close("exact", got.em, number(&want["exact"]))?;
    close("f1", got.f1, number(&want["f1"]))?;
    assert_eq!(got.n as u64, want["total"].as_u64().unwrap());
    let Some(unanswerable) = got.unanswerable else {
        assert!(want["NoAns_exact"].is_null());
        return Ok(());
    };
    for (part, QaPart { em, f1, n }) in [("HasAns", got.answerable.unwrap()), ("NoAns", unanswerable)] {
        close(part, em, number(&want[format!("{part}_exact")]))?;
        close(part, f1, number(&want[format!("{part}_f1")]))?;
        assert_eq!(n as u64, want[format!("{part}_total")].as_u64().unwrap());
    }
    Ok(())
}

#[test]
fn answers_equal_squad() {
    for case in cases(include_str!("qa.json")) {
        let scorer = qa_scorer(QaStyle::Squad, &case);
        same_qa(&scorer.report(), &case["scores"]).unwrap();
        close("samples", scorer.f1_samples().score(), scorer.report().f1).unwrap();
        close("samples", scorer.em_samples().score(), scorer.report().em).unwrap();
        assert!(same_qa(&qa_scorer(QaStyle::Cmrc, &case).report(), &case["scores"]).is_err());
        let (numbers, threshold): (Vec<f64>, f64) = (read(&case["no_answer"]), number(&case["threshold"]));
        let want = &case["at_threshold"];
        same_qa(&scorer.report_at(&numbers, threshold).unwrap(), want).unwrap();
        assert!(same_qa(&scorer.report_at(&numbers, threshold - 0.2).unwrap(), want).is_err());
        let best = scorer.best_thresholds(&numbers).unwrap();
        close("best exact", best.em, number(&want["best_exact"])).unwrap();
        close("best exact threshold", best.em_threshold, number(&want["best_exact_thresh"])).unwrap();
        close("best f1", best.f1, number(&want["best_f1"])).unwrap();
        close("best f1 threshold", best.f1_threshold, number(&want["best_f1_thresh"])).unwrap();
        let reached = scorer.report_at(&numbers, best.f1_threshold).unwrap().f1;
        // The search takes any answer to a question without one for wrong, even one without words.
        assert!(reached >= best.f1 - 1e-12, "{reached} is less than {}", best.f1);
    }
}

#[test]
fn answers_equal_cmrc() {
    for case in cases(include_str!("cmrc.json")) {
        let scores: Vec<[f64; 2]> = read(&case["scores"]);
        let gold: Vec<Vec<String>> = read(&case["gold"]);
        for style in [QaStyle::Cmrc, QaStyle::Squad] {
            let mut scorer = QaScorer::new(style);
            let (em, f1): (Vec<f64>, Vec<f64>) = gold
                .iter()
                .zip(strings(&case["predicted"]))
                .map(|(gold, predicted)| scorer.add(&borrowed(gold), &predicted))
                .unzip();
            if style == QaStyle::Squad {
                assert!(f1.iter().zip(&scores).any(|(got, want)| close("f1", *got, want[1]).is_err()));
                continue;
            }
            same_rows("exact match", &em, &scores.iter().map(|row| row[0]).collect::<Vec<_>>());
            same_rows("f1", &f1, &scores.iter().map(|row| row[1]).collect::<Vec<_>>());
        }
    }
}

/// Up to the program that computed it.
fn same_signature(got: &str, want: &Value) {
    let (got, ours) = got.split_once("|impl:").unwrap();
    assert!(ours.starts_with("locus|version:"), "{ours}");
    assert_eq!(got, want.as_str().unwrap().split_once("|version:").unwrap().0);
}

#[test]
fn bleu_equals_sacrebleu() {
    for case in cases(include_str!("bleu.json")) {
        let tokenizer: BleuTokenizer = read(&case["tokenizer"]);
        let bleu = Bleu { tokenizer, lowercase: case["lowercase"].as_bool().unwrap() };
        let (hypotheses, references) =
            (strings(&case["hypotheses"]), read::<Vec<Vec<String>>>(&case["references"]));
        for (text, want) in hypotheses.iter().zip(read::<Vec<Vec<String>>>(&case["tokens"])) {
            let tokens = tokenizer.tokenize(text.trim_end());
            assert_eq!(tokens.split_whitespace().collect::<Vec<_>>(), want, "{text}");
        }
        let (mut scorer, mut other) = (
            BleuScorer::new(bleu),
            BleuScorer::new(Bleu { lowercase: !bleu.lowercase, tokenizer: BleuTokenizer::None }),
        );
        let mut sentences = Vec::new();
        for (hypothesis, references) in hypotheses.iter().zip(&references) {
            scorer.add(hypothesis, &borrowed(references)).unwrap();
            other.add(hypothesis, &borrowed(references)).unwrap();
            sentences.push(bleu.sentence(hypothesis, &borrowed(references)).unwrap());
        }
        let (report, want) = (scorer.report(), number(&case["score"]));
        close("BLEU", report.score / 100.0, want / 100.0).unwrap();
        close("samples", scorer.samples().score(), report.score).unwrap();
        assert!(
            close("other words", other.report().score, want).is_err() || tokenizer == BleuTokenizer::None
        );
        let precisions: Vec<f64> = read(&case["precisions"]);
        precisions
            .iter()
            .zip(report.precisions)
            .for_each(|(want, got)| close("precision", got / 100.0, want / 100.0).unwrap());
        close("brevity penalty", report.brevity_penalty, number(&case["bp"])).unwrap();
        assert_eq!([report.hypothesis_words, report.reference_words], read::<[u64; 2]>(&case["lengths"]));
        same_signature(&scorer.signature(), &case["signature"]);
        let of_100 = |scores: Vec<f64>| -> Vec<f64> { scores.iter().map(|score| score / 100.0).collect() };
        same_rows("sentence BLEU", &of_100(sentences), &of_100(read(&case["sentences"])));
    }
}

#[test]
fn chrf_equals_sacrebleu() {
    for case in cases(include_str!("chrf.json")) {
        let word_order: usize = read(&case["word_order"]);
        let chrf = Chrf { word_order, lowercase: case["lowercase"].as_bool().unwrap() };
        let (hypotheses, references) =
            (strings(&case["hypotheses"]), read::<Vec<Vec<String>>>(&case["references"]));
        let (mut scorer, mut other) =
            (ChrfScorer::new(chrf), ChrfScorer::new(Chrf { word_order: 2 - word_order, ..chrf }));
        let mut sentences = Vec::new();
        for (hypothesis, references) in hypotheses.iter().zip(&references) {
            scorer.add(hypothesis, &borrowed(references)).unwrap();
            other.add(hypothesis, &borrowed(references)).unwrap();
            sentences.push(chrf.sentence(hypothesis, &borrowed(references)).unwrap() / 100.0);
        }
        let want = number(&case["score"]);
        close("chrF", scorer.score() / 100.0, want / 100.0).unwrap();
        assert!(close("the other of chrF and chrF++", other.score(), want).is_err());
        same_signature(&scorer.signature(), &case["signature"]);
        let wanted: Vec<f64> =
            read::<Vec<f64>>(&case["sentences"]).iter().map(|score| score / 100.0).collect();
        same_rows("sentence chrF", &sentences, &wanted);
    }
}

#[test]
fn rouge_equals_rouge_score() {
    for case in cases(include_str!("rouge.json")) {
        let stem = case["stem"].as_bool().unwrap();
        let (mut scorer, mut n_other) = (RougeScorer::new(Rouge { stem }), 0);
        let rows = case["rows"].as_array().unwrap();
        for row in rows {
            let (references, predicted) = (strings(&row["references"]), row["predicted"].as_str().unwrap());
            let scores = scorer.add(&borrowed(&references), predicted).unwrap();
            let other =
                RougeScorer::new(Rouge { stem: !stem }).add(&borrowed(&references), predicted).unwrap();
            n_other += usize::from(other != scores);
            for (name, score) in scores.named() {
                let want: [f64; 3] = read(&row["scores"][name]);
                for (got, want) in [score.precision, score.recall, score.f1].into_iter().zip(want) {
                    close(name, got, want).unwrap();
                }
            }
        }
        assert!(n_other > 0, "stems must show");
        let mean =
            rows.iter().map(|row| number(&row["scores"]["rougeLsum"][2])).sum::<f64>() / rows.len() as f64;
        close("mean", scorer.report().rouge_lsum.f1, mean).unwrap();
        close("samples", scorer.samples(|scores| scores.rouge_lsum).score(), mean).unwrap();
        assert!(close("another score", scorer.report().rouge2.f1, mean).is_err());
    }
}

#[test]
fn retrieval_equals_trec_eval() {
    for case in cases(include_str!("retrieval.json")) {
        let cutoffs: Vec<usize> = read(&case["cutoffs"]);
        let (ranked, relevant): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
            (read(&case["ranked"]), read(&case["relevant"]));
        let report = |later: usize| {
            let mut scorer = RetrievalScorer::new(&cutoffs).unwrap();
            for (ranked, relevant) in ranked.iter().zip(&relevant) {
                let ranked = [vec![0.0; later], ranked.clone()].concat();
                scorer.add(&ranked, relevant).unwrap();
            }
            let mean = scorer.samples("ndcg@3").unwrap().score();
            close("samples", mean, scorer.report()["ndcg@3"]).unwrap();
            scorer.report()
        };
        // What counts the documents found may find as many.
        let counts = |name: &str| {
            ["recall", "precision", "hit_rate"].iter().any(|kind| name.starts_with(kind))
                && !name.ends_with("@1")
        };
        let (got, one_later, want) = (report(0), report(1), case["scores"].as_object().unwrap());
        assert_eq!(got.len(), want.len());
        for (name, want) in want {
            close(name, got[name], number(want)).unwrap();
            assert!(close(name, one_later[name], number(want)).is_err() || counts(name), "{name}");
        }
    }
}

#[test]
fn rates_of_detection_equal_sklearn() {
    for case in cases(include_str!("detection.json")) {
        let (gold, scores): (Vec<bool>, Vec<f64>) = (read(&case["gold"]), read(&case["scores"]));
        let swapped: Vec<bool> = gold.iter().map(|gold| !gold).collect();
        let mut differs = false;
        for (target, want) in case["fpr_at_tpr"].as_object().unwrap() {
            let target = target.parse().unwrap();
            close("FPR", fpr_at_tpr(&gold, &scores, target).unwrap(), number(want)).unwrap();
            differs |= close("FPR", fpr_at_tpr(&swapped, &scores, target).unwrap(), number(want)).is_err();
        }
        assert!(differs, "swapped classes must show");
    }
}

/// Other draws than SciPy's, 20,000 of both: four standard deviations are allowed. SciPy doubles the smaller tail, which
/// wanders as twice half the p-value.
#[test]
fn paired_tests_equal_scipy() {
    for case in cases(include_str!("significance.json")) {
        let formula: Formula = read(&case["formula"]);
        let systems: Vec<Vec<Vec<f64>>> = read(&case["systems"]);
        let samples = |at: usize| Samples::new(formula, systems[at].clone());
        let mut test = PairedTest::default();
        (test.bootstrap.n_resamples, test.n_permutations) = (20_000, 20_000);
        let got = test.compare(&samples(0), &samples(1)).unwrap();
        close("difference", got.difference, number(&case["difference"])).unwrap();
        for (name, p, tails) in
            [("p_randomisation", got.p_randomisation, 2.0), ("p_bootstrap", got.p_bootstrap, 1.0)]
        {
            let want = number(&case[name]);
            let variance = want * (1.0 - want) + want * (tails - want);
            let tolerance = 4.0 * (variance / 20_000.0).sqrt();
            assert!((p - want).abs() <= tolerance, "{}: {name} {p}, not {want}", case["name"]);
        }
        let [low, high]: [f64; 2] = read(&case["interval"]);
        let near = |got: f64, want: f64| (got - want).abs() <= 0.04 * (high - low);
        assert!(near(got.interval.low, low) && near(got.interval.high, high), "{:?}", got.interval);
    }
    // Pairs must stay pairs.
    let case = &cases(include_str!("significance.json"))[1];
    let systems: Vec<Vec<[f64; 2]>> = read(&case["systems"]);
    let sorted = |at: usize| {
        let mut rows = systems[at].clone();
        rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
        Samples::new(Formula::Mean, rows)
    };
    let p = PairedTest::default().compare(&sorted(0), &sorted(1)).unwrap().p_randomisation;
    assert!((p - number(&case["p_randomisation"])).abs() > 1e-3, "{p}");
}
