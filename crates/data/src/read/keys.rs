//! Where in a row a thing stands: by place or by name, as configured, or under its usual name.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::error::did_you_mean;
use crate::{Column, DataError};

/// A cell's place in a list, or its key in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Place(usize),
    Name(String),
}

impl Key {
    pub(super) fn get<'a>(&self, row: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Place(at) => row.get(at),
            Self::Name(name) => row.get(name),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(at) => write!(f, "column {at}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// Finds columns by the header or by the first row.
pub(super) struct Finder<'a> {
    pub(super) path: &'a Path,
    pub(super) header: Option<&'a [String]>,
    pub(super) first: &'a Value,
}

impl Finder<'_> {
    /// The configured column, or the first of the usual names whose cell in the first row fits.
    pub(super) fn find(
        &self,
        key: &str,
        wanted: &Option<Column>,
        usual: &[&str],
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Option<Key>, DataError> {
        match wanted {
            None => {
                let key_of = |name: &&str| self.key_of(name, str::eq_ignore_ascii_case);
                // A column of a table is there even where the first row is too short.
                let empty = Value::String(String::new());
                let fits = |key: &Key| fits(key.get(self.first).unwrap_or(&empty));
                Ok(usual.iter().filter_map(key_of).find(fits))
            }
            Some(Column::Index(at)) => {
                let n_cells = self.first.as_array().map_or(0, Vec::len);
                let n_columns = self.header.map_or(n_cells, <[String]>::len);
                let place = place(*at, n_columns);
                place.map(|at| Some(Key::Place(at))).ok_or_else(|| {
                    self.unclear(&match n_columns {
                        0 => format!("columns.{key} = {at}, but the rows are objects; give the key's name"),
                        _ => format!(
                            "columns.{key} = {at}, but columns are counted from 0, or from the end with -1, and the \
                             first line has {n_columns}"
                        ),
                    })
                })
            }
            Some(Column::Name(name)) => match self.key_of(name, str::eq) {
                Some(key) => Ok(Some(key)),
                None => {
                    let place =
                        if self.first.is_object() { "a key of the first row" } else { "in the header" };
                    let hint = did_you_mean(name, self.names());
                    Err(self.unclear(&format!("columns.{key} = `{name}` is not {place}{hint}")))
                }
            },
        }
    }

    /// An error with what there is.
    pub(super) fn unclear(&self, message: &str) -> DataError {
        let names: Vec<&str> = self.names().collect();
        let found = match self.first.as_array() {
            Some(cells) if names.is_empty() => format!("{} columns and no header", cells.len()),
            Some(_) => format!("columns {}", names.join(", ")),
            None => format!("keys {}", names.join(", ")),
        };
        DataError::Format { path: self.path.to_owned(), message: format!("{message}; found {found}") }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let keys = self.first.as_object().into_iter().flat_map(|object| object.keys());
        self.header.unwrap_or_default().iter().chain(keys).map(String::as_str)
    }

    fn key_of(&self, name: &str, same: impl Fn(&str, &str) -> bool) -> Option<Key> {
        let at = self.names().position(|known| same(known, name))?;
        match self.header {
            Some(_) => Some(Key::Place(at)),
            None => self.names().nth(at).map(|known| Key::Name(known.to_owned())),
        }
    }
}

/// A place counted from 0, or from the end with -1, if there are so many columns.
pub(super) fn place(at: isize, n_columns: usize) -> Option<usize> {
    let place = if at < 0 { n_columns.checked_add_signed(at)? } else { at.unsigned_abs() };
    (place < n_columns).then_some(place)
}
