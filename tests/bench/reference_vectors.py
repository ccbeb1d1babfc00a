#!/usr/bin/env python3
"""The vectors that pixembed is held to: transformers, float32, mean of last_hidden_state over the tokens.

usage: reference_vectors.py MODEL_DIR OUT.npy torchvision|pil IMAGE...
"""

import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import PIL.Image
import torch
import transformers


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    directory, out, backend, *files = sys.argv[1:]
    transformers.utils.logging.disable_progress_bar()
    processor = transformers.AutoImageProcessor.from_pretrained(directory, backend=backend)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for file in files:
            inputs = processor([PIL.Image.open(file).convert("RGB")], return_tensors="pt")
            rows.append(model(**inputs).last_hidden_state.mean(1)[0].numpy())
    np.save(out, np.stack(rows))


if __name__ == "__main__":
    main()
