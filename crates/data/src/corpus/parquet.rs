//! The rows of a Parquet file, one after the other.

use std::path::Path;

use crate::DataError;

/// Texts of rows.
pub(super) type Rows = Box<dyn Iterator<Item = Result<String, String>>>;

#[cfg(not(feature = "parquet"))]
pub(super) fn rows(path: &Path, _: &str, _: u64) -> Result<Rows, DataError> {
    let message = "this build reads no Parquet files; build one that does with `cargo build --release --package locus \
                   --features parquet`, or save the file as JSONL";
    Err(DataError::Format { path: path.to_owned(), message: message.to_owned() })
}

#[cfg(feature = "parquet")]
pub(super) use with_parquet::rows;

#[cfg(feature = "parquet")]
mod with_parquet {
    use std::fs::File;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::reader::RowIter;
    use ::parquet::record::{Field, Row};
    use ::parquet::schema::types::Type;

    use super::*;
    use crate::error::{did_you_mean, io};

    /// The texts of a column from row `skip` on, counted from 0; of the other columns nothing is read.
    pub(in crate::corpus) fn rows(path: &Path, column: &str, skip: u64) -> Result<Rows, DataError> {
        let wrong = |message: String| DataError::Format { path: path.to_owned(), message };
        let file = File::open(path).map_err(|error| io("read", path, error))?;
        let unreadable =
            |error: ::parquet::errors::ParquetError| wrong(format!("cannot be read as Parquet: {error}"));
        let file = SerializedFileReader::new(file).map_err(unreadable)?;
        let schema = file.metadata().file_metadata().schema();
        let Some(field) = schema.get_fields().iter().find(|field| field.name() == column) else {
            let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
            let hint = did_you_mean(column, names.iter().copied());
            return Err(wrong(format!("expected the column `{column}`, found {}{hint}", names.join(", "))));
        };
        if !field.is_primitive() {
            return Err(wrong(format!("expected texts in `{column}`, found a list or group")));
        }
        let wanted = Type::group_type_builder(schema.name())
            .with_fields(vec![field.clone()])
            .build()
            .map_err(unreadable)?;
        let mut rows = RowIter::from_file_into(Box::new(file)).project(Some(wanted)).map_err(unreadable)?;
        let column = column.to_owned();
        // The decoders check most of what a damaged file can hold, but not all of it.
        let next = move || {
            catch_unwind(AssertUnwindSafe(|| rows.next()))
                .unwrap_or_else(|_| {
                    Some(Err(::parquet::errors::ParquetError::General("damaged pages".to_owned())))
                })
                .map(|row| row.map_err(|error| error.to_string()).and_then(|row| text(&row, &column)))
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok(Box::new(std::iter::from_fn(next).skip(skip)))
    }

    fn text(row: &Row, column: &str) -> Result<String, String> {
        match row.get_column_iter().next() {
            Some((_, Field::Str(text))) => Ok(text.clone()),
            Some((_, Field::Bytes(bytes))) => std::str::from_utf8(bytes.data())
                .map(str::to_owned)
                .map_err(|_| format!("expected a text in `{column}`, found bytes that are no UTF-8")),
            Some((_, other)) => Err(format!("expected a text in `{column}`, found {other}")),
            None => Err(format!("expected a text in `{column}`, found nothing")),
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::Arc;

        use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
        use ::parquet::file::properties::WriterProperties;
        use ::parquet::file::writer::SerializedFileWriter;
        use ::parquet::schema::parser::parse_message_type;

        use super::*;

        /// A file with a row group for each list of texts.
        fn write(path: &Path, groups: &[&[&str]]) {
            let schema = "message schema { required int64 id; required binary text (STRING); }";
            let schema = Arc::new(parse_message_type(schema).expect("schema"));
            let properties = Arc::new(WriterProperties::builder().build());
            let file = File::create(path).expect("create");
            let mut writer = SerializedFileWriter::new(file, schema, properties).expect("writer");
            for texts in groups {
                let mut group = writer.next_row_group().expect("row group");
                let ids: Vec<i64> = (0..texts.len() as i64).collect();
                let mut column = group.next_column().expect("column").expect("ids");
                column.typed::<Int64Type>().write_batch(&ids, None, None).expect("ids");
                column.close().expect("ids");
                let texts: Vec<ByteArray> = texts.iter().map(|&text| text.into()).collect();
                let mut column = group.next_column().expect("column").expect("texts");
                column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("texts");
                column.close().expect("texts");
                group.close().expect("row group");
            }
            writer.close().expect("file");
        }

        #[test]
        fn texts_of_all_row_groups_come_from_any_row_on() {
            let dir = tempfile::tempdir().expect("temp dir");
            let path = dir.path().join("a.parquet");
            write(&path, &[&["one", "two"], &["three", "four", "five"]]);
            let texts = |skip| rows(&path, "text", skip).expect("opens").collect::<Result<Vec<_>, _>>();
            assert_eq!(texts(0).expect("texts"), ["one", "two", "three", "four", "five"]);
            assert_eq!(texts(3).expect("texts"), ["four", "five"]);
            let error = rows(&path, "txt", 0).map(|_| ()).expect_err("no such column").to_string();
            assert!(
                error.contains("expected the column `txt`, found id, text; did you mean `text`?"),
                "{error}"
            );
            let error = rows(&path, "id", 0).expect("opens").next().expect("a row").expect_err("a number");
            assert_eq!(error, "expected a text in `id`, found 0");
            std::fs::write(&path, "PAR1").expect("write");
            assert!(rows(&path, "text", 0).is_err());
        }
    }
}
