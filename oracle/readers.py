"""Reads the recipes' data sets as `locus` does, for `baselines.py` and `finetune.py`.

`SETS[NAME](DATA_DIR)` gives the parts train, dev and test, with DATA_DIR as `--data-dir` has it. What an example is says the
table it stands in: (text or pair of texts, label), (words, IOB2 tags), (question, context, answers), (query, document),
(source, target), a document, or a ranking. Parts that a set lacks are cut as crates/data/src/split.rs does: by the SHA-256 of the
text (of a pair its first, of a question its context, of a translation its source), or a stream in place.
"""

import csv
import hashlib
import json
from bisect import bisect_left
from collections import Counter, defaultdict

SHARE = 0.1  # of dev, and of test where there is none


def part_of(text, dev, test):
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "test" if place < test else "dev" if place < test + dev else "train"


def cut(examples, test, key=lambda example: example[0]):
    parts = {"train": [], "dev": [], "test": []}
    for example in examples:
        parts[part_of(key(example), SHARE, test)].append(example)
    return parts


def cut_stream(text, test=SHARE):
    """In bytes, at the line ends after the shares of train and dev."""
    data = text.encode()

    def line_end_after(share):
        found = data.find(b"\n", int(len(data) * share))
        return len(data) if found < 0 else found + 1

    dev, test = line_end_after(1.0 - SHARE - test), line_end_after(1.0 - test) if test else len(data)
    return {name: [part.decode()] for name, part in (("train", data[:dev]), ("dev", data[dev:test]), ("test", data[test:]))}


def lines(path):
    return path.read_text(encoding="utf-8-sig").split("\n")


def read_snips(root):
    for part in ("train", "dev", "test"):
        columns = [[line.strip() for line in lines(root / part / name) if line.strip()] for name in ("seq.in", "seq.out", "label")]
        yield part, list(zip(*columns, strict=True))


def intent_snips(root):
    return {part: [(text, label) for text, _, label in rows] for part, rows in read_snips(root / "slots-snips")}


def slots_snips(root):
    return {part: [(text.split(), tags.split()) for text, tags, _ in rows] for part, rows in read_snips(root / "slots-snips")}


def table(path, text, label, pair=None, **options):
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: cell.strip() for name, cell in row.items()} for row in csv.DictReader(file, **options)]
    return [((row[text], row[pair]) if pair else row[text], row[label]) for row in rows]


# Fields in double quotes are for CSV alone.
TABS = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}


def banking77(root):
    read = {part: table(root / f"intent-banking77/{part}.csv", "text", "category") for part in ("train", "test")}
    return cut(read["train"], 0.0) | {"test": read["test"]}


def sib200(language):
    def read(root):
        path = root / "topic-sib200" / language
        return {part: table(path / f"{part}.tsv", "text", "category", **TABS) for part in ("train", "dev", "test")}

    return read


def clinc150(root):
    """With the label `oos` for what fits no intent; that is in train, too, where `locus` leaves it out."""
    lists = json.loads((root / "intent-clinc150/data_full.json").read_text(encoding="utf-8"))
    names = {"train": "train", "dev": "val", "test": "test"}
    return {part: [(text.strip(), label) for text, label in lists[name] + lists[f"oos_{name}"]] for part, name in names.items()}


def nli_cad(root):
    path = root / "nli-cad/all_combined"
    columns = {"text": "sentence1", "pair": "sentence2", "label": "gold_label"}
    return {part: table(path / f"{part}.tsv", **columns, **TABS) for part in ("train", "dev", "test")}


def pawsx_zh(root):
    columns = {"text": "sentence1", "pair": "sentence2", "label": "label"}
    read = {part: table(root / f"pair-pawsx-zh/{part}_2k.tsv", **columns, **TABS) for part in ("dev", "test")}
    # Pairs that could not be translated.
    read = {part: [row for row in rows if "NS" not in row[0]] for part, rows in read.items()}
    return cut(read["dev"], 0.0, lambda row: row[0][0]) | {"test": read["test"]}


def by_file(files, marks=()):
    """A file of lines for each label; marks are taken out."""

    def plain(line):
        for mark in marks:
            line = line.replace(mark, "")
        return line.strip()

    def read(root):
        rows = [(plain(line), label) for label, path in files.items() for line in lines(root / "sentiment-nltk-ccby" / path)]
        return cut([row for row in rows if row[0]], SHARE)

    return read


def bitext_intents(root):
    name = "dialogue-bitext-support/Bitext_Sample_Customer_Support_Training_Dataset.csv"
    return cut(table(root / name, "instruction", "intent"), SHARE)


def crosswoz(root):
    def read(part):
        rows = [line.split("\t") for line in lines(root / f"dialogue-crosswoz/derived_domain_{part}.tsv") if line]
        return [(text.strip(), label) for label, text in rows]

    return cut(read("val"), 0.0) | {"test": read("test")}


def xed(name):
    def read(root):
        rows = [line.split("\t") for line in lines(root / "emotion-xed" / name) if line]
        return cut([(text.strip(), [int(label) for label in labels.split(",")]) for text, labels in rows], SHARE)

    return read


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


def conll(path, separator=None):
    """A word and its tag on each line; a tag without a word has U+FFFD for one."""
    sentences, rows = [], []
    for line in [*lines(path), ""]:
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                sentences.append(([word or "\ufffd" for word, _ in rows], [tag for _, tag in rows]))
            rows = []
        else:
            rows.append([cell.strip() for cell in line.rstrip().split(separator)])
    return sentences


def wnut17(root):
    names = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
    return {part: conll(root / "ner-wnut17" / name, "\t") for part, name in names.items()}


def btc(root):
    read = [sentence for name in "abefg" for sentence in conll(root / f"ner-btc/{name}.conll", "\t")]
    return cut(read, 0.0, lambda sentence: " ".join(sentence[0])) | {"test": conll(root / "ner-btc/h.conll", "\t")}


def wikigold(root):
    """The tags are IO: where the type changes, an entity begins."""

    def iob2(tags):
        return [tag.replace("I-", "B-") if tag != before else tag for before, tag in zip(["O", *tags], tags)]

    read = [(words, iob2(tags)) for words, tags in conll(root / "ner-wikigold/wikigold.conll.txt")]
    return cut(read, SHARE, lambda sentence: " ".join(sentence[0]))


def bitext(root):
    name = "dialogue-bitext-support/Bitext_Sample_Customer_Support_Training_Dataset.csv"
    return cut(table(root / name, "instruction", "response"), SHARE)


def squad(root):
    """Answers with their places in characters."""

    def read(name):
        articles = json.loads((root / "qa-squad-v1.1" / name).read_text(encoding="utf-8"))["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        return [
            (qa["question"], paragraph["context"], [(answer["text"], answer["answer_start"]) for answer in qa["answers"]])
            for paragraph in paragraphs
            for qa in paragraph["qas"]
        ]

    return cut(read("train-v1.1.reconstructed.json"), 0.0, lambda row: row[1]) | {"test": read("dev-v1.1.json")}


def tatoeba(root):
    rows = [line.split("\t") for line in lines(root / "mt-tatoeba-en-zh/cmn.txt") if line.strip()]
    return cut([(row[0].strip(), row[1].strip()) for row in rows], SHARE)


def tinyshakespeare(root):
    return cut_stream((root / "lm-tinyshakespeare/input.txt").read_text(encoding="utf-8"))


def classic_books(root):
    held_out = {"Charles_Dickens_-_A_Christmas_Carol.md": "dev", "H.G._Wells_-_The_Time_Machine.md": "test"}
    parts = {"train": [], "dev": [], "test": []}
    for path in sorted((root / "lm-classic-books").glob("*_-_*.md")):
        parts[held_out.get(path.name, "train")].append(path.read_text(encoding="utf-8"))
    return parts


def wikitext2(root):
    """As the recipe `lm-wikitext2` has it: train and dev are of the validation part."""
    read = {part: (root / f"lm-wikitext2-valid-test/{part}.txt").read_text(encoding="utf-8") for part in ("valid", "test")}
    return cut_stream(read["valid"], 0.0) | {"test": [read["test"]]}


def chinese_poetry(root):
    paths = sorted((root / "lm-chinese-poetry/songci").glob("ci.song.*.json"), key=lambda path: int(path.name.split(".")[2]))
    poems = [poem for path in paths for poem in json.loads(path.read_text(encoding="utf-8"))]
    return cut(["\n".join(poem["paragraphs"]) for poem in poems], SHARE, lambda poem: poem)


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


LABELLED = {
    "intent-snips": intent_snips,
    "intent-banking77": banking77,
    "intent-clinc150": clinc150,
    "topic-sib200-en": sib200("eng_Latn"),
    "topic-sib200-zh": sib200("zho_Hans"),
    "dialogue-bitext-support": bitext_intents,
    "dialogue-crosswoz": crosswoz,
    "sentiment-polarity": by_file({"negative": "sentence_polarity/rt-polarity.neg", "positive": "sentence_polarity/rt-polarity.pos"}),
    "sentiment-subjectivity": by_file({"objective": "subjectivity/plot.tok.gt9.5000", "subjective": "subjectivity/quote.tok.gt9.5000"}),
    "sentiment-pros-cons": by_file({"con": "pros_cons/IntegratedCons.txt", "pro": "pros_cons/IntegratedPros.txt"}, ["<Cons>", "</Cons>", "<Pros>", "</Pros>"]),
    "nli-cad": nli_cad,
    "pair-pawsx-zh": pawsx_zh,
}
MANY_LABELS = {"emotion-goemotions": goemotions, "emotion-xed-en": xed("en-annotated.tsv"), "emotion-xed-zh": xed("cn-projections.tsv")}
TAGGED = {
    "ner-wnut17": wnut17,
    "ner-btc": btc,
    "ner-wikigold": wikigold,
    "ner-uner-zh-gsdsimp": uner_zh,
    "slots-snips": slots_snips,
}
QUESTIONS = {"qa-squad-v1.1": squad}
SEARCHED = {"dialogue-bitext-responses": bitext}
RANKED = {"rec-ml-latest-small": movielens}
TRANSLATED = {"mt-tatoeba-en-zh": tatoeba}
TEXTS = {
    "lm-tinyshakespeare": tinyshakespeare,
    "lm-classic-books": classic_books,
    "lm-wikitext2-valid-test": wikitext2,
    "lm-chinese-poetry": chinese_poetry,
}
SETS = LABELLED | MANY_LABELS | TAGGED | QUESTIONS | SEARCHED | RANKED | TRANSLATED | TEXTS
