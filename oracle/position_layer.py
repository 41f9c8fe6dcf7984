"""One attention layer under a position scheme, for the scripts positions_*.py. Not a script itself.

As oracle/positions.py, in PyTorch instead of JAX: float64, explicit loops over rows, heads, queries and keys, gradients by
autograd. Nothing is vectorised over positions: a cell of the score matrix is computed on its own from the positions of its
query and its key. Keys that are hidden are left out of the softmax, not masked by a number. `check_layer` compares it
with a golden file of oracle/positions.py.

A golden file holds the inputs (`x`, `keep`, projections, the scheme's parameters as `position.*`) and, for two sets of
positions (`padded`: counting in ones, rows starting apart; `holes`: with gaps), `positions`, `out`, `embedded` (what the
scheme makes of the token embeddings), two random directions, and the gradients of
`<direction, out> + <embed_direction, embedded>`. Padding has no part in `direction`.
"""

import hashlib
import math
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SEED = 2309_00071
OUT = Path("crates/encoder/tests/golden")
BATCH, SEQ, D_MODEL = 2, 7, 10
POSITIONS = {
    "padded": [[0, 0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8, 9]],
    "holes": [[0, 0, 0, 1, 4, 5, 11], [2, 3, 5, 9, 10, 17, 19]],
}
# Further axes, for schemes that have them: a word, an image of 2 by 2, words again; and anywhere.
AXES = {
    "padded": [[[0, 0, 0, 1, 1, 2, 3], [3, 4, 4, 5, 5, 6, 7]], [[0, 0, 0, 1, 2, 1, 3], [3, 4, 5, 4, 5, 6, 7]]],
    "holes": [[[0, 0, 2, 0, 3, 9, 11], [2, 8, 5, 1, 10, 3, 19]], [[0, 0, 1, 7, 5, 2, 11], [2, 3, 0, 9, 4, 17, 6]]],
}
# Token ids, for schemes that count by them.
IDS = {
    "padded": [[3, 1, 2, 1, 3, 5, 1], [1, 2, 9, 3, 1, 2, 4]],
    "holes": [[2, 1, 3, 6, 6, 1, 2], [7, 2, 5, 1, 3, 2, 1]],
}


class Row:
    """What a scheme may know of the row that a cell lies in; beside what is set here, by column: `places`, `keep`, `x`, and the
    queries and keys of each head, `q` and `k`."""

    def __init__(self, positions, keep, form):
        self.positions = [p[0] if isinstance(p, tuple) else p for p, k in zip(positions, keep) if k]
        self.form = form
        self.length = max(self.positions) + 1


class Scheme:
    """The identity; a scheme overrides what it does."""

    extra_width = 0
    axes = 1  # with more, a position is a tuple
    head_factor = 1  # score heads for each query head
    trained = ()  # names of the parameters that get a gradient
    segments = None  # segment ids, [batch, seq]

    def params(self, rng, shape):
        return {}

    number = None  # where it counts by token ids: from the ids and the real tokens of a row, a position for each

    def embed(self, params, x, position, keep):
        return x

    def sees(self, i, j, row):
        """Whether the query at position i may see the key at position j, beside causality and padding."""
        return True

    def scale(self, d_head, i):
        return 1 / math.sqrt(d_head)

    def score(self, params, head, query, key, i, j, row):
        """The score of a cell, from query and key as they are projected; i and j are positions."""
        return torch.dot(query, key) * self.scale(len(query), i)

    def map_scores(self, params, head, scores, i, seen, row):
        """The scores of query column i and the key columns that it sees, given those of `score`."""
        return scores

    def weigh(self, scores, i, seen):
        """The weights of the keys that query column i sees."""
        weights = torch.exp(scores - scores.detach().max())
        return weights / weights.sum()


def attend(scheme, shape, form, params, positions, keep):
    """Embeds and attends; both [batch, seq, d_model]."""
    factor, n_kv, d_head = scheme.head_factor, shape["n_kv_heads"], shape["d_head"]
    n_heads = shape["n_heads"] * factor
    embedded, outputs = [], []
    for b in range(BATCH):
        row = Row(positions[b], keep[b], form)
        x = [scheme.embed(params, params["x"][b, t], positions[b][t], keep[b][t]) for t in range(SEQ)]
        by_position = lambda values: {at: v for at, v, kept in zip(positions[b], values, keep[b]) if kept}
        row.hidden = by_position(x)  # the input of attention
        row.segments = by_position(scheme.segments[b]) if scheme.segments else None
        project = lambda name, t: x[t] @ params[f"{name}_proj.weight"] + params[f"{name}_proj.bias"]
        heads_of = lambda name: [project(name, t).split(d_head) for t in range(SEQ)]
        q, k, v = heads_of("q"), heads_of("k"), heads_of("v")
        row.places, row.keep, row.x, row.q, row.k = positions[b], keep[b], x, q, k
        outs = []
        for i in range(SEQ):
            contexts = []
            for h in range(n_heads):
                kv = h // (n_heads // n_kv)
                in_form = lambda j: form == "bidirectional" or j <= i
                at = lambda t: positions[b][t]
                seen = [j for j in range(SEQ) if keep[b][j] and in_form(j) and scheme.sees(at(i), at(j), row)]
                if not seen or not keep[b][i]:
                    contexts.append(torch.zeros(d_head))
                    continue
                cells = [scheme.score(params, h, q[i][h // factor], k[j][kv], at(i), at(j), row) for j in seen]
                scores = scheme.map_scores(params, h, torch.stack(cells), i, seen, row)
                weights = scheme.weigh(scores, i, seen)
                contexts.append(sum(w * v[j][kv] for w, j in zip(weights, seen)))
            out = torch.cat(contexts) @ params["o_proj.weight"] + params["o_proj.bias"]
            outs.append(out if keep[b][i] else torch.zeros(shape["d_model"]))
        embedded.append(torch.stack(x))
        outputs.append(torch.stack(outs))
    return torch.stack(embedded), torch.stack(outputs)


def f32(array):
    """The nearest float32 values, so that the inputs in the file are the ones that were used."""
    return np.asarray(array, dtype=np.float32)


def golden(script, name, scheme, form, n_heads=3, n_kv_heads=None, d_head=4, d_model=D_MODEL):
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    n_kv_heads = n_kv_heads or n_heads
    shape = {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "d_head": d_head, "d_model": d_model}
    draw = lambda *size, std=0.5: rng.normal(scale=std, size=size)
    inputs = {"x": draw(BATCH, SEQ, d_model - scheme.extra_width, std=1.0)}
    widths = {"q": n_heads * d_head, "k": n_kv_heads * d_head, "v": n_kv_heads * d_head}
    for proj, width in widths.items():
        inputs[f"{proj}_proj.weight"], inputs[f"{proj}_proj.bias"] = draw(d_model, width), draw(width)
    wide = n_heads * scheme.head_factor * d_head
    inputs["o_proj.weight"], inputs["o_proj.bias"] = draw(wide, d_model), draw(d_model)
    inputs |= scheme.params(rng, shape)
    inputs = {key: f32(value) for key, value in inputs.items()}

    keep = np.ones((BATCH, SEQ), dtype=bool)
    keep[0, :2] = False  # left padding
    if form == "bidirectional":
        keep[1, -1] = False  # right padding
    tensors = inputs | {"keep": f32(keep)}
    if scheme.segments:
        tensors["segments"] = f32(scheme.segments)
    frozen = {key for key in inputs if key.startswith("position.") and key not in scheme.trained}
    for case, positions in POSITIONS.items():
        direction = f32(draw(BATCH, SEQ, d_model, std=1.0) * keep[:, :, None])
        embed_direction = f32(draw(BATCH, SEQ, d_model, std=1.0))
        params = {key: torch.tensor(value, dtype=torch.float64) for key, value in inputs.items()}
        trained = {key: value.requires_grad_() for key, value in params.items() if key not in frozen}
        placed = positions
        if scheme.axes > 1:
            more = AXES[case][: scheme.axes - 1]
            placed = [list(zip(*rows)) for rows in zip(positions, *more)]
            tensors[f"{case}.axes"] = f32(more)
        if scheme.number:
            placed = [scheme.number(ids, row) for ids, row in zip(IDS[case], keep)]
            tensors[f"{case}.ids"] = f32(IDS[case])
        embedded, out = attend(scheme, shape, form, params, placed, keep)
        functional = (torch.tensor(direction) * out).sum() + (torch.tensor(embed_direction) * embedded).sum()
        grads = torch.autograd.grad(functional, list(trained.values()), materialize_grads=True)
        tensors |= {
            f"{case}.positions": f32(positions),
            f"{case}.direction": direction,
            f"{case}.embed_direction": embed_direction,
            f"{case}.embedded": f32(embedded.detach()),
            f"{case}.out": f32(out.detach()),
        }
        tensors |= {f"{case}.grad.{key}": f32(grad) for key, grad in zip(trained, grads)}
    save(script, name, tensors)


def save(script, name, tensors):
    path = OUT / f"positions-{name}.safetensors"
    digest = hashlib.sha256(Path(__file__).read_bytes() + Path(script).read_bytes()).hexdigest()
    metadata = {
        "script": f"oracle/position_layer.py and oracle/{Path(script).name}",
        "script_sha256": digest,
        "versions": ", ".join(f"{p} {version(p)}" for p in ("numpy", "safetensors", "torch", "transformers")),
        "seed": str(SEED),
        "dtype": "computed in float64, stored in float32",
    }
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=metadata)
    print(f"{path}  {path.stat().st_size} bytes")


def check_layer(name, scheme, form, **shape):
    """This layer against a golden file of oracle/positions.py, which was computed in JAX."""
    stored = load_file(OUT / f"positions-{name}.safetensors")
    params = {key: torch.tensor(value, dtype=torch.float64) for key, value in stored.items() if "." not in key or "proj" in key}
    params |= {key: torch.tensor(value, dtype=torch.float64) for key, value in stored.items() if key.startswith("position.")}
    for case, positions in POSITIONS.items():
        _, out = attend(scheme, shape, form, params, positions, stored["keep"] != 0)
        off = np.abs(out.numpy() - stored[f"{case}.out"]).max()
        assert off < 1e-6, f"{name} {case}: {off}"


def write(script, rows, only):
    """Writes the golden files of these rows, or of those that are named."""
    for name, (scheme, form, sizes) in rows.items():
        if not only or name in only:
            golden(script, name, scheme, form, **sizes)
