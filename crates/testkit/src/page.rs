//! Parts of the book's pages that are made from the code.

use std::path::Path;

/// With this variable set, a part that is not what it should be is written instead of reported: `cargo xtask positions`.
const WRITE: &str = "LOCUS_WRITE_PAGES";

/// Asserts that what stands in a page between `<!-- mark -->` and the next `<!-- end -->` is `want`.
///
/// # Panics
/// If it is something else, or the page or the marks are not there.
#[track_caller]
pub fn assert_part(page: impl AsRef<Path>, mark: &str, want: &str) {
    let page = page.as_ref();
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let Some(new) = with_part(&text, mark, want) else {
        panic!("{} lacks <!-- {mark} --> or <!-- end --> after it", page.display())
    };
    if new == text {
        return;
    }
    assert!(
        std::env::var_os(WRITE).is_some(),
        "{}: the part '{mark}' is not what the code gives; run `cargo xtask positions`. It should be\n{want}",
        page.display()
    );
    std::fs::write(page, new).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
}

fn with_part(text: &str, mark: &str, want: &str) -> Option<String> {
    let mark = format!("<!-- {mark} -->\n");
    let start = text.find(&mark)? + mark.len();
    let end = start + text[start..].find("<!-- end -->")?;
    Some(format!("{}\n{}\n\n{}", &text[..start], want.trim(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::with_part;

    #[test]
    fn a_part_goes_between_its_marks() {
        let page = "a\n<!-- x -->\nold\n<!-- end -->\nb\n";
        let want = "a\n<!-- x -->\n\nnew\n\n<!-- end -->\nb\n";
        assert_eq!(with_part(page, "x", "new\n").as_deref(), Some(want));
        assert_eq!(with_part(want, "x", "new\n").as_deref(), Some(want), "a second time changes nothing");
        assert_eq!(with_part(page, "y", ""), None);
    }
}
