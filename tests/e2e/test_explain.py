"""What the server says of an image is what Pillow and the real image processor say."""

import hashlib
import io
import json
import pathlib

import numpy as np
import pytest
import transformers
from PIL import Image, ImageOps
from pixembed_fixtures import Server, StartServer, encode, picture, run_cli

from pixembed import Client, ServiceError

ORIENTATION = 0x0112


def turned(image_format: str) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encode(picture(90, 60, 4), image_format, exif=exif)


@pytest.mark.parametrize("model", ["vit", "dinov2"])
def test_every_picture_is_explained_as_pillow_and_the_processor_do(
    model: str, request: pytest.FixtureRequest, server: Server, pictures: dict[str, bytes]
) -> None:
    directory = request.getfixturevalue(model)
    processor = transformers.AutoImageProcessor.from_pretrained(directory)  # type: ignore[no-untyped-call]
    images = {**pictures, "turned.jpg": turned("JPEG"), "turned.webp": turned("WEBP")}
    images["turned.png"] = turned("PNG")
    with Client(server.address) as client:
        (fingerprint,) = {
            result.fingerprint for result in client.embed_stream(images.values(), model=model)
        }
        for name, data in images.items():
            explanation = client.explain(data, model=model)
            image = Image.open(io.BytesIO(data))
            assert explanation.format.upper() == image.format, name
            assert explanation.mode == image.mode, name
            assert (explanation.width, explanation.height) == image.size, name
            assert explanation.exif_orientation == image.getexif().get(ORIENTATION, 1), name
            assert not explanation.orientation_applied
            assert explanation.fingerprint == fingerprint, name
            rgb = image.convert("RGB")
            digest = hashlib.sha256(np.asarray(rgb).tobytes()).hexdigest()
            assert explanation.decoded_sha256 == digest, name
            values = processor([rgb], return_tensors="pt")["pixel_values"][0].numpy()
            assert (explanation.input_height, explanation.input_width) == values.shape[1:]
            digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
            assert explanation.input_sha256 == digest, name


def test_patches_are_explained_with_their_padding(
    naflex: pathlib.Path, start_server: StartServer, pictures: dict[str, bytes]
) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(naflex)  # type: ignore[no-untyped-call]
    server = start_server(f"--model={naflex}")
    with Client(server.address) as client:
        for name, data in pictures.items():
            explanation = client.explain(data)
            inputs = processor([Image.open(io.BytesIO(data)).convert("RGB")], return_tensors="pt")
            rows, columns = inputs["spatial_shapes"][0].tolist()
            size = (explanation.resized_height, explanation.resized_width)
            assert size == (8 * rows, 8 * columns), name
            assert explanation.patches == inputs["pixel_attention_mask"].sum() == rows * columns
            digest = hashlib.sha256(inputs["pixel_values"][0].numpy().astype("<f4").tobytes())
            assert explanation.input_sha256 == digest.hexdigest(), name


def test_a_picture_that_is_turned_upright_is_explained_upright(server: Server) -> None:
    data = turned("JPEG")
    with Client(server.address) as client:
        explanation = client.explain(data, exif_orientation="apply")
    assert explanation.exif_orientation == 6
    assert explanation.orientation_applied
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert (explanation.width, explanation.height) == upright.size
    digest = hashlib.sha256(np.asarray(upright).tobytes()).hexdigest()
    assert explanation.decoded_sha256 == digest


def test_the_command_line_explains_files_and_says_why_it_cannot(
    server: Server, tmp_path: pathlib.Path
) -> None:
    good, broken = tmp_path / "turned.jpg", tmp_path / "broken.jpg"
    good.write_bytes(turned("JPEG"))
    broken.write_bytes(turned("JPEG")[:500])
    run = run_cli("explain", f"--address={server.address}", str(broken), str(good))
    assert run.returncode == 1
    assert "broken.jpg: TRUNCATED_IMAGE" in run.stderr
    assert "format       JPEG, mode RGB, 90x60" in run.stdout
    assert "orientation  6, seen, not applied" in run.stdout
    run = run_cli("explain", "--exif_orientation=apply", f"--address={server.address}", str(good))
    assert "orientation  6, applied" in run.stdout
    assert "mode RGB, 60x90" in run.stdout
    run = run_cli("explain", "--json", f"--address={server.address}", str(good))
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["image"] == str(good)
    with Client(server.address) as client, pytest.raises(ServiceError) as failure:
        client.explain(broken)
    assert failure.value.reason == "TRUNCATED_IMAGE"
