"""Fine-tunes a checkpoint with the `Trainer` of transformers, as `locus train` does with the same settings.

    python oracle/finetune.py SET MODEL --data DATA_DIR --epochs 5 --batch-size 16 --learning-rate 1e-4 --seed 0

SET is a data set of `readers.py` with labels (of texts or pairs), tags or questions, cut into the same parts as `locus` does.
The first token of a word bears its tag. What is out of scope is not learned. A long context is read in windows, and the best
answer is sought as run_qa.py of transformers does. Linear schedule, warm-up over a tenth, decay 0.01, gradients clipped to norm 1;
dropout is that of the checkpoint unless `--dropout` is given. Batches hold texts of like length, the best epoch on dev is
kept, test is read once. Prints one line of JSON: the scores of dev and test, which of them decides, seconds of training with its
evaluations, seconds in all. `--record docs/results/references.json` puts it beside those of other sets, models and seeds there, for
`cargo xtask results`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

START = time.time()

import numpy as np
import torch
import transformers
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import f1_score, roc_auc_score
from torch.utils.data import SequentialSampler
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from answers import mean_scores
from readers import LABELLED, QUESTIONS, TAGGED

DEFAULTS = {"doc_stride": 128, "precision": "f32", "device": "cpu"}
POSITIONS = {"bert": "learned", "roberta": "learned", "distilbert": "learned", "electra": "learned", "modernbert": "rotary"}
NO_LABEL = -100  # which the loss leaves out
OUT_OF_SCOPE = "oos"


class Labels:
    """Texts or pairs with one label each."""

    auto, collator, max_length = AutoModelForSequenceClassification, DataCollatorWithPadding, 512

    def __init__(self, parts, tokenizer, args):
        self.tokenizer, self.max_length = tokenizer, args.max_length or self.max_length
        self.has_outside = any(label == OUT_OF_SCOPE for _, label in parts["train"])
        parts["train"] = [row for row in parts["train"] if row[1] != OUT_OF_SCOPE]
        self.names = sorted({label for _, label in parts["train"]})
        self.score_name = "in_scope_accuracy" if self.has_outside else "accuracy"

    def features(self, rows):
        index = {name: idx for idx, name in enumerate(self.names)}
        for text, label in rows:
            texts = (text,) if isinstance(text, str) else text
            encoding = self.tokenizer(*texts, truncation=True, max_length=self.max_length)
            yield {**encoding, "labels": NO_LABEL if label == OUT_OF_SCOPE else index[label]}

    def scores(self, rows, features, logits):
        gold = np.array([feature["labels"] for feature in features])
        known, best = gold != NO_LABEL, logits.argmax(-1)
        scores = {self.score_name: (gold == best)[known].mean(), "macro_f1": f1_score(gold[known], best[known], average="macro")}
        if self.has_outside and not known.all():
            scores["oos_auroc"] = roc_auc_score(known, torch.tensor(logits).float().softmax(-1).amax(-1))
        return scores


class Tags:
    """Words with one IOB2 tag each."""

    auto, collator, max_length, score_name = AutoModelForTokenClassification, DataCollatorForTokenClassification, 512, "entity_f1"

    def __init__(self, parts, tokenizer, args):
        self.tokenizer, self.max_length = tokenizer, args.max_length or self.max_length
        self.names = sorted({tag for _, tags in parts["train"] for tag in tags})

    def features(self, rows):
        # Of a tag that train lacks nothing is learned.
        index = {name: idx for idx, name in enumerate(self.names)}
        for row, (words, tags) in enumerate(rows):
            encoding = self.tokenizer(words, is_split_into_words=True, truncation=True, max_length=self.max_length)
            of_token = encoding.word_ids()
            firsts = [word if word is not None and word != before else None for before, word in zip([None, *of_token], of_token)]
            labels = [NO_LABEL if word is None else index.get(tags[word], NO_LABEL) for word in firsts]
            yield {**encoding, "labels": labels, "row": row, "firsts": firsts}

    def scores(self, rows, features, logits):
        """Words without a token of their own are in no entity."""
        found = [["O"] * len(words) for words, _ in rows]
        for feature, best in zip(features, logits.argmax(-1), strict=True):
            for word, idx in zip(feature["firsts"], best):
                if word is not None:
                    found[feature["row"]][word] = self.names[idx]
        return {"entity_f1": entity_f1([tags for _, tags in rows], found)}


class Answers:
    """Questions about contexts."""

    auto, collator, max_length, score_name = AutoModelForQuestionAnswering, DataCollatorWithPadding, 384, "f1"
    max_question, n_best, max_answer = 64, 20, 30  # tokens, candidates, tokens

    def __init__(self, parts, tokenizer, args):
        self.tokenizer, self.max_length, self.stride = tokenizer, args.max_length or self.max_length, args.doc_stride
        self.names = []

    def features(self, rows):
        for row, (question, context, answers) in enumerate(rows):
            question = question.lstrip()
            asked = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            question = question[: asked[: self.max_question][-1][1]]
            windows = self.tokenizer(
                question, context, truncation="only_second", max_length=self.max_length, stride=self.stride,
                return_overflowing_tokens=True, return_offsets_mapping=True,
            )
            for at, offsets in enumerate(windows["offset_mapping"]):
                inside = [column for column, part in enumerate(windows.sequence_ids(at)) if part == 1]
                start, end = self.columns(offsets, inside, answers[0])
                inputs = {name: windows[name][at] for name in self.tokenizer.model_input_names}
                yield {**inputs, "start_positions": start, "end_positions": end, "row": row, "inside": inside, "offsets": offsets}

    def columns(self, offsets, inside, answer):
        """The first and last token of an answer; those of [CLS] where a part of it lies outside."""
        first, last = answer[1], answer[1] + len(answer[0])
        if not inside or first < offsets[inside[0]][0] or last > offsets[inside[-1]][1]:
            return 0, 0
        start = max(column for column in inside if offsets[column][0] <= first)
        return start, max(start, min(column for column in inside if offsets[column][1] >= last))

    def scores(self, rows, features, logits):
        best = [(-np.inf, "")] * len(rows)
        for feature, of_start, of_end in zip(features, *logits, strict=True):
            row, inside, offsets = feature["row"], feature["inside"], feature["offsets"]
            starts, ends = (np.argsort(-side[inside])[: self.n_best] + inside[0] for side in (of_start, of_end))
            for start in starts:
                for end in ends:
                    score = of_start[start] + of_end[end]
                    if start <= end < start + self.max_answer and score > best[row][0]:
                        best[row] = score, rows[row][1][offsets[start][0] : offsets[end][1]]
        return mean_scores([[text for text, _ in answers] for _, _, answers in rows], [text for _, text in best])


KINDS = {name: kind for kind, sets in ((Labels, LABELLED), (Tags, TAGGED), (Answers, QUESTIONS)) for name in sets}
READERS = LABELLED | TAGGED | QUESTIONS


class InOrder(Trainer):
    """Scores come in the order of the examples."""

    def _get_eval_sampler(self, eval_dataset):
        return SequentialSampler(eval_dataset)


def load(task, args):
    config = AutoConfig.from_pretrained(args.model)
    if task.names:
        config.id2label = dict(enumerate(task.names))
        config.label2id = {name: idx for idx, name in enumerate(task.names)}
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
        if args.dropout is not None and hasattr(config, name):
            setattr(config, name, args.dropout)
    return task.auto.from_pretrained(args.model, config=config)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=sorted(KINDS))
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--eval-batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--max-length", type=int, help="tokens of a text or window: 512, of questions 384")
    parser.add_argument("--doc-stride", type=int, default=DEFAULTS["doc_stride"], help="tokens that two windows share")
    parser.add_argument("--max-examples", type=int, help="of each part, to try it out")
    parser.add_argument("--max-steps", type=int, default=-1, help="to try it out")
    parser.add_argument("--precision", default=DEFAULTS["precision"], choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=DEFAULTS["device"], choices=["cpu", "cuda"])
    parser.add_argument("--record", type=Path, help="a file of such runs")
    args = parser.parse_args()
    if args.record and (args.max_examples or args.max_steps != -1):
        parser.error("--record: --max-examples and --max-steps are to try it out")
    return args


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    parts = READERS[args.set](args.data)
    task = KINDS[args.set](parts, AutoTokenizer.from_pretrained(args.model), args)
    if args.max_examples:
        parts = {part: rows[:: -(-len(rows) // args.max_examples)] for part, rows in parts.items()}
    features = {part: list(task.features(rows)) for part, rows in parts.items()}
    for part in ("dev", "test"):
        features[part].sort(key=lambda feature: len(feature["input_ids"]))

    def scores_of(part):
        def scores(outputs):
            found = task.scores(parts[part], features[part], outputs.predictions)
            return {name: float(value) for name, value in found.items()}

        return scores

    torch.manual_seed(args.seed)
    model = load(task, args)
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            out, num_train_epochs=args.epochs, max_steps=args.max_steps, per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=args.eval_batch_size, learning_rate=args.learning_rate, weight_decay=0.01, warmup_ratio=0.1,
            lr_scheduler_type="linear", max_grad_norm=1.0, seed=args.seed, group_by_length=True, eval_strategy="epoch",
            save_strategy="epoch", save_total_limit=1, load_best_model_at_end=True, metric_for_best_model=task.score_name,
            bf16=args.precision == "bf16", logging_strategy="no", report_to=[], use_cpu=args.device == "cpu",
            dataloader_pin_memory=False, disable_tqdm=True,
        )
        trainer = InOrder(model, settings, data_collator=task.collator(task.tokenizer), train_dataset=features["train"],
                          eval_dataset=features["dev"], compute_metrics=scores_of("dev"))
        begun = time.time()
        trainer.train()
        trained = time.time() - begun
        trainer.compute_metrics = None  # that of dev
        found = {part: scores_of(part)(trainer.predict(features[part])) for part in ("dev", "test")}
    run = {
        "set": args.set, "method": method(args), "position": POSITIONS.get(model.config.model_type, "–"), "seed": args.seed,
        "score_name": task.score_name, **found,
        "train_s": round(trained, 1), "all_s": round(time.time() - START, 1), "threads": args.threads, "device": args.device,
        "precision": args.precision, "torch": torch.__version__, "transformers": transformers.__version__, "command": command(args),
    }
    print(json.dumps(run))
    if args.record:
        record(args.record, run)


def method(args):
    """What was run, where it is not on a processor in f32."""
    odd = [getattr(args, name) for name in ("precision", "device") if getattr(args, name) != DEFAULTS[name]]
    return ", ".join([f"`Trainer` from {Path(args.model).name}", *odd])


def command(args):
    """What repeats the run, without the folders of this machine."""
    words = ["python", "oracle/finetune.py", args.set, Path(args.model).name, "--data", "$LOCUS_DATA", "--seed", str(args.seed)]
    for name in ("epochs", "batch_size", "learning_rate", "dropout", "max_length", "doc_stride", "precision", "device"):
        value = getattr(args, name)
        if value != DEFAULTS.get(name):
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join(words)


def record(path, run):
    def key(run):
        return run["set"], run["method"], run["seed"]

    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    runs = sorted([other for other in there if key(other) != key(run)] + [run], key=key)
    path.write_text(json.dumps(runs, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
