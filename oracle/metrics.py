"""Golden scores for crates/metrics, from seqeval and scikit-learn.

Run from the repository root: python oracle/metrics.py
Writes crates/metrics/tests/golden/{entity,classes,lm}.json. Deterministic: one seed, no clock.
"""

import hashlib
import json
import random
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from seqeval.metrics import classification_report as entity_report
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import classification_report, confusion_matrix

SEED = 20_03
OUT = Path("crates/metrics/tests/golden")
VERSIONS = {name: version(name) for name in ("seqeval", "scikit-learn", "numpy")}
SCRIPT_SHA256 = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
LETTERS = {"io": "I", "iob1": "BI", "iob2": "BI", "bioes": "BIES"}


def tag(rng, scheme, types):
    """Any tag of the scheme after any other, so most transitions are malformed."""
    return "O" if rng.random() < 0.4 else f"{rng.choice(LETTERS[scheme])}-{rng.choice(types)}"


def clean(rng, scheme, types, length):
    """A well-formed sentence of the scheme."""
    tags, last = [], None
    while len(tags) < length:
        if rng.random() < 0.5:
            tags.append("O")
            last = None
            continue
        kind, n = rng.choice(types), min(rng.randint(1, 3), length - len(tags))
        first = {"io": "I", "iob1": "B" if last == kind else "I", "iob2": "B", "bioes": "B" if n > 1 else "S"}[scheme]
        end = "E" if scheme == "bioes" else "I"
        tags += [f"{first}-{kind}"] + [f"I-{kind}"] * (n - 2) + [f"{end}-{kind}"] * (n > 1)
        last = kind
    return tags


def entity_case(rng, name, scheme, gold_types, predicted_types, malformed, sentences=13):
    gold, predicted = [], []
    for _ in range(sentences):
        length = rng.randint(1, 17)
        truth = [tag(rng, scheme, gold_types) for _ in range(length)] if malformed else clean(rng, scheme, gold_types, length)
        guess = [t if rng.random() < 0.75 else tag(rng, scheme, predicted_types) for t in truth]
        gold.append(truth)
        predicted.append([t if t == "O" or t[2:] in predicted_types else "O" for t in guess])
    return {
        "name": name,
        "scheme": scheme,
        "gold": gold,
        "predicted": predicted,
        "gold_spans": [spans(sentence) for sentence in gold],
        "predicted_spans": [spans(sentence) for sentence in predicted],
        "rows": rows(entity_report(gold, predicted, output_dict=True, zero_division=0)),
        "text": entity_report(gold, predicted, digits=4, zero_division=0),
    }


def spans(tags):
    return [[start, end + 1, kind] for kind, start, end in get_entities(tags)]


def rows(report):
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1", "support": "support"}
    return [
        {"label": label} | {ours: float(scores[theirs]) for theirs, ours in names.items()}
        for label, scores in report.items()
        if label != "accuracy"
    ]


def class_case(rng, name, gold_labels, predicted_labels, only=None, n=211):
    gold = [rng.choice(gold_labels) for _ in range(n)]
    predicted = [t if rng.random() < 0.6 and t in predicted_labels else rng.choice(predicted_labels) for t in gold]
    labels = sorted(set(gold) | set(predicted))
    options = {"labels": only, "zero_division": 0}
    report = classification_report(gold, predicted, output_dict=True, **options)
    return {
        "name": name,
        "gold": gold,
        "predicted": predicted,
        "only": only,
        "rows": rows(report),
        "accuracy": report.get("accuracy"),
        "text": {str(d): classification_report(gold, predicted, digits=d, **options) for d in (2, 4)},
        "confusion": {"labels": labels, "counts": confusion_matrix(gold, predicted, labels=labels).tolist()},
    }


def lm_case(rng, vocab_size, n_tokens, n_bytes):
    logits = rng.normal(size=(n_tokens, vocab_size)) * 3.0
    targets = rng.integers(vocab_size, size=n_tokens)
    nats = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(n_tokens), targets]
    return {
        "nats": nats.tolist(),
        "n_bytes": n_bytes,
        "perplexity": float(np.exp(nats.mean())),
        "bits_per_byte": float(np.log2(np.exp(nats)).sum() / n_bytes),
    }


def write(name, cases):
    OUT.mkdir(parents=True, exist_ok=True)
    body = {"script_sha256": SCRIPT_SHA256, "seed": SEED, "versions": VERSIONS, "cases": cases}
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def main():
    warnings.simplefilter("ignore")  # seqeval and scikit-learn warn about every 0 of 0
    rng = random.Random(SEED)
    types = ["LOC", "ORG", "PER", "per-son"]
    entity = [
        entity_case(rng, f"{scheme}, {'malformed' if malformed else 'clean'}", scheme, types, types, malformed)
        for scheme in LETTERS
        for malformed in (False, True)
    ]
    entity += [
        entity_case(rng, "a type only predicted", "iob2", types[:2], types, True),
        entity_case(rng, "a type never predicted", "bioes", types, types[:2], False),
        entity_case(rng, "nothing in common", "iob2", types[:1], types[1:], False),
        entity_case(rng, "wide labels", "iob2", ["a-rather-long-type", "X"], ["a-rather-long-type", "X"], False),
    ]
    write("entity", entity)

    labels = ["anger", "joy", "neutral", "O", "surprise"]
    write(
        "classes",
        [
            class_case(rng, "all labels", labels, labels),
            class_case(rng, "binary", labels[:2], labels[:2]),
            class_case(rng, "a label never predicted", labels, labels[:3]),
            class_case(rng, "a label only predicted", labels[:3], labels),
            class_case(rng, "without O", labels, labels, only=["anger", "joy", "neutral", "surprise"]),
            class_case(rng, "more labels than seen", labels[:3], labels[:3], only=["neutral", "zeal", "joy", "anger"]),
            class_case(rng, "labels without support", labels[:2], labels, only=["surprise", "neutral"]),
            class_case(rng, "one label", labels[:1], labels[:1]),
        ],
    )

    generator = np.random.default_rng(SEED)
    write("lm", [lm_case(generator, 2, 1, 1), lm_case(generator, 31, 101, 367), lm_case(generator, 997, 53, 211)])


if __name__ == "__main__":
    main()
