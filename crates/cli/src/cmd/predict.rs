//! `locus predict`.

use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_pipeline::{Pipeline, Prediction};

use super::say;
use crate::args::PredictArgs;

/// Lines are answered in groups, so that a long input needs little memory.
const LINES: usize = 256;

pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<()> {
    run_on(args.device.backend.as_deref(), args.device.device.as_deref(), Predict(args))?
}

struct Predict<'a>(&'a PredictArgs);

impl Job for Predict<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let pipeline = Pipeline::<B::InnerBackend>::from_dir(&self.0.model, &device)?;
        let input: Box<dyn Read> = match &self.0.input[..] {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {path}"))?),
        };
        let mut lines = Lines { reader: BufReader::new(input), origin: &self.0.input, number: 0 };
        loop {
            let texts = lines.next_group()?;
            if texts.is_empty() {
                return Ok(());
            }
            for prediction in pipeline.predict(&texts)? {
                say(if self.0.json { prediction.to_json() } else { shown(&prediction) })?;
            }
        }
    }
}

struct Lines<'a, R> {
    reader: BufReader<R>,
    origin: &'a str,
    number: usize,
}

impl<R: Read> Lines<'_, R> {
    /// The next lines without their ends, as many answers as which are due.
    fn next_group(&mut self) -> anyhow::Result<Vec<String>> {
        let mut group = Vec::new();
        // What has been read is answered at once, so that a person or a program at the other end need not wait.
        while group.len() < LINES && (group.is_empty() || !self.reader.buffer().is_empty()) {
            let mut bytes = Vec::new();
            if self
                .reader
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("cannot read {}", self.origin))?
                == 0
            {
                break;
            }
            self.number += 1;
            let line = String::from_utf8(bytes).map_err(|error| {
                let byte = error.utf8_error().valid_up_to() + 1;
                anyhow::anyhow!(
                    "{}:{}: byte {byte} of the line is not UTF-8; convert the file to UTF-8",
                    self.origin,
                    self.number
                )
            })?;
            let line = if self.number == 1 { line.trim_start_matches('\u{FEFF}') } else { &line };
            group.push(line.trim_end_matches(['\n', '\r']).to_owned());
        }
        Ok(group)
    }
}

/// An answer as a person reads it: one line.
fn shown(prediction: &Prediction) -> String {
    match prediction {
        Prediction::Entities { text, entities, .. } => {
            let entities: Vec<String> =
                entities.iter().map(|e| format!("{} [{} {:.2}]", e.text, e.label, e.score)).collect();
            format!("{text}\t{}", if entities.is_empty() { "-".to_owned() } else { entities.join("; ") })
        }
        Prediction::Label { text, label, score, .. } => format!("{label} {score:.2}\t{text}"),
        Prediction::Labels { text, labels, .. } => {
            let labels: Vec<String> = labels.iter().map(|l| format!("{} {:.2}", l.label, l.score)).collect();
            format!("{}\t{text}", if labels.is_empty() { "-".to_owned() } else { labels.join("; ") })
        }
        Prediction::Number { text, value } => format!("{value:.4}\t{text}"),
        Prediction::Text { text, generated } => format!("{text}\t{}", generated.replace('\n', "\\n")),
    }
}
