//! Scores for language tasks, over plain data: no tensors, no backend.
//!
//! | module | what | equal to |
//! |---|---|---|
//! | [`tags`] | IO, IOB1, IOB2, BIOES to spans and back | seqeval `get_entities`, `conlleval` |
//! | [`entity`] | entity precision, recall, F1 | seqeval `classification_report`, `conlleval` |
//! | [`confusion`] | confusion matrix, class scores, accuracy | scikit-learn `confusion_matrix`, `classification_report` |
//! | [`report`] | the table that both print and write as JSON | scikit-learn `classification_report` |
//! | [`lm`] | perplexity, bits per byte | their definitions |
//!
//! Scorers add up counts, so a set can be scored batch by batch; an undefined score (0 of 0) is 0.
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

pub mod confusion;
pub mod entity;
mod error;
pub mod lm;
pub mod report;
pub mod tags;

pub use error::MetricsError;
