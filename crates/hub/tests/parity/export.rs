//! What a case computes, in a file that `oracle/exports.py` compares with `transformers` on the case's export.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::case::Case;

/// Writes `<name>.safetensors`: the inputs `[rows, columns]` as i64; `output`; and `keep`, whether a value of it counts.
pub(crate) fn write(case: &Case, output: &[f32], dir: &Path) {
    let mut tensors = vec![
        ("output".to_owned(), Dtype::F32, case.shape.clone(), bytes(output, |x| x.to_le_bytes().to_vec())),
        ("keep".to_owned(), Dtype::U8, case.shape.clone(), bytes(&case.keep(), |keep| vec![u8::from(keep)])),
    ];
    for (name, rows) in case.inputs.as_object().unwrap() {
        let rows: Vec<Vec<i64>> = serde_json::from_value(rows.clone()).unwrap();
        let shape = vec![rows.len(), rows[0].len()];
        tensors.push((name.clone(), Dtype::I64, shape, bytes(&rows.concat(), |x| x.to_le_bytes().to_vec())));
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let head = HashMap::from([("head".to_owned(), case.head.clone())]);
    let file = safetensors::serialize(views, Some(head)).unwrap();
    std::fs::write(dir.join(format!("{}.safetensors", case.name)), file).unwrap();
}

fn bytes<T: Copy>(values: &[T], of: impl Fn(T) -> Vec<u8>) -> Vec<u8> {
    values.iter().flat_map(|&value| of(value)).collect()
}
