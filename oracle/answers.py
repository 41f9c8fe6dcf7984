"""Answers that stand in a text: the scores of SQuAD's program evaluate-v1.1.py, and a baseline that only counts words."""

import re
import string
from collections import Counter

WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def words_of(answer):
    plain = "".join(char for char in answer.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def exact_and_f1(gold, found):
    """Of several gold answers the best counts."""

    def f1(gold):
        common = (Counter(gold) & Counter(found)).total()
        return 2 * common / (len(gold) + len(found)) if common else 0.0

    gold, found = [words_of(answer) for answer in gold], words_of(found)
    return float(found in gold), max(map(f1, gold))


def mean_scores(golds, founds):
    each = [exact_and_f1(gold, found) for gold, found in zip(golds, founds, strict=True)]
    return {name: sum(scores) / len(each) for name, scores in zip(("em", "f1"), zip(*each, strict=True), strict=True)}


def most_like(question, context):
    """The first of the sentences that share most words with the question."""
    asked = set(WORD.findall(question.lower()))
    return max(SENTENCE_END.split(context), key=lambda sentence: len(asked & set(WORD.findall(sentence.lower()))))


def longest_run(question, sentence, frequent):
    """The longest run of words that neither the question has nor most texts have; else the sentence."""
    left_out = set(WORD.findall(question.lower())) | frequent
    best, run = (0, 0, 0), None
    for match in WORD.finditer(sentence):
        if match.group().lower() in left_out:
            run = None
            continue
        start, n = (match.start(), 1) if run is None else (run[0], run[1] + 1)
        run = (start, n)
        if n > best[0]:
            best = (n, start, match.end())
    return sentence[best[1] : best[2]] if best[0] else sentence


def read_answers(parts):
    counts = Counter(word for context in {row[1] for row in parts["train"]} for word in WORD.findall(context.lower()))
    sentences = {part: [most_like(question, context) for question, context, _ in parts[part]] for part in ("dev", "test")}

    def scores(part, n_frequent):
        frequent = {word for word, _ in counts.most_common(n_frequent or 0)}
        founds = sentences[part]
        if n_frequent is not None:
            founds = [longest_run(row[0], found, frequent) for row, found in zip(parts[part], founds, strict=True)]
        return mean_scores([[text for text, _ in answers] for _, _, answers in parts[part]], founds)

    best = None
    for n_frequent in (None, 0, 50, 200, 500, 1000, 2000, 5000):
        dev = scores("dev", n_frequent)
        if best is None or dev["f1"] > best[0]["f1"]:
            best = (dev, n_frequent)
    dev, n_frequent = best
    method = "the sentence with most words of the question"
    if n_frequent is not None:
        method = f"in {method} the longest run of others"
        method += f" that are not among the {n_frequent} most frequent" if n_frequent else ""
    return {"method": method, "chosen": {"n_frequent": n_frequent}, "dev": dev, "test": scores("test", n_frequent)}
