"""The installed C++ client, as another project finds it."""

import os
import pathlib
import subprocess

from pixembed_fixtures import PATIENCE, Server, encode, picture

from pixembed import Client

ROOT = pathlib.Path(__file__).parents[2]


def finish(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | environment,
    )


def run(*arguments: object, **environment: str) -> str:
    result = finish(*arguments, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_example_builds_against_the_installed_package_and_embeds(
    server: Server, tmp_path: pathlib.Path
) -> None:
    prefix, build = tmp_path / "prefix", tmp_path / "build"
    run("cmake", "--install", os.environ["PIXEMBED_BUILD"], "--prefix", prefix,
        "--component", "development")  # fmt: skip
    headers = {str(path.relative_to(prefix)) for path in prefix.rglob("*.h")}
    assert "include/pixembed/client.h" in headers
    assert not any("inference" in header or "health" in header for header in headers)
    run("cmake", "-S", ROOT / "client/cpp/example", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    (tmp_path / "good.png").write_bytes(encode(picture(50, 40, 1), "PNG"))
    (tmp_path / "bad.png").write_bytes(b"no image")
    said = run(build / "example", tmp_path / "good.png", tmp_path / "bad.png",
               PIXEMBED_ADDRESS=server.address).splitlines()  # fmt: skip
    with Client(server.address) as client:
        vector = client.embed([tmp_path / "good.png"], normalize=True)[0]
    name, first = said[0].rsplit(": ", 1)
    assert name == str(tmp_path / "good.png")
    assert abs(float(first) - vector[0]) <= 1e-6
    assert said[1].startswith(f"{tmp_path}/bad.png: UNSUPPORTED_FORMAT: ")
    for unreadable in [tmp_path, tmp_path / "none.png"]:
        result = finish(build / "example", unreadable, PIXEMBED_ADDRESS=server.address)
        assert result.returncode == 1
        assert result.stderr == f"{unreadable} cannot be read, or is empty\n"
