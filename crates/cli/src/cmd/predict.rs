//! `locus predict`.

use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::device::{Job, run_on};
use locus_heads::TaskModel;
use locus_pipeline::{FilledMask, Pipeline, Prediction, WriteOptions};

use super::lines::Lines;
use super::write::{one_line, options};
use super::{load, questions, say};
use crate::UsageError;
use crate::args::{PredictArgs, WriteArgs};

/// How many tokens are given for a mask.
const TOP_K: usize = 5;

pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let options = options(&args.model, &args.write, WriteOptions::default())?;
    let device = &args.inference.device;
    run_on(device.backend.as_deref(), device.device.as_deref(), Predict { args, options })?
}

struct Predict<'a> {
    args: &'a PredictArgs,
    options: WriteOptions,
}

impl Job for Predict<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let pipeline = load::<B::InnerBackend>(&self.args.model, &self.args.inference, &device)?;
        self.check(&pipeline)?;
        if let (Some(question), Some(context)) = (&self.args.question, &self.args.context) {
            let asked = [(question.clone(), context.clone())];
            return self.print(questions::answer(&pipeline, &asked)?);
        }
        let mut lines = Lines::open(&self.args.input)?;
        loop {
            let texts = lines.next_group()?;
            if texts.is_empty() {
                return Ok(());
            }
            let predictions = match &pipeline.model {
                TaskModel::CausalLm(_) | TaskModel::Seq2Seq(_) => pipeline.write(&texts, &self.options)?,
                TaskModel::QuestionAnswerer(_) => {
                    let asked = questions::parse(&texts, lines.origin, lines.first_of(&texts))?;
                    questions::answer(&pipeline, &asked)?
                }
                TaskModel::MaskedLm(_) => {
                    let top_k = self.args.write.top_k.unwrap_or(TOP_K);
                    pipeline.fill_mask(&texts, if top_k == 0 { usize::MAX } else { top_k })?
                }
                _ if self.args.pairs => pipeline.predict_pairs(&lines.in_pairs(&texts)?)?,
                _ => pipeline.predict(&texts)?,
            };
            self.print(predictions)?;
        }
    }
}

impl Predict<'_> {
    /// That the flags are those of the model's task.
    fn check<B: Backend>(&self, pipeline: &Pipeline<B>) -> Result<(), UsageError> {
        let (args, task) = (self.args, pipeline.codec.task());
        let mut unread = args.write.clone();
        match pipeline.model {
            TaskModel::CausalLm(_) | TaskModel::Seq2Seq(_) => unread = WriteArgs::default(),
            TaskModel::MaskedLm(_) => unread.top_k = None,
            _ => {}
        }
        if unread != WriteArgs::default() {
            return Err(UsageError(format!("this model does {task}: it takes no options of generation")));
        }
        let reads_pairs =
            matches!(pipeline.model, TaskModel::SequenceClassifier(_) | TaskModel::SentenceEmbedder(_));
        if args.pairs && !reads_pairs {
            return Err(UsageError(format!(
                "--pairs: this model does {task}; classify, multilabel, regression, rank and embed take pairs of texts"
            )));
        }
        if args.question.is_some() && !matches!(pipeline.model, TaskModel::QuestionAnswerer(_)) {
            return Err(UsageError(format!(
                "--question: this model does {task}; a model of the task qa answers questions"
            )));
        }
        Ok(())
    }

    fn print(&self, predictions: Vec<Prediction>) -> anyhow::Result<()> {
        let is_cut = |prediction: &&Prediction| {
            matches!(
                prediction,
                Prediction::Text { cut: true, .. }
                    | Prediction::Masks { cut: true, .. }
                    | Prediction::Answer { cut: true, .. }
            )
        };
        let n_texts = predictions.len();
        match predictions.iter().filter(is_cut).count() {
            0 => {}
            n => tell!("note: {n} of {n_texts} texts were longer than the model reads, and were cut"),
        }
        let has_no_mask = |prediction: &&Prediction| match prediction {
            Prediction::Masks { masks, .. } => masks.is_empty(),
            _ => false,
        };
        match predictions.iter().filter(has_no_mask).count() {
            0 => {}
            n => tell!("note: {n} of {n_texts} texts have no mask to fill"),
        }
        for prediction in predictions {
            say(if self.args.json { prediction.to_json() } else { shown(&prediction) })?;
        }
        Ok(())
    }
}

/// An answer as a person reads it: one line.
fn shown(prediction: &Prediction) -> String {
    match prediction {
        Prediction::Entities { text, entities, .. } | Prediction::Spans { text, entities, .. } => {
            let entities: Vec<String> =
                entities.iter().map(|e| format!("{} [{} {:.2}]", e.text, e.label, e.score)).collect();
            format!("{text}\t{}", if entities.is_empty() { "-".to_owned() } else { entities.join("; ") })
        }
        Prediction::Label { text, pair, label, score, .. } => {
            format!("{label} {score:.2}\t{}", both(text, pair.as_deref()))
        }
        Prediction::Labels { text, pair, labels, .. } => {
            let labels: Vec<String> = labels.iter().map(|l| format!("{} {:.2}", l.label, l.score)).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join("; ") };
            format!("{labels}\t{}", both(text, pair.as_deref()))
        }
        Prediction::Similarity { text, pair, cosine, label, score, .. } => {
            let label = label.as_ref().zip(*score).map(|(label, score)| format!("{label} {score:.2}, "));
            format!("{}cosine {cosine:.4}\t{}", label.unwrap_or_default(), both(text, Some(pair)))
        }
        Prediction::Number { text, pair, value } => format!("{value:.4}\t{}", both(text, pair.as_deref())),
        Prediction::Answer { question, answer, score, .. } => {
            let answer = if answer.is_empty() { "-".to_owned() } else { answer.replace('\n', " ") };
            format!("{answer} {score:.2}\t{question}")
        }
        Prediction::Masks { text, masks, .. } => {
            let of_mask = |tokens: &Vec<FilledMask>| {
                let tokens: Vec<String> =
                    tokens.iter().map(|t| format!("{} {:.2}", t.token, t.score)).collect();
                tokens.join("; ")
            };
            let masks: Vec<String> = masks.iter().map(of_mask).collect();
            format!("{text}\t{}", if masks.is_empty() { "-".to_owned() } else { masks.join("\t") })
        }
        Prediction::Text { text, generated, .. } => {
            let generated: Vec<String> = generated.iter().map(one_line).collect();
            format!("{text}\t{}", generated.join("\t"))
        }
    }
}

/// A text, or the two of a pair as they were given.
fn both(text: &str, pair: Option<&str>) -> String {
    pair.map_or_else(|| text.to_owned(), |pair| format!("{text}\t{pair}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        let answer = |answer: &str| Prediction::Answer {
            question: "Who?".to_owned(),
            answer: answer.to_owned(),
            start: 3,
            end: 3 + answer.chars().count(),
            score: 0.87,
            cut: false,
        };
        assert_eq!(shown(&answer("Mira\nTolland")), "Mira Tolland 0.87\tWho?");
        assert_eq!(shown(&answer("")), "- 0.87\tWho?");
        let alike = |label: Option<&str>| Prediction::Similarity {
            text: "a".to_owned(),
            pair: "b".to_owned(),
            cosine: 0.5,
            label: label.map(str::to_owned),
            score: label.map(|_| 0.875),
            scores: Default::default(),
        };
        assert_eq!(shown(&alike(None)), "cosine 0.5000\ta\tb");
        assert_eq!(shown(&alike(Some("same"))), "same 0.88, cosine 0.5000\ta\tb");
        assert_eq!(alike(None).to_json(), r#"{"text":"a","pair":"b","cosine":0.5}"#);
        let token = |token: &str, score| FilledMask {
            token: token.to_owned(),
            id: 7,
            score,
            text: format!("a {token}"),
        };
        let masks = |masks| Prediction::Masks { text: "a [MASK]".to_owned(), cut: false, masks };
        assert_eq!(shown(&masks(Vec::new())), "a [MASK]\t-");
        let two = masks(vec![vec![token("b", 0.75), token("c", 0.12)], vec![token("d", 1.0)]]);
        assert_eq!(shown(&two), "a [MASK]\tb 0.75; c 0.12\td 1.00");
        assert!(two.to_json().contains(r#""masks":[[{"token":"b","id":7,"score":0.75,"text":"a b"}"#));
    }
}
