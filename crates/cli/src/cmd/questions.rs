//! Questions as `locus predict` reads and answers them.

use anyhow::Context;
use burn::tensor::backend::Backend;
use locus_pipeline::{Pipeline, Prediction};
use serde::Deserialize;

/// A question with its context; what else a line of a data file has is passed over.
#[derive(Deserialize)]
struct Asked {
    question: String,
    context: String,
}

/// Lines of JSON, of which the first has this number in `origin`.
pub(super) fn parse(lines: &[String], origin: &str, first: usize) -> anyhow::Result<Vec<(String, String)>> {
    let parse = |(number, line): (usize, &String)| {
        let asked: Asked = serde_json::from_str(line).with_context(|| {
            format!("{origin}:{number}: expected a JSON object with the texts question and context")
        })?;
        Ok((asked.question, asked.context))
    };
    (first..).zip(lines).map(parse).collect()
}

/// The answers.
pub(super) fn answer<B: Backend>(
    pipeline: &Pipeline<B>,
    asked: &[(String, String)],
) -> anyhow::Result<Vec<Prediction>> {
    let answers = pipeline.answer(asked)?;
    let predictions = asked.iter().zip(answers).map(|((question, _), answer)| Prediction::Answer {
        question: question.clone(),
        answer: answer.text,
        start: answer.start,
        end: answer.end,
        score: answer.score,
        cut: answer.cut,
    });
    Ok(predictions.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::parse;

    #[test]
    fn what_is_no_question_is_named_with_its_line() {
        let good = r#"{"id": 3, "question": "Who?", "context": "Mira 在."}"#.to_owned();
        let asked = parse(std::slice::from_ref(&good), "in.jsonl", 1).unwrap();
        assert_eq!(asked, [("Who?".to_owned(), "Mira 在.".to_owned())]);
        for bad in ["", "Who?", r#"{"question": "Who?"}"#, r#"{"question": 1, "context": ""}"#] {
            let error = parse(&[good.clone(), bad.to_owned()], "in.jsonl", 7).unwrap_err().to_string();
            assert!(error.starts_with("in.jsonl:8: expected a JSON object"), "{error}");
        }
    }
}
