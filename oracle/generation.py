"""Golden outputs of generation for crates/heads, from transformers.

Run from the repository root, with requirements-torch.txt: python oracle/generation.py
Writes crates/heads/tests/golden/generation*. Deterministic: one seed, no clock.

Two tiny models with random weights, a GPT-2 and a T5 (untied, relu), generate by transformers' `generate`: greedy, with
penalties and constraints, by beams, batched with left padding. The scores after transformers' processors and warpers stand alone, too.
Presence and frequency penalties, which transformers lacks, are written from OpenAI's interface:
mu[j] - c[j] * frequency - (c[j] > 0) * presence, with c[j] the count of j in the new text.

Every output is computed in float32 and in float64; a case in which they differ would be decided by rounding, and the
script refuses to write it.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SEED = 20_26
OUT = Path("crates/heads/tests/golden")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "seed": SEED,
    "versions": {name: version(name) for name in ("transformers", "torch", "numpy", "safetensors")},
}
VOCAB, WIDTH, HEADS, D_HEAD, D_FF, LAYERS, POSITIONS = 29, 15, 3, 5, 17, 2, 31
START = 1
SUPPRESSED = [2, 3, 5, 7, 11, 13, 17, 19, 23]
PROMPTS = [[3, 14, 15, 9, 2, 6, 5], [27], [18, 28], [1, 6, 1, 8], [3, 3, 7, 3, 3, 7, 3]]


# Models.


def randomised(model, seed):
    """Every parameter random, those that start at 0 or 1 included; so strong that texts do not soon repeat themselves."""
    rng = np.random.default_rng([SEED, seed])
    factors = {"shared": 0.4, "relative": 2.8}
    with torch.no_grad():
        for name, p in model.named_parameters():
            mean = 1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight", "layer_norm.weight")) else 0.0
            std = next((factor for part, factor in factors.items() if part in name), 0.7)
            p.copy_(torch.from_numpy((rng.normal(size=p.shape) * std + mean).astype(np.float32)))
    return model.eval()


def gpt2():
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=D_FF
    )
    model = randomised(GPT2LMHeadModel(config), 2)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    p = {"decoder.embeddings.tokens": w["transformer.wte.weight"]}
    p["decoder.schemes.0.Learned.table"] = w["transformer.wpe.weight"]

    def norm(ours, theirs):
        p[f"{ours}.Layer.gamma"], p[f"{ours}.Layer.beta"] = w[f"{theirs}.weight"], w[f"{theirs}.bias"]

    def linear(ours, weight, bias):
        p[f"{ours}.weight"], p[f"{ours}.bias"] = weight, bias

    for layer in range(LAYERS):
        ours, theirs = f"decoder.layers.{layer}", f"transformer.h.{layer}"
        norm(f"{ours}.attn_norm", f"{theirs}.ln_1")
        norm(f"{ours}.ffn_norm", f"{theirs}.ln_2")
        # Conv1D: [d_in, d_out], with q, k and v side by side.
        qkv = np.split(w[f"{theirs}.attn.c_attn.weight"], 3, 1), np.split(w[f"{theirs}.attn.c_attn.bias"], 3)
        for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), *qkv):
            linear(f"{ours}.attn.{name}", weight, bias)
        for name, their_name in [("attn.o_proj", "attn.c_proj"), ("ffn.up_proj", "mlp.c_fc"), ("ffn.down_proj", "mlp.c_proj")]:
            linear(f"{ours}.{name}", w[f"{theirs}.{their_name}.weight"], w[f"{theirs}.{their_name}.bias"])
    norm("decoder.final_norm", "transformer.ln_f")
    return model, p


def t5():
    config = T5Config(
        vocab_size=VOCAB, d_model=WIDTH, d_kv=D_HEAD, d_ff=D_FF, num_layers=LAYERS, num_heads=HEADS,
        relative_attention_num_buckets=8, relative_attention_max_distance=16, feed_forward_proj="relu",
        tie_word_embeddings=False, decoder_start_token_id=START,
    )
    model = randomised(T5ForConditionalGeneration(config), 6)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    p = {"lm_head.weight": w["lm_head.weight"].T}
    for side in ("encoder", "decoder"):
        parts = [("attn", "SelfAttention")] + [("cross_attn", "EncDecAttention")] * (side == "decoder")
        root = f"body.{side}"
        p[f"{root}.embeddings.tokens"] = w["shared.weight"]
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        p[f"{root}.schemes.0.T5.table"] = w[bias]
        for layer in range(LAYERS):
            ours, theirs = f"{root}.layers.{layer}", f"{side}.block.{layer}.layer"
            for idx, (ours_attn, theirs_attn) in enumerate(parts):
                their_norm = w[f"{theirs}.{idx}.layer_norm.weight"]
                p[f"{ours}.{ours_attn.replace('attn', 'norm') if idx else 'attn_norm'}.Rms.gamma"] = their_norm
                for proj in "qkvo":
                    p[f"{ours}.{ours_attn}.{proj}_proj.weight"] = w[f"{theirs}.{idx}.{theirs_attn}.{proj}.weight"].T
            if side == "decoder":
                # T5 does not scale scores; cross-attention, where no position scheme acts, divides them by √d_head.
                p[f"{ours}.cross_attn.q_proj.weight"] = p[f"{ours}.cross_attn.q_proj.weight"] * D_HEAD**0.5
            ffn = f"{theirs}.{len(parts)}"
            p[f"{ours}.ffn_norm.Rms.gamma"] = w[f"{ffn}.layer_norm.weight"]
            p[f"{ours}.ffn.up_proj.weight"] = w[f"{ffn}.DenseReluDense.wi.weight"].T
            p[f"{ours}.ffn.down_proj.weight"] = w[f"{ffn}.DenseReluDense.wo.weight"].T
        p[f"{root}.final_norm.Rms.gamma"] = w[f"{side}.final_layer_norm.weight"]
    return model, p


# Texts.


def generate(model, prompts, **options):
    """The new tokens of each text without what ends it, why it ended, and its score under beams."""
    seq = max(map(len, prompts))
    ids = torch.tensor([[0] * (seq - len(row)) + row for row in prompts])
    keep = torch.tensor([[0] * (seq - len(row)) + [1] * len(row) for row in prompts])
    stop = options.pop("stop")
    out = model.generate(
        ids, attention_mask=keep, do_sample=False, eos_token_id=stop or None, pad_token_id=0,
        return_dict_in_generate=True, output_scores=True, **options,
    )
    n_given = 1 if model.config.is_encoder_decoder else seq
    scores = out.sequences_scores.tolist() if options.get("num_beams", 1) > 1 else None
    texts = []
    for row, new in enumerate(out.sequences[:, n_given:].tolist()):
        end = next((i for i, id in enumerate(new) if id in stop), None)
        text = {"ids": new[: options["max_new_tokens"] if end is None else end]}
        text["finish"] = "length" if end is None else "stop"
        if scores:
            text["score"] = scores[row]
        texts.append(text)
    return texts


def case(model, name, prompts, **options):
    options = {"stop": [], "max_new_tokens": 13} | options
    single = generate(model.float(), prompts, **options)
    double = generate(model.double(), prompts, **options)
    same = [a["ids"] == b["ids"] and a["finish"] == b["finish"] for a, b in zip(single, double)]
    assert all(same), f"{name}: rounding decides {same}"
    if single[0].get("score") is not None:
        assert np.allclose([a["score"] for a in single], [b["score"] for b in double], atol=1e-4), name
    return {"name": name, "prompts": prompts, "options": options, "texts": double}


def cases(model, stop):
    both = {"stop": stop}
    yield case(model, "greedy", PROMPTS)
    yield case(model, "greedy with stop tokens", PROMPTS, **both)
    yield case(model, "at least nine tokens", PROMPTS, min_new_tokens=9, **both)
    for prompt in PROMPTS:
        # One by one, because transformers counts padding as repeated text.
        name = f"after {prompt}"
        yield case(model, f"repetition {name}", [prompt], repetition_penalty=1.7)
        yield case(model, f"bonus for repetition {name}", [prompt], repetition_penalty=0.6)
        yield case(model, f"no bigram twice {name}", [prompt], no_repeat_ngram_size=2)
        yield case(model, f"no token twice {name}", [prompt], no_repeat_ngram_size=1, **both)
        yield case(model, f"all {name}", [prompt], repetition_penalty=1.2, no_repeat_ngram_size=3, min_new_tokens=4, **both)
        yield case(model, f"beams and penalties {name}", [prompt], num_beams=3, repetition_penalty=1.3,
                   no_repeat_ngram_size=2, num_return_sequences=2, **both)
    yield case(model, "beams", PROMPTS, num_beams=4, num_return_sequences=4)
    yield case(model, "as many beams as end", PROMPTS, num_beams=5, num_return_sequences=3, early_stopping=True, **both)
    for penalty in (-0.8, 0.0, 0.7, 1.0, 2.5):
        for early in (False, True, "never"):
            yield case(model, f"length penalty {penalty}, early stopping {early}", PROMPTS, num_beams=3,
                       num_return_sequences=3, length_penalty=penalty, early_stopping=early, **both)
    yield case(model, "one stop token", PROMPTS, num_beams=2, stop=stop[:1])
    yield case(model, "beams, at least six tokens", PROMPTS, num_beams=3, min_new_tokens=6, **both)
    # One by one, because transformers counts padding as text; a first token is forced where the text has one token.
    batches = [PROMPTS] if model.config.is_encoder_decoder else [[prompt] for prompt in PROMPTS]
    for prompts in batches:
        name = f"after {prompts[0]}" if len(prompts) == 1 else "of all"
        for beams in ({}, {"num_beams": 3, "num_return_sequences": 2}):
            kind = f"{name}{', beams' if beams else ''}"
            yield case(model, f"a forced first token {kind}", prompts, forced_bos_token_id=23, **beams, **both)
            yield case(model, f"a forced last token {kind}", prompts, forced_eos_token_id=stop[1], max_new_tokens=5, **beams, **both)
            yield case(model, f"suppressed tokens {kind}", prompts, suppress_tokens=SUPPRESSED, **beams, **both)
            yield case(model, f"tokens suppressed at first {kind}", prompts, begin_suppress_tokens=SUPPRESSED, **beams)
            yield case(model, f"all rules {kind}", prompts, forced_bos_token_id=23, forced_eos_token_id=stop[0], suppress_tokens=[4, 8],
                       begin_suppress_tokens=SUPPRESSED, repetition_penalty=1.2, min_new_tokens=3, max_new_tokens=7, **beams, **both)
    yield case(model, "one token", PROMPTS, num_beams=3, num_return_sequences=3, max_new_tokens=1, **both)


# Scores.


def processors():
    """Scores of texts under options, after penalties and as probabilities after truncation; None is −∞."""
    rng = np.random.default_rng([SEED, 3])
    texts = [rng.integers(VOCAB, size=n).tolist() for n in (1, 7, 23, 41)] + [[5, 9, 5, 9, 5], [4, 4, 4]]
    all_options = [{}]
    all_options += [{"repetition": x} for x in (0.5, 1.3)] + [{"no_repeat_ngram": n} for n in (1, 2, 3, 5)]
    all_options += [{"presence": 0.7}, {"frequency": 0.4}, {"presence": -1.5, "frequency": -0.3}]
    all_options += [{"temperature": x} for x in (0.3, 1.9)] + [{"top_k": k} for k in (1, 4, 28, 29, 50)]
    all_options += [{"top_p": p} for p in (1e-6, 0.5, 0.93)] + [{"min_p": p} for p in (0.05, 0.4, 1.0)]
    all_options += [{"temperature": 0.7, "top_k": 9, "top_p": 0.8, "min_p": 0.1}]
    all_options += [{"temperature": 1.4, "top_k": 12, "top_p": 0.9, "repetition": 1.2, "presence": 0.5, "frequency": 0.2, "no_repeat_ngram": 2}]
    for options in all_options:
        for text in texts:
            scores = (rng.normal(size=VOCAB) * 2).round(4).astype(np.float32)
            if "top_k" in options and len(options) == 1:
                scores = np.round(scores)  # ties, which top-k keeps
            penalised, probs = process(scores, text, len(text) // 2, options)
            yield {
                "options": options, "text": text, "n_prompt": len(text) // 2, "scores": short(scores),
                "penalised": [x if np.isfinite(x) else None for x in short(penalised)], "probs": short(probs),
            }


def short(numbers):
    return [float(f"{x:.8g}") for x in numbers]


def process(scores, text, n_prompt, options):
    ids, x = torch.tensor([text]), torch.from_numpy(scores).double()[None]
    if "repetition" in options:
        x = RepetitionPenaltyLogitsProcessor(options["repetition"])(ids, x)
    counts = np.bincount(text[n_prompt:], minlength=VOCAB)
    x = x - torch.from_numpy(counts * options.get("frequency", 0.0) + (counts > 0) * options.get("presence", 0.0))
    if "no_repeat_ngram" in options:
        x = NoRepeatNGramLogitsProcessor(options["no_repeat_ngram"])(ids, x)
    penalised = x[0].numpy()
    warpers = {"temperature": TemperatureLogitsWarper, "top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}
    for name, warper in warpers.items():
        if name in options:
            x = warper(options[name])(ids, x)
    return penalised, torch.softmax(x, -1)[0].numpy()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    golden = {"oracle": META, "processors": list(processors())}
    for name, (model, p), stop in [("gpt2", gpt2(), [10, 16]), ("t5", t5(), [9, 17])]:
        golden[name] = list(cases(model, stop))
        tensors = {f"param.{key}": np.ascontiguousarray(value, np.float32) for key, value in p.items()}
        save_file(tensors, OUT / f"generation-{name}.safetensors", metadata={"oracle": json.dumps(META)})
    (OUT / "generation.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
