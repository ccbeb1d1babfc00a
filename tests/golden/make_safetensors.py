#!/usr/bin/env python3
"""Files of the real safetensors library, and its verdicts on broken ones: OUT_DIR/safetensors*.

usage: make_safetensors.py OUT_DIR

safetensors/typed.safetensors      every element type, scalars, empty tensors, metadata
safetensors/sharded/               a model that transformers saved in shards
safetensors.json                   what these hold; and mutated files, each with the library's verdict
The test is safetensors_golden_test.cc.
"""

import json
import pathlib
import random
import struct
import sys

import safetensors
import safetensors.torch
import torch
import transformers

SEED = 20240229
MUTANTS = 1500
# torch's types that the format knows and our header names.
TYPES = [torch.bool, torch.uint8, torch.int8, torch.float8_e5m2, torch.float8_e4m3fn, torch.int16, torch.uint16,
         torch.float16, torch.bfloat16, torch.int32, torch.uint32, torch.float32, torch.int64, torch.uint64,
         torch.float64]


def description(tensor):
    """Type, shape and bytes, without the library under test."""
    names = {torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.float8_e5m2: "F8_E5M2",
             torch.float8_e4m3fn: "F8_E4M3", torch.int16: "I16", torch.uint16: "U16", torch.float16: "F16",
             torch.bfloat16: "BF16", torch.int32: "I32", torch.uint32: "U32", torch.float32: "F32",
             torch.int64: "I64", torch.uint64: "U64", torch.float64: "F64"}
    raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return {"type": names[tensor.dtype], "shape": " ".join(map(str, tensor.shape)), "bytes": raw.hex()}


def typed_tensors():
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for kind in TYPES:
        size = torch.empty((), dtype=kind).element_size()
        raw = torch.randint(0, 2 if kind == torch.bool else 256, (2 * 3 * size,), generator=generator,
                            dtype=torch.uint8)
        name = str(kind).removeprefix("torch.")
        tensors[f"{name}.matrix"] = raw.view(kind).reshape(2, 3)
        tensors[f"{name}.empty"] = torch.empty((0, 4), dtype=kind)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["名前 \"quoted\"\n"] = torch.arange(5)
    return tensors


def sharded(folder):
    torch.manual_seed(SEED)
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                    intermediate_size=32, image_size=32, patch_size=16)
    model = transformers.ViTModel(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="5KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 2, "the model must be split for this test to mean something"
    tensors = {}
    for shard in shards:
        tensors |= safetensors.torch.load_file(folder / shard)
    return tensors


def headers():
    """Headers to start from: valid ones, and ones at the edge of the format."""
    yield {"a": ("F32", [2], [0, 8]), "b": ("U8", [3, 1], [8, 11])}, 11
    yield {"z": ("BF16", [1, 1, 2], [0, 4]), "e": ("I64", [4, 0], [4, 4]), "s": ("F64", [], [4, 12])}, 12
    yield {"b": ("U8", [4], [0, 4]), "a": ("U8", [4], [4, 8]), "c": ("U8", [0], [4, 4])}, 8


def mutants():
    """Bytes of files: edits of single bytes, of numbers, and cuts. The same for every run."""
    source = random.Random(SEED)
    tokens = [b"0", b"1", b"9", b"-", b".", b"e", b"{", b"}", b"[", b"]", b",", b":", b'"', b" ", b"\0", b"\xff",
              b"null", b"true", b"1e1", b"18446744073709551616", b"9223372036854775808", b"\\u0061", b"F16", b"I64"]
    originals = []
    for header, size in headers():
        entries = {name: {"dtype": d, "shape": s, "data_offsets": o} for name, (d, s, o) in header.items()}
        text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
        originals.append((text, bytes(range(size))))
    for i in range(MUTANTS):
        text, data = source.choice(originals)
        text = bytearray(text)
        for _ in range(source.randrange(3) if i >= len(originals) else 0):
            at = source.randrange(len(text))
            kind = source.randrange(4)
            if kind == 0:
                text[at : at + 1] = source.choice(tokens)
            elif kind == 1:
                text[at:at] = source.choice(tokens)
            elif kind == 2:
                del text[at : at + source.randrange(1, 4)]
            else:
                end = min(len(text), at + source.randrange(1, 40))
                text[at:at] = text[at:end]
        length = len(text) + (source.choice([-1, 1, 1000, 2**40]) if source.randrange(40) == 0 else 0)
        if source.randrange(40) == 0:
            data = data[: source.randrange(len(data))]
        yield struct.pack("<Q", length) + bytes(text) + data


def verdict(data):
    """What the library makes of a file: its tensors, or none."""
    try:
        tensors = safetensors.deserialize(data)
    except Exception as error:  # SafetensorError, or what else the binding raises
        return {"error": str(error)[:100]}
    return {"tensors": {
        name: {"type": t["dtype"], "shape": " ".join(map(str, t["shape"])), "bytes": bytes(t["data"]).hex()}
        for name, t in tensors
    }}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    folder = out / "safetensors"
    folder.mkdir(exist_ok=True)
    typed = typed_tensors()
    safetensors.torch.save_file(typed, folder / "typed.safetensors", metadata={"format": "pt", "note": "ü"})
    shards = sharded(folder / "sharded")
    written = {
        "typed": {name: description(tensor) for name, tensor in typed.items()},
        "sharded": {name: description(tensor) for name, tensor in shards.items()},
        "mutants": {f"{i:05}": {"file": data.hex(), **verdict(data)} for i, data in enumerate(mutants())},
    }
    (out / "safetensors.json").write_text(json.dumps(written, indent=1))
    accepted = sum("tensors" in mutant for mutant in written["mutants"].values())
    print(f"safetensors.json: {len(typed)} + {len(shards)} tensors, {MUTANTS} mutants, {accepted} accepted")


if __name__ == "__main__":
    main()
