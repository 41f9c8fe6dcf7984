"""Windows over long contexts and the answers chosen from them, as `run_qa.py` of transformers has them.

Writes `crates/pipeline/tests/golden/questions.json`. The windows come from transformers' fast tokenizers (`stride`,
`return_overflowing_tokens`) under the tokenizers of `crates/data/tests/tokenizers`; the places of answers and the choice among
all parts of a context are written here from the rules of `run_qa.py` and `utils_qa.py`. Three things differ from these, as in
Locus: the end of a context counts as its own last token and not as `[SEP]`, tokens of one character are covered together, and
the search is exhaustive, with a part that two windows hold counted once.

Run from the repository root: `python oracle/questions.py`.
"""

import hashlib
import json
from pathlib import Path

import numpy
import transformers
from transformers import BertTokenizerFast, RobertaTokenizerFast

SEED = 20181
TOKENIZERS = Path("crates/data/tests/tokenizers")
OUT = Path("crates/pipeline/tests/golden/questions.json")

KEEPER = (
    "The lighthouse keeper's daughter was called Mira; she knew every boat by its sail. One evening she counted eight "
    "boats, and the small blue boat was missing. The keeper lit the lamp, counted again, and called his daughter."
)
CITIES = "北京是中国的首都。上海是最大的城市。Mira 在北京，她在上海。今天天气很好，我们去公园。"
CAFE = "Déjà vu: the café on the quay ☃, the naïve waiter,  the señor with the piñata; In 2024 it had 1,234 guests."

# Tokenizer, window, stride, longest question, question, context, answer.
CASES = [
    ("bert-uncased", 37, 11, 17, "Who was the keeper's daughter?", KEEPER, "Mira"),
    ("bert-uncased", 37, 11, 17, "  Which boat was missing?", KEEPER, "the small blue boat"),
    ("bert-uncased", 31, 7, 3, "What was missing, and who counted the boats?", KEEPER, "boat"),
    ("bert-uncased", 37, 11, 17, "Is there an answer?", KEEPER, None),
    ("bert-uncased", 300, 100, 50, "Whom did the keeper call?", KEEPER, "daughter."),
    ("bert-cased", 29, 5, 13, "她在上海?", CITIES, "上海"),
    ("bert-uncased", 23, 7, 11, "中国的首都?", CITIES, "北京"),
    ("bert-uncased", 41, 13, 19, "Who had the piñata?", CAFE, "señor"),
    ("roberta", 43, 13, 23, "Where was the café?", CAFE, "on the quay ☃"),
    ("roberta", 43, 13, 23, "Which sign?", CAFE, "☃"),
    ("roberta", 61, 0, 31, "Who was the daughter?", KEEPER, "Mira"),
]
# n_best, max_answer_tokens, no_answer_threshold.
CHOICES = [(20, 30, None), (3, 2, None), (20, 30, 0.0), (5, 7, -50.0), (1, 1, 1.5)]


def tokenizer(name):
    path = TOKENIZERS / name
    config = json.loads((path / "tokenizer_config.json").read_text())
    if name.startswith("bert"):
        return BertTokenizerFast(vocab_file=str(path / "vocab.txt"), tokenizer_file=None, **config)
    return RobertaTokenizerFast(str(path / "vocab.json"), str(path / "merges.txt"), add_prefix_space=False)


def windows(name, window, stride, max_query, question, context):
    fast = tokenizer(name)
    question = question.lstrip()
    alone = fast(question, add_special_tokens=False, return_offsets_mapping=True)
    if len(alone["input_ids"]) > max_query:
        question = question[: alone["offset_mapping"][max_query - 1][1]]
        cut = fast(question, add_special_tokens=False)["input_ids"]
        assert cut == alone["input_ids"][:max_query], "a cut within a word"
    encoded = fast(
        question,
        context,
        truncation="only_second",
        max_length=window,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    for row, ids in enumerate(encoded["input_ids"]):
        sequence = encoded.sequence_ids(row)
        first = sequence.index(1)
        offsets = [offset for offset, part in zip(encoded["offset_mapping"][row], sequence) if part == 1]
        yield {
            "ids": ids,
            "segments": encoded["token_type_ids"][row],
            "cls": ids.index(fast.cls_token_id),
            "first": first,
            "offsets": offsets,
        }


def span(window, answer):
    """Columns of the answer `(start, end)` in characters, or those of [CLS]."""
    offsets, cls = window["offsets"], window["cls"]
    if answer is None or offsets[0][0] > answer[0] or offsets[-1][1] < answer[1]:
        return [cls, cls]
    first = 0
    while first + 1 < len(offsets) and offsets[first + 1][0] <= answer[0]:
        first += 1
    last = len(offsets) - 1
    while last > 0 and offsets[last - 1][1] >= answer[1]:
        last -= 1
    return [window["first"] + min(first, last), window["first"] + max(first, last)]


def choose(rows, context, n_best, max_answer, threshold):
    """The rules of `postprocess_qa_predictions`, over all parts."""
    parts, null = {}, None
    for row in rows:
        start, end = row["start"], row["end"]
        score = start[row["cls"]] + end[row["cls"]]
        null = score if null is None or score < null else null
        for i, (left, _) in enumerate(row["offsets"]):
            for j, (_, right) in enumerate(row["offsets"]):
                if i <= j and j - i + 1 <= max_answer:
                    score = start[row["first"] + i] + end[row["first"] + j]
                    parts[left, right] = max(score, parts.get((left, right), -numpy.inf))
    candidates = list(parts.items())
    if threshold is not None:
        candidates.append((None, null))
    candidates.sort(key=lambda candidate: -candidate[1])
    assert candidates[0][1] - candidates[1][1] > 1e-3, "a tie"
    kept = candidates[:n_best]
    if threshold is not None and all(part is not None for part, _ in kept):
        kept.append((None, null))
    scores = numpy.array([score for _, score in kept])
    shares = numpy.exp(scores - scores.max())
    shares /= shares.sum()
    share = {part: float(share) for (part, _), share in zip(kept, shares)}
    best = max(((part, score) for part, score in candidates if part is not None), key=lambda x: x[1])
    if threshold is not None and null - best[1] > threshold:
        return {"text": "", "start": 0, "end": 0, "score": share[None]}
    if best[0] not in share:
        return None
    left, right = best[0]
    text = context[left:right]
    left += len(text) - len(text.lstrip())
    text = text.strip()
    return {"text": text, "start": left, "end": left + len(text), "score": share[best[0]]}


def main():
    rng = numpy.random.default_rng(SEED)
    cases = []
    for name, window, stride, max_query, question, context, text in CASES:
        start = None if text is None else context.index(text)
        answer = None if text is None else (start, start + len(text))
        rows = list(windows(name, window, stride, max_query, question, context))
        for row in rows:
            row["span"] = span(row, answer)
            for side in ["start", "end"]:
                row[side] = [round(float(x), 3) for x in rng.normal(0.0, 2.0, len(row["ids"]))]
        choices = []
        for n_best, max_answer, threshold in CHOICES:
            chosen = choose(rows, context, n_best, max_answer, threshold)
            if chosen is not None:
                choices.append({"n_best": n_best, "max_answer": max_answer, "threshold": threshold, **chosen})
        cases.append(
            {
                "tokenizer": name,
                "window": window,
                "stride": stride,
                "max_query": max_query,
                "question": question,
                "context": context,
                "answer": None if text is None else {"text": text, "start": start},
                "windows": rows,
                "choices": choices,
            }
        )
    meta = {
        "seed": SEED,
        "numpy": numpy.__version__,
        "transformers": transformers.__version__,
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"meta": meta, "cases": cases}, separators=(",", ":")) + "\n")
    for case in cases:
        spans = [row["span"] for row in case["windows"]]
        print(case["tokenizer"], len(spans), spans, [choice["text"] for choice in case["choices"]])


if __name__ == "__main__":
    main()
