"""Simple baselines of the recipes' data sets, on the parts that `locus` uses: chosen on dev, read on test once.

Run from the repository root: python oracle/baselines.py DATA_DIR
Reads DATA_DIR as `--data-dir` has it; writes docs/results/baselines.json. Deterministic, apart from the seconds.

Texts with labels: TF-IDF and logistic regression, with the regularisation chosen on dev; GoEmotions one label against the
rest, with one threshold for all. Tags: the longest match of an entity seen in training, and the tag that a word has most
often. Search: BM25 over lower-cased words, with k1 and b chosen on dev; each source looks for its target among all different
targets of its part. Recommendation: films by what is known of them at the time, likes, those of the last year or the mean rating, chosen on dev;
queries and candidates are those of crates/data/src/read/movielens.rs. Language: characters by the n before them, every order interpolated with the one below (Witten and Bell 1991).
Parts that a set lacks are cut as crates/data/src/split.rs does: by the SHA-256 of the text, or a stream in place.
"""

import csv
import hashlib
import json
import math
import sys
import time
import warnings
from bisect import bisect_left
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from seqeval.metrics import f1_score as entity_f1
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier

OUT = Path("docs/results/baselines.json")
STRENGTHS = [1.0, 3.0, 10.0, 30.0, 100.0]
SHARE = 0.1  # of dev, and of test where there is none
N_GOEMOTIONS_LABELS = 28


def part_of(text, dev, test):
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "test" if place < test else "dev" if place < test + dev else "train"


def cut(examples, test):
    parts = {"train": [], "dev": [], "test": []}
    for text, label in examples:
        parts[part_of(text, SHARE, test)].append((text, label))
    return parts


def cut_stream(text):
    """In bytes, at the line ends after 80 % and 90 %."""
    data = text.encode()

    def line_end_after(share):
        found = data.find(b"\n", int(len(data) * share))
        return len(data) if found < 0 else found + 1

    dev, test = line_end_after(1.0 - SHARE - SHARE), line_end_after(1.0 - SHARE)
    return {name: part.decode() for name, part in (("train", data[:dev]), ("dev", data[dev:test]), ("test", data[test:]))}


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")


def read_snips(root):
    for part in ("train", "dev", "test"):
        columns = [[line.strip() for line in lines(root / part / name) if line.strip()] for name in ("seq.in", "seq.out", "label")]
        yield part, list(zip(*columns, strict=True))


def intent_snips(root):
    return {part: [(text, label) for text, _, label in rows] for part, rows in read_snips(root / "slots-snips")}


def slots_snips(root):
    return {part: [(text.split(), tags.split()) for text, tags, _ in rows] for part, rows in read_snips(root / "slots-snips")}


def table(path, text, label, **options):
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[text].strip(), row[label].strip()) for row in csv.DictReader(file, **options)]


def banking77(root):
    read = {part: table(root / f"intent-banking77/{part}.csv", "text", "category") for part in ("train", "test")}
    return cut(read["train"], 0.0) | {"test": read["test"]}


def sib200(language):
    def read(root):
        path = root / "topic-sib200" / language
        # Fields in double quotes are for CSV alone.
        options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        return {part: table(path / f"{part}.tsv", "text", "category", **options) for part in ("train", "dev", "test")}

    return read


def polarity(root):
    path = root / "sentiment-nltk-ccby/sentence_polarity"
    names = {"neg": "negative", "pos": "positive"}
    read = [(line.strip(), names[end]) for end in names for line in lines(path / f"rt-polarity.{end}") if line.strip()]
    return cut(read, SHARE)


def goemotions(root):
    def read(part):
        rows = [line.split("\t") for line in lines(root / f"emotion-goemotions/{part}.tsv") if line]
        return [(row[0].strip(), [int(label) for label in row[1].split(",")]) for row in rows]

    return {part: read(part) for part in ("train", "dev", "test")}


def uner_zh(root):
    def read(part):
        sentences, rows = [], []
        for line in [*lines(root / f"ner-uner-zh-gsdsimp/zh_gsdsimp-ud-{part}.iob2"), ""]:
            if line and not line.startswith("# "):
                rows.append(line.split("\t")[1:3])
            elif not line and rows:
                sentences.append(([word for word, _ in rows], [tag for _, tag in rows]))
                rows = []
        return sentences

    return {part: read(part) for part in ("train", "dev", "test")}


WORDS = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}
CHARACTERS = {"ngram_range": (1, 3), "sublinear_tf": True, "analyzer": "char"}


def weighted(parts, features):
    """The TF-IDF rows of each part; the vocabulary is that of train."""
    texts = {part: [text for text, _ in rows] for part, rows in parts.items()}
    vectorizer = TfidfVectorizer(**features).fit(texts["train"])
    return {part: vectorizer.transform(texts[part]) for part in parts}


def classify(parts, features):
    x = weighted(parts, features)
    y = {part: [label for _, label in rows] for part, rows in parts.items()}
    best = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000, random_state=0).fit(x["train"], y["train"])
        dev = accuracy_score(y["dev"], model.predict(x["dev"]))
        if best is None or dev > best[0]:
            best = (dev, strength, model)
    _, strength, model = best

    def scores(part):
        found = model.predict(x[part])
        return {"accuracy": accuracy_score(y[part], found), "macro_f1": f1_score(y[part], found, average="macro", zero_division=0)}

    method = f"TF-IDF of {'1–2 words' if features is WORDS else '1–3 characters'}, logistic regression"
    return {"method": method, "chosen": {"C": strength}, "dev": scores("dev"), "test": scores("test")}


def classify_many(parts):
    x = weighted(parts, WORDS | {"min_df": 2})
    y = {part: np.array([[label in labels for label in range(N_GOEMOTIONS_LABELS)] for _, labels in rows]) for part, rows in parts.items()}
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
        "method": "TF-IDF of 1–2 words, logistic regression of each label against the rest",
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


def characters(parts):
    """Mean nats per character: each is predicted from those before it in its own part."""
    alphabet = set(parts["train"]) | {"\0"}  # one place for all that is new
    longest = 8
    follow = [defaultdict(Counter) for _ in range(longest + 1)]
    text = parts["train"]
    for at, char in enumerate(text):
        for n in range(min(at, longest) + 1):
            follow[n][text[at - n : at]][char] += 1
    totals = [{context: (counts.total(), len(counts)) for context, counts in order.items()} for order in follow]

    def nats(text):
        """Of every order at once."""
        sums = np.zeros(longest + 1)
        for at, char in enumerate(text):
            p = 1.0 / len(alphabet)
            for n in range(longest + 1):
                context = text[at - n : at] if n <= at else None
                if context is not None and context in totals[n]:
                    total, kinds = totals[n][context]
                    p = (follow[n][context][char] + kinds * p) / (total + kinds)
                sums[n] -= math.log(p)
        return sums / len(text)

    dev, test = nats(parts["dev"]), nats(parts["test"])
    best = int(dev.argmin())
    return {
        "method": f"characters by the {best} before them, Witten–Bell interpolation",
        "chosen": {"context": best},
        "dev": {"loss": dev[best]},
        "test": {"loss": test[best]},
    }


def bitext(root):
    name = "dialogue-bitext-support/Bitext_Sample_Customer_Support_Training_Dataset.csv"
    return cut(table(root / name, "instruction", "response"), SHARE)


def squad(root):
    def read(name):
        articles = json.loads((root / "qa-squad-v1.1" / name).read_text(encoding="utf-8"))["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        return [(qa["question"], paragraph["context"]) for paragraph in paragraphs for qa in paragraph["qas"]]

    parts = {"train": [], "dev": []}
    for question, context in read("train-v1.1.reconstructed.json"):
        parts[part_of(context, SHARE, 0.0)].append((question, context))
    return parts | {"test": read("dev-v1.1.json")}


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


MASK = 2**64 - 1


def mixed(seed, n):
    """Number n of the stream of a seed, as crates/data/src/random.rs has it."""
    x = (seed + (n + 1) * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def derived(seed, name):
    return mixed(mixed(seed, 0) ^ mixed(name ^ MASK, 0), name)


def movielens(root):
    """Rankings in the order of time: for each candidate its likes, mean rating and likes of a year by then; and the right one."""
    per_user, n_negatives, prior, start, a_year = 20, 99, 5.0, 4.0, 365 * 24 * 3600
    with (root / "rec-ml-latest-small/ratings.csv").open(encoding="utf-8", newline="") as file:
        rows = [(int(r["timestamp"]), int(r["userId"]), int(r["movieId"]), float(r["rating"])) for r in csv.DictReader(file)]
    rows.sort(key=lambda row: row[:3])
    rated, left = defaultdict(set), Counter()
    for _, user, film, value in rows:
        rated[user].add(film)
        left[user] += value >= start
    films, counts, overall, with_history, rankings = [], {}, [0.0, 0.0], set(), []
    liked_at = defaultdict(list)
    for time_, user, film, value in rows:
        if value >= start:
            left[user] -= 1
            seed, n, candidates = derived(0, user << 32 | film), 0, [film]
            for _ in range(100 * n_negatives):
                if len(candidates) > n_negatives or not films:
                    break
                other = films[(mixed(seed, n) * len(films)) >> 64]
                n += 1
                if other not in rated[user] and other not in candidates:
                    candidates.append(other)
            for at in range(len(candidates) - 1, 0, -1):
                place = (mixed(seed, n) * (at + 1)) >> 64
                n += 1
                candidates[at], candidates[place] = candidates[place], candidates[at]
            if left[user] < per_user and user in with_history and len(candidates) > 1:
                mean = overall[1] / max(overall[0], 1.0)
                known = [counts.get(other, (0, 0, 0.0)) for other in candidates]
                recent = [len(liked_at[other]) - bisect_left(liked_at[other], time_ - a_year) for other in candidates]
                means = [(total + prior * mean) / (n + prior) for _, n, total in known]
                rankings.append((time_, [*zip([likes for likes, _, _ in known], means, recent)], candidates.index(film)))
            with_history.add(user)
            liked_at[film].append(time_)
        if film not in counts:
            films.append(film)
        likes, n, total = counts.get(film, (0, 0, 0.0))
        counts[film] = (likes + (value >= start), n + 1, total + value)
        overall = [overall[0] + 1, overall[1] + value]
    rankings.sort(key=lambda ranking: ranking[0])
    dev, test = int(len(rankings) * (1.0 - SHARE - SHARE)), int(len(rankings) * (1.0 - SHARE))
    return {"train": rankings[:dev], "dev": rankings[dev:test], "test": rankings[test:]}


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


SETS = {
    "intent-snips": (intent_snips, lambda parts: classify(parts, WORDS)),
    "intent-banking77": (banking77, lambda parts: classify(parts, WORDS)),
    "topic-sib200-en": (sib200("eng_Latn"), lambda parts: classify(parts, WORDS)),
    "topic-sib200-zh": (sib200("zho_Hans"), lambda parts: classify(parts, CHARACTERS)),
    "sentiment-polarity": (polarity, lambda parts: classify(parts, WORDS)),
    "emotion-goemotions": (goemotions, classify_many),
    "dialogue-bitext-responses": (bitext, search),
    "qa-squad-v1.1": (squad, search),
    "rec-ml-latest-small": (movielens, recommend),
    "ner-uner-zh-gsdsimp": (uner_zh, tag_words),
    "slots-snips": (slots_snips, tag_words),
    "lm-tinyshakespeare": (lambda root: cut_stream((root / "lm-tinyshakespeare/input.txt").read_text()), characters),
}
SCORES = {"dialogue-bitext-responses": "mrr@10", "qa-squad-v1.1": "mrr@10", "rec-ml-latest-small": "ndcg@10"} | {"emotion-goemotions": "macro_f1", "ner-uner-zh-gsdsimp": "entity_f1", "slots-snips": "entity_f1", "lm-tinyshakespeare": "loss"}


def rounded(scores):
    return {name: round(float(score), 4) for name, score in scores.items()}


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    root = Path(sys.argv[1])
    sets = {}
    for name, (read, baseline) in SETS.items():
        parts = read(root)
        start = time.perf_counter()
        result = baseline(parts)
        sets[name] = {
            "method": result["method"],
            "chosen": result["chosen"],
            "score_name": SCORES.get(name, "accuracy"),
            "n_examples": {part: len(rows) for part, rows in parts.items()},
            "dev": rounded(result["dev"]),
            "test": rounded(result["test"]),
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(name, sets[name], flush=True)
    body = {
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "versions": {name: version(name) for name in ("scikit-learn", "numpy", "seqeval")},
        "sets": sets,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
