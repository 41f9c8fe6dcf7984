"""Ids, offsets, frames and decoded texts of hard sentences under a small tokenizer of Marian's kind, from `transformers`.

Writes `crates/data/tests/tokenizers/marian/`: `source.spm`, `target.spm` and `vocab.json`, trained on a few sentences with few
rules of normalisation (the usual ones are 240 kB), and `expected.json`. Ids and decoded texts are those of `MarianTokenizer`,
offsets those of `sentencepiece`, in bytes. Texts with unknown tokens are not decoded: the blanks around those differ.

Run from the repository root: `python oracle/marian_ids.py`.
"""

import hashlib
import io
import json
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from transformers import MarianTokenizer

from tokenizer_ids import CORPUS, SENTENCES, dump, folder

FRENCH = [
    "La fille du gardien de phare s'appelait Mira ; elle reconnaissait chaque bateau à sa voile.",
    "Un soir elle compta huit bateaux, et le petit bateau bleu manquait.",
    "Le gardien alluma la lampe, compta encore et appela sa fille à la fenêtre.",
    "Déjà vu : le café sur le quai, le garçon naïf, le señor et sa piñata.",
    "En 2024 le port avait 1 234 bateaux (12,5 % de plus qu'en 2023). ☃ ☃ 한국어",
    "été, étés, hiver, hivers, large, larges, plus large, le plus large",
]
# What is replaced, and by what: code points in hexadecimal digits.
RULES = {
    "9": "20",  # tab, line feed, carriage return and the ideographic space are blanks
    "A": "20",
    "D": "20",
    "3000": "20",
    "65 301": "E9",  # e with a combining acute
    "2E": "B7",  # the longest rule holds
    "2E 2E": "2025",
    "FB01": "66 69",
    "FB03": "66 66 69",
    "2026": "2E 2E 2E",
    "200B": "",
    "BD": "20 31 2F 32",  # one half, with a blank ahead of it
    **{f"{0xFF10 + digit:X}": f"{0x30 + digit:X}" for digit in range(10)},
}
MORE = [
    ">>fra<< The boat was missing.",
    ">>fra<<The boat",
    ">>fra<<",
    " >>fra<< no code",
    ">>xyz<< an unknown code",
    ">> a quotation << and text",
    "ﬁne ﬃ oﬃce … and 2½ or 2 ½",
    "\u200b \u200bsail\u200b",
    "☃ a ☃☃ snowman",
    "one. two.. three... four....",
]
SENTENCES = SENTENCES + MORE


def trained(corpus, size, **settings):
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(corpus * 8),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


def pieces(model):
    spm = SentencePieceProcessor(model_proto=model)
    ids = (i for i in range(spm.get_piece_size()) if not spm.is_control(i) and not spm.is_unknown(i))
    return [spm.id_to_piece(i) for i in ids]


def n_code(text):
    """Bytes of the code of a language ahead of a text."""
    end = text.find("<<")
    return len(text[: end + 2].encode()) if text.startswith(">>") and end != -1 else 0


def case(tokenizer, spm, text, is_target):
    ids = tokenizer(**{"text_target" if is_target else "text": text}, add_special_tokens=False)["input_ids"]
    framed = tokenizer(**{"text_target" if is_target else "text": text})["input_ids"]
    code = n_code(text)
    found = spm.encode(text.encode()[code:].decode(), return_type="proto").pieces
    offsets = [[0, code]] * (code > 0) + [[piece.begin + code, piece.end + code] for piece in found]
    assert len(ids) == len(offsets), text
    is_known = tokenizer.unk_token_id not in ids
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False) if is_known else None
    return {"text": text, "ids": ids, "offsets": offsets, "framed": framed, "decoded": decoded}


def main():
    path = folder("marian")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("".join(f"{old}\t{new}\n" for old, new in RULES.items()))
        rules.flush()
        source = trained(CORPUS, 211, normalization_rule_tsv=rules.name, character_coverage=0.985)
    target = trained(FRENCH, 173, normalization_rule_name="identity")
    (path / "source.spm").write_bytes(source)
    (path / "target.spm").write_bytes(target)
    # Some pieces of the source have no id.
    lacking = pieces(source)[50:52]
    both = sorted(set(pieces(source) + pieces(target)) - set(lacking) | {">>fra<<", ">>deu<<"})
    names = ["</s>", "<unk>", *both, "<pad>"]
    dump(path / "vocab.json", {name: id for id, name in enumerate(names)})
    dump(path / "tokenizer_config.json", {"source_lang": "eng", "target_lang": "fra"})
    tokenizer = MarianTokenizer.from_pretrained(path)
    models = [SentencePieceProcessor(model_proto=model) for model in (source, target)]
    value = {
        "meta": {
            "sentencepiece": sentencepiece.__version__,
            "transformers": transformers.__version__,
            "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        },
        "cases": [case(tokenizer, models[0], text, False) for text in SENTENCES],
        "target_cases": [case(tokenizer, models[1], text, True) for text in SENTENCES + FRENCH[:3]],
        "pair": tokenizer("The boat", "was missing")["input_ids"],
        "roles": [tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
    }
    dump(path / "expected.json", value)
    known = sum(case["decoded"] is not None for case in value["cases"] + value["target_cases"])
    print({file.name: file.stat().st_size for file in path.iterdir()}, known, "decoded")


if __name__ == "__main__":
    main()
