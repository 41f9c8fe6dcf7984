"""Golden scores for crates/metrics, from seqeval, scikit-learn and SciPy.

Run from the repository root: python oracle/metrics.py
Writes crates/metrics/tests/golden/{entity,classes,lm,multilabel,ranking,calibration,regression,bootstrap,
samples}.json.
Deterministic: one seed, no clock.
"""

import hashlib
import json
import random
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.stats
import sklearn.metrics as sk
from seqeval.metrics import classification_report as entity_report
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.calibration import calibration_curve
from sklearn.metrics import classification_report, confusion_matrix

SEED = 20_03
OUT = Path("crates/metrics/tests/golden")
VERSIONS = {name: version(name) for name in ("seqeval", "scikit-learn", "scipy", "numpy")}
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
        "matthews": float(sk.matthews_corrcoef(gold, predicted)),
        "text": {str(d): classification_report(gold, predicted, digits=d, **options) for d in (2, 4)},
        "confusion": {"labels": labels, "counts": confusion_matrix(gold, predicted, labels=labels).tolist()},
    }


def lm_case(rng, vocab_size, n_tokens, text):
    logits = rng.normal(size=(n_tokens, vocab_size)) * 3.0
    targets = rng.integers(vocab_size, size=n_tokens)
    nats = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(n_tokens), targets]
    bits = np.log2(np.exp(nats)).sum()
    return {
        "nats": nats.tolist(),
        "text": text,
        "perplexity": float(np.exp(nats.mean())),
        "bits_per_byte": float(bits / len(text.encode())),
        "bits_per_char": float(bits / len(text)),
    }


def multilabel_case(rng, name, n_labels, n, density):
    gold = rng.random((n, n_labels)) < density
    predicted = np.where(rng.random((n, n_labels)) < 0.7, gold, rng.random((n, n_labels)) < density)
    gold[0] = predicted[0] = False
    labels = [f"label {at}" for at in range(n_labels)]
    options = {"target_names": labels, "zero_division": 0}
    return {
        "name": name,
        "labels": labels,
        "gold": gold.tolist(),
        "predicted": predicted.tolist(),
        "rows": rows(classification_report(gold, predicted, output_dict=True, **options)),
        "text": classification_report(gold, predicted, digits=4, **options),
        "subset_accuracy": float(sk.accuracy_score(gold, predicted)),
        "hamming_loss": float(sk.hamming_loss(gold, predicted)),
    }


def softmax_rows(rng, n, n_classes):
    logits = rng.normal(size=(n, n_classes)) * 2.0
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def ranking_case(rng, name, n_classes, n, digits):
    """Scores of few digits have ties."""
    scores = softmax_rows(rng, n, n_classes)
    gold = np.array([rng.choice(n_classes, p=row) for row in scores])
    scores = np.round(scores, digits)
    indicator = np.eye(n_classes, dtype=int)[gold]
    return {
        "name": name,
        "gold": gold.tolist(),
        "scores": scores.tolist(),
        "roc_auc": [float(sk.roc_auc_score(indicator[:, c], scores[:, c])) for c in range(n_classes)],
        "average_precision": [float(sk.average_precision_score(indicator[:, c], scores[:, c])) for c in range(n_classes)],
        "roc_auc_mean": float(sk.roc_auc_score(indicator, scores, average="macro")),
        "average_precision_mean": float(sk.average_precision_score(indicator, scores, average="macro")),
    }


def calibration_case(rng, n_classes, n, n_bins):
    probabilities = softmax_rows(rng, n, n_classes)
    gold = np.array([rng.choice(n_classes, p=0.7 * row + 0.3 / n_classes) for row in probabilities])
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    accuracy, mean = calibration_curve(right, confidence, n_bins=n_bins)
    # The curve leaves out empty bins; their sizes come from a histogram, no confidence lying on an edge.
    sizes = np.histogram(confidence, bins=n_bins, range=(0.0, 1.0))[0]
    sizes = sizes[sizes > 0]
    return {
        "gold": gold.tolist(),
        "probabilities": probabilities.tolist(),
        "n_bins": n_bins,
        "sizes": sizes.tolist(),
        "accuracy": accuracy.tolist(),
        "confidence": mean.tolist(),
        "ece": float((sizes / n * np.abs(accuracy - mean)).sum()),
        "brier": float(sk.brier_score_loss(gold, probabilities, labels=range(n_classes), scale_by_half=False)),
        "log_loss": float(sk.log_loss(gold, probabilities, labels=range(n_classes))),
    }


def regression_case(rng, n, noise, digits):
    gold = np.round(rng.normal(size=n) * 3.0 + 5.0, digits)
    predicted = np.round(0.8 * gold + noise * rng.normal(size=n) + 0.3, digits)
    return {
        "gold": gold.tolist(),
        "predicted": predicted.tolist(),
        "mse": float(sk.mean_squared_error(gold, predicted)),
        "rmse": float(sk.root_mean_squared_error(gold, predicted)),
        "mae": float(sk.mean_absolute_error(gold, predicted)),
        "r2": float(sk.r2_score(gold, predicted)),
        "pearson": float(scipy.stats.pearsonr(gold, predicted).statistic),
        "spearman": float(scipy.stats.spearmanr(gold, predicted).statistic),
    }


def bootstrap_case(rng, name, n, n_resamples=20_000):
    """F1 of summed counts of two systems, the second missing a quarter of what the first finds and wrong where it is.
    The draws are SciPy's own, so intervals agree up to chance."""
    gold = rng.integers(0, 4, size=n)
    found, wrong = rng.binomial(gold, 0.8), rng.binomial(3, 0.3, size=n)
    systems = [np.stack([found, found + wrong, gold]) for found in (found, rng.binomial(found, 0.75))]

    def f1(found, predicted, gold):
        return 2 * found.sum(axis=-1) / (predicted.sum(axis=-1) + gold.sum(axis=-1))

    def difference(*counts, axis=-1):
        return f1(*counts[:3]) - f1(*counts[3:])

    def interval(data, statistic):
        options = {"n_resamples": n_resamples, "vectorized": True, "paired": True, "method": "percentile", "random_state": SEED}
        found = scipy.stats.bootstrap(data, statistic, **options).confidence_interval
        return [float(found.low), float(found.high)]

    return {
        "name": name,
        "systems": [system.T.tolist() for system in systems],
        "n_resamples": n_resamples,
        "intervals": [interval(tuple(system), lambda *c, axis=-1: f1(*c)) for system in systems],
        "difference": interval((*systems[0], *systems[1]), difference),
    }


def samples_case(rng, formula, n, n_resamples=10_000):
    """The interval of macro-F1 over labels (scikit-learn's, of the examples drawn), or of a mean squared error."""
    if formula == "macro_f1":
        gold = rng.random((n, 4)) < [0.6, 0.3, 0.1, 0.02]
        predicted = gold ^ (rng.random((n, 4)) < [0.1, 0.2, 0.05, 0.01])
        score = lambda drawn: sk.f1_score(gold[drawn], predicted[drawn], average="macro", zero_division=0)
    else:
        gold = rng.normal(3.0, 2.0, size=n)
        predicted = gold + rng.normal(0.3, 1.0, size=n) * rng.integers(1, 4, size=n)
        score = lambda drawn: sk.mean_squared_error(gold[drawn], predicted[drawn])
    options = {"n_resamples": n_resamples, "vectorized": False, "method": "percentile", "random_state": SEED}
    found = scipy.stats.bootstrap((np.arange(n),), score, **options).confidence_interval
    return {
        "formula": formula,
        "gold": gold.tolist(),
        "predicted": predicted.tolist(),
        "n_resamples": n_resamples,
        "score": float(score(np.arange(n))),
        "interval": [float(found.low), float(found.high)],
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
    texts = ["a", "Twice 春 and 眠.\n" * 17, "only ASCII " * 19]
    write("lm", [lm_case(generator, *sizes, text) for sizes, text in zip([(2, 1), (31, 101), (997, 53)], texts)])
    write(
        "multilabel",
        [
            multilabel_case(generator, "few labels each", 7, 53, 0.2),
            multilabel_case(generator, "most labels each", 3, 31, 0.7),
            multilabel_case(generator, "nothing at all", 2, 5, 0.0),
        ],
    )
    write(
        "ranking",
        [
            ranking_case(generator, "no ties", 2, 61, 12),
            ranking_case(generator, "ties", 3, 97, 1),
            ranking_case(generator, "many classes", 5, 113, 2),
        ],
    )
    write("calibration", [calibration_case(generator, *sizes) for sizes in [(2, 211, 10), (5, 173, 15), (3, 19, 7)]])
    write("regression", [regression_case(generator, *sizes) for sizes in [(97, 1.0, 9), (61, 3.0, 0), (2, 0.5, 3)]])
    write("bootstrap", [bootstrap_case(generator, name, n) for name, n in [("few sentences", 41), ("many", 307)]])
    sizes = [("macro_f1", 53), ("macro_f1", 211), ("mean", 37), ("mean", 307)]
    write("samples", [samples_case(generator, *sizes) for sizes in sizes])


if __name__ == "__main__":
    main()
