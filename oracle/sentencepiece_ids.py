"""Ids, offsets, frames and decoded texts of hard sentences under small models of SentencePiece, from `transformers`.

Writes `crates/data/tests/tokenizers/<name>/` for folders that hold a `.model` and no `tokenizer.json`: the model, what stands
beside it, and `expected.json`. Ids come from the slow tokenizers, which run SentencePiece itself; offsets and decoded texts from
the fast ones that `transformers` converts them to. Where the two give other ids, a line says so, and the text has the slow ids
alone (`slow_cases`); but for what is known to follow the fast ones (`AS_FAST`).

Run from the repository root: `python oracle/sentencepiece_ids.py`.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import sentencepiece
from marian_ids import MORE, RULES, trained
from tokenizer_ids import CORPUS, SENTENCES, dump, expected, folder
from transformers import (
    AlbertTokenizer,
    AlbertTokenizerFast,
    DebertaV2Tokenizer,
    DebertaV2TokenizerFast,
    GemmaTokenizer,
    GemmaTokenizerFast,
    LlamaTokenizer,
    LlamaTokenizerFast,
    T5Tokenizer,
    T5TokenizerFast,
    XLMRobertaTokenizer,
    XLMRobertaTokenizerFast,
)

# The cases are those of `tokenizer_ids.py` and these.
SENTENCES += MORE
SENTENCES += [
    "``quoted'' and 'single'",
    "9,9 and 1,234, or 12, 5",
    "\u3000ideographic\u3000blank\u3000",
    "no\u00a0break\u2028line\u2029paragraph",
    "the boat\t\twas  \n missing ",
    "emoji \U0001f600\U0001f600 and \U0001f44d\U0001f3fd",
    "\u200b\u200b",
]
# Blanks at the start where `legacy` is false; rules that make punctuation or blanks of a character.
AS_FAST = {
    "spm-llama": lambda text: text.startswith(" "),
    "spm-deberta-split": lambda text: "\xbd" in text,
}
# One rule for each character, as all but the longest rules of nmt_nfkc are.
SIMPLE = {old: new for old, new in RULES.items() if old != "2E 2E"}


def model(rules=SIMPLE, **settings):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write("".join(f"{old}\t{new}\n" for old, new in rules.items()))
        file.flush()
        return trained(CORPUS, normalization_rule_tsv=file.name, character_coverage=0.985, **settings)


def write(name, file, config, proto, slow, fast, special_texts, **arguments):
    path = folder(name)
    (path / file).write_bytes(proto)
    dump(path / "config.json", {"model_type": config})
    if arguments:
        dump(path / "tokenizer_config.json", arguments)
    slow = slow.from_pretrained(path)
    fast = fast.from_pretrained(path)
    expected(path, fast, slow, special_texts)
    value = json.loads((path / "expected.json").read_text())
    value["meta"]["sentencepiece"] = sentencepiece.__version__
    value["meta"]["script_sha256"] = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    found = {case["text"] for case in value["cases"]}
    left = [text for text in SENTENCES if text not in found and not AS_FAST.get(name, lambda _: False)(text)]
    value["slow_cases"] = [{"text": text, "ids": slow(text, add_special_tokens=False)["input_ids"]} for text in left]
    if config in ["llama", "gemma"]:
        value["pair"]["segments"] = None  # these read none
    dump(path / "expected.json", value)


def main():
    t5 = model(size=211, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    write("spm-t5", "spiece.model", "t5", t5, T5Tokenizer, T5TokenizerFast, ["</s>the<extra_id_0>boat"], extra_ids=3)
    albert = model(
        size=223,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece="<pad>",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
    )
    for name, arguments in [("spm-albert", {}), ("spm-albert-cased", {"keep_accents": True, "do_lower_case": False})]:
        write(
            name, "spiece.model", "albert", albert, AlbertTokenizer, AlbertTokenizerFast, ["the [MASK][SEP]"], **arguments
        )
    deberta = model(
        size=227,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    )
    for name, arguments in [("spm-deberta", {}), ("spm-deberta-split", {"do_lower_case": True, "split_by_punct": True})]:
        classes = (DebertaV2Tokenizer, DebertaV2TokenizerFast)
        write(name, "spm.model", "deberta-v2", deberta, *classes, ["the [MASK][SEP]"], **arguments)
    xlmr = model(size=229)
    classes = (XLMRobertaTokenizer, XLMRobertaTokenizerFast)
    write("spm-xlm-roberta", "sentencepiece.bpe.model", "xlm-roberta", xlmr, *classes, ["the <mask></s>"])
    pairs = {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "character_coverage": 0.985,
    }
    llama = trained(CORPUS, 479, **pairs)
    for name, arguments in [("spm-llama", {"legacy": False}), ("spm-llama-legacy", {"add_bos_token": False})]:
        classes = (LlamaTokenizer, LlamaTokenizerFast)
        write(name, "tokenizer.model", "llama", llama, *classes, ["one</s>two"], **arguments)
    gemma = trained(
        CORPUS,
        487,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
        user_defined_symbols=["<start_of_turn>", "\n\n", "  ".replace(" ", "\u2581")],
        allow_whitespace_only_pieces=True,
        **pairs,
    )
    write("spm-gemma", "tokenizer.model", "gemma", gemma, GemmaTokenizer, GemmaTokenizerFast, ["one<eos>two"])


if __name__ == "__main__":
    main()
