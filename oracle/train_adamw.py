"""Golden trajectory of AdamW with clipping, warm-up and decay groups, for crates/train/tests/adamw.rs.

Run from the repository root: python oracle/train_adamw.py
Writes crates/train/tests/golden/adamw.safetensors. Deterministic: one seed, no clock.

PyTorch's own AdamW, clip_grad_norm_ and LambdaLR in float64 train three parameters for ten steps on the loss
sum(coefficient * sin(parameter)), with other coefficients each step, whose sizes make clipping bind in some steps
and not in others. A file holds the start, the coefficients, the parameters after each step, and where they end if one
thing is done wrong (`planted.<fault>.*`): a test must tell those apart.
"""

import hashlib
import math
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.numpy import save_file

SEED = 1711_05101
OUT = Path("crates/train/tests/golden/adamw.safetensors")
STEPS, WARMUP = 10, 3
LR, BETAS, EPS, DECAY, MAX_NORM = 0.05, (0.8, 0.97), 1e-8, 0.3, 1.5
SHAPES = {"weight": (3, 5), "bias": (5,), "embedding": (7, 2)}
DECAYED = {"weight"}


def factor(step, warmup=WARMUP):
    """Linear warm-up that reaches 1 at its last step, then half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))


def train(start, coefficients, fault=None):
    """Yields the parameters after each step."""
    params = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    decayed = set(SHAPES) if fault == "decay_everywhere" else DECAYED
    groups = [
        {"params": [params[name] for name in SHAPES if name in decayed], "weight_decay": DECAY},
        {"params": [params[name] for name in SHAPES if name not in decayed], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if fault == "coupled_decay" else torch.optim.AdamW
    optimizer = kind(groups, lr=LR, betas=BETAS[::-1] if fault == "swapped_betas" else BETAS, eps=EPS)
    warmup = 0 if fault == "no_warmup" else WARMUP
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, warmup))
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = sum((coefficients[name][step] * params[name].sin()).sum() for name in SHAPES)
        loss.backward()
        if fault == "clip_each":
            for param in params.values():
                torch.nn.utils.clip_grad_norm_([param], MAX_NORM)
        elif fault != "no_clip":
            torch.nn.utils.clip_grad_norm_(params.values(), MAX_NORM)
        optimizer.step()
        scheduler.step()
        yield {name: param.detach().clone() for name, param in params.items()}


def main():
    torch.set_default_dtype(torch.float64)
    rng = torch.Generator().manual_seed(SEED)
    # Rounded to f32 first: both sides start from the same numbers.
    draw = lambda *shape: torch.randn(*shape, generator=rng).float().double()
    start = {name: draw(*shape) for name, shape in SHAPES.items()}
    sizes = torch.tensor([0.1 if step % 3 == 1 else 1.0 for step in range(STEPS)])
    coefficients = {
        name: (draw(STEPS, *shape) * sizes.view(-1, *[1] * len(shape))).float().double()
        for name, shape in SHAPES.items()
    }
    tensors = {f"start.{name}": value for name, value in start.items()}
    tensors |= {f"coefficients.{name}": value for name, value in coefficients.items()}
    steps = list(train(start, coefficients))
    tensors |= {f"after.{name}": torch.stack([step[name] for step in steps]) for name in SHAPES}
    for fault in ("coupled_decay", "decay_everywhere", "swapped_betas", "no_warmup", "clip_each", "no_clip"):
        *_, last = train(start, coefficients, fault)
        tensors |= {f"planted.{fault}.{name}": value for name, value in last.items()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in a random order.
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "safetensors"))
    script = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    metadata = {"oracle": f"{versions}; seed {SEED}; script sha256 {script}"}
    save_file({name: value.float().contiguous().numpy() for name, value in tensors.items()}, OUT, metadata)


if __name__ == "__main__":
    main()
