"""Golden outputs and gradients of schemes that change what distance means, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_views.py
Writes the positions-*.safetensors of ReRoPE, Self-Extend, dual-chunk attention, attention sinks, the Λ-mask and the position
temperature. Deterministic: one seed, no clock.

Each scheme is one function from the positions of a query and a key to a relative distance, by which the pair is turned in
one step; no scheme has views, tables or a selector here.
"""

import math
import sys

import torch

from position_layer import Scheme, check_layer, write


class Relative(Scheme):
    """Rotary (Su et al. 2021) by a distance of the scheme's own."""

    def __init__(self, pairing="halves", base=10_000.0):
        self.pairing, self.base = pairing, base

    def distance(self, i, j, row):
        return i - j

    def score(self, params, head, query, key, i, j, row):
        d = len(query)
        r = self.distance(i, j, row)
        total = 0.0
        for n in range(d // 2):
            a, b = (n, n + d // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            q, k = torch.complex(query[a], query[b]), torch.complex(key[a], key[b])
            turn = torch.polar(torch.tensor(1.0), torch.tensor(r * self.base ** (-2 * n / d)))
            total = total + (q * torch.conj(k) * turn).real
        return total * self.scale(d, i)


class ReRope(Relative):
    """Su 2023: min(Δ, w), or w + (Δ − w)/k; queries times max(1, log_{L0}(i + 1))."""

    def __init__(self, window, leak=0.0, log_length=None, **rotary):
        super().__init__(**rotary)
        self.window, self.leak, self.log_length = window, leak, log_length

    def scale(self, d_head, i):
        grown = 1.0 if self.log_length is None else max(1.0, math.log(i + 1, self.log_length))
        return grown / math.sqrt(d_head)

    def distance(self, i, j, row):
        delta = i - j
        return delta if delta < self.window else self.window + (delta - self.window) * self.leak


class SelfExtend(Relative):
    """Jin et al. 2024: ordinary attention below the window, grouped attention beyond."""

    def __init__(self, window, group, **rotary):
        super().__init__(**rotary)
        self.window, self.group = window, group

    def distance(self, i, j, row):
        if i - j < self.window:
            return i - j
        return i // self.group + self.window - self.window // self.group - j // self.group


class DualChunk(Relative):
    """An et al. 2024, with the places that ChunkLlama gives: q_t, min(q_t + c, chunk), and the last of these."""

    def __init__(self, chunk, local, **rotary):
        super().__init__(**rotary)
        self.chunk, self.c = chunk, chunk - local

    def distance(self, i, j, row):
        place = j % self.c
        if i // self.c == j // self.c:
            return i % self.c - place
        if i // self.c == j // self.c + 1:
            return min(i % self.c + self.c, self.chunk) - place
        return min(self.c - 1 + self.c, self.chunk) - place


class Sinks(Relative):
    """Xiao et al. 2023: the first tokens and a window, with places counted in the cache."""

    def __init__(self, sinks, window, **rotary):
        super().__init__(**rotary)
        self.sinks, self.window = sinks, window

    def is_sink(self, j, row):
        return j - min(row.positions) < self.sinks

    def sees(self, i, j, row):
        return self.is_sink(j, row) or i - j < self.window

    def distance(self, i, j, row):
        if i - j < self.window:
            return i - j
        slots = self.sinks + self.window
        return min(i - min(row.positions), slots - 1) - (j - min(row.positions))


class LambdaMask(Sinks):
    """Han et al. 2023: the same tokens; the distance is cut at the window."""

    def distance(self, i, j, row):
        return min(i - j, self.window)


class Temperature(Scheme):
    """Llama 4: attn_scale · log(floor((position + 1) / floor_scale) + 1) + 1."""

    def __init__(self, factor, floor):
        self.factor, self.floor = factor, floor

    def scale(self, d_head, i):
        return (math.log(math.floor((i + 1) / self.floor) + 1) * self.factor + 1) / math.sqrt(d_head)


def check_cache(sinks, window):
    """In-cache places against a cache that is really filled and emptied, as StreamingLLM does it."""
    scheme, cache = Sinks(sinks, window), []

    class Row:
        positions = range(50)

    for i in Row.positions:
        cache.append(i)
        if len(cache) > sinks + window:
            del cache[sinks]
        seen = [j for j in range(i + 1) if scheme.sees(i, j, Row)]
        assert seen == cache, (i, seen, cache)
        for place, j in enumerate(cache):
            assert scheme.distance(i, j, Row) == len(cache) - 1 - place, (i, j)


def check_chunks(chunk, local):
    """No distance above the chunk; neighbours keep theirs."""
    scheme = DualChunk(chunk, local)
    for i in range(5 * chunk):
        for j in range(i + 1):
            distance = scheme.distance(i, j, None)
            assert 0 <= distance <= chunk
            assert i - j > local or distance == i - j, (i, j, distance)


def main():
    gqa = {"d_head": 8, "n_heads": 4, "n_kv_heads": 2}
    check_layer("rotary-halves", Relative(), "causal", **gqa, d_model=10)
    check_cache(3, 5)
    check_chunks(12, 3)
    rows = {
        "rerope-cut": (ReRope(3), "causal", gqa),
        "rerope-leaky": (ReRope(2, leak=0.25, log_length=4, pairing="interleaved", base=50.0), "causal", {"d_head": 6}),
        "self_extend-halves": (SelfExtend(4, 2), "causal", gqa),
        "self_extend-interleaved": (SelfExtend(3, 3, pairing="interleaved", base=50.0), "causal", {"d_head": 6}),
        "dual_chunk-halves": (DualChunk(5, 2), "causal", gqa),
        "dual_chunk-interleaved": (DualChunk(4, 1, pairing="interleaved", base=50.0), "causal", {"d_head": 6}),
        "temperature-causal": (Temperature(0.7, 3), "causal", {"n_heads": 4, "n_kv_heads": 2}),
        "attention_sinks-halves": (Sinks(2, 3), "causal", gqa),
        "attention_sinks-interleaved": (Sinks(1, 2, pairing="interleaved", base=50.0), "causal", {"d_head": 6}),
        "lambda_mask-halves": (LambdaMask(2, 3), "causal", gqa),
    }
    write(__file__, rows, sys.argv[1:])


if __name__ == "__main__":
    main()
