"""Ids, offsets, frames and decoded texts of hard sentences under small tokenizers, from Hugging Face's libraries.

Writes `crates/data/tests/tokenizers/<name>/`: the tokenizer's own files, and `expected.json`. Ids of the BERT, GPT-2 and
RoBERTa folders come from the tokenizers in pure Python of `transformers`, which share no code with the Rust library; offsets
and decoded texts from the fast ones. The two differ on combining accents, which the Python one composes first; such
sentences are left out, with a line. Offsets count characters. `trained-bpe/expected.json` holds the vocabulary that the
Python package trains on the sentences.

Run from the repository root: `python oracle/tokenizer_ids.py`.
"""

import hashlib
import json
import shutil
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, BertTokenizerFast, GPT2Tokenizer, GPT2TokenizerFast
from transformers import PreTrainedTokenizerFast, RobertaTokenizer, RobertaTokenizerFast

OUT = Path("crates/data/tests/tokenizers")

CORPUS = [
    "The lighthouse keeper's daughter was called Mira; she knew every boat by its sail.",
    "One evening she counted eight boats, and the small blue boat was missing.",
    "The keeper lit the lamp, counted again, and called his daughter to the window.",
    "Déjà vu: the café on the quay, the naïve waiter, the señor with the piñata.",
    "北京是中国的首都。上海是最大的城市。",
    "我在北京，她在上海。今天天气很好，我们去公园。",
    "lower lowest low, new newest newer, wide wider widest, fast faster fastest",
    "In 2024 the harbour had 1,234 boats (12.5% more than in 2023).",
    "Straße, größer, Übergröße; Ελλάδα; Привет, мир!",
]

SENTENCES = [
    "",
    " ",
    "The boat was missing.",
    "  two  blanks,\tand a tab ",
    "line one\r\nline two\n\nline four\r",
    "Déjà vu in the CAFÉ, cafe\u0301 and naïve",
    "北京的天气很好,我在上海。",
    "Mira在北京counted 8条船",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３，ﬁne",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467 and flag \U0001f1eb\U0001f1f7 and \u2764\ufe0f",
    "a\u200bzero\u00adwidth\ufeff and \x00control\x07",
    "unknown ☃ and \U00020000 and \u0e01\u0e33\u0e25\u0e31\u0e07",
    "한국어 \u1112\u1161\u11ab",
    "İstanbul ǅ ß ẞ Σίσυφος",
    "x" * 150 + " boat",
    "don't, won't; it's (the keeper's) e-mail: a_b@c.de #1 $2.50",
    "שלום عالم",
    "1234567890 3.14159 1,000,000",
]

PAIR = ("The boat was missing.", "She counted 北京 boats")
META = {
    "tokenizers": tokenizers.__version__,
    "transformers": transformers.__version__,
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
}


def folder(name):
    path = OUT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, indent=None, separators=(",", ":")) + "\n")


def expected(path, fast, slow=None, special_texts=()):
    """Writes what `fast` and `slow` say; where both exist they must agree on the ids."""
    ids_of = slow or fast

    def case(text):
        encoded = fast(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = ids_of(text, add_special_tokens=False)["input_ids"]
        if ids != encoded["input_ids"]:
            print(f"{path.name}: slow and fast differ on {text!r}: {ids} {encoded['input_ids']}")
            return None
        # Special tokens are left out of a decoded text, but what was unknown is shown.
        unknown = fast.unk_token_id if fast.unk_token_id != fast.eos_token_id else None
        shown = [id for id in ids if id == unknown or id not in fast.all_special_ids]
        return {
            "text": text,
            "ids": ids,
            "offsets": encoded["offset_mapping"],
            "framed": ids_of(text)["input_ids"],
            "decoded": fast.decode(shown, clean_up_tokenization_spaces=False),
        }

    pair = ids_of(*PAIR, return_token_type_ids=True)
    segments = pair["token_type_ids"]
    if len(segments) != len(pair["input_ids"]):
        # The slow GPT-2 class forgets the start tokens.
        segments = [0] * len(pair["input_ids"])
    value = {
        "meta": META,
        "cases": [c for c in map(case, SENTENCES) if c],
        "special_cases": [c for c in map(case, special_texts) if c],
        "pair": {"texts": PAIR, "ids": pair["input_ids"], "segments": segments},
        "roles": {
            key: None if (token := getattr(fast, key)) is None else fast.convert_tokens_to_ids(token)
            for key in ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token"]
        },
    }
    dump(path / "expected.json", value)


def bert(name, config, specials, vocab_size):
    """A WordPiece vocabulary under the given names."""
    path = folder(name)
    lowercase = config["do_lower_case"]
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(specials.values()), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocab), encoding="utf-8")
    dump(path / "tokenizer_config.json", config)
    usual = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if any(specials[key] != usual[key] for key in usual):
        dump(path / "special_tokens_map.json", specials)
    arguments = {**config, **specials}
    slow = BertTokenizer(path / "vocab.txt", **arguments)
    fast = BertTokenizerFast(vocab_file=str(path / "vocab.txt"), tokenizer_file=None, **arguments)
    sep = specials["sep_token"]
    expected(path, fast, slow, [f"the boat {sep} was{sep}missing", f"{specials['mask_token']} boat"])


def byte_level(special_tokens, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def gpt2():
    path = folder("gpt2")
    byte_level(["<|endoftext|>"], 331).model.save(str(path))
    slow = GPT2Tokenizer(path / "vocab.json", path / "merges.txt")
    fast = GPT2TokenizerFast(str(path / "vocab.json"), str(path / "merges.txt"))
    expected(path, fast, slow, ["one<|endoftext|>two"])


def opt():
    """GPT-2's class with a start token, and specials that look like RoBERTa's."""
    path = folder("opt")
    byte_level(["<s>", "<pad>", "</s>", "<unk>"], 317).model.save(str(path))
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_bos_token": True,
        "bos_token": {"content": "</s>"},
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "</s>",
        "cls_token": None,
        "sep_token": None,
    }
    dump(path / "tokenizer_config.json", config)
    names = {key: "</s>" for key in ["bos_token", "eos_token", "unk_token"]} | {"pad_token": "<pad>"}
    arguments = {"add_bos_token": True, **names}
    slow = GPT2Tokenizer(path / "vocab.json", path / "merges.txt", **arguments)
    # The fast class ignores add_bos_token unless it converts the slow one.
    fast = GPT2TokenizerFast(str(path / "vocab.json"), str(path / "merges.txt"), **names)
    expected(path, fast, slow, ["one</s>two"])


def roberta(name, add_prefix_space):
    path = folder(name)
    byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], 337).model.save(str(path))
    dump(path / "tokenizer_config.json", {"add_prefix_space": add_prefix_space, "tokenizer_class": "RobertaTokenizer"})
    slow = RobertaTokenizer(path / "vocab.json", path / "merges.txt", add_prefix_space=add_prefix_space)
    fast = RobertaTokenizerFast(
        str(path / "vocab.json"), str(path / "merges.txt"), add_prefix_space=add_prefix_space
    )
    expected(path, fast, slow, ["one boat</s>"])


def unigram():
    """A unigram model with specials that no list of usual names has."""
    path = folder("unigram")
    specials = {"pad_token": "<nothing>", "eos_token": "<the-end>", "unk_token": "<what>"}
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=233,
        special_tokens=list(specials.values()),
        unk_token=specials["unk_token"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    end = specials["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    dump(path / "special_tokens_map.json", specials)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **specials)
    expected(path, fast, None, [f"the boat{end}"])


def byte_fallback():
    """What Llama 2 has: pairs of characters, blanks as ▁, unknown characters as bytes."""
    path = folder("byte-fallback")
    specials = ["<unk>", "<s>", "</s>"]
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=401, special_tokens=[*specials, *tokens], limit_alphabet=97, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
    )
    # The trainer makes the bytes added tokens; Llama's file has them in the vocabulary only.
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [token for token in saved["added_tokens"] if token["content"] in specials]
    dump(path / "tokenizer.json", saved)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    dump(path / "tokenizer_config.json", {**names, "pad_token": None, "cls_token": None, "sep_token": None})
    fast = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **names)
    expected(path, fast, None, ["one</s>"])


def trained_bpe():
    path = folder("trained-bpe")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]"]
    vocab = byte_level(names, 347).get_vocab()
    dump(path / "expected.json", {"meta": META, "texts": CORPUS, "tokens": sorted(vocab, key=vocab.get)})


if __name__ == "__main__":
    usual = {f"{key.lower()}_token": f"[{key}]" for key in ["PAD", "UNK", "CLS", "SEP", "MASK"]}
    bert("bert-uncased", {"do_lower_case": True}, usual, 307)
    bert("bert-cased", {"do_lower_case": False, "tokenize_chinese_chars": False}, usual, 311)
    named = {"pad_token": "<p>", "unk_token": "<u>", "cls_token": "<c>", "sep_token": "<e>", "mask_token": "<m>"}
    bert("bert-named", {"do_lower_case": True, "strip_accents": False}, named, 313)
    gpt2()
    opt()
    roberta("roberta", False)
    roberta("roberta-prefixed", True)
    unigram()
    byte_fallback()
    trained_bpe()
