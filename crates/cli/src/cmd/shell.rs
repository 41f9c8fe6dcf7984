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

/// A value without the folders of this machine.
pub(super) fn relative(value: &str) -> String {
    match Path::new(value.trim_matches(['"', '\''])) {
        path if path.is_absolute() => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        _ => value.to_owned(),
    }
}
