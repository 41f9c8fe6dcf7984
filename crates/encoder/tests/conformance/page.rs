//! The page "How we checked": what the table and its golden files say of each row.

use std::collections::BTreeMap;

use crate::rows;
use crate::subject::golden;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/how-we-checked.md");

/// The file name of a script, without that of the layer that several scripts share.
fn script(row: &str) -> String {
    let file = golden(row);
    let scripts = file.metadata("script").unwrap_or_else(|| panic!("{row}: no script in the golden file"));
    let own = scripts.rsplit(" and ").next().unwrap_or(scripts);
    own.trim_start_matches("oracle/").to_owned()
}

/// Every script with the versions that it ran on and the number of rows that it wrote.
fn scripts() -> String {
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for row in rows() {
        let versions = golden(row.name).metadata("versions").unwrap_or("not recorded").to_owned();
        let entry = found.entry(script(row.name)).or_insert((versions.clone(), 0));
        assert_eq!(entry.0, versions, "{}: its script ran on other versions for other rows", row.name);
        entry.1 += 1;
    }
    let lines =
        found.iter().map(|(script, (versions, n))| format!("| `oracle/{script}` | {n} | {versions} |\n"));
    format!("| script | rows | ran on |\n|---|---|---|\n{}", lines.collect::<String>())
}

/// Every row with its script and its planted errors.
fn lines() -> String {
    let line = |row: &crate::Row| {
        let plants: Vec<&str> = row.plants.iter().map(|plant| plant.what).collect();
        format!("| `{}` | `{}` | {} |\n", row.name, script(row.name), plants.join("; "))
    };
    format!("| row | oracle | planted errors |\n|---|---|---|\n{}", rows().map(line).collect::<String>())
}

#[test]
fn the_page_names_each_oracle() {
    locus_testkit::assert_part(PAGE, "oracles", &scripts());
}

#[test]
fn the_page_names_each_planted_error() {
    locus_testkit::assert_part(PAGE, "planted errors", &lines());
}
