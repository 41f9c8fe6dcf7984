"""Seeds for the fuzz targets, from the goldens of crates/hub and crates/data.

Run from the repository root: python3 fuzz/seeds.py
Writes fuzz/*/corpus/ and fuzz/config/config.dict. Deterministic.
"""

import json
import struct
from pathlib import Path

FUZZ = Path(__file__).parent
GOLDEN = FUZZ.parent / "crates/hub/tests/golden"
TOKENIZERS = FUZZ.parent / "crates/data/tests/tokenizers"
CRATE = {"config": "config", "weights": "weights", "index": "weights", "sentencepiece": "sentencepiece"}


def seed(target, name, content):
    path = FUZZ / CRATE[target] / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def safetensors(tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def strings(value):
    """All keys and texts of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def main():
    words = set()
    generation = {"eos_token_id": [3, 5], "num_beams": 4, "max_length": 20, "early_stopping": "never", "suppress_tokens": [2]}
    for idx, path in enumerate(sorted(GOLDEN.glob("*.json"))):
        config = json.loads(path.read_text()).get("config")
        if config is None:
            continue
        words |= set(strings(config)) | set(generation)
        text = json.dumps(config).encode()
        seed("config", path.stem, b"\0" + text)
        seed("config", f"{path.stem}-asked", bytes([1 + idx % 7]) + text + b"\0" + json.dumps(generation).encode())
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in sorted(words) if word.isascii() and word)
    (FUZZ / "config/config.dict").write_text("".join(f'"{word}"\n' for word in quoted))
    floats = struct.pack("<6f", *range(6))
    seed("weights", "f32", safetensors({"a": ("F32", [2, 3], floats)}))
    seed("weights", "halves", safetensors({"a": ("F16", [3], bytes(6)), "LayerNorm.gamma": ("BF16", [1, 1], bytes(2))}))
    seed("weights", "others", safetensors({"a": ("I64", [1], bytes(8)), "b": ("F32", [0], b""), "c": ("BOOL", [], b"\1")}))
    seed("weights", "nan", safetensors({"a": ("F32", [1], struct.pack("<f", float("nan")))}))
    seed("index", "both", b'{"metadata": {"total_size": 8}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    seed("index", "outside", b'{"weight_map": {"x": "../a.safetensors", "y": "/b"}}')
    for path in sorted([*TOKENIZERS.glob("*/*.spm"), *TOKENIZERS.glob("*/*.model")]):
        seed("sentencepiece", f"{path.parent.name}-{path.stem}", path.read_bytes())


if __name__ == "__main__":
    main()
