//! Scores for language tasks, over plain data: no tensors, no backend.
//!
//! | module | what | equal to |
//! |---|---|---|
//! | [`tags`] | IO, IOB1, IOB2, BIOES to spans and back | seqeval `get_entities`, `conlleval` |
//! | [`entity`] | entity precision, recall, F1 | seqeval `classification_report`, `conlleval` |
//! | [`confusion`] | confusion matrix, class scores, accuracy | scikit-learn `confusion_matrix`, `classification_report` |
//! | [`confusion`] | Matthews' correlation | scikit-learn `matthews_corrcoef` |
//! | [`multilabel`] | multi-label class scores, subset accuracy, Hamming loss | scikit-learn, on indicator rows |
//! | [`report`] | the table that these print and write as JSON | scikit-learn `classification_report` |
//! | [`ranking`] | ROC-AUC, average precision, FPR at a TPR | scikit-learn `roc_auc_score`, `average_precision_score`, `roc_curve` |
//! | [`retrieval`] | MRR, nDCG, MAP, recall, precision, hit rate at k | trec_eval (pytrec_eval) |
//! | [`qa`] | exact match and F1 of answers, thresholds of no answer | SQuAD `evaluate-v2.0.py`, `cmrc2018_evaluate.py` |
//! | [`bleu`], [`chrf`] | BLEU, chrF and chrF++ with their signatures | sacreBLEU |
//! | [`rouge`] | ROUGE-1, ROUGE-2, ROUGE-L, ROUGE-Lsum, with and without stems | `rouge_score` |
//! | [`calibration`] | reliability table, ECE, Brier score, log loss | scikit-learn `calibration_curve`, `brier_score_loss`, `log_loss` |
//! | [`regression`] | MSE, RMSE, MAE, R², Pearson, Spearman | scikit-learn, SciPy `pearsonr`, `spearmanr` |
//! | [`lm`] | perplexity, bits per byte and character | their definitions |
//! | [`bootstrap`] | percentile intervals of any score | SciPy `bootstrap(method="percentile")` |
//! | [`samples`] | a score's counts by example: its interval, and comparison | the above |
//! | [`significance`] | paired randomisation and paired bootstrap of two systems | SciPy `permutation_test(permutation_type="samples")`, NumPy |
//!
//! Scorers add up counts, so a set can be scored batch by batch; a share of 0 of 0 is 0. Other scores that the examples
//! do not define are errors that say why, as is a number that is not finite.
//!
//! ```
//! use locus_metrics::{
//!     entity::EntityScorer,
//!     tags::{TagScheme, spans},
//! };
//!
//! let gold = ["B-PER", "I-PER", "O", "B-LOC"];
//! let predicted = ["B-PER", "I-PER", "O", "O"];
//! let mut scorer = EntityScorer::new();
//! scorer.add(&spans(&gold, TagScheme::Iob2), &spans(&predicted, TagScheme::Iob2));
//!
//! let report = scorer.report();
//! assert_eq!(report.micro().precision, 1.0);
//! assert_eq!(report.micro().recall, 0.5);
//! assert_eq!(
//!     format!("{report:.2}"),
//!     "              precision    recall  f1-score   support
//!
//!          LOC       0.00      0.00      0.00         1
//!          PER       1.00      1.00      1.00         1
//!
//!    micro avg       1.00      0.50      0.67         2
//!    macro avg       0.50      0.50      0.50         2
//! weighted avg       0.50      0.50      0.50         2
//! "
//! );
//! ```

pub mod bleu;
pub mod bootstrap;
pub mod calibration;
pub mod chrf;
pub mod confusion;
pub mod entity;
mod error;
pub mod lm;
mod mixed;
pub mod multilabel;
mod numbers;
pub mod qa;
pub mod ranking;
pub mod regression;
pub mod report;
pub mod retrieval;
pub mod rouge;
pub mod samples;
pub mod significance;
mod stem;
pub mod tags;
mod text;

pub use error::MetricsError;
