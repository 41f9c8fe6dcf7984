"""Fine-tunes a checkpoint with the `Trainer` of transformers, as `locus train` does with the same settings.

    python oracle/finetune.py ner MODEL --train F --dev F --test F --seed 0
    python oracle/finetune.py classify MODEL --train F.csv --test F.csv --seed 0

`ner` reads CoNLL columns (word first, tag last), `classify` CSV with the columns text and category; a missing dev part is
cut from train as `locus` does, by the hash of the text. The first token of a word bears its tag. Batches hold texts of
like length, the best epoch on dev is kept, test is read once. Scores: seqeval's entity F1, accuracy. Prints one line of
JSON: scores, seconds of training with its evaluations, seconds in all.
"""

import argparse
import csv
import hashlib
import json
import time

START = time.time()

import numpy as np
import torch
from seqeval.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def sentences(path):
    words, tags = [], []
    for line in open(path, encoding="utf-8"):
        columns = line.split()
        if columns:
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            yield words, tags
            words, tags = [], []
    if words:
        yield words, tags


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def is_dev(text):
    head = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return head / 2**64 < 0.1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["ner", "classify"])
    parser.add_argument("model")
    for part in ["train", "dev", "test"]:
        parser.add_argument(f"--{part}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", default="finetuned")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ner = args.task == "ner"
    parts = {name: list(sentences(getattr(args, name)) if ner else rows(getattr(args, name)))
             for name in ["train", "dev", "test"] if getattr(args, name)}
    if "dev" not in parts:
        parts["dev"] = [row for row in parts["train"] if is_dev(row[0])]
        parts["train"] = [row for row in parts["train"] if not is_dev(row[0])]
    names = sorted({tag for _, tags in parts["train"] for tag in tags} if ner else {row[1] for row in parts["train"]})
    index = {name: idx for idx, name in enumerate(names)}
    tokenizer = AutoTokenizer.from_pretrained(args.model)

    def encode(row):
        if not ner:
            return {**tokenizer(row[0], truncation=True, max_length=128), "labels": index[row[1]]}
        encoding = tokenizer(row[0], is_split_into_words=True, truncation=True, max_length=512)
        labels, last = [], None
        for word in encoding.word_ids():
            labels.append(-100 if word is None or word == last else index[row[1][word]])
            last = word
        return {**encoding, "labels": labels}

    def scores(outputs):
        best = outputs.predictions.argmax(-1)
        if not ner:
            return {"score": float((best == outputs.label_ids).mean())}
        tags = [([names[g] for g, p in zip(gold, found) if g >= 0], [names[p] for g, p in zip(gold, found) if g >= 0])
                for gold, found in zip(outputs.label_ids, best)]
        return {"score": f1_score([gold for gold, _ in tags], [found for _, found in tags])}

    data = {name: [encode(row) for row in part] for name, part in parts.items()}
    torch.manual_seed(args.seed)
    auto = AutoModelForTokenClassification if ner else AutoModelForSequenceClassification
    model = auto.from_pretrained(args.model, num_labels=len(names), id2label=dict(enumerate(names)), label2id=index)
    settings = TrainingArguments(
        args.out, num_train_epochs=args.epochs, per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=64, learning_rate=args.learning_rate, weight_decay=0.01, warmup_ratio=0.1,
        lr_scheduler_type="linear", max_grad_norm=1.0, seed=args.seed, group_by_length=True, eval_strategy="epoch",
        save_strategy="epoch", save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="score",
        logging_strategy="no", report_to=[], use_cpu=args.device == "cpu", dataloader_pin_memory=False, disable_tqdm=True,
    )
    collate = (DataCollatorForTokenClassification if ner else DataCollatorWithPadding)(tokenizer)
    trainer = Trainer(model, settings, data_collator=collate, train_dataset=data["train"], eval_dataset=data["dev"],
                      compute_metrics=scores)
    begun = time.time()
    trainer.train()
    trained = time.time() - begun
    found = {part: trainer.evaluate(data[part])["eval_score"] for part in ["dev", "test"]}
    print(json.dumps({"task": args.task, "seed": args.seed, **found, "train_s": round(trained, 1),
                      "all_s": round(time.time() - START, 1), "device": args.device, "torch": torch.__version__}))


main()
