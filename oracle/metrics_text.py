"""Golden scores for crates/metrics of answers, translations, summaries and rankings, and paired tests.

From transformers' copy of SQuAD's evaluate-v2.0, CMRC 2018's formulas over NLTK's word tokenizer, sacreBLEU, rouge_score,
NLTK's stemmer, pytrec_eval, scikit-learn and SciPy.

Run from the repository root: python oracle/metrics_text.py
Writes crates/metrics/tests/golden/{qa,cmrc,bleu,chrf,rouge,stems,retrieval,detection,significance}.json.
Deterministic: one seed, no clock. All texts are made up here.
"""

import hashlib
import json
import random
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytrec_eval
import scipy.stats
import sklearn.metrics as sk
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import NLTKWordTokenizer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from transformers.data.metrics.squad_metrics import squad_evaluate

SEED = 20_07
OUT = Path("crates/metrics/tests/golden")
PACKAGES = ("transformers", "nltk", "sacrebleu", "rouge_score", "pytrec-eval-terrier", "scikit-learn", "scipy", "numpy")
VERSIONS = {name: version(name) for name in PACKAGES}
SCRIPT_SHA256 = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()

WORDS = (
    "the a an cat cats sat on The mat, mat. (near) 3.5% $1,000 U.S. its it's don't -- well-known 1990-91 e.g. end... "
    "\"quoted\" 'so' said: yes; no! why? A/B x_y *note* ` [brackets] {braces} <tag> & &amp; &quot; C++ #1 @home über "
    "Ångström naïve – — “curly” ‘single’ «guillemets» 2007–08 5,6 .5 - cannot gonna 'tis they'll running flies _ = + ~"
).split()
CHINESE = "春眠不觉晓处闻啼鸟夜来风雨声花落知多少，。！？“”《》（）、；：…—·「」ＡＢ１２㐀豈𠀀"
LATIN = ["iPhone 4s", "1987", "3.5%", "U.S.", "(abc)", "B-52", "\"x\"", "it's", "C++", "can't", "a,b", " ", "No. 1", "!", "'tis"]


def sentence(rng, length):
    return " ".join(rng.choice(WORDS) for _ in range(length))


def chinese(rng, length):
    return "".join(rng.choice(CHINESE) if rng.random() < 0.8 else rng.choice(LATIN) for _ in range(length))


def changed(rng, text, units):
    """The text with words or characters left out, doubled and exchanged."""
    parts = text.split(" ") if units is WORDS else list(text)
    out = []
    for part in parts:
        draw = rng.random()
        if draw < 0.7:
            out.append(part)
        elif draw < 0.8:
            out += [part, part]
        elif draw < 0.9:
            out.append(rng.choice(units))
    if rng.random() < 0.3 and len(out) > 2:
        at = rng.randrange(len(out) - 1)
        out[at], out[at + 1] = out[at + 1], out[at]
    return (" " if units is WORDS else "").join(out)


def qa_case(rng, name, n, unanswerable):
    examples, predictions, numbers = [], {}, {}
    for at in range(n):
        gold = sentence(rng, rng.randint(1, 5))
        answers = [] if rng.random() < unanswerable else [gold] + [changed(rng, gold, WORDS) for _ in range(rng.randint(0, 2))]
        examples.append(SimpleNamespace(qas_id=str(at), answers=[{"text": text} for text in answers]))
        predictions[str(at)] = "" if rng.random() < 0.2 else changed(rng, gold, WORDS) if rng.random() < 0.7 else gold
        numbers[str(at)] = rng.random() + (0.4 if not answers else 0.0)
    threshold = 0.8
    found = squad_evaluate(examples, predictions)
    at_threshold = squad_evaluate(examples, predictions, numbers, threshold)
    rows = lambda report: {key: value / 100 if "total" not in key and "thresh" not in key else value for key, value in report.items()}
    return {
        "name": name,
        "gold": [[answer["text"] for answer in example.answers] for example in examples],
        "predicted": list(predictions.values()),
        "no_answer": list(numbers.values()),
        "threshold": threshold,
        "scores": rows(found),
        "at_threshold": rows(at_threshold),
    }


DROPPED = list("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def cmrc_segments(text):
    out, between = [], ""
    for char in text.lower().strip():
        if char in DROPPED:
            continue
        if "\u4e00" <= char <= "\u9fa5":
            out += NLTKWordTokenizer().tokenize(between) + [char]
            between = ""
        else:
            between += char
    return out + NLTKWordTokenizer().tokenize(between)


def cmrc_f1(gold, predicted):
    gold, predicted = cmrc_segments(gold), cmrc_segments(predicted)
    runs = [(i, j) for i in range(len(gold)) for j in range(i + 1, len(gold) + 1)]
    inside = {tuple(predicted[i:j]) for i in range(len(predicted)) for j in range(i + 1, len(predicted) + 1)}
    longest = max((j - i for i, j in runs if tuple(gold[i:j]) in inside), default=0)
    if longest == 0:
        return 0.0
    precision, recall = longest / len(predicted), longest / len(gold)
    return 2 * precision * recall / (precision + recall)


def cmrc_case(rng, n):
    bare = lambda text: "".join(char for char in text.lower().strip() if char not in DROPPED)
    gold, predicted, scores, segments = [], [], [], []
    while len(gold) < n:
        answers = [chinese(rng, rng.randint(1, 11)) for _ in range(rng.randint(1, 3))]
        guess = changed(rng, answers[0], CHINESE) if rng.random() < 0.8 else answers[-1]
        if not all(bare(answer) for answer in answers):
            continue
        gold.append(answers)
        predicted.append(guess)
        scores.append([float(any(bare(a) == bare(guess) for a in answers)), max(cmrc_f1(a, guess) for a in answers)])
        segments.append(cmrc_segments(answers[0]))
    return {"gold": gold, "predicted": predicted, "scores": scores, "segments": segments}


def translations(rng, n, n_references, language):
    make, units = (chinese, CHINESE) if language == "zh" else (sentence, WORDS)
    hypotheses, references = [], []
    for _ in range(n):
        gold = make(rng, rng.randint(1, 17))
        count = rng.randint(1, n_references)
        references.append([gold] + [changed(rng, gold, units) for _ in range(count - 1)])
        hypotheses.append(changed(rng, gold, units))
    return hypotheses, references


def streams(references):
    width = max(map(len, references))
    return [[row[at] if at < len(row) else None for row in references] for at in range(width)]


def bleu_case(rng, tokenizer, language, n=23, n_references=1, lowercase=False, scrambled=False):
    hypotheses, references = translations(rng, n, n_references, language)
    if scrambled:  # long n-grams without a match
        hypotheses = [" ".join(sorted(text.split())) for text in hypotheses]
    metric = BLEU(tokenize=tokenizer, lowercase=lowercase)
    found = metric.corpus_score(hypotheses, streams(references))
    single = BLEU(tokenize=tokenizer, lowercase=lowercase, effective_order=True)
    return {
        "tokenizer": tokenizer,
        "lowercase": lowercase,
        "hypotheses": hypotheses,
        "references": references,
        "score": found.score,
        "precisions": found.precisions,
        "bp": found.bp,
        "lengths": [found.sys_len, found.ref_len],
        "signature": str(metric.get_signature()),
        "sentences": [single.sentence_score(h, r).score for h, r in zip(hypotheses, references)],
        "tokens": [metric.tokenizer(text.rstrip()).split() for text in hypotheses],
    }


def chrf_case(rng, word_order, language, n=23, n_references=1, lowercase=False):
    hypotheses, references = translations(rng, n, n_references, language)
    metric = CHRF(word_order=word_order, lowercase=lowercase)
    return {
        "word_order": word_order,
        "lowercase": lowercase,
        "hypotheses": hypotheses,
        "references": references,
        "score": metric.corpus_score(hypotheses, streams(references)).score,
        "signature": str(metric.get_signature()),
        "sentences": [metric.sentence_score(h, r).score for h, r in zip(hypotheses, references)],
    }


def rouge_case(rng, stem, n=19):
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, use_stemmer=stem)
    text = lambda: "\n".join(sentence(rng, rng.randint(0, 11)) for _ in range(rng.randint(1, 4)))
    rows = []
    for _ in range(n):
        references = [text() + "\nwalking city" for _ in range(rng.randint(1, 2))]
        guess = changed(rng, references[0], WORDS) + "\nwalked cities"
        found = scorer.score_multi(references, guess)
        scores = {kind: [found[kind].precision, found[kind].recall, found[kind].fmeasure] for kind in kinds}
        rows.append({"references": references, "predicted": guess, "scores": scores})
    return {"stem": stem, "rows": rows}


def stem_case(rng, n=4000):
    """Made-up words of every ending that the stemmer knows, and its irregular ones."""
    endings = (
        "s sses ies ss ed eed ied ing at bl iz y ational tional enci anci izer bli abli alli entli eli ousli ization ation ator "
        "alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic "
        "able ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ll le lled tting bbed"
    ).split()
    irregular = "sky skies dying lying tying news innings inning outings canning cannings howe proceed exceed succeed dies died"
    words = irregular.split()
    letters = "aeiouybcdfglmnrstwxz1"
    while len(words) < n:
        start = "".join(rng.choice(letters) for _ in range(rng.randint(0, 6)))
        words.append(start + "".join(rng.choice(endings) for _ in range(rng.randint(0, 2))))
    words = sorted(set(words) - {""})
    stemmer = PorterStemmer()
    return {"words": words, "stems": [stemmer.stem(word) for word in words]}


CUTOFFS = [1, 3, 10]
MEASURES = {
    "precision@{k}": "P_{k}",
    "recall@{k}": "recall_{k}",
    "hit_rate@{k}": "success_{k}",
    "map@{k}": "map_cut_{k}",
    "ndcg@{k}": "ndcg_cut_{k}",
}


def retrieval_case(rng, name, graded, n_queries=13):
    ranked, relevant, truth, run = [], [], {}, {}
    for query in map(str, range(n_queries)):
        n_relevant = rng.randint(1, 7)
        gains = [rng.randint(1, 3) if graded else 1 for _ in range(n_relevant)]
        documents = [(f"d{at}", gain) for at, gain in enumerate(gains + [0] * 17)]
        truth[query] = dict(documents)
        order = rng.sample(documents, rng.randint(2, len(documents)))
        run[query] = {document: float(-rank) for rank, (document, _) in enumerate(order)}
        ranked.append([gain for _, gain in order])
        relevant.append(gains)
    cuts = ",".join(map(str, CUTOFFS))
    kinds = {f"{kind}.{cuts}" for kind in ("P", "recall", "success", "map_cut", "ndcg_cut")} | {"map", "recip_rank", "ndcg"}
    rows = pytrec_eval.RelevanceEvaluator(truth, kinds).evaluate(run)
    mean = lambda rows, theirs: float(np.mean([row[theirs] for row in rows.values()]))
    scores = {"map": mean(rows, "map"), "mrr": mean(rows, "recip_rank"), "ndcg": mean(rows, "ndcg")}
    for k in CUTOFFS:
        scores |= {ours.format(k=k): mean(rows, theirs.format(k=k)) for ours, theirs in MEASURES.items()}
        first = {query: dict(list(documents.items())[:k]) for query, documents in run.items()}
        scores[f"mrr@{k}"] = mean(pytrec_eval.RelevanceEvaluator(truth, {"recip_rank"}).evaluate(first), "recip_rank")
    # scikit-learn ranks all documents: those that the run has not come last, all of them not relevant or past the cutoff.
    all_ranked = [gains + [0] * (24 - len(gains)) for gains in ranked]
    best = [sorted(gains, reverse=True) + [0] * (24 - len(gains)) for gains in relevant]
    dcg = lambda rows, k: np.array([sk.dcg_score([row], [list(range(24, 0, -1))], k=k) for row in rows])
    for k in CUTOFFS:
        assert abs(float((dcg(all_ranked, k) / dcg(best, k)).mean()) - scores[f"ndcg@{k}"]) < 1e-9
    return {"name": name, "cutoffs": CUTOFFS, "ranked": ranked, "relevant": relevant, "scores": scores}


def detection_case(rng, name, n, digits):
    gold = rng.random(n) < 0.4
    scores = np.round(rng.normal(size=n) + 1.5 * gold, digits)
    rates = {}
    for target in (0.5, 0.8, 0.95, 1.0):
        fpr, tpr, _ = sk.roc_curve(gold, scores, drop_intermediate=False)
        rates[str(target)] = float(fpr[np.argmax(tpr >= target)])
    return {"name": name, "gold": gold.tolist(), "scores": scores.tolist(), "fpr_at_tpr": rates}


def significance_case(rng, name, formula, n, better, n_resamples=20_000):
    """The test's draws are SciPy's own, so p-values agree up to chance."""
    if formula == "f1":
        gold = rng.integers(0, 4, size=n)
        right = [rng.binomial(gold, share) for share in (0.7 + better, 0.7)]
        systems = [np.stack([found, found + rng.binomial(3, 0.2, size=n), gold], axis=1) for found in right]
        score = lambda sums: 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])
    else:
        systems = [np.stack([rng.random(n) < share, np.ones(n)], axis=1).astype(int) for share in (0.6 + better, 0.6)]
        score = lambda sums: sums[..., 0] / sums[..., 1]
    a, b = systems
    observed = score(a.sum(0)) - score(b.sum(0))

    def difference(at_a, at_b, axis=-1):
        # An index is an example of A, or of B where past n.
        both = np.concatenate([a, b])
        return score(both[at_a].sum(axis=axis - 1)) - score(both[at_b].sum(axis=axis - 1))

    single = lambda at_a, at_b: difference(np.asarray(at_a), np.asarray(at_b), axis=-1)
    test = scipy.stats.permutation_test(
        (np.arange(n), np.arange(n) + n), single, permutation_type="samples", vectorized=False, n_resamples=n_resamples, rng=rng
    )
    drawn = rng.integers(0, n, size=(n_resamples, n))
    bootstrapped = score(a[drawn].sum(1)) - score(b[drawn].sum(1))
    return {
        "name": name,
        "formula": formula,
        "systems": [system.tolist() for system in systems],
        "difference": float(observed),
        "p_randomisation": float(test.pvalue),
        "p_bootstrap": float((np.sum(np.abs(bootstrapped - observed) >= abs(observed) - 1e-12) + 1) / (n_resamples + 1)),
        "interval": np.percentile(bootstrapped, [2.5, 97.5]).tolist(),
    }


def write(name, cases):
    body = {"script_sha256": SCRIPT_SHA256, "seed": SEED, "versions": VERSIONS, "cases": cases}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main():
    rng = random.Random(SEED)
    write("qa", [qa_case(rng, "all answerable", 53, 0.0), qa_case(rng, "some without answer", 101, 0.4)])
    write("cmrc", [cmrc_case(rng, 97)])
    write(
        "bleu",
        [
            bleu_case(rng, "13a", "en"),
            bleu_case(rng, "13a", "en", n_references=3, lowercase=True),
            bleu_case(rng, "13a", "en", n=7, scrambled=True),
            bleu_case(rng, "zh", "zh"),
            bleu_case(rng, "zh", "en"),
            bleu_case(rng, "intl", "en"),
            bleu_case(rng, "char", "zh", n_references=2),
            bleu_case(rng, "none", "en"),
        ],
    )
    write(
        "chrf",
        [
            chrf_case(rng, 0, "en"),
            chrf_case(rng, 2, "en", n_references=3),
            chrf_case(rng, 2, "en", lowercase=True),
            chrf_case(rng, 0, "zh"),
            chrf_case(rng, 2, "zh", n=1),
        ],
    )
    write("rouge", [rouge_case(rng, False), rouge_case(rng, True)])
    write("stems", [stem_case(rng)])
    write("retrieval", [retrieval_case(rng, "relevant or not", False), retrieval_case(rng, "graded", True)])
    generator = np.random.default_rng(SEED)
    write("detection", [detection_case(generator, "no ties", 97, 9), detection_case(generator, "ties", 211, 0)])
    write(
        "significance",
        [
            significance_case(generator, "right or not, alike", "mean", 101, 0.0),
            significance_case(generator, "right or not, better", "mean", 211, 0.1),
            significance_case(generator, "entities, better", "f1", 101, 0.08),
        ],
    )


if __name__ == "__main__":
    main()
