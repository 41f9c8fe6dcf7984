//! Questions with a context that holds the answer: the document layout of SQuAD, and rows with the same keys.
//!
//! `answer_start` counts characters. An answer that does not stand there is a fault, and so is a question without text; a
//! set whose faults are known says how many there are (`known_faults`), and they are left out. Any other number is an error.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::cell::describe;
use super::json::{Lines, parse};
use super::source::Source;
use crate::error::Problems;
use crate::{Answer, DataError, Examples, Question, ReadOptions};

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Vec<Article<'a>>,
}

#[derive(Deserialize)]
struct Article<'a> {
    #[serde(borrow)]
    paragraphs: Vec<Paragraph<'a>>,
}

#[derive(Deserialize)]
struct Paragraph<'a> {
    context: String,
    #[serde(borrow)]
    qas: Vec<&'a RawValue>,
}

pub(super) fn read(source: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    let document: Document<'_> = parse(source, &source.text)?;
    let mut problems = Problems::new(&source.path);
    let mut lines = Lines::of(&source.text);
    let mut questions = Vec::new();
    for Paragraph { context, qas } in document.data.into_iter().flat_map(|article| article.paragraphs) {
        let context: Arc<str> = context.into();
        for raw in qas {
            let line = lines.of_part(raw.get());
            let row: Value = parse(source, raw.get())?;
            match with_context(&row, context.clone(), line) {
                Ok(question) => questions.push(question),
                Err(message) => problems.at(line, message),
            }
        }
    }
    let questions = aligned(questions, options.known_faults, &mut problems);
    problems.finish(Examples::Qa(questions))
}

/// Whether a row is a question with its context.
pub(super) fn is_question(row: &Value) -> bool {
    ["context", "question", "answers"].iter().all(|key| row.get(key).is_some())
}

/// A row that has its own context.
pub(super) fn question(row: &Value, line: usize) -> Result<Question, String> {
    let context = text(row, "context")?;
    with_context(row, context.into(), line)
}

fn with_context(row: &Value, context: Arc<str>, line: usize) -> Result<Question, String> {
    if context.trim().is_empty() {
        return Err("expected a context, found nothing".to_owned());
    }
    let id = match row.get("id") {
        Some(Value::Number(id)) => id.to_string(),
        Some(Value::String(id)) => id.clone(),
        _ => line.to_string(),
    };
    let question =
        row.get("question").and_then(Value::as_str).ok_or("expected a text in `question`")?.to_owned();
    let answers = answers(row.get("answers").unwrap_or(&Value::Null))?;
    Ok(Question { id, context, question, answers, line })
}

/// A list of answers, or lists of their texts and starts. A question without an answer in its context has none.
fn answers(value: &Value) -> Result<Vec<Answer>, String> {
    let answer = |given: &Value, start: &Value| match (given.as_str(), start.as_i64()) {
        (Some(given), Some(start)) => {
            Ok(Answer { text: given.to_owned(), start: usize::try_from(start).ok() })
        }
        _ => Err("expected answers with a text and a whole number as answer_start".to_owned()),
    };
    match value {
        Value::Array(list) => list.iter().map(|one| answer(&one["text"], &one["answer_start"])).collect(),
        Value::Object(lists) => match (lists.get("text"), lists.get("answer_start")) {
            (Some(Value::Array(texts)), Some(Value::Array(starts))) if texts.len() == starts.len() => {
                texts.iter().zip(starts).map(|(given, start)| answer(given, start)).collect()
            }
            _ => Err("expected `text` and `answer_start` of the same length in `answers`".to_owned()),
        },
        other => Err(format!("expected a list in `answers`, found {}", describe(other))),
    }
}

fn text<'a>(row: &'a Value, key: &str) -> Result<&'a str, String> {
    match row.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(other) => Err(format!("expected a text in `{key}`, found {}", describe(other))),
        None => Err(format!("expected the key `{key}`")),
    }
}

/// The questions without their faults, if there are as many of these as known. A question that loses all its answers goes
/// with them.
pub(super) fn aligned(questions: Vec<Question>, known: usize, problems: &mut Problems) -> Vec<Question> {
    let mut wrong = Vec::new();
    let mut kept = Vec::with_capacity(questions.len());
    for mut question in questions {
        if question.question.trim().is_empty() {
            wrong.push((
                question.line,
                format!("question {}: expected a question, found no text", question.id),
            ));
            continue;
        }
        let had_answers = !question.answers.is_empty();
        let (context, id, line) = (question.context.clone(), question.id.clone(), question.line);
        question.answers.retain(|answer| {
            let stands = answer.stands_in(&context);
            if !stands {
                wrong.push((line, format!("question {id}: {}", misplaced(answer, &context))));
            }
            stands
        });
        if !(had_answers && question.answers.is_empty()) {
            kept.push(question);
        }
    }
    if wrong.len() != known {
        let found = wrong.len();
        problems.at(
            0,
            format!(
                "{found} faults, {known} are known; correct them, or leave them out with known_faults = {found}"
            ),
        );
        wrong.into_iter().for_each(|(line, message)| problems.at(line, message));
    }
    kept
}

fn misplaced(answer: &Answer, context: &str) -> String {
    let shorten = |text: &str| text.chars().take(40).collect::<String>();
    let Some(start) = answer.start else {
        return format!("the answer `{}` has no place in the context", shorten(&answer.text));
    };
    let there: String = context.chars().skip(start).take(answer.text.chars().count()).collect();
    format!(
        "expected the answer `{}` at character {start}, found `{}`",
        shorten(&answer.text),
        shorten(&there)
    )
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Answer, Examples, Format, Question, ReadOptions};

    const DOCUMENT: &str = r#"{"data": [{"title": "t", "paragraphs": [{"context": "在北京 lives Ada.", "qas": [
        {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 10}]},
        {"id": "q2", "question": "Where?", "answers": [{"text": "北京", "answer_start": 1}, {"text": "北京", "answer_start": 2}]},
        {"id": "q3", "question": "When?", "answers": [{"text": "now", "answer_start": -1}]},
        {"id": "q4", "question": "Why?", "answers": []},
        {"id": "q5", "question": " ", "answers": []}
    ]}]}]}"#;

    fn questions(name: &str, text: &str, options: &ReadOptions) -> Result<Vec<Question>, String> {
        match read_text(name, text, options)? {
            Examples::Qa(list) => Ok(list),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn faults_are_listed_unless_known() {
        let options = ReadOptions { format: Some(Format::Squad), ..Default::default() };
        let error = questions("a.json", DOCUMENT, &options).expect_err("three are wrong");
        let expected = "a.json: 4 problems\n  a.json: 3 faults, 0 are known; correct them, or leave them out with \
            known_faults = 3\n  \
            a.json:3: question q2: expected the answer `北京` at character 2, found `京 `\n  \
            a.json:4: question q3: the answer `now` has no place in the context\n  \
            a.json:6: question q5: expected a question, found no text";
        assert_eq!(error, expected);
        let list = questions("a.json", DOCUMENT, &ReadOptions { known_faults: 3, ..options.clone() });
        let list = list.expect("as many as known");
        let ids: Vec<&str> = list.iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, ["q1", "q2", "q4"]);
        assert_eq!(list[1].answers, [Answer { text: "北京".into(), start: Some(1) }]);
        assert_eq!((list[2].answers.len(), list[2].line), (0, 5));
        let error = questions("a.json", DOCUMENT, &ReadOptions { known_faults: 4, ..options });
        assert!(error.expect_err("one less").contains("3 faults, 4 are known"));
    }

    #[test]
    fn rows_with_the_same_keys_are_questions() {
        let text = "{\"context\": \"a b\", \"question\": \"?\", \"answers\": {\"text\": [\"b\"], \"answer_start\": [2]}}\n";
        let list = questions("a.jsonl", text, &ReadOptions::default()).expect("reads");
        assert_eq!((list[0].answers[0].text.as_str(), list[0].id.as_str()), ("b", "1"));
        let text = "{\"context\": \"a b\", \"question\": \"?\", \"answers\": 3}\n";
        let error = questions("a.jsonl", text, &ReadOptions::default()).expect_err("no answers");
        assert_eq!(error, "a.jsonl:1: expected a list in `answers`, found the number 3");
    }
}
