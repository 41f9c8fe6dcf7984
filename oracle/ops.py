"""Golden values and gradients for the operations of crates/backend, from JAX in float64, and numbers of its generator.

Run from the repository root: python oracle/ops.py
Writes crates/testkit/tests/golden/ops.safetensors and rng.txt. Deterministic: one seed, no clock.

Each operation is written from its formula. Gradients are those of sum(output * upstream). Inputs are rounded to f32
first, so that both sides start from the same numbers. Sizes are distinct primes where the operation leaves them free.
"""

import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)
SEED = 20_17
OUT = Path("crates/testkit/tests/golden")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "seed": SEED,
    "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy", "safetensors")},
}
MASK64 = (1 << 64) - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15
RNG = np.random.default_rng(SEED)


# The generator, in plain integers.


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def root(seed):
    return mix((seed + GOLDEN_RATIO) & MASK64)


def child(key, idx):
    return mix(key ^ mix((idx * GOLDEN_RATIO + 1) & MASK64))


def named(key, name):
    fnv = 0xCBF29CE484222325
    for byte in name.encode():
        fnv = ((fnv ^ byte) * 0x100000001B3) & MASK64
    return child(key, fnv)


def bits(key, idx):
    return mix((key + idx * GOLDEN_RATIO) & MASK64)


def uniform(key, idx):
    return (bits(key, idx) >> 11) / (1 << 53)


def normal(key, idx):
    return math.sqrt(-2 * math.log(1 - uniform(key, 2 * idx))) * math.cos(2 * math.pi * uniform(key, 2 * idx + 1))


def rng_lines():
    yield "# seed, path (names and numbers), index: bits, uniform, normal, below 1000003"
    paths = [[], ["dropout"], ["dropout", 3], ["layers", 1, "attn", "weights"], [0], [MASK64], ["größe", 41]]
    for seed in (0, 7, MASK64):
        for path in paths:
            key = root(seed)
            for part in path:
                key = named(key, part) if isinstance(part, str) else child(key, part)
            for idx in (0, 1, 65_537):
                below = (bits(key, idx) * 1_000_003) >> 64
                where = f"{seed} {'/'.join(map(str, path)) or '-'} {idx}"
                yield f"{where} {bits(key, idx)} {uniform(key, idx)!r} {normal(key, idx)!r} {below}"


def kept(key, p, shape):
    """The dropout factors: 0, or 1/(1 − p)."""
    drawn = np.array([uniform(key, i) for i in range(math.prod(shape))]).reshape(shape)
    return np.where(drawn < p, 0.0, 1.0 / (1.0 - p))


# The operations.


def layer_norm(x, gamma, beta, eps):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + eps) * gamma + beta


def rms_norm(x, gamma, eps):
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps) * gamma


def cross_entropy(logits, classes, smoothing, weights):
    log_probs = logits - jax.scipy.special.logsumexp(logits, axis=1, keepdims=True)
    total = 0.0
    for row, target in enumerate(classes):
        if target == -100:
            continue
        share = smoothing / logits.shape[1] * weights
        share[target] += (1.0 - smoothing) * weights[target]
        total -= (share * log_probs[row]).sum()
    return total[None]


def attention(q, k, v, bias, keep, scale, dropped=1.0):
    """One head at a time; `bias` is broadcastable to [batch, heads, q, k], `keep` too."""
    heads, kv_heads = q.shape[1], k.shape[1]
    shape = (q.shape[0], heads, q.shape[2], k.shape[2])
    bias, keep, dropped = (jnp.broadcast_to(a, shape) for a in (bias, keep, dropped))
    out = []
    for head in range(heads):
        group = head // (heads // kv_heads)
        scores = jnp.einsum("bqd,bkd->bqk", q[:, head], k[:, group]) * scale + bias[:, head]
        weights = jax.nn.softmax(jnp.where(keep[:, head], scores, -jnp.inf), axis=-1) * dropped[:, head]
        out.append(jnp.einsum("bqk,bkd->bqd", weights, v[:, group]))
    return jnp.stack(out, 1)


def toeplitz(by_distance, q_len, k_len):
    """Query i and key j read column i − j + k_len − 1."""
    rows = [[by_distance[:, i - j + k_len - 1] for j in range(k_len)] for i in range(q_len)]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)[None]  # [1, heads, q, k]


# The cases.


def draw(*shape, scale=1.0, offset=0.0):
    return (RNG.normal(size=shape) * scale + offset).astype(np.float32)


TENSORS = {}


def case(name, f, **inputs):
    """Stores inputs, output, upstream and the gradient of each input."""
    exact = {key: jnp.asarray(value, jnp.float64) for key, value in inputs.items()}
    out = f(**exact)
    upstream = draw(*out.shape)
    grads = jax.grad(lambda args: (f(**args) * upstream).sum())(exact)
    for key, value in inputs.items():
        TENSORS[f"{name}.{key}"] = value
        TENSORS[f"{name}.grad.{key}"] = np.asarray(grads[key], np.float32)
    TENSORS[f"{name}.out"] = np.asarray(out, np.float32)
    TENSORS[f"{name}.upstream"] = upstream


def causal(q_len, k_len):
    """The queries are the last positions."""
    return np.tril(np.ones((q_len, k_len), bool), k_len - q_len)[None, None]


def attention_cases():
    batch, q, k, d = 2, 3, 5, 7
    padding = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]], bool)[:, None, None]
    visible = (np.abs(np.arange(q)[:, None] + k - q - np.arange(k)) <= 1)[None, None]

    def qkv(heads, kv_heads):
        return {"q": draw(batch, heads, q, d), "k": draw(batch, kv_heads, k, d), "v": draw(batch, kv_heads, k, d)}

    scale = 1 / math.sqrt(d)
    case("attention.plain", lambda q, k, v: attention(q, k, v, 0.0, True, scale), **qkv(3, 3))
    case(
        "attention.toeplitz_causal",
        lambda q, k, v, bias: attention(q, k, v, toeplitz(bias, 3, 5), causal(3, 5), 0.5),
        **qkv(3, 3),
        bias=draw(3, q + k - 1),
    )
    case(
        "attention.dense_padded_gqa",
        lambda q, k, v, bias: attention(q, k, v, bias, padding, scale),
        **qkv(6, 2),
        bias=draw(1, 6, q, k),
    )
    case(
        "attention.dense_per_row_causal_padded",
        lambda q, k, v, bias: attention(q, k, v, bias, padding & causal(3, 5), scale),
        **qkv(2, 1),
        bias=draw(batch, 2, q, k),
    )
    case(
        "attention.visible_causal_mqa",
        lambda q, k, v: attention(q, k, v, 0.0, visible & causal(3, 5), scale),
        **qkv(3, 1),
    )
    dropped = kept(named(root(11), "weights"), 0.3, (batch, 3, q, k))
    case("attention.dropout", lambda q, k, v: attention(q, k, v, 0.0, True, scale, dropped), **qkv(3, 3))


def cross_entropy_cases():
    rows, classes = 23, 5  # more rows than a vector register has lanes
    targets = [3, -100, 0, 4, -100, 1, 3, 2] + [row % 5 for row in range(15)]
    ones, weights = np.ones(classes), np.array([0.5, 2.0, 1.0, 0.25, 3.0])
    for name, targets, smoothing, weights in [
        ("plain", [3, 1, 0, 4, 2, 1, 3, 2] + targets[8:], 0.0, ones),
        ("ignored", targets, 0.0, ones),
        ("smoothed", targets, 0.125, ones),
        ("weighted", targets, 0.0, weights),
        ("smoothed_weighted", targets, 0.25, weights),
    ]:
        f = lambda logits: cross_entropy(logits, targets, smoothing, weights)  # noqa: E731
        case(f"cross_entropy.{name}", f, logits=draw(rows, classes, scale=3.0))


def main():
    d = 11
    norm = {"gamma": draw(d, offset=1.0), "beta": draw(d)}
    case("layer_norm.plain", lambda x, gamma, beta: layer_norm(x, gamma, beta, 1e-5), x=draw(3, 7, d), **norm)
    case("layer_norm.large_eps", lambda x, gamma, beta: layer_norm(x, gamma, beta, 0.5), x=draw(7, d), **norm)
    case("rms_norm.plain", lambda x, gamma: rms_norm(x, gamma, 1e-6), x=draw(3, 7, 13), gamma=draw(13, offset=1.0))
    case("rms_norm.large_eps", lambda x, gamma: rms_norm(x, gamma, 0.5), x=draw(7, 13), gamma=draw(13, offset=1.0))
    case("linear.bias", lambda x, weight, bias: x @ weight + bias, x=draw(2, 3, 5), weight=draw(5, 7), bias=draw(7))
    case("linear.plain", lambda x, weight: x @ weight, x=draw(3, 5), weight=draw(5, 7))
    case("gelu", lambda x: x * (1.0 + jax.scipy.special.erf(x / math.sqrt(2.0))) / 2.0, x=draw(29, scale=2.0))
    factors = kept(child(named(root(7), "dropout"), 3), 0.3, (3, 5, 7))
    case("dropout", lambda x: x * factors, x=draw(3, 5, 7))
    cross_entropy_cases()
    attention_cases()
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(TENSORS, OUT / "ops.safetensors", metadata={"oracle": json.dumps(META)})
    (OUT / "rng.txt").write_text("\n".join(rng_lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
