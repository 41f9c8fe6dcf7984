//! Porter's stemmer (1980, doi:10.1108/eb046814) as NLTK 3.10 extends it: a few irregular words, and other rules for
//! short words, for `y`, `alli`, `fulli` and `logi`.

/// The stem of a word of ASCII letters in lower case and digits.
pub(crate) fn stem(word: &str) -> String {
    if let Some(stem) = irregular(word) {
        return stem.to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    undoubled_l(without_e(step4(step3(step2(y_to_i(past(plural(word.to_owned()))))))))
}

fn irregular(word: &str) -> Option<&'static str> {
    Some(match word {
        "sky" | "skies" => "sky",
        "dying" => "die",
        "lying" => "lie",
        "tying" => "tie",
        "news" => "news",
        "innings" | "inning" => "inning",
        "outings" | "outing" => "outing",
        "cannings" | "canning" => "canning",
        "howe" => "howe",
        "proceed" => "proceed",
        "exceed" => "exceed",
        "succeed" => "succeed",
        _ => return None,
    })
}

/// Of each letter whether it is a consonant; `y` is one at the start and after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !flags.last().is_some_and(|before| *before),
            _ => true,
        });
    }
    flags
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_double_consonant(word: &str) -> bool {
    matches!(word.as_bytes(), [.., a, b] if a == b) && consonants(word).ends_with(&[true])
}

/// Consonant, vowel, consonant other than w, x, y; or the whole word a vowel and a consonant.
fn ends_short(word: &str) -> bool {
    let flags = consonants(word);
    flags == [false, true] || (flags.ends_with(&[true, false, true]) && !word.ends_with(['w', 'x', 'y']))
}

/// The first rule whose ending the word has decides: the ending is replaced if the rest is long enough.
fn first_rule(word: String, more_than: usize, rules: &[(&str, &str)]) -> String {
    for (ending, other) in rules {
        if let Some(rest) = word.strip_suffix(ending) {
            return if measure(rest) > more_than { format!("{rest}{other}") } else { word };
        }
    }
    word
}

/// Step 1a.
fn plural(word: String) -> String {
    let letters = match word.as_str() {
        word if word.ends_with("ies") => {
            if word.len() == 4 {
                1
            } else {
                2
            }
        }
        word if word.ends_with("sses") => 2,
        word if word.ends_with("ss") => 0,
        word if word.ends_with('s') => 1,
        _ => 0,
    };
    shorter(word, letters)
}

fn shorter(mut word: String, letters: usize) -> String {
    word.truncate(word.len() - letters);
    word
}

/// Step 1b.
fn past(word: String) -> String {
    if word.ends_with("ied") {
        let letters = if word.len() == 4 { 1 } else { 2 };
        return shorter(word, letters);
    }
    if let Some(rest) = word.strip_suffix("eed") {
        return if measure(rest) > 0 { format!("{rest}ee") } else { word };
    }
    let rest =
        ["ed", "ing"].into_iter().filter_map(|ending| word.strip_suffix(ending)).find(|rest| has_vowel(rest));
    let Some(rest) = rest else { return word };
    if ["at", "bl", "iz"].iter().any(|end| rest.ends_with(end)) {
        return format!("{rest}e");
    }
    if ends_in_double_consonant(rest) {
        let letters = usize::from(!rest.ends_with(['l', 's', 'z']));
        return shorter(rest.to_owned(), letters);
    }
    if measure(rest) == 1 && ends_short(rest) { format!("{rest}e") } else { rest.to_owned() }
}

/// Step 1c.
fn y_to_i(word: String) -> String {
    match word.strip_suffix('y') {
        Some(rest) if rest.len() > 1 && consonants(rest).ends_with(&[true]) => format!("{rest}i"),
        _ => word,
    }
}

fn step2(word: String) -> String {
    if let Some(rest) = word.strip_suffix("alli").filter(|rest| measure(rest) > 0) {
        return step2(format!("{rest}al"));
    }
    // The l of logi belongs to the stem.
    if word.ends_with("logi") {
        let rest = &word[..word.len() - 3];
        return if measure(rest) > 0 { format!("{rest}og") } else { word };
    }
    const RULES: [(&str, &str); 21] = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    ];
    first_rule(word, 0, &RULES)
}

fn step3(word: String) -> String {
    const RULES: [(&str, &str); 7] = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    first_rule(word, 0, &RULES)
}

fn step4(word: String) -> String {
    const ENDINGS: [&str; 19] = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
        "ate", "iti", "ous", "ive", "ize",
    ];
    if word.strip_suffix("ion").is_some_and(|rest| !rest.ends_with(['s', 't'])) {
        return word;
    }
    first_rule(word, 1, &ENDINGS.map(|ending| (ending, "")))
}

/// Step 5a.
fn without_e(word: String) -> String {
    match word.strip_suffix('e') {
        Some(rest) if measure(rest) > 1 || (measure(rest) == 1 && !ends_short(rest)) => rest.to_owned(),
        _ => word,
    }
}

/// Step 5b.
fn undoubled_l(word: String) -> String {
    let letters = usize::from(word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1);
    shorter(word, letters)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// NLTK's stems (`oracle/metrics_text.py`).
    const GOLDEN: &str = include_str!("../tests/golden/stems.json");

    #[test]
    fn stems_equal_nltk() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        let strings =
            |name: &str| -> Vec<String> { serde_json::from_value(golden["cases"][0][name].clone()).unwrap() };
        let (words, stems) = (strings("words"), strings("stems"));
        assert!(words.len() > 1000 && words.len() == stems.len());
        let wrong: Vec<_> = words.iter().zip(&stems).filter(|(word, want)| stem(word) != **want).collect();
        assert!(wrong.is_empty(), "{} words, the first {:?}", wrong.len(), wrong.first());
        let unchanged = words.iter().zip(&stems).filter(|(word, stem)| word == stem).count();
        assert!(unchanged < words.len() / 2, "most words must lose something");
    }
}
