//! One cell of a row as a text, a label, several labels, or a number; with what was expected where it is none.

use serde_json::Value;

use super::keys::Key;

pub(super) fn get<'a>(row: &'a Value, key: &Key) -> Result<&'a Value, String> {
    key.get(row).ok_or_else(|| {
        let found: Vec<&str> =
            row.as_object().into_iter().flat_map(|row| row.keys()).map(String::as_str).collect();
        format!("expected the key {key}, found {}", found.join(", "))
    })
}

/// A text. A list of texts, such as the lines of a poem, is joined by line ends.
pub(super) fn text(row: &Value, key: &Key) -> Result<String, String> {
    let wrong = |value: &Value| format!("expected a text in {key}, found {}", describe(value));
    match get(row, key)? {
        Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
        Value::Array(lines) if !lines.is_empty() => {
            let lines: Vec<&str> = lines
                .iter()
                .map(|line| line.as_str().ok_or_else(|| wrong(line)))
                .collect::<Result<_, _>>()?;
            Ok(lines.join("\n"))
        }
        other => Err(wrong(other)),
    }
}

pub(super) fn list<'a>(row: &'a Value, key: &Key) -> Result<&'a Vec<Value>, String> {
    let value = get(row, key)?;
    value.as_array().ok_or_else(|| format!("expected a list in {key}, found {}", describe(value)))
}

pub(super) fn label(row: &Value, key: &Key, names: &[String]) -> Result<String, String> {
    name(get(row, key)?, key, names)
}

/// The labels of a list, or of a text in which they are separated; each once, in their order.
pub(super) fn labels(
    row: &Value,
    key: &Key,
    separator: &str,
    names: &[String],
) -> Result<Vec<String>, String> {
    let found: Vec<String> = match get(row, key)? {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().map(|label| name(label, key, names)).collect::<Result<_, _>>()?,
        Value::String(text) => text
            .split(separator)
            .map(str::trim)
            .filter(|label| !label.is_empty())
            .map(|label| numbered(label, key, names))
            .collect::<Result<_, _>>()?,
        one => vec![name(one, key, names)?],
    };
    let mut labels: Vec<String> = Vec::with_capacity(found.len());
    for label in found {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    Ok(labels)
}

/// A label's name: text as it stands, a number by its place in `names`, or as text where there are none.
pub(super) fn name(value: &Value, key: &Key, names: &[String]) -> Result<String, String> {
    match value {
        Value::String(label) if !label.trim().is_empty() => numbered(label, key, names),
        Value::Number(number) => numbered(&number.to_string(), key, names),
        Value::Bool(label) => Ok(label.to_string()),
        other => Err(format!("expected a label in {key}, found {}", describe(other))),
    }
}

fn numbered(label: &str, key: &Key, names: &[String]) -> Result<String, String> {
    if names.is_empty() || names.iter().any(|name| name == label) {
        return Ok(label.to_owned());
    }
    match label.parse::<i64>() {
        // Not a number: whoever knows the labels says that it is none of them.
        Err(_) => Ok(label.to_owned()),
        Ok(id) => usize::try_from(id)
            .ok()
            .and_then(|id| names.get(id).cloned())
            .ok_or_else(|| format!("{key} is {label}, but `labels` names {} labels", names.len())),
    }
}

pub(super) fn score(row: &Value, key: &Key) -> Result<f64, String> {
    let value = get(row, key)?;
    let wrong = |found: String| format!("expected a number in {key}, found {found}");
    match value {
        Value::Number(found) => {
            found.as_f64().filter(|x| x.is_finite()).ok_or_else(|| wrong(found.to_string()))
        }
        Value::String(text) if !text.trim().is_empty() => {
            number(text).map_err(|message| format!("{key}: {message}"))
        }
        other => Err(wrong(describe(other))),
    }
}

/// A finite number as it is written in a table.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(number) => Err(format!("expected a finite number, found {number}")),
        Err(_) => {
            let point = text.replacen(',', ".", 1);
            let hint = match point.parse::<f64>() {
                Ok(_) if point != text => format!("; decimals are written with a point: {point}"),
                _ => String::new(),
            };
            Err(format!("expected a number, found `{text}`{hint}"))
        }
    }
}

pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.trim().is_empty() => "nothing".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(list) if list.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_come_from_lists_texts_and_numbers() {
        let names = ["joy", "anger", "fear"].map(str::to_owned).to_vec();
        let read = |value: Value, names: &[String]| labels(&json!([value]), &Key::Place(0), ",", names);
        for value in [json!("2, 0,2"), json!([2, 0]), json!(["fear", "joy"]), json!("fear,joy,")] {
            assert_eq!(read(value, &names), Ok(vec!["fear".into(), "joy".into()]));
        }
        for value in [json!(""), json!([]), json!(null)] {
            assert_eq!(read(value, &names), Ok(vec![]));
        }
        assert_eq!(read(json!(1), &names), Ok(vec!["anger".into()]));
        assert_eq!(read(json!("1,7"), &[]), Ok(vec!["1".into(), "7".into()]));
        assert_eq!(read(json!("1,3"), &names), Err("column 0 is 3, but `labels` names 3 labels".into()));
        assert_eq!(read(json!([-1]), &names), Err("column 0 is -1, but `labels` names 3 labels".into()));
        assert_eq!(
            read(json!([[]]), &names),
            Err("expected a label in column 0, found an empty list".into())
        );
    }

    #[test]
    fn numbers_are_finite_and_have_a_point() {
        assert_eq!((number(" 3.5 "), number("-1e3")), (Ok(3.5), Ok(-1000.0)));
        assert_eq!(
            number("3,5").expect_err("comma"),
            "expected a number, found `3,5`; decimals are written with a point: 3.5"
        );
        assert_eq!(number("three").expect_err("word"), "expected a number, found `three`");
        for text in ["NaN", "inf", "-inf"] {
            assert!(number(text).expect_err("not finite").starts_with("expected a finite number"), "{text}");
        }
        let read = |value: Value| score(&json!([value]), &Key::Place(0));
        assert_eq!((read(json!(2)), read(json!("2.5"))), (Ok(2.0), Ok(2.5)));
        assert_eq!(read(json!(null)), Err("expected a number in column 0, found null".into()));
    }

    #[test]
    fn a_list_of_texts_is_a_text_of_lines() {
        let row = json!({"verses": ["a", "b"], "none": [], "numbers": [1]});
        let read = |key: &str| text(&row, &Key::Name(key.into()));
        assert_eq!(read("verses"), Ok("a\nb".into()));
        assert_eq!(read("none"), Err("expected a text in `none`, found an empty list".into()));
        assert_eq!(read("numbers"), Err("expected a text in `numbers`, found the number 1".into()));
    }
}
