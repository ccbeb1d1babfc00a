"""pytest fixtures around the real programs: servers, models, pictures, the reference.

Loaded with `-p pixembed_fixtures`; the programs are named by PIXEMBED_SERVER and PIXEMBED_CLI.
"""

from __future__ import annotations

import io
import os
import pathlib
import signal
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

# A machine under load may be slow; nothing is expected to take this long.
PATIENCE = 300


class Server:
    """A pixembed-server that a test started. It ends with the test that started it."""

    def __init__(self, *flags: str, variables: Mapping[str, str] | None = None) -> None:
        # The server reads flags from PIXEMBED_<FLAG> too; the test alone shall say.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PIXEMBED_")}
        environment |= variables or {}
        self.process = subprocess.Popen(
            [os.environ["PIXEMBED_SERVER"], *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.log: list[str] = []
        self._address = ""
        self._http = ""
        self._metrics = ""
        self._known = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if " serving HTTP on " in line:  # this one and the next come before the last
                self._http = line.split(" serving HTTP on ")[1].strip()
            if " serving metrics on " in line:
                self._metrics = line.split(" serving metrics on ")[1].strip()
            if " serving on " in line:
                self._address = line.split(" serving on ")[1].strip()
                self._known.set()
        self._known.set()

    @property
    def address(self) -> str:
        """Where it listens; waits until it does. Fails with its last words if it never will."""
        assert self._known.wait(PATIENCE)
        assert self._address, "\n".join(self.log)
        return self._address

    @property
    def http(self) -> str:
        """The URL of its HTTP bridge; waits as `address` does."""
        assert self.address
        assert self._http, "the server was started without --http_listen"
        return f"http://{self._http}"

    @property
    def metrics(self) -> str:
        """The URL under which it has /metrics; waits as `address` does."""
        assert self.address
        assert self._metrics, "the server was started without --metrics_listen"
        return f"http://{self._metrics}"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code; afterwards `log` is whole."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def run_cli(*arguments: str, stdin: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
    """The program pixembed, run to its end."""
    return subprocess.run(
        [os.environ["PIXEMBED_CLI"], *arguments],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Pki(NamedTuple):
    """PEM files."""

    ca: pathlib.Path
    server_cert: pathlib.Path
    server_key: pathlib.Path
    client_cert: pathlib.Path
    client_key: pathlib.Path


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority, and certificates for "embeddings.test" and a client."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("server", "client"):
        openssl(
            "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        (folder / "names").write_text("subjectAltName=DNS:embeddings.test\n")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", "-extfile", "names"),
        )
    files = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Pki(*(folder / file for file in files))


StartServer = Callable[..., Server]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers on a free port of loopback; whatever still runs at the end is killed."""
    servers: list[Server] = []

    def start(*flags: str, listen: str = "127.0.0.1:0") -> Server:
        servers.append(Server(f"--listen={listen}", *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny random ViT as the real transformers saves it."""
    directory = tmp_path_factory.mktemp("vit") / "tiny-vit"
    torch.manual_seed(3)
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=48,
        patch_size=16,
    )
    transformers.ViTModel(config).save_pretrained(directory)
    transformers.ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny random DINOv2: resizes the shortest edge and crops."""
    directory = tmp_path_factory.mktemp("dinov2") / "tiny-dinov2"
    torch.manual_seed(4)
    config = transformers.Dinov2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=42,
        patch_size=14,
    )
    transformers.Dinov2Model(config).save_pretrained(directory)
    transformers.BitImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 42, "width": 42}
    ).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def timm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny random ViT of timm's: its config.json holds the processor, too."""
    directory = tmp_path_factory.mktemp("timm") / "tiny-timm"
    torch.manual_seed(5)
    config = transformers.TimmWrapperConfig.from_dict(
        {
            "architecture": "vit_tiny_patch16_224",
            "num_classes": 0,
            "model_args": {"img_size": 48, "embed_dim": 24, "depth": 2, "num_heads": 2},
            "pretrained_cfg": {"input_size": [3, 48, 48], "crop_pct": 0.9},
        }
    )
    transformers.TimmWrapperModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def naflex(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny random SigLIP 2 for images that keep their aspect ratio."""
    directory = tmp_path_factory.mktemp("naflex") / "tiny-naflex"
    torch.manual_seed(5)
    config = transformers.Siglip2VisionConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        patch_size=8,
        num_patches=16,
    )
    transformers.Siglip2VisionModel(config).save_pretrained(directory)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=30).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def server(vit: pathlib.Path, dinov2: pathlib.Path) -> Iterator[Server]:
    """One server with both models, for every test that leaves it as it is."""
    running = Server("--listen=127.0.0.1:0", f"--model=vit={vit}", f"--model=dinov2={dinov2}")
    try:
        running.address  # noqa: B018  waits until it serves
        yield running
    finally:
        running.kill()


def reference(directory: pathlib.Path, images: list[bytes]) -> NDArray[np.float32]:
    """Mean-pooled vectors of the real transformers."""
    processor = transformers.AutoImageProcessor.from_pretrained(directory)  # type: ignore[no-untyped-call]
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32)
    pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    inputs = processor(pictures, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    vectors: NDArray[np.float32] = hidden.mean(1).numpy()
    return vectors


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours with some noise, so that resampling and codecs have something to do."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 90 * np.sin(x / random.uniform(5, 20) + random.uniform(0, 6)) * np.cos(y / 9.0)
        for _ in range(3)
    ]
    pixels = np.stack(planes, axis=2) + random.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, image_format, **options)
    return data.getvalue()


def _pictures() -> dict[str, bytes]:
    wide, tall, square = picture(151, 97, 1), picture(60, 133, 2), picture(64, 64, 3)
    return {
        "baseline.jpg": encode(wide, "JPEG", quality=90),
        "progressive.jpg": encode(tall, "JPEG", progressive=True, quality=75),
        "gray.jpg": encode(square.convert("L"), "JPEG"),
        "cmyk.jpg": encode(wide.convert("CMYK"), "JPEG"),
        "rgb.png": encode(tall, "PNG"),
        "alpha.png": encode(wide.convert("RGBA"), "PNG"),
        "palette.png": encode(square.quantize(32), "PNG"),
        "transparent.png": encode(square.quantize(8), "PNG", transparency=3),
        "lossy.webp": encode(wide, "WEBP", quality=80),
        "lossless.webp": encode(tall, "WEBP", lossless=True),
        "palette.gif": encode(square.quantize(64), "GIF"),
        "transparent.gif": encode(square.quantize(8), "GIF", transparency=3),
        "rgb.bmp": encode(wide, "BMP"),
        "deflate.tif": encode(tall, "TIFF", compression="tiff_adobe_deflate"),
        "plain.tiff": encode(square, "TIFF"),
    }


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """A picture in every format, by a name with its extension, in the order of the names."""
    return dict(sorted(_pictures().items()))


@pytest.fixture(scope="session")
def picture_directory(
    tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, bytes]
) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("pictures")
    for name, data in pictures.items():
        (directory / name).write_bytes(data)
    return directory


def broken_images() -> dict[str, tuple[bytes, str]]:
    """Seven ways to be broken, each with the reason that the server gives."""
    jpeg = encode(picture(120, 80, 9), "JPEG")
    png = encode(picture(50, 40, 10), "PNG")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    huge = bytearray(png)
    huge[16:24] = (60000).to_bytes(4, "big") * 2  # IHDR's width and height
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    return {
        "empty": (b"", "EMPTY_IMAGE"),
        "text": (b"This is no picture.\n", "UNSUPPORTED_FORMAT"),
        "truncated_jpeg": (jpeg[: len(jpeg) // 2], "TRUNCATED_IMAGE"),
        "truncated_png": (png[: len(png) // 2], "TRUNCATED_IMAGE"),
        "corrupt_png": (bytes(flipped), "CORRUPT_IMAGE"),
        "header_only": (png[:20], "TRUNCATED_IMAGE"),
        "too_many_pixels": (bytes(huge), "TOO_MANY_PIXELS"),
    }
