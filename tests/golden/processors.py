"""The real image processors, made of a configuration."""

import json
import pathlib
import tempfile

import numpy as np
import torch
from transformers import AutoImageProcessor, TimmWrapperImageProcessor


def file_of(configuration):
    """Where the configuration lies in a model directory; that of timm's models is config.json itself."""
    return "config.json" if "pretrained_cfg" in configuration else "preprocessor_config.json"


def processor_of(configuration, backend):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / file_of(configuration)).write_text(json.dumps(configuration))
        return AutoImageProcessor.from_pretrained(folder, backend=backend)


def levels_of(processor, images):
    """What the processor makes of PIL images between crop and rescale, [N, 3, H, W] uint8."""
    if isinstance(processor, TimmWrapperImageProcessor):
        *steps, _, _ = processor.val_transforms.transforms
        return torch.stack([timm_levels(steps, image) for image in images])
    levels = processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    return levels.to(torch.uint8)


def timm_levels(steps, image):
    for step in steps:
        image = step(image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
