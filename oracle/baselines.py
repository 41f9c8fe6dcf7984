"""Simple baselines of the recipes' data sets, on the parts that `locus` uses: chosen on dev, read on test once.

Run from the repository root: python oracle/baselines.py DATA_DIR [SET...]
Reads DATA_DIR with readers.py; writes docs/results/baselines.json, where sets that are not named stay as they are. The same each
time to 1e-4, apart from the seconds.

Texts with labels: TF-IDF and logistic regression, with the regularisation chosen on dev; of pairs the weights of both texts and their
products; of several labels each against the rest, with one threshold for all; what is out of scope by the probability of the best
label. Tags: the longest match of an entity seen in training, and the tag that a word has most often. Search: BM25 over lower-cased
words, with k1 and b chosen on dev; each source looks for its target among all different targets of its part. Answers:
answers.py. Translation: that of the most similar source in train. Recommendation: films by what is known of them at the time, likes, those of
the last year or the mean rating, chosen on dev. Language: language.py.
"""

import hashlib
import json
import math
import sys
import time
import warnings
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sacrebleu import CHRF, corpus_bleu
from scipy.sparse import hstack
from seqeval.metrics import f1_score as entity_f1
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from answers import read_answers
from language import symbols_by_those_before
from readers import SETS

OUT = Path("docs/results/baselines.json")
SCRIPTS = ["baselines.py", "answers.py", "language.py", "readers.py"]
STRENGTHS = [1.0, 3.0, 10.0, 30.0, 100.0]
OUT_OF_SCOPE = "oos"

WORDS = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}
CHARACTERS = {"ngram_range": (1, 3), "sublinear_tf": True, "analyzer": "char"}


def of(features):
    return "1–2 words" if features is WORDS else "1–3 characters"


def weighted(parts, features):
    """The TF-IDF rows of each part; the vocabulary is that of train."""
    texts = {part: [text for text, _ in rows] for part, rows in parts.items()}
    vectorizer = TfidfVectorizer(**features).fit(texts["train"])
    return {part: vectorizer.transform(texts[part]) for part in parts}


def weighted_pairs(parts, features):
    """The rows of both texts, and their products: what both have in common."""
    sides = {part: list(zip(*(texts for texts, _ in rows), strict=True)) for part, rows in parts.items()}
    vectorizer = TfidfVectorizer(**features).fit([text for side in sides["train"] for text in side])
    both = {part: [vectorizer.transform(side) for side in sides[part]] for part in parts}
    return {part: hstack([first, second, first.multiply(second)]).tocsr() for part, (first, second) in both.items()}


def logistic(x, y):
    """The model and the regularisation with the best accuracy on dev."""
    best = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000, random_state=0).fit(x["train"], y["train"])
        dev = accuracy_score(y["dev"], model.predict(x["dev"]))
        if best is None or dev > best[0]:
            best = (dev, strength, model)
    return best[2], {"C": best[1]}


def accuracy_and_f1(gold, found):
    return {"accuracy": accuracy_score(gold, found), "macro_f1": f1_score(gold, found, average="macro", zero_division=0)}


def classify(parts, features):
    is_pair = not isinstance(parts["train"][0][0], str)
    x = (weighted_pairs if is_pair else weighted)(parts, features)
    y = {part: [label for _, label in rows] for part, rows in parts.items()}
    model, chosen = logistic(x, y)

    def scores(part):
        return accuracy_and_f1(y[part], model.predict(x[part]))

    method = f"TF-IDF of {of(features)}{' of both texts and of what they share' if is_pair else ''}, logistic regression"
    return {"method": method, "chosen": chosen, "dev": scores("dev"), "test": scores("test")}


def classify_in_scope(parts, features):
    inside = {part: [row for row in rows if row[1] != OUT_OF_SCOPE] for part, rows in parts.items()}
    outside = {part: [row for row in rows if row[1] == OUT_OF_SCOPE] for part, rows in parts.items()}
    x = weighted(inside | {f"{part} outside": rows for part, rows in outside.items() if part != "train"}, features)
    y = {part: [label for _, label in rows] for part, rows in inside.items()}
    model, chosen = logistic(x, y)

    def scores(part):
        found = accuracy_and_f1(y[part], model.predict(x[part]))
        confidence = [model.predict_proba(x[name]).max(1) for name in (part, f"{part} outside")]
        is_inside = np.repeat([True, False], [len(rows) for rows in confidence])
        auroc = roc_auc_score(is_inside, np.concatenate(confidence))
        return {"in_scope_accuracy": found["accuracy"], "macro_f1": found["macro_f1"], "oos_auroc": auroc}

    method = f"TF-IDF of {of(features)}, logistic regression"
    return {"method": method, "chosen": chosen, "dev": scores("dev"), "test": scores("test")}


def classify_many(parts, features):
    x = weighted(parts, features | {"min_df": 2})
    every = sorted({label for rows in parts.values() for _, labels in rows for label in labels})
    y = {part: np.array([[label in labels for label in every] for _, labels in rows]) for part, rows in parts.items()}
    best = None
    for strength in (1.0, 3.0, 10.0):
        model = OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear", random_state=0)).fit(x["train"], y["train"])
        probabilities = model.predict_proba(x["dev"])
        for threshold in np.arange(0.05, 0.55, 0.05).round(2).tolist():
            dev = f1_score(y["dev"], probabilities >= threshold, average="macro", zero_division=0)
            if best is None or dev > best[0]:
                best = (dev, strength, threshold, model)
    _, strength, threshold, model = best

    def scores(part):
        found = model.predict_proba(x[part]) >= threshold
        return {f"{average}_f1": f1_score(y[part], found, average=average, zero_division=0) for average in ("macro", "micro")}

    return {
        "method": f"TF-IDF of {of(features)}, logistic regression of each label against the rest",
        "chosen": {"C": strength, "threshold": threshold},
        "dev": scores("dev"),
        "test": scores("test"),
    }


def spans(tags):
    """(start, end, label) of IOB2 tags."""
    found, start = [], None
    for at, tag in enumerate([*tags, "O"]):
        if start is not None and not (tag.startswith("I-") and tag[2:] == tags[start][2:]):
            found.append((start, at, tags[start][2:]))
            start = None
        if tag.startswith("B-") or (tag.startswith("I-") and start is None):
            start = at
    return found


def by_dictionary(train):
    """The longest run of words that was an entity in training more often than not, from the left."""
    entities, runs = defaultdict(Counter), Counter()
    for sentence, tags in train:
        for start, end, label in spans(tags):
            entities[tuple(sentence[start:end])][label] += 1
    longest = max(map(len, entities))
    for sentence, _ in train:
        for start in range(len(sentence)):
            for end in range(start + 1, min(start + longest, len(sentence)) + 1):
                run = tuple(sentence[start:end])
                if run in entities:
                    runs[run] += 1
    known = {run: labels.most_common(1)[0][0] for run, labels in entities.items() if 2 * labels.total() > runs[run]}

    def tag(sentence):
        tags, at = ["O"] * len(sentence), 0
        while at < len(sentence):
            ends = range(min(at + longest, len(sentence)), at, -1)
            end = next((end for end in ends if tuple(sentence[at:end]) in known), None)
            if end is None:
                at += 1
                continue
            label = known[tuple(sentence[at:end])]
            tags[at:end] = [f"B-{label}"] + [f"I-{label}"] * (end - at - 1)
            at = end
        return tags

    return tag


def by_majority(train):
    """The tag that a word has most often; O for a new one."""
    seen = defaultdict(Counter)
    for sentence, tags in train:
        for word, tag in zip(sentence, tags, strict=True):
            seen[word][tag] += 1
    known = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
    return lambda sentence: [known.get(word, "O") for word in sentence]


def tag_words(parts):
    methods = {"longest match of a training entity": by_dictionary, "most frequent tag of each word": by_majority}
    best = None
    for method, learn in methods.items():
        tag = learn(parts["train"])

        def score(part):
            return {"entity_f1": entity_f1([tags for _, tags in parts[part]], [tag(sentence) for sentence, _ in parts[part]])}

        dev = score("dev")
        if best is None or dev["entity_f1"] > best["dev"]["entity_f1"]:
            best = {"method": method, "chosen": {}, "dev": dev, "test": score("test")}
    return best


def search(parts):
    """BM25 as crates/pipeline/src/bm25.rs has it; a target with the same score as another stands in the order of the file."""

    def counts(part):
        queries, documents = (list(dict.fromkeys(texts)) for texts in zip(*parts[part], strict=True))
        vectorizer = CountVectorizer(token_pattern=r"\w+").fit(documents)
        places = {text: place for place, text in enumerate(documents)}
        right = defaultdict(set)
        for query, document in parts[part]:
            right[query].add(places[document])
        asked = vectorizer.transform([query for query, _ in parts[part]]).astype(float)
        return asked, vectorizer.transform(documents).astype(float).tocsr(), [right[query] for query, _ in parts[part]]

    def scores(asked, documents, right, k1, b):
        lengths = np.asarray(documents.sum(1)).ravel()
        df = np.bincount(documents.indices, minlength=documents.shape[1])
        idf = np.log(1 + (documents.shape[0] - df + 0.5) / (df + 0.5))
        weights = documents.copy()
        rows = np.repeat(np.arange(documents.shape[0]), np.diff(documents.indptr))
        norm = k1 * (1 - b + b * lengths / lengths.mean())
        weights.data = idf[documents.indices] * documents.data * (k1 + 1) / (documents.data + norm[rows])
        sums = Counter()
        for start in range(0, asked.shape[0], 500):
            table = (asked[start : start + 500] @ weights.T).toarray()
            for row, targets in zip(np.argsort(-table, axis=1, kind="stable")[:, :10], right[start : start + 500], strict=True):
                ranks = [rank for rank, document in enumerate(row, 1) if document in targets]
                sums["mrr@10"] += 1 / ranks[0] if ranks else 0
                for cutoff in (1, 5, 10):
                    sums[f"recall@{cutoff}"] += sum(rank <= cutoff for rank in ranks) / len(targets)
                best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(targets), 10) + 1))
                sums["ndcg@10"] += sum(1 / math.log2(rank + 1) for rank in ranks) / best
        return {name: value / len(right) for name, value in sums.items()}

    dev, best = counts("dev"), None
    for k1 in (0.9, 1.2, 1.5, 2.0):
        for b in (0.4, 0.75, 0.9):
            found = scores(*dev, k1, b)
            if best is None or found["mrr@10"] > best["dev"]["mrr@10"]:
                best = {"method": "BM25", "chosen": {"k1": k1, "b": b}, "dev": found}
    return best | {"test": scores(*counts("test"), **best["chosen"])}


def search_and_read(parts):
    """Questions look for their paragraph, and for their answer in it."""
    found = search({part: [(question, context) for question, context, _ in rows] for part, rows in parts.items()})
    answers = read_answers(parts)
    both = {part: found[part] | answers[part] for part in ("dev", "test")}
    method = f"{found['method']}; of answers {answers['method']}"
    return {"method": method, "chosen": found["chosen"] | answers["chosen"], **both}


def translate(parts):
    """The first of the most similar sources."""
    sources = {part: [source for source, _ in rows] for part, rows in parts.items()}
    targets = {part: [target for _, target in rows] for part, rows in parts.items()}

    def written(part, features):
        vectorizer = TfidfVectorizer(**features).fit(sources["train"])
        known = vectorizer.transform(sources["train"]).T.tocsr()
        asked = vectorizer.transform(sources[part])
        chunks = (asked[start : start + 500] @ known for start in range(0, asked.shape[0], 500))
        return [targets["train"][at] for chunk in chunks for at in chunk.toarray().argmax(1)]

    def scores(part, features):
        found = written(part, features)
        bleu = corpus_bleu(found, [targets[part]], tokenize="zh").score
        return {"bleu": bleu, "chrf": CHRF().corpus_score(found, [targets[part]]).score}

    dev, features = max(((scores("dev", features), features) for features in (WORDS, CHARACTERS)), key=lambda both: both[0]["bleu"])
    method = f"translation of the training sentence most similar by TF-IDF of {of(features)}"
    return {"method": method, "chosen": {}, "dev": dev, "test": scores("test", features)}


def recommend(parts):
    """Of equal candidates the first in the list comes first."""
    worth = {
        "likes": lambda likes, mean, recent: likes,
        "mean rating": lambda likes, mean, recent: mean,
        "likes of the last year": lambda likes, mean, recent: recent,
    }

    def scores(part, by):
        sums = Counter()
        for _, features, right in parts[part]:
            own = [worth[by](*known) for known in features]
            rank = 1 + sum(x > own[right] or (x == own[right] and at < right) for at, x in enumerate(own))
            sums["mrr"] += 1 / rank
            sums["ndcg@10"] += 1 / math.log2(rank + 1) if rank <= 10 else 0
            for cutoff in (1, 5, 10):
                sums[f"hit_rate@{cutoff}"] += rank <= cutoff
        return {name: value / len(parts[part]) for name, value in sums.items()}

    by = max(worth, key=lambda by: scores("dev", by)["ndcg@10"])
    return {"method": "popularity", "chosen": {"by": by}, "dev": scores("dev", by), "test": scores("test", by)}


def by_words(parts):
    return classify(parts, WORDS)


def by_characters(parts):
    return classify(parts, CHARACTERS)


BASELINES = {
    "intent-snips": ("accuracy", by_words),
    "intent-banking77": ("accuracy", by_words),
    "intent-clinc150": ("in_scope_accuracy", lambda parts: classify_in_scope(parts, WORDS)),
    "topic-sib200-en": ("accuracy", by_words),
    "topic-sib200-zh": ("accuracy", by_characters),
    "sentiment-polarity": ("accuracy", by_words),
    "nli-cad": ("accuracy", by_words),
    "pair-pawsx-zh": ("accuracy", by_characters),
    "dialogue-bitext-support": ("accuracy", by_words),
    "dialogue-crosswoz": ("accuracy", by_characters),
    "sentiment-subjectivity": ("accuracy", by_words),
    "sentiment-pros-cons": ("accuracy", by_words),
    "emotion-goemotions": ("macro_f1", lambda parts: classify_many(parts, WORDS)),
    "emotion-xed-en": ("macro_f1", lambda parts: classify_many(parts, WORDS)),
    "emotion-xed-zh": ("macro_f1", lambda parts: classify_many(parts, CHARACTERS)),
    "dialogue-bitext-responses": ("mrr@10", search),
    "qa-squad-v1.1": ("mrr@10", search_and_read),
    "mt-tatoeba-en-zh": ("bleu", translate),
    "rec-ml-latest-small": ("ndcg@10", recommend),
    "ner-wnut17": ("entity_f1", tag_words),
    "ner-btc": ("entity_f1", tag_words),
    "ner-wikigold": ("entity_f1", tag_words),
    "ner-uner-zh-gsdsimp": ("entity_f1", tag_words),
    "slots-snips": ("entity_f1", tag_words),
    "lm-tinyshakespeare": ("loss", symbols_by_those_before),
    "lm-chinese-poetry": ("loss", lambda parts: symbols_by_those_before(parts, ends=True)),
    "lm-classic-books": ("bits_per_byte", lambda parts: symbols_by_those_before(parts, of_bytes=True)),
    "lm-wikitext2-valid-test": ("bits_per_byte", lambda parts: symbols_by_those_before(parts, of_bytes=True)),
}


def rounded(scores):
    return {name: round(float(score), 4) for name, score in scores.items()}


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    root, names = Path(sys.argv[1]), sys.argv[2:] or list(BASELINES)
    if unknown := set(names) - set(BASELINES):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BASELINES)}")
    versions = {name: version(name) for name in ("scikit-learn", "numpy", "scipy", "seqeval", "sacrebleu")}
    scripts = b"".join((Path(__file__).parent / name).read_bytes() for name in SCRIPTS)
    script_sha256 = hashlib.sha256(scripts).hexdigest()
    sets = json.loads(OUT.read_text(encoding="utf-8"))["sets"] if OUT.exists() and sys.argv[2:] else {}
    for name in names:
        score_name, baseline = BASELINES[name]
        parts = SETS[name](root)
        start = time.perf_counter()
        result = baseline(parts)
        sets[name] = {
            "method": result["method"],
            "chosen": result["chosen"],
            "score_name": score_name,
            "n_examples": {part: len(rows) for part, rows in parts.items()},
            "dev": rounded(result["dev"]),
            "test": rounded(result["test"]),
            "seconds": round(time.perf_counter() - start, 1),
            "script_sha256": script_sha256,
            "versions": versions,
        }
        print(name, sets[name], flush=True)
    body = {"sets": {name: sets[name] for name in BASELINES if name in sets}}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
