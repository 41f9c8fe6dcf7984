"""Golden scores, losses and gradients of the head of spans, from PyTorch in float64.

Run from the repository root: python oracle/spans.py
Writes crates/heads/tests/golden/spans.safetensors. Deterministic: one seed, no clock.

Efficient GlobalPointer is written cell by cell from its formulas (Su et al. 2022, arXiv:2208.03054): the rotation as a product of
complex numbers (arXiv:2104.09864, eq. 13), the loss as ln(1 + Σ exp(-s)) + ln(1 + Σ exp(s)). Differentiated by PyTorch. Inputs are
rounded to f32 first. Gradients are those of loss * upstream.
"""

import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

SEED = 2208_03054
OUT = Path("crates/heads/tests/golden/spans.safetensors")
BATCH, SEQ, D_MODEL, HEAD, N_LABELS, MAX_WORDS = 3, 11, 5, 6, 2, 4
# The columns of words, the words that a row owns, and its spans: first word, last word, label.
ROWS = [
    ([1, 2, 4, 5, 7, 8, 9], range(0, 7), [(0, 3, 0), (1, 2, 1), (5, 5, 0), (1, 2, 0)]),
    ([0, 3, 4], range(1, 3), [(1, 2, 1)]),
    ([2, 3, 5, 6, 10], range(0, 5), []),
]
RNG = torch.Generator().manual_seed(SEED)


def draw(*shape, scale=1.0):
    return (torch.randn(*shape, generator=RNG, dtype=torch.float64) * scale).float()


def counted(columns, owned):
    """The spans that count, by their first words."""
    n = len(columns)
    return [(i, j) for i in range(n) for j in range(i, min(n, i + MAX_WORDS)) if (i + j) // 2 in owned]


def turned(vector, place):
    """The pairs (n, n + HEAD / 2) as complex numbers, turned by the place."""
    half = HEAD // 2
    theta = torch.tensor([10_000.0 ** (-2 * n / HEAD) for n in range(half)], dtype=torch.float64)
    return torch.complex(vector[:half], vector[half:]) * torch.polar(torch.ones_like(theta), place * theta)


def score(q, k, w, i, j, label, rotary):
    """`q` and `k` are those of the words of a row, `w` is what both are worth: first as starts, then as ends."""
    if rotary:
        product = (turned(q[i], i).conj() * turned(k[j], j)).real.sum()
    else:
        product = q[i] @ k[j]
    return product / math.sqrt(HEAD) + w[i][label] + w[j][N_LABELS + label]


def forward(x, start_w, start_b, end_w, end_b, label_w, label_b, rotary):
    """The scores of all spans that count, row by row, label by label, and the summed loss."""
    scores, loss = [], 0.0
    for x, (columns, owned, spans) in zip(x, ROWS):
        words = x[columns]
        q, k = words @ start_w + start_b, words @ end_w + end_b
        w = torch.cat([q, k], 1) @ label_w + label_b
        for label in range(N_LABELS):
            own = {(i, j): score(q, k, w, i, j, label, rotary) for i, j in counted(columns, owned)}
            scores += own.values()
            right = [s for (i, j), s in own.items() if (i, j, label) in spans]
            others = [s for (i, j), s in own.items() if (i, j, label) not in spans]
            loss = loss + (1 + sum(torch.exp(-s) for s in right)).log() if right else loss
            loss = loss + (1 + sum(torch.exp(s) for s in others)).log()
    return torch.stack(scores), loss


def main():
    inputs = {
        "x": draw(BATCH, SEQ, D_MODEL),
        "start_w": draw(D_MODEL, HEAD, scale=0.7),
        "start_b": draw(HEAD, scale=0.5),
        "end_w": draw(D_MODEL, HEAD, scale=0.7),
        "end_b": draw(HEAD, scale=0.5),
        "label_w": draw(2 * HEAD, 2 * N_LABELS, scale=0.5),
        "label_b": draw(2 * N_LABELS, scale=0.5),
    }
    tensors = dict(inputs)
    for name, rotary in [("rotary", True), ("none", False)]:
        exact = {key: value.double().requires_grad_() for key, value in inputs.items()}
        scores, loss = forward(**exact, rotary=rotary)
        upstream = draw(1)
        (loss * upstream.double()).sum().backward()
        tensors[f"{name}.scores"] = scores.detach().float()
        tensors[f"{name}.out"] = loss.detach().float()[None]
        tensors[f"{name}.upstream"] = upstream
        tensors |= {f"{name}.grad.{key}": value.grad.float() for key, value in exact.items()}
    meta = {
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "seed": SEED,
        "versions": {name: version(name) for name in ("torch", "safetensors")},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, OUT, metadata={"oracle": json.dumps(meta)})


if __name__ == "__main__":
    main()
