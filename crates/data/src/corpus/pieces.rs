//! Long texts in pieces that are tokenised by themselves.

/// A text in pieces of at most `max` bytes, cut after a line end, or else before a blank, or else between characters.
pub(super) fn pieces(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, left) = rest.split_at(cut(rest, max));
        rest = left;
        Some(piece)
    })
}

fn cut(text: &str, max: usize) -> usize {
    if text.len() <= max {
        return text.len();
    }
    let limit = (1..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_else(|| {
        // One character longer than a piece.
        text.chars().next().map_or(text.len(), char::len_utf8)
    });
    let head = &text[..limit];
    let after_line = head.rfind('\n').map(|at| at + 1);
    let before_blank = || head.rfind(char::is_whitespace).filter(|&at| at > 0);
    after_line.or_else(before_blank).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_where_words_part() {
        let text = "ab cd\nef gh ij 北京";
        let cut = |max| pieces(text, max).collect::<Vec<_>>();
        assert_eq!(cut(100), [text]);
        assert_eq!(cut(8), ["ab cd\n", "ef gh", " ij", " 北京"]);
        assert_eq!(cut(2), ["ab", " c", "d\n", "ef", " g", "h", " i", "j", " ", "北", "京"]);
        for max in 1..20 {
            assert_eq!(cut(max).concat(), text);
        }
    }
}
