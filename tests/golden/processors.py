"""The real image processors, made of a configuration."""

import json
import pathlib
import tempfile

from transformers import AutoImageProcessor


def processor_of(configuration, backend):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "preprocessor_config.json").write_text(json.dumps(configuration))
        return AutoImageProcessor.from_pretrained(folder, backend=backend)
