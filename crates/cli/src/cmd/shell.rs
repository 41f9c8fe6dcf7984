//! Commands that a report or a message names.

use std::path::Path;

/// As a shell reads it as one word.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A value without the folders of this machine. Of the model of a run its run is told.
pub(super) fn relative(value: &str) -> String {
    let path = Path::new(value.trim_matches(['"', '\'']));
    if !path.is_absolute() {
        return value.to_owned();
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match (name(path), path.parent().map(name)) {
        (last, Some(run)) if last == "model" && !run.is_empty() => format!("{run}/{last}"),
        (last, _) => last,
    }
}
