"""Turns a llama2.c checkpoint (`stories260K.bin`, `tok512.bin`) into a folder as transformers writes it.

    python oracle/llama2c.py stories260K.bin tok512.bin OUT
    locus generate --model OUT --prompt '' --max-new-tokens 256

The file holds seven 32-bit integers (width, width of the feed-forward layers, layers, heads, key heads, vocabulary,
longest text) and then the weights, each kind for all layers. Its rotation pairs neighbours, that of transformers halves,
so rows of queries and keys change places. Greedy text ends at the start token there, which is `eos_token_id` here.
"""

import json
import os
import struct
import sys

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers


def main(weights_path, tokenizer_path, out):
    data = open(weights_path, "rb").read()
    d, d_ff, n_layers, heads, kv_heads, vocab, seq = struct.unpack("7i", data[:28])
    rest = np.frombuffer(data, "<f4", offset=28)
    tied, vocab, head = vocab > 0, abs(vocab), d // heads
    at = 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return rest[at - n : at].reshape(shape)

    def halves(weight, n):
        """[layers, n · head, d] with pairs (0, 1), (2, 3), … to pairs (0, head/2), …"""
        pairs = weight.reshape(n_layers, n, head // 2, 2, d)
        return pairs.transpose(0, 1, 3, 2, 4).reshape(n_layers, n * head, d)

    tensors = {"model.embed_tokens.weight": take(vocab, d)}
    kinds = {"input_layernorm": take(n_layers, d)}
    kinds["self_attn.q_proj"] = halves(take(n_layers, heads * head, d), heads)
    kinds["self_attn.k_proj"] = halves(take(n_layers, kv_heads * head, d), kv_heads)
    kinds["self_attn.v_proj"] = take(n_layers, kv_heads * head, d)
    kinds["self_attn.o_proj"] = take(n_layers, d, heads * head)
    kinds["post_attention_layernorm"] = take(n_layers, d)
    kinds["mlp.gate_proj"] = take(n_layers, d_ff, d)
    kinds["mlp.down_proj"] = take(n_layers, d, d_ff)
    kinds["mlp.up_proj"] = take(n_layers, d_ff, d)
    tensors["model.norm.weight"] = take(d)
    take(seq * head // 2)  # cosines and sines
    take(seq * head // 2)
    if not tied:
        tensors["lm_head.weight"] = take(vocab, d)
    assert at == len(rest), (at, len(rest))
    for kind, weight in kinds.items():
        tensors |= {f"model.layers.{layer}.{kind}.weight": weight[layer] for layer in range(n_layers)}
    os.makedirs(out, exist_ok=True)
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, f"{out}/model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": d, "intermediate_size": d_ff,
        "num_hidden_layers": n_layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
        "max_position_embeddings": seq, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 1, "torch_dtype": "float32",
    }
    json.dump(config, open(f"{out}/config.json", "w"), indent=2)
    save_tokenizer(open(tokenizer_path, "rb").read(), vocab, f"{out}/tokenizer.json")


def save_tokenizer(data, vocab, path):
    tokens, at = [], 4
    for _ in range(vocab):
        score, length = struct.unpack_from("fi", data, at)
        at += 8 + length
        tokens.append((data[at - length : at].decode("utf-8"), score))
    names = ["<unk>", "<s>", "</s>"] + [name.replace(" ", "▁") for name, _ in tokens[3:]]
    ids = {name: idx for idx, name in enumerate(names)}
    merges = []
    for idx in sorted(range(3 + 256, vocab), key=lambda idx: -tokens[idx][1]):
        name = names[idx]
        merges += [(name[:cut], name[cut:]) for cut in range(1, len(name)) if name[:cut] in ids and name[cut:] in ids]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names[:3]])
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(path)


main(*sys.argv[1:])
