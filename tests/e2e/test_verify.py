"""A model that does not give the vectors of the golden file beside it is not served."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from pixembed_fixtures import PATIENCE, StartServer, run_cli
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = "pixembed_golden.safetensors"
MAKE_GOLDEN = pathlib.Path(__file__).parents[2] / "deploy" / "make_golden.py"


def make_golden(directory: pathlib.Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, MAKE_GOLDEN, directory, *arguments], check=True, timeout=PATIENCE
    )


@pytest.fixture(scope="session", params=["vit", "dinov2", "naflex"])
def verified(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A model directory with the golden file that the real transformers gives."""
    directory: pathlib.Path = tmp_path_factory.mktemp("verified") / request.param
    shutil.copytree(request.getfixturevalue(request.param), directory)
    make_golden(directory)
    return directory


def damaged(verified: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The same model, and a golden file of which one number is another."""
    directory = tmp_path / "damaged"
    shutil.copytree(verified, directory)
    tensors = load_file(verified / GOLDEN)
    with safe_open(verified / GOLDEN, "pt") as file:
        metadata = file.metadata()
    tensors["png_alpha.vector"][3] += 2e-4
    save_file(tensors, directory / GOLDEN, metadata=metadata)
    return directory


def test_a_model_that_agrees_is_served_and_the_log_says_how_well(
    verified: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(f"--model=m={verified}")
    assert server.address
    assert server.stop() == 0
    log = "\n".join(server.log)
    assert log.count("pixels equal, max-abs ") == len(load_file(verified / GOLDEN)) // 3
    assert "golden images of transformers " in log
    assert log.index("model m: verified") < log.index(" serving on ")


def test_the_pil_backend_is_verified_too(verified: pathlib.Path, tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "pil"
    shutil.copytree(verified, directory)
    make_golden(directory, "--backend=pil")
    run = run_cli("verify", "--backend=pil", str(directory))
    assert run.returncode == 0, run.stderr
    run = run_cli("verify", str(directory))
    assert run.returncode == 3
    assert "serve with --backend=pil" in run.stderr


def test_timms_processor_is_verified_whatever_backend_is_asked_for(
    timm: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    directory = tmp_path / "timm"
    shutil.copytree(timm, directory)
    for backend in ("torchvision", "pil"):
        make_golden(directory, f"--backend={backend}")
        for asked in ("torchvision", "pil"):
            run = run_cli("verify", f"--backend={asked}", str(directory))
            assert run.returncode == 0, run.stderr


def test_a_model_that_disagrees_is_refused_unless_told_otherwise(
    verified: pathlib.Path, tmp_path: pathlib.Path, start_server: StartServer
) -> None:
    directory = damaged(verified, tmp_path)
    refused = start_server(f"--model=m={directory}")
    assert refused.wait() == 3
    assert (
        f"model m from {directory} is not verified: 1 of 14 golden images disagree on cpu; "
        "png_alpha" in refused.log[-1]
    )
    warned = start_server(f"--model=m={directory}", "--verify=warn")
    assert warned.address
    assert any(" warning " in line and "not verified, but served" in line for line in warned.log)
    off = start_server(f"--model=m={directory}", "--verify=off")
    assert off.address
    assert not any("golden" in line for line in off.log)


def test_pixembed_verify_answers_with_its_exit_code(
    verified: pathlib.Path, vit: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert os.path.dirname(os.environ["PIXEMBED_CLI"]) == os.path.dirname(
        os.environ["PIXEMBED_SERVER"]
    )
    agrees = run_cli("verify", str(verified))
    assert agrees.returncode == 0, agrees.stderr
    assert "model model: verified" in agrees.stderr
    assert run_cli("verify", str(damaged(verified, tmp_path))).returncode == 3
    without = run_cli("verify", str(vit))
    assert without.returncode == 1
    assert f"{GOLDEN} does not exist" in without.stderr
