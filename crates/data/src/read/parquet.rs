//! Parquet: typed columns, as data frames and the `datasets` library save them.
//!
//! A row becomes an object under its columns' names, as a line of JSON does: lists and groups as they are, numbers as the
//! shortest decimals that give them, unmarked bytes as text where they are UTF-8. The "line" of a row is its number in the
//! file, counted from 1. Columns of types that have no such form are left out; an error about columns then names them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::basic::{ConvertedType, Repetition, Type as Physical};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::{Type, TypePtr};
use bytes::Bytes;
use serde_json::{Map, Number, Value};

use super::place::Place;
use super::rows::{self, Rows};
use super::source::read_bytes;
use crate::error::Problems;
use crate::{DataError, Examples, ReadOptions};

pub(super) fn read(path: &Path, place: &Place, options: &ReadOptions) -> Result<Examples, DataError> {
    let wrong = |message: String| DataError::Format { path: path.to_owned(), message };
    let bytes = Bytes::from(read_bytes(path, place)?);
    if bytes.is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    // The decoders check most of what a damaged file can hold, but not all of it.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes)))
        .unwrap_or_else(|_| Err("its pages cannot be decoded".to_owned()));
    let (rows, left_out) =
        decoded.map_err(|message| wrong(format!("cannot be read as Parquet: {message}")))?;
    rows::examples(path, &Rows { header: None, rows }, options, Problems::new(path)).map_err(|error| {
        match error {
            DataError::Format { path, message } if !left_out.is_empty() => DataError::Format {
                path,
                message: format!("{message}; not readable are {}", left_out.join(", ")),
            },
            other => other,
        }
    })
}

/// Rows with their numbers, and the names of the columns.
type Decoded = (Vec<(usize, Value)>, Vec<String>);

/// The rows with their numbers, and the names of the columns that are left out.
fn decode(bytes: Bytes) -> Result<Decoded, String> {
    let file = SerializedFileReader::new(bytes).map_err(|error| error.to_string())?;
    let schema = file.metadata().file_metadata().schema();
    let (read, left_out): (Vec<TypePtr>, Vec<TypePtr>) =
        schema.get_fields().iter().cloned().partition(|column| is_readable(column));
    if read.is_empty() {
        return Err("it has no column of a known type".to_owned());
    }
    let wanted = Type::group_type_builder(schema.name()).with_fields(read).build();
    let rows = wanted
        .and_then(|wanted| RowIter::from_file(Some(wanted), &file))
        .map_err(|error| error.to_string())?;
    let mut list = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let row = row.map_err(|error| format!("row {number}: {error}"))?;
        list.push((number, object(&row)));
    }
    Ok((list, left_out.iter().map(|column| format!("`{}`", column.name())).collect()))
}

/// Whether the record reader knows what to do with a column.
fn is_readable(column: &Type) -> bool {
    let info = column.get_basic_info();
    let kind = info.converted_type();
    if let Type::PrimitiveType { physical_type, scale, precision, .. } = column {
        use ConvertedType as C;
        let is_decimal = kind == C::DECIMAL && (0..=*precision).contains(scale);
        return match physical_type {
            Physical::INT32 => {
                is_decimal
                    || matches!(
                        kind,
                        C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::UINT_8 | C::UINT_16 | C::UINT_32
                    )
                    || matches!(kind, C::DATE | C::TIME_MILLIS)
            }
            Physical::INT64 => {
                is_decimal
                    || matches!(kind, C::NONE | C::INT_64 | C::UINT_64 | C::TIME_MICROS)
                    || matches!(kind, C::TIMESTAMP_MILLIS | C::TIMESTAMP_MICROS)
            }
            Physical::BYTE_ARRAY => {
                is_decimal || matches!(kind, C::NONE | C::UTF8 | C::ENUM | C::JSON | C::BSON)
            }
            Physical::FIXED_LEN_BYTE_ARRAY => is_decimal || kind == C::NONE,
            Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE => true,
        };
    }
    let fields = column.get_fields();
    let is_repeated = |field: &TypePtr| {
        let info = field.get_basic_info();
        info.has_repetition() && info.repetition() == Repetition::REPEATED
    };
    let fits = match kind {
        ConvertedType::LIST => {
            matches!(fields, [inner] if is_repeated(inner)
                && (inner.is_primitive() || !inner.get_fields().is_empty()))
        }
        ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE => {
            matches!(fields, [inner] if is_repeated(inner)
                && inner.is_group() && (1..=2).contains(&inner.get_fields().len()))
        }
        _ => !fields.is_empty(),
    };
    fits && fields.iter().all(|field| is_readable(field))
}

fn object(row: &Row) -> Value {
    Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(x) => Value::Bool(*x),
        Field::Byte(x) => Value::from(*x),
        Field::Short(x) => Value::from(*x),
        Field::Int(x) | Field::Date(x) | Field::TimeMillis(x) => Value::from(*x),
        Field::Long(x) | Field::TimeMicros(x) | Field::TimestampMillis(x) | Field::TimestampMicros(x) => {
            Value::from(*x)
        }
        Field::UByte(x) => Value::from(*x),
        Field::UShort(x) => Value::from(*x),
        Field::UInt(x) => Value::from(*x),
        Field::ULong(x) => Value::from(*x),
        Field::Float16(x) => float(f64::from(*x)),
        // 0.1 of 32 bits is written 0.1 in every other layout.
        Field::Float(x) => x.to_string().parse().map_or(Value::Null, float),
        Field::Double(x) => float(*x),
        Field::Decimal(_) => Value::String(field.to_string()),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Array(bytes.data().iter().map(|&byte| Value::from(byte)).collect()),
        },
        Field::Group(row) => object(row),
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        Field::MapInternal(map) => {
            let entry = |(key, item): &(Field, Field)| {
                let key = match value(key) {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                (key, value(item))
            };
            Value::Object(map.entries().iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

/// What is not finite stays visible as a text, which is refused where a number is wanted.
fn float(x: f64) -> Value {
    Number::from_f64(x).map_or_else(|| Value::String(x.to_string()), Value::Number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType,
        Int32Type, Int64Type,
    };
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use ::parquet::schema::parser::parse_message_type;

    use crate::read::testing::read_text;
    use crate::{Columns, Examples, Kind, ReadOptions};

    type Group<'a, 'b> = &'a mut SerializedRowGroupWriter<'b, Vec<u8>>;

    /// Writes a file of as many row groups as `groups`; each writes the columns of one.
    fn file(schema: &str, compression: Compression, groups: &[&dyn Fn(Group<'_, '_>)]) -> Vec<u8> {
        let schema = parse_message_type(&format!("message schema {{ {schema} }}")).expect("schema");
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).expect("writer");
        for write in groups {
            let mut group = writer.next_row_group().expect("row group");
            write(&mut group);
            group.close().expect("row group");
        }
        writer.into_inner().expect("file")
    }

    /// Values that are there, and a definition level for each cell or item; repetition levels where it is a list.
    fn column<T: DataType>(group: Group<'_, '_>, values: &[T::T], def: Option<&[i16]>, rep: Option<&[i16]>) {
        let mut column = group.next_column().expect("column").expect("one more column");
        column.typed::<T>().write_batch(values, def, rep).expect("values");
        column.close().expect("column");
    }

    fn texts(group: Group<'_, '_>, texts: &[&str], def: Option<&[i16]>, rep: Option<&[i16]>) {
        let texts: Vec<ByteArray> = texts.iter().map(|&text| text.into()).collect();
        column::<ByteArrayType>(group, &texts, def, rep);
    }

    const LABELLED: &str = "required binary text (STRING); optional binary label (STRING);";

    #[test]
    fn row_groups_follow_each_other_and_rows_are_counted_through() {
        let first = |group: Group<'_, '_>| {
            texts(group, &["one", "two"], None, None);
            texts(group, &["good", "bad"], Some(&[1, 1]), None);
        };
        let second = |group: Group<'_, '_>| {
            texts(group, &["three", " ", "five"], None, None);
            texts(group, &["good"], Some(&[0, 1, 0]), None);
        };
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            let bytes = file(LABELLED, compression, &[&first, &first]);
            let Ok(Examples::Labelled(list)) = read_text("a.parquet", bytes, &ReadOptions::default()) else {
                panic!("{compression}: labelled")
            };
            let found: Vec<_> =
                list.iter().map(|row| (row.text.as_str(), row.label.as_str(), row.line)).collect();
            assert_eq!(found, [("one", "good", 1), ("two", "bad", 2), ("one", "good", 3), ("two", "bad", 4)]);
        }
        let bytes = file(LABELLED, Compression::SNAPPY, &[&first, &second]);
        let error = read_text("a.parquet", bytes, &ReadOptions::default()).expect_err("nulls");
        assert_eq!(
            error,
            "a.parquet: 3 problems\n  a.parquet:3: expected a label in `label`, found null\n  \
             a.parquet:4: expected a text in `text`, found nothing\n  \
             a.parquet:5: expected a label in `label`, found null"
        );
    }

    #[test]
    fn lists_of_texts_and_numbers_are_words_and_tags() {
        let schema =
            "optional group tokens (LIST) { repeated group list { optional binary element (STRING); } }
                      optional group ner_tags (LIST) { repeated group list { optional int64 element; } }";
        let labels = ["O", "B-PER", "I-PER"].map(str::to_owned).to_vec();
        let options = ReadOptions { labels, ..Default::default() };
        let write = |group: Group<'_, '_>| {
            texts(group, &["Ada", "Lovelace", "wrote"], Some(&[3; 3]), Some(&[0, 1, 0]));
            column::<Int64Type>(group, &[1, 2, 0], Some(&[3; 3]), Some(&[0, 1, 0]));
        };
        let bytes = file(schema, Compression::SNAPPY, &[&write]);
        let Ok(Examples::Tagged(list)) = read_text("a.parquet", bytes, &options) else { panic!("tagged") };
        assert_eq!(
            (list[0].words.join(" "), list[0].tags.join(" ")),
            ("Ada Lovelace".into(), "B-PER I-PER".into())
        );
        assert_eq!((list[1].words.join(" "), list[1].line), ("wrote".into(), 2));

        // A short list of tags, no list, and a word that is null.
        let wrong = |group: Group<'_, '_>| {
            texts(group, &["Ada", "Lovelace", "wrote"], Some(&[3, 3, 0, 3, 2]), Some(&[0, 1, 0, 0, 1]));
            column::<Int64Type>(group, &[1, 0, 0, 3], Some(&[3; 4]), Some(&[0, 0, 0, 1]));
        };
        let bytes = file(schema, Compression::SNAPPY, &[&write, &wrong]);
        assert_eq!(
            read_text("a.parquet", bytes, &options).expect_err("wrong lists"),
            "a.parquet: 3 problems\n  a.parquet:3: expected one tag for each word, found 2 words and 1 tags\n  \
             a.parquet:4: expected a list in `tokens`, found null\n  \
             a.parquet:5: expected words in `tokens`, found null"
        );
    }

    #[test]
    fn numbers_of_every_type_are_scores_and_labels() {
        let schema = "required binary text (STRING); required float score; required double exact;
                      required int32 id (INTEGER(8, false)); required boolean fine; required binary unmarked;";
        let write = |group: Group<'_, '_>| {
            texts(group, &["a", "b"], None, None);
            column::<FloatType>(group, &[4.2, f32::NAN], None, None);
            column::<DoubleType>(group, &[0.1, -1e300], None, None);
            column::<Int32Type>(group, &[1, 0], None, None);
            column::<BoolType>(group, &[true, false], None, None);
            column::<ByteArrayType>(group, &["x".into(), "y".into()], None, None);
        };
        let bytes = file(schema, Compression::UNCOMPRESSED, &[&write]);
        let read = |label: &str, kind| {
            let columns = Columns { label: Some(label.into()), ..Default::default() };
            let labels = ["no", "yes"].map(str::to_owned).to_vec();
            let options = ReadOptions { kind: Some(kind), columns, labels, ..Default::default() };
            read_text("a.parquet", &bytes, &options)
        };
        let scores = |label: &str| match read(label, Kind::Scored)? {
            Examples::Scored(list) => Ok(list.iter().map(|row| row.label).collect::<Vec<_>>()),
            other => Err(format!("{other:?}")),
        };
        assert_eq!(scores("exact"), Ok(vec![0.1, -1e300]));
        assert_eq!(scores("id"), Ok(vec![1.0, 0.0]));
        assert_eq!(
            scores("score"),
            Err("a.parquet:2: `score`: expected a finite number, found NaN".to_owned())
        );
        assert_eq!(
            scores("fine"),
            Err("a.parquet: 2 problems\n  a.parquet:1: expected a number in `fine`, found true\n  \
             a.parquet:2: expected a number in `fine`, found false"
                .to_owned())
        );
        let names = |label: &str| match read(label, Kind::Labelled)? {
            Examples::Labelled(list) => {
                Ok(list.iter().map(|row| row.label.clone()).collect::<Vec<_>>().join(" "))
            }
            other => Err(format!("{other:?}")),
        };
        assert_eq!(names("id"), Ok("yes no".to_owned()));
        assert_eq!(names("fine"), Ok("true false".to_owned()));
        assert_eq!(names("unmarked"), Ok("x y".to_owned()));
    }

    #[test]
    fn a_wrong_column_names_those_that_are_there() {
        let schema = "required binary headline (STRING); required binary verdict (STRING);
                      required fixed_len_byte_array(12) length (INTERVAL);";
        let write = |group: Group<'_, '_>| {
            texts(group, &["a"], None, None);
            texts(group, &["b"], None, None);
            column::<FixedLenByteArrayType>(group, &[vec![0; 12].into()], None, None);
        };
        let bytes = file(schema, Compression::UNCOMPRESSED, &[&write]);
        let read = |text: &str| {
            let columns =
                Columns { text: Some(text.into()), label: Some("verdict".into()), ..Default::default() };
            read_text("a.parquet", &bytes, &ReadOptions { columns, ..Default::default() })
        };
        assert_eq!(read("headline").map(|list| list.len()), Ok(1));
        assert_eq!(
            read("headlin").expect_err("misspelt"),
            "a.parquet: columns.text = `headlin` is not a key of the first row; did you mean `headline`?; \
             found keys headline, verdict; not readable are `length`"
        );
    }

    #[test]
    fn groups_are_spans() {
        let schema = "required binary text (STRING);
            required group spans (LIST) { repeated group list { required group element {
                required int32 start; required int32 end; required binary label (STRING); } } }";
        let write = |group: Group<'_, '_>| {
            texts(group, &["Ada met Bo", "none"], None, None);
            let (def, rep): (&[i16], &[i16]) = (&[1, 1, 0], &[0, 1, 0]);
            column::<Int32Type>(group, &[0, 8], Some(def), Some(rep));
            column::<Int32Type>(group, &[3, 10], Some(def), Some(rep));
            texts(group, &["PER", "PER"], Some(def), Some(rep));
        };
        let bytes = file(schema, Compression::UNCOMPRESSED, &[&write]);
        // The layout is given where the name does not tell it.
        let options = ReadOptions { format: Some(crate::Format::Parquet), ..Default::default() };
        let Ok(Examples::Tagged(list)) = read_text("a.bin", bytes, &options) else { panic!("tagged") };
        assert_eq!((list[0].tags.join(" "), list[1].tags.join(" ")), ("B-PER O B-PER".into(), "O".into()));
    }

    #[test]
    fn damaged_files_are_errors() {
        let write = |group: Group<'_, '_>| {
            texts(group, &["one", "two"], None, None);
            texts(group, &["good", "bad"], Some(&[1, 1]), None);
        };
        let whole = file(LABELLED, Compression::SNAPPY, &[&write]);
        let read = |bytes: &[u8]| read_text("a.parquet", bytes, &ReadOptions::default());
        assert_eq!(read(b"").expect_err("empty"), "a.parquet: the file is empty");
        for bytes in [&b"text,label\na,b\n"[..], &whole[..whole.len() / 2], &whole[4..]] {
            let error = read(bytes).expect_err("damaged");
            assert!(error.starts_with("a.parquet: cannot be read as Parquet: "), "{error}");
        }
        // Whichever byte is wrong, there is an answer.
        for at in 0..whole.len() {
            for flip in [0xFF, 0x01, 0x40] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Err(error) = read(&bytes) {
                    assert!(error.starts_with("a.parquet:"), "{at}: {error}");
                }
            }
        }
    }
}
