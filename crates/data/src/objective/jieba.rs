//! Words of Chinese text, by the `jieba-rs` crate and its built-in dictionary.

use std::fmt;
use std::ops::Range;

use jieba_rs::Jieba;

use super::words::WordSplitter;
use crate::split_words;
use crate::tokenizer::is_cjk;

/// Words of Chinese as jieba cuts them, with its model for unknown words; other text as
/// [`PlainWords`](super::words::PlainWords).
pub struct ChineseWords(Jieba);

impl fmt::Debug for ChineseWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChineseWords").finish_non_exhaustive()
    }
}

impl ChineseWords {
    /// Unpacks the dictionary.
    ///
    /// ```
    /// use locus_data::objective::jieba::ChineseWords;
    /// use locus_data::objective::words::WordSplitter;
    /// let text = "I 爱北京";
    /// let words: Vec<&str> = ChineseWords::new().words(text).into_iter().map(|word| &text[word]).collect();
    /// assert_eq!(words, ["I", "爱", "北京"]);
    /// ```
    pub fn new() -> Self {
        Self(Jieba::new())
    }
}

impl Default for ChineseWords {
    fn default() -> Self {
        Self::new()
    }
}

impl WordSplitter for ChineseWords {
    fn words(&self, text: &str) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::new();
        let mut run: Option<Range<usize>> = None;
        for (word, range) in split_words(text) {
            let is_chinese = word.chars().all(is_cjk);
            if let Some(chinese) = run.take() {
                if is_chinese && chinese.end == range.start {
                    run = Some(chinese.start..range.end);
                    continue;
                }
                self.cut(text, chinese, &mut out);
            }
            if is_chinese {
                run = Some(range);
            } else {
                out.push(range);
            }
        }
        if let Some(chinese) = run {
            self.cut(text, chinese, &mut out);
        }
        out
    }
}

impl ChineseWords {
    fn cut(&self, text: &str, run: Range<usize>, out: &mut Vec<Range<usize>>) {
        let tokens = self.0.cut(&text[run.clone()], true);
        out.extend(tokens.iter().map(|token| run.start + token.byte_start..run.start + token.byte_end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_cut_into_words_and_the_rest_stays() {
        let text = "我们在北京大学学习 Rust，很高兴。";
        let words = ChineseWords::new().words(text);
        let found: Vec<&str> = words.iter().map(|word| &text[word.clone()]).collect();
        assert_eq!(found, ["我们", "在", "北京大学", "学习", "Rust", "，", "很", "高兴", "。"]);
        assert!(ChineseWords::new().words("").is_empty());
    }
}
