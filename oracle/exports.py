"""Loads what Locus exports in transformers: no key may be missing, unexpected or of another shape, and outputs must be ours.

Run from the repository root, after the test has written the folder:
    LOCUS_EXPORTS=/tmp/exports cargo test -p locus-hub --test parity outputs_gradients
    python oracle/exports.py /tmp/exports
Prints a line for each export: the class, and the largest difference relative to max(1, |output|). Exits with 1 if one is not
loaded cleanly, or differs by more than 1e-5; with 2 if there are none.

An export is a folder `<case>` as `save_pretrained` would write it and a file `<case>.safetensors` with the inputs, what we
computed from them in f32 (`output`) and which numbers of that count (`keep`: not those at padding). transformers computes in
float64 from the exported f32 weights (and from tables of angles that are made in f32). A head that became one of ours is exported as that; its output has the same numbers.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open

from checkpoints import InFloat64, output_of

TOLERANCE = 1e-5
PROBLEMS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def output(model, head, inputs):
    """What the head of the case gives."""
    if head == "bare" and "decoder_input_ids" in inputs:
        return model(**inputs, output_hidden_states=True).decoder_hidden_states[-1]
    # Choices are exported as rows of a classifier.
    return output_of(model, "sequence_classification" if head == "multiple_choice" else head, inputs)


def compare(folder):
    """The class, and the largest difference; or what is wrong."""
    with safe_open(folder.with_name(folder.name + ".safetensors"), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        head = file.metadata()["head"]
    ours, keep = tensors.pop("output").double(), tensors.pop("keep").bool()
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model, info = getattr(transformers, architecture).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    wrong = {key: info[key] for key in PROBLEMS if info[key]}
    if wrong:
        raise ValueError(f"{architecture}: {wrong}")
    model = model.double().eval()
    with InFloat64(), torch.no_grad():
        theirs = output(model, head, tensors)
    if theirs.shape != ours.shape:
        raise ValueError(f"{architecture}: {list(ours.shape)} numbers, transformers has {list(theirs.shape)}")
    difference = ((ours - theirs).abs() / theirs.abs().clamp(min=1))[keep]
    if not torch.isfinite(difference).all():
        raise ValueError(f"{architecture}: numbers that are not finite")
    return architecture, difference.max().item()


def main():
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    failures = 0
    for folder in folders:
        try:
            architecture, largest = compare(folder)
            failures += largest > TOLERANCE
            print(f"{folder.name:<45} {architecture:<40} {largest:.1e}{'' if largest <= TOLERANCE else ' TOO LARGE'}")
        except Exception as error:  # whatever is wrong with one is said, and the next one is tried
            failures += 1
            print(f"{folder.name:<45} {error}")
    print(f"{len(folders)} exports, {failures} failures")
    return 2 if not folders else int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
