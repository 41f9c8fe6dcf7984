"""Golden outputs and gradients of the position schemes, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions.py
Writes crates/encoder/tests/golden/positions-*.safetensors. Deterministic: one seed, no clock.

One attention layer in float64, written from the formulas of the papers with explicit loops over rows, heads, queries
and keys; gradients by JAX. Nothing here is vectorised over positions: a cell of the score matrix is computed on its own
from the positions of its query and its key. Keys that are hidden are left out of the softmax, not masked by a number.

A file holds the inputs (`x`, `keep`, projections, the scheme's parameters as `position.*`) and, for two sets of
positions (`padded`: counting in ones, rows starting apart; `holes`: with gaps), `positions`, `out`, `embedded` (what
the scheme makes of the token embeddings), two random directions, and the gradients of
`<direction, out> + <embed_direction, embedded>`. Padding has no part in `direction`.
"""

import hashlib
import math
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)

SEED = 1803_02155
OUT = Path("crates/encoder/tests/golden")
BATCH, SEQ, D_MODEL = 2, 7, 10
POSITIONS = {
    "padded": [[0, 0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8, 9]],
    "holes": [[0, 0, 0, 1, 4, 5, 11], [2, 3, 5, 9, 10, 17, 19]],
}


# --- Schemes. Each overrides what it does; the identity is the default. ---


class Scheme:
    """No position (arXiv:2203.16634)."""

    extra_width = 0
    trained = ()  # names of the parameters that get a gradient

    def params(self, rng, shape):
        return {}

    def embed(self, params, x, position, keep):
        return x

    def turn(self, vector, position):
        return vector

    def scale(self, d_head):
        return 1 / math.sqrt(d_head)

    def score_term(self, params, head, query, scale, i, j):
        """What is added to the scaled dot product; i and j are positions."""
        return 0.0

    def value_term(self, params, i, j):
        return 0.0


class Sinusoidal(Scheme):
    """Vaswani et al. 2017, §3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(pos / 10000^(2i/d))."""

    def __init__(self, layout, base=10_000.0, factor=1.0):
        self.layout, self.base, self.factor = layout, base, factor

    def embed(self, params, x, position, keep):
        d, pe = len(x), []
        if self.layout == "interleaved":
            for c in range(d):
                i = c // 2
                angle = position / self.base ** (2 * i / d)
                pe.append(math.sin(angle) if c % 2 == 0 else math.cos(angle))
        elif self.layout == "concatenated":
            sines = [math.sin(position / self.base ** (c / d)) for c in range(0, d, 2)]
            cosines = [math.cos(position / self.base ** ((c - 1) / d)) for c in range(1, d, 2)]
            pe = sines + cosines
        elif self.layout == "timescales":
            # tensor2tensor, get_timing_signal_1d: log-spaced timescales from 1 to base, zero padding at the end.
            n = d // 2
            step = math.log(self.base) / (n - 1)
            timescales = [position * math.exp(-i * step) for i in range(n)]
            pe = [math.sin(t) for t in timescales] + [math.cos(t) for t in timescales] + [0.0] * (d % 2)
        return x + self.factor * jnp.array(pe)


class Learned(Scheme):
    """Gehring et al. 2017; offset and padding row as in fairseq and OPT."""

    trained = ("position.table",)

    def __init__(self, max_positions, offset=0, pad_row=None):
        self.max_positions, self.offset, self.pad_row = max_positions, offset, pad_row

    def params(self, rng, shape):
        return {"position.table": rng.normal(size=(self.max_positions + self.offset, shape["d_model"]))}

    def embed(self, params, x, position, keep):
        row = int(position) + self.offset
        if not keep and self.pad_row is not None:
            row = self.pad_row
        return x + params["position.table"][row]


class RandomProjection(Scheme):
    """e_i = P v_i."""

    def __init__(self, m, max_positions, width=None, factor=1.0, train=False):
        self.m, self.max_positions, self.factor = m, max_positions, factor
        self.extra_width = width or 0
        self.trained = ("position.vectors",) if train else ()

    def params(self, rng, shape):
        width = self.extra_width or shape["d_model"]
        return {
            "position.projection": rng.normal(size=(width, self.m)) / math.sqrt(self.m),
            "position.vectors": rng.normal(size=(self.max_positions, self.m)),
        }

    def embed(self, params, x, position, keep):
        v = params["position.vectors"][int(position)]
        rows = params["position.projection"]
        e = self.factor * jnp.array([sum(row[c] * v[c] for c in range(self.m)) for row in rows])
        return jnp.concatenate([x, e]) if self.extra_width else x + e


class Rotary(Scheme):
    """Su et al. 2021: pair n is a complex number, multiplied by exp(i · position · base^(−2n/r))."""

    def __init__(self, pairing, base=10_000.0, turned=None):
        self.pairing, self.base, self.turned = pairing, base, turned

    def turn(self, vector, position):
        r = self.turned or len(vector)
        out = [vector[c] for c in range(len(vector))]
        for n in range(r // 2):
            a, b = (n, n + r // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            theta = 1 / self.base ** (2 * n / r)
            z = jax.lax.complex(vector[a], vector[b]) * np.exp(1j * position * theta)
            out[a], out[b] = z.real, z.imag
        return jnp.stack(out)


class Alibi(Scheme):
    """Press et al. 2021; slopes by the authors' recursive function."""

    def __init__(self, n_heads):
        self.slopes = alibi_slopes(n_heads)

    def score_term(self, params, head, query, scale, i, j):
        return -self.slopes[head] * abs(i - j)


def alibi_slopes(n):
    def of_power_of_two(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(n).is_integer():
        return of_power_of_two(n)
    closest = 2 ** math.floor(math.log2(n))
    return of_power_of_two(closest) + alibi_slopes(2 * closest)[0::2][: n - closest]


class T5(Scheme):
    """Raffel et al. 2020, §2.1; buckets as `_relative_position_bucket` of Hugging Face's T5 defines them."""

    trained = ("position.table",)

    def __init__(self, n_heads, bidirectional, n_buckets, max_distance, unscaled=False):
        self.n_heads, self.bidirectional, self.unscaled = n_heads, bidirectional, unscaled
        self.n_buckets, self.max_distance = n_buckets, max_distance

    def params(self, rng, shape):
        return {"position.table": rng.normal(size=(self.n_buckets, self.n_heads))}

    def scale(self, d_head):
        return 1.0 if self.unscaled else super().scale(d_head)

    def score_term(self, params, head, query, scale, i, j):
        bucket = t5_bucket(j - i, self.bidirectional, self.n_buckets, self.max_distance)
        return params["position.table"][bucket, head]


def t5_bucket(relative_position, bidirectional, n_buckets, max_distance, dtype=np.float32):
    """relative_position = memory position − query position."""
    buckets = 0
    if bidirectional:
        n_buckets //= 2
        buckets += int(relative_position > 0) * n_buckets
        relative_position = abs(relative_position)
    else:
        relative_position = -min(relative_position, 0)
    max_exact = n_buckets // 2
    if relative_position < max_exact:
        return int(buckets + relative_position)
    log = np.log(dtype(relative_position) / dtype(max_exact)) / dtype(math.log(max_distance / max_exact))
    large = max_exact + int(dtype(log * dtype(n_buckets - max_exact)))
    return int(buckets + min(large, n_buckets - 1))


class Shaw(Scheme):
    """Shaw et al. 2018, eq. 3–5."""

    trained = ("position.keys", "position.values")

    def __init__(self, n):
        self.n = n

    def params(self, rng, shape):
        size = (2 * self.n + 1, shape["d_head"])
        return {"position.keys": rng.normal(size=size), "position.values": rng.normal(size=size)}

    def row(self, i, j):
        return int(max(-self.n, min(self.n, j - i))) + self.n

    def score_term(self, params, head, query, scale, i, j):
        return jnp.dot(query, params["position.keys"][self.row(i, j)]) * scale

    def value_term(self, params, i, j):
        return params["position.values"][self.row(i, j)]


# --- One attention layer ---


def layer(scheme, shape, form, params, positions, keep):
    """Embeds and attends; both [batch, seq, d_model]."""
    n_heads, n_kv, d_head = shape["n_heads"], shape["n_kv_heads"], shape["d_head"]
    embedded, outputs = [], []
    for b in range(BATCH):
        x = [scheme.embed(params, params["x"][b, t], positions[b][t], keep[b][t]) for t in range(SEQ)]
        project = lambda name, t: x[t] @ params[f"{name}_proj.weight"] + params[f"{name}_proj.bias"]
        head = lambda vector, h: vector[h * d_head : (h + 1) * d_head]
        q = [project("q", t) for t in range(SEQ)]
        k = [project("k", t) for t in range(SEQ)]
        v = [project("v", t) for t in range(SEQ)]
        scale = scheme.scale(d_head)
        row = []
        for i in range(SEQ):
            heads = []
            for h in range(n_heads):
                kv = h // (n_heads // n_kv)
                query = scheme.turn(head(q[i], h), positions[b][i])
                seen = [j for j in range(SEQ) if keep[b][j] and (form == "bidirectional" or j <= i)]
                if not seen or not keep[b][i]:
                    heads.append(jnp.zeros(d_head))
                    continue
                scores = []
                for j in seen:
                    key = scheme.turn(head(k[j], kv), positions[b][j])
                    term = scheme.score_term(params, h, query, scale, positions[b][i], positions[b][j])
                    scores.append(jnp.dot(query, key) * scale + term)
                weights = jnp.exp(jnp.stack(scores) - max(float(jax.lax.stop_gradient(s)) for s in scores))
                weights = weights / jnp.sum(weights)
                context = 0.0
                for w, j in zip(weights, seen):
                    value = head(v[j], kv) + scheme.value_term(params, positions[b][i], positions[b][j])
                    context = context + w * value
                heads.append(context)
            out = jnp.concatenate(heads) @ params["o_proj.weight"] + params["o_proj.bias"]
            row.append(out if keep[b][i] else jnp.zeros(shape["d_model"]))
        embedded.append(jnp.stack(x))
        outputs.append(jnp.stack(row))
    return jnp.stack(embedded), jnp.stack(outputs)


def f32(array):
    """The nearest float32 values, so that the inputs in the file are the ones that were used."""
    return np.asarray(array, dtype=np.float32)


def golden(name, scheme, form, n_heads=3, n_kv_heads=None, d_head=4, d_model=D_MODEL):
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    n_kv_heads = n_kv_heads or n_heads
    shape = {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "d_head": d_head, "d_model": d_model}
    draw = lambda *size, std=0.5: rng.normal(scale=std, size=size)
    inputs = {"x": draw(BATCH, SEQ, d_model - scheme.extra_width, std=1.0)}
    widths = {"q": n_heads * d_head, "k": n_kv_heads * d_head, "v": n_kv_heads * d_head}
    for proj, width in widths.items():
        inputs[f"{proj}_proj.weight"], inputs[f"{proj}_proj.bias"] = draw(d_model, width), draw(width)
    inputs["o_proj.weight"], inputs["o_proj.bias"] = draw(n_heads * d_head, d_model), draw(d_model)
    inputs |= scheme.params(rng, shape)
    inputs = {key: f32(value) for key, value in inputs.items()}

    keep = np.ones((BATCH, SEQ), dtype=bool)
    keep[0, :2] = False  # left padding
    if form == "bidirectional":
        keep[1, -1] = False  # right padding
    tensors = inputs | {"keep": f32(keep)}
    frozen = {key for key in inputs if key.startswith("position.") and key not in scheme.trained}
    for case, positions in POSITIONS.items():
        direction = f32(draw(BATCH, SEQ, d_model, std=1.0) * keep[:, :, None])
        embed_direction = f32(draw(BATCH, SEQ, d_model, std=1.0))

        def functional(trained):
            params = {key: jnp.asarray(value, dtype=jnp.float64) for key, value in inputs.items()} | trained
            embedded, out = layer(scheme, shape, form, params, positions, keep)
            return jnp.vdot(direction, out) + jnp.vdot(embed_direction, embedded), (embedded, out)

        trained = {k: jnp.asarray(v, dtype=jnp.float64) for k, v in inputs.items() if k not in frozen}
        grads, (embedded, out) = jax.grad(functional, has_aux=True)(trained)
        tensors |= {
            f"{case}.positions": f32(positions),
            f"{case}.direction": direction,
            f"{case}.embed_direction": embed_direction,
            f"{case}.embedded": f32(embedded),
            f"{case}.out": f32(out),
        }
        tensors |= {f"{case}.grad.{key}": f32(grad) for key, grad in grads.items()}
    save(name, tensors)


def save(name, tensors):
    path = OUT / f"positions-{name}.safetensors"
    metadata = {
        "script": "oracle/positions.py",
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "versions": ", ".join(f"{p} {version(p)}" for p in ("jax", "jaxlib", "numpy", "safetensors")),
        "seed": str(SEED),
        "dtype": "computed in float64, stored in float32",
    }
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=metadata)
    print(f"{path}  {path.stat().st_size} bytes")


def t5_buckets():
    """A table of buckets: forms, sizes and distances on both sides of every edge."""
    distances = [0, 1, 5, 8, 12, 16, 20, 32, 64, 127, 200]
    # As `_relative_position_bucket` of transformers prints them.
    assert [t5_bucket(-d, False, 32, 128) for d in distances] == [0, 1, 5, 8, 12, 16, 17, 21, 26, 31, 31]
    assert [t5_bucket(-d, True, 32, 128) for d in distances] == [0, 1, 5, 8, 9, 10, 10, 12, 14, 15, 15]
    rows, disputed = [], 0
    for n_buckets, max_distance in [(32, 128), (8, 16), (12, 50), (64, 1000)]:
        for bidirectional in (False, True):
            # Distance = query position − key position.
            for distance in range(-270, 271):
                args = (-distance, bidirectional, n_buckets, max_distance)
                bucket = t5_bucket(*args)
                if bucket != t5_bucket(*args, dtype=np.float64):
                    disputed += 1
                rows.append([distance, bidirectional, n_buckets, max_distance, bucket])
    print(f"t5 buckets: {disputed} of {len(rows)} differ between float32 (kept) and float64")
    # Near zero every distance, further out a sample.
    rows = [row for row in rows if row[0] % 5 == 0 or abs(row[0]) < 66]
    save("t5-buckets", {"cells": f32(rows)})


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    t5_buckets()
    rows = {
        "none-causal": (Scheme(), "causal", {}),
        "none-bidirectional": (Scheme(), "bidirectional", {"n_heads": 4, "n_kv_heads": 2}),
        "sinusoidal-interleaved": (Sinusoidal("interleaved"), "bidirectional", {}),
        "sinusoidal-concatenated": (Sinusoidal("concatenated", base=500.0), "causal", {}),
        "sinusoidal-timescales": (Sinusoidal("timescales", factor=0.5), "causal", {"d_model": 11}),
        "learned-plain": (Learned(23), "causal", {}),
        "learned-offset": (Learned(23, offset=2, pad_row=1), "bidirectional", {}),
        "random_projection-added": (RandomProjection(5, 23), "causal", {}),
        "random_projection-concatenated": (RandomProjection(5, 23, width=3, factor=0.7), "bidirectional", {}),
        "random_projection-trained": (RandomProjection(5, 23, train=True), "causal", {}),
        "rotary-halves": (Rotary("halves"), "causal", {"d_head": 8, "n_heads": 4, "n_kv_heads": 2}),
        "rotary-interleaved": (Rotary("interleaved"), "bidirectional", {"d_head": 8}),
        "rotary-partial": (Rotary("halves", turned=4), "causal", {"d_head": 8}),
        "rotary-partial-interleaved": (Rotary("interleaved", turned=4), "causal", {"d_head": 8}),
        "rotary-base": (Rotary("halves", base=50.0), "causal", {"d_head": 8, "n_heads": 4, "n_kv_heads": 1}),
        "alibi-causal": (Alibi(4), "causal", {"n_heads": 4, "n_kv_heads": 2}),
        "alibi-symmetric": (Alibi(3), "bidirectional", {"n_heads": 3}),
        "alibi-six": (Alibi(6), "causal", {"n_heads": 6}),
        "t5-causal": (T5(3, False, 8, 16), "causal", {}),
        "t5-bidirectional": (T5(4, True, 8, 16), "bidirectional", {"n_heads": 4, "n_kv_heads": 2}),
        "t5-unscaled": (T5(3, False, 8, 16, unscaled=True), "causal", {}),
        "shaw-causal": (Shaw(2), "causal", {"n_heads": 4, "n_kv_heads": 2}),
        "shaw-bidirectional": (Shaw(2), "bidirectional", {}),
    }
    wanted = sys.argv[1:]
    for name, (scheme, form, sizes) in rows.items():
        if not wanted or name in wanted:
            golden(name, scheme, form, **sizes)


if __name__ == "__main__":
    main()
