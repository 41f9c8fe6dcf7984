"""The models of `cargo xtask bench` in PyTorch, timed the same way; prints rows as `cargo xtask bench --json` does.

    cargo xtask bench train --sizes S,M --against 'python oracle/bench_torch.py'

Weights and tokens are hashes of their index, so both programs start alike and their first losses can be compared. On AMD
processors PyTorch's MKL takes a slow path unless it is told that the processor is Intel's; set that up before, so that the
comparison is with the fastest PyTorch there is (docs/performance.md). Needs requirements-torch.txt.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIZES = {
    # d_model, layers, heads, d_ff, seq, batch, vocabulary
    "T": (64, 2, 2, 128, 32, 4, 512),
    "S": (256, 4, 4, 1024, 128, 16, 8192),
    "M": (768, 4, 12, 3072, 128, 8, 30522),
}
PROMPT, GENERATED, POSITIONS = 32, 128, 256


def hashed(stream, n):
    """SplitMix64's output function of the first n indices of a stream."""
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) + np.uint64((stream << 40) + 0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def tokens(stream, shape, vocab):
    return torch.from_numpy((hashed(stream, int(np.prod(shape))) % np.uint64(vocab)).astype(np.int64)).reshape(shape)


class Fill:
    """Gives each tensor the numbers of the next stream."""

    def __init__(self):
        self.stream = 0

    def __call__(self, parameter, transposed=False):
        self.stream += 1
        shape = tuple(reversed(parameter.shape)) if transposed else tuple(parameter.shape)
        unit = (hashed(self.stream, parameter.numel()) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        spread = np.float32(0.02) * np.sqrt(np.float32(3.0))
        values = torch.from_numpy(((unit * 2 - 1) * spread).reshape(shape))
        with torch.no_grad():
            parameter.copy_(values.t() if transposed else values)


def rotated(x, angles):
    """Halves: dimension n turns with n + d_head/2."""
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attention_mask(position, heads, seq, causal, keep):
    """What is added to the scores, or which cells are seen; nothing where SDPA's own causal mask is enough."""
    if position != "alibi" and keep is None:
        return None
    seen = torch.ones(seq, seq, dtype=torch.bool).tril() if causal else torch.ones(seq, seq, dtype=torch.bool)
    seen = seen[None, None] if keep is None else seen & keep[:, None, None, :]
    if position != "alibi":
        return seen
    of_power = lambda p: [2.0 ** (-8.0 * h / p) for h in range(1, p + 1)]
    lower = 2 ** (heads.bit_length() - 1)
    slopes = torch.tensor((of_power(lower) + of_power(2 * lower)[::2])[:heads])
    distance = (torch.arange(seq)[:, None] - torch.arange(seq)[None]).abs()
    return (-slopes[:, None, None] * distance)[None].masked_fill(~seen, float("-inf"))


class Block(nn.Module):
    def __init__(self, d, heads, d_ff, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attn_norm, self.ffn_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.up, self.down = nn.Linear(d, d_ff), nn.Linear(d_ff, d)

    def filled(self):
        yield self.attn_norm
        yield from (self.q, self.k, self.v, self.o)
        yield self.ffn_norm
        yield from (self.up, self.down)

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x, causal, cache, mask, angles):
        batch, seq, d = x.shape
        normed = self.attn_norm(x)
        q, k, v = (f(normed).view(batch, seq, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        if angles is not None:
            q, k = rotated(q, angles), rotated(k, angles)
        context = F.scaled_dot_product_attention(
            q, k, v, mask, self.dropout if self.training else 0.0, is_causal=causal and seq > 1 and mask is None
        )
        x = x + self.drop(self.o(context.transpose(1, 2).reshape(batch, seq, d)))
        return x + self.drop(self.down(F.gelu(self.up(self.ffn_norm(x)))))


class Model(nn.Module):
    def __init__(self, size, causal, position="learned", dropout=0.0, keep=None):
        super().__init__()
        d, layers, heads, d_ff, seq, _, vocab = size
        self.causal, self.position, self.dropout = causal, position, dropout
        self.mask = attention_mask(position, heads, seq, causal, keep)
        thetas = 10000.0 ** (-torch.arange(0, d // heads, 2) / (d // heads))
        self.angles = torch.arange(seq)[:, None] * thetas if position == "rotary" else None
        self.tokens, self.positions = nn.Embedding(vocab, d), nn.Embedding(POSITIONS, d)
        self.blocks = nn.ModuleList(Block(d, heads, d_ff, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(d)
        self.transform = None if causal else nn.Linear(d, d)
        self.transform_norm = None if causal else nn.LayerNorm(d)
        self.head = nn.Linear(d, vocab)
        fill = Fill()
        fill(self.tokens.weight)
        fill(self.positions.weight)
        rest = [part for block in self.blocks for part in block.filled()]
        for part in [*rest, self.final_norm, self.transform, self.transform_norm, self.head]:
            if isinstance(part, nn.Linear):
                fill(part.weight, transposed=True)
            if part is not None:
                fill(part.bias)

    def forward(self, ids, caches=None, first=0):
        x = self.tokens(ids)
        if self.position == "learned":
            x = x + self.positions(torch.arange(first, first + ids.shape[1], device=ids.device))
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for i, block in enumerate(self.blocks):
            x = block(x, self.causal, None if caches is None else caches[i], self.mask, self.angles)
        x = self.final_norm(x if caches is None else x[:, -1:])
        if self.transform is not None:
            x = self.transform_norm(F.gelu(self.transform(x)))
        return self.head(x)


def timed(repeats, f):
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        f()
        times.append((time.perf_counter() - start) * 1e3)
    times = sorted(times[2:])
    return times[len(times) // 2], times[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["train", "forward", "generate"])
    parser.add_argument("--archs", default="bert", choices=["bert", "gpt"])
    parser.add_argument("--sizes", default="S", choices=SIZES)
    parser.add_argument("--rows", type=int, default=16, help="rows of the forward pass")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast")
    parser.add_argument("--position", default="learned", choices=["learned", "none", "rotary", "alibi"])
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--padding", action="store_true", help="rows that end up to three eighths early")
    parser.add_argument("--backend", help="as is; likewise")
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda")
    parser.add_argument("--json", action="store_true", help="as is; here so that both programs take the same flags")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    size = SIZES[args.sizes]
    _, layers, _, _, seq, batch, vocab = size
    if args.what == "generate" and (args.padding or args.position != "learned"):
        parser.error("generation is timed with learned positions and without padding")
    rows = args.rows if args.what == "forward" else batch
    keep = torch.stack([torch.arange(seq) < seq - row % 4 * seq // 8 for row in range(rows)])
    keep = keep if args.padding and not keep.all() else None
    model = Model(size, args.archs == "gpt", args.position, args.dropout, keep).to(args.device)
    for name in ["mask", "angles"]:
        if getattr(model, name) is not None:
            setattr(model, name, getattr(model, name).to(args.device))
    forward = torch.compile(model) if args.compile else model
    cast = torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.bf16)
    losses = []
    if args.what == "train":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, eps=1e-8, fused=True)
        x, targets = (tokens(n, shape, vocab) for n, shape in [(1000, (batch, seq)), (1001, (batch * seq,))])
        if keep is not None:
            targets[~keep.flatten()] = -100
        x, targets = x.to(args.device), targets.to(args.device)

        def step():
            with cast:
                loss = F.cross_entropy(forward(x).view(-1, vocab).float(), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())

        median, least = timed(args.repeats, step)
        rate = batch * seq / median * 1e3
    elif args.what == "forward":
        model.eval()
        x = tokens(1000, (args.rows, seq), vocab).to(args.device)
        with torch.inference_mode(), cast:
            median, least = timed(max(args.repeats, 15 if args.rows == 1 else 5), lambda: forward(x)[0, 0, 0].item())
        rate = args.rows * seq / median * 1e3
    else:
        model.eval()
        prompt = tokens(1000, (1, PROMPT), vocab).to(args.device)

        def decode():
            caches, x, first = [[] for _ in range(layers)], prompt, 0
            for _ in range(GENERATED):
                scores = model(x, caches, first)
                first += x.shape[1]
                x = scores[:, -1].argmax(-1, keepdim=True)
            return x.item()

        with torch.inference_mode(), cast:
            median, least = timed(args.repeats, decode)
        rate = GENERATED / median * 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    what = args.what + (str(args.rows) if args.what == "forward" else "")
    row = {"what": what, "arch": args.archs, "size": args.sizes, "median_ms": median, "min_ms": least}
    row |= {"tokens_per_second": rate, "peak_memory_bytes": peak, "losses": losses[:4]}
    print(json.dumps([row]))


main()
