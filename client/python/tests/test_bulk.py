"""Bulk jobs against the real server: sources, formats, and a job that is killed again and again."""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from pixembed_fixtures import PATIENCE, Pki, Server, StartServer, encode, picture

from pixembed import Client, Engine, ServiceError
from pixembed.bulk import Job, JobError, SourceError, run, sources
from pixembed.bulk.__main__ import main

KILLS = 60


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
def images(tmp_path: pathlib.Path) -> pathlib.Path:
    """7 images, one of them broken, one of another kind, in two folders."""
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.png").write_bytes(encode(picture(40 + i, 30, i), "PNG"))
        (folder / "b" / f"{i}.JPG").write_bytes(encode(picture(40 + i, 30, 10 + i), "JPEG"))
    (folder / "b" / "9.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("not an image")
    return folder


def names(*inputs: object) -> list[str]:
    return [source.id for source in sources([str(name) for name in inputs])]


# ---- Sources ----


def test_a_folder_is_walked_in_the_order_of_the_names(images: pathlib.Path) -> None:
    expected = ["0.png", "1.png", "2.png", "b/0.JPG", "b/1.JPG", "b/2.JPG", "b/9.png"]
    assert names(images) == [f"{images}/{name}" for name in expected]


def test_a_glob_takes_what_it_finds_and_nothing_is_an_error(images: pathlib.Path) -> None:
    assert names(f"{images}/**/*.png") == sorted(map(str, images.glob("**/*.png")))
    with pytest.raises(SourceError, match="nothing like it"):
        names(f"{images}/*.gif")


def write_shard(path: pathlib.Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))


def test_a_tar_shard_gives_its_images(tmp_path: pathlib.Path) -> None:
    shard = tmp_path / "000.tar"
    write_shard(shard, {"a.jpg": b"1", "a.json": b"{}", "b.png": b"2"})
    found = [(source.id, source.read()) for source in sources([str(shard)])]
    assert found == [(f"{shard}/a.jpg", b"1"), (f"{shard}/b.png", b"2")]
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(SourceError, match=r"000\.tar"):
        names(shard)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_a_shard_that_is_cut_off_ends_the_job_and_says_where(
    tmp_path: pathlib.Path, kind: str
) -> None:
    shard = tmp_path / "0.tar"
    noise = np.random.default_rng(1).bytes(200_000)
    mode: Any = f"w:{kind}"
    with tarfile.open(shard, mode) as archive:
        for name in ("a.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(noise)
            archive.addfile(info, io.BytesIO(noise))
    whole = shard.read_bytes()
    for size in (len(whole) // 4, len(whole) * 3 // 4):
        shard.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"0\.tar .*(cut off|broken)"):
            [source.read() for source in sources([str(shard)])]
    for data in (b"", b"hello", whole[:100]):
        shard.write_bytes(data)
        with pytest.raises(SourceError, match=r"0\.tar is not a tar archive, .*") as raised:
            names(shard)
        assert "\n" not in str(raised.value)


def test_links_to_folders_are_followed_and_loops_end(
    images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.png").write_bytes(b"")
    (elsewhere / "back").symlink_to(images)
    (images / "b" / "c").symlink_to(elsewhere)
    (images / "b" / "here").symlink_to(".")
    (images / "d").symlink_to("b")  # by another way the same images are there under other names
    in_b = ["0.JPG", "1.JPG", "2.JPG", "9.png", "c/far.png"]
    expected = ["0.png", "1.png", "2.png"] + [f"{way}/{name}" for way in "bd" for name in in_b]
    assert names(images) == [f"{images}/{name}" for name in expected]


def test_what_cannot_be_searched_is_an_image_that_failed(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "gone").symlink_to("/none")
    (images / "loop").symlink_to("loop")
    scandir = os.scandir

    def refuse_b(path: str) -> Any:  # as the system does, but root may read everything
        if path == str(images / "b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_b)
    summary = run(Job(tmp_path / "out"), client, sources([str(images)]))
    assert (summary.embedded, summary.failed) == (3, 3)
    failed = {row["id"]: row for row in rows_of(tmp_path / "out") if row["error_reason"]}
    for name, what in (
        ("b", "Permission denied"),
        ("gone", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
    ):
        row = failed[f"{images}/{name}"]
        assert row["error_reason"] == "UNREADABLE_FILE"
        assert what in row["error_message"]
    with pytest.raises(SourceError, match="b: Permission denied"):  # an input itself
        names(images / "b")


@pytest.mark.parametrize("glob", ["", "/*"])
def test_what_is_no_regular_file_fails_and_is_not_opened(
    client: Client,
    images: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    glob: str,
) -> None:
    (images / "notes.txt").unlink()  # which a glob would take
    os.mkfifo(images / "fifo.png")
    (images / "null.jpg").symlink_to("/dev/null")
    opened: list[str] = []
    open_file = os.open

    def note(path: str, *arguments: Any, **options: Any) -> int:
        opened.append(str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    summary = run(Job(tmp_path / "out"), client, sources([f"{images}{glob}"]))
    assert (summary.embedded, summary.failed) == ((3, 2) if glob else (6, 3))
    for name in ("fifo.png", "null.jpg"):
        (row,) = [row for row in rows_of(tmp_path / "out") if row["id"] == f"{images}/{name}"]
        assert row["error_reason"] == "UNREADABLE_FILE"
        assert row["error_message"].endswith("is not a regular file")
        assert f"{images}/{name}" not in opened
    assert f"{images}/0.png" in opened


def test_a_shard_that_is_no_regular_file_ends_the_job_and_hangs_nobody(
    images: pathlib.Path,
) -> None:
    os.mkfifo(images / "0.tar")
    for name in (images, images / "0.tar"):
        with pytest.raises(SourceError, match=r"0\.tar.* is not a regular file"):
            names(name)


def test_a_name_that_is_not_utf_8_is_written_with_its_bytes(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    data = (images / "0.png").read_bytes()
    for name in (b"\xff\xfe.png", "\n\u00fc.png".encode()):
        pathlib.Path(os.fsdecode(os.fsencode(images) + b"/" + name)).write_bytes(data)
    for kind in ("parquet", "arrow", "npy"):
        output = tmp_path / kind
        for _ in range(2):  # nothing to do the second time
            summary = run(Job(output, kind), client, sources([str(images)]))
            assert (summary.embedded, summary.failed) == (8, 1)
        ids = {row["id"] for row in rows_of(output)}
        assert {f"{images}/\\xff\\xfe.png", f"{images}/\n\u00fc.png"} <= ids


def test_extensions_may_be_every_file_but_not_none(images: pathlib.Path) -> None:
    assert len(list(sources([str(images)], ["*"]))) == 8
    for extensions in ([], [""], ["png", ""]):
        with pytest.raises(SourceError, match="an extension is empty"):
            list(sources([str(images)], extensions))


@pytest.mark.parametrize("text", ["", "@"])
def test_an_input_without_a_name_is_an_error(text: str) -> None:
    with pytest.raises(SourceError, match="names no input"):
        names(text)


@pytest.mark.parametrize(("name", "text"), [("m.csv", "path,id\n0.png,a\n"), ("m.txt", "0.png\n")])
def test_a_byte_order_mark_is_no_part_of_a_manifest(
    images: pathlib.Path, name: str, text: str
) -> None:
    (images / name).write_text(text, encoding="utf-8-sig")
    (source,) = sources([f"@{images / name}"])
    assert source.id in ("a", "0.png")
    assert source.read()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "images/0.png\n\nimages/b/9.png\n"),
        ("list.jsonl", '{"path": "images/0.png", "id": "x"}\n{"path": "images/b/9.png"}\n'),
        ("list.csv", "id,path\nx,images/0.png\n,images/b/9.png\n"),
    ],
)
def test_a_manifest_names_paths_beside_it(
    images: pathlib.Path, tmp_path: pathlib.Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    found = list(sources([f"@{tmp_path / name}"]))
    first = "images/0.png" if name == "list.txt" else "x"
    assert [source.id for source in found] == [first, "images/b/9.png"]
    assert found[0].read() == (images / "0.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.jsonl", "[]\n", "line 1 is not a JSON object"),
        ("list.jsonl", '{"path": 3}\n', 'row 1 has the "path" 3, which is no text'),
        ("list.jsonl", '{"path": "a", "id": 7}\n', 'row 1 has the "id" 7, which is no text'),
        ("list.jsonl", '{"path": "a", "id": "\\ud800"}\n', "which is no Unicode"),
        ("list.jsonl", '{"path": "a\\u0000"}\n', "with a NUL"),
        ("list.csv", "path;id\na.png;1\n", 'row 1 has no "path"; it has "path;id"'),
        ("list.jsonl", "{\n", "line 1 is not JSON"),
        ("list.csv", "id\nx\n", 'row 1 has no "path"'),
        ("list.txt", None, "No such file"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_an_error(
    tmp_path: pathlib.Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=said):
        names(f"@{tmp_path / name}")


# ---- Jobs ----


def rows_of(output: pathlib.Path) -> list[dict[str, Any]]:
    """Every row of a folder of any format."""
    rows: list[dict[str, Any]] = []
    for path in sorted(output.glob("part-*")):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        elif path.suffix == ".arrow":
            with pa.ipc.open_file(path) as file:
                rows += file.read_all().to_pylist()
        elif path.suffix == ".npy":
            vectors = np.load(path)
            lines = path.with_suffix(".jsonl").read_text().splitlines()
            for vector, line in zip(vectors, map(json.loads, lines), strict=True):
                failed = "error" in line
                assert failed == bool(np.isnan(vector).all())
                rows.append(
                    {
                        "id": line["id"],
                        "vector": None if failed else vector.tolist(),
                        "error_reason": line["error"]["reason"] if failed else None,
                    }
                )
    return rows


@pytest.mark.parametrize("kind", ["parquet", "arrow", "npy"])
@pytest.mark.parametrize("part_rows", [1, 3, 7, 100])
def test_every_image_has_its_row(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path, kind: str, part_rows: int
) -> None:
    output = tmp_path / "out"
    inputs = [str(images), "/none.png"] if part_rows == 3 else [str(images)]
    (images / "gone.png").symlink_to("/none")  # cannot be read when its turn comes
    ids = names(images)
    job = Job(output, kind, part_rows, {"normalize": True})  # type: ignore[arg-type]
    summary = run(job, client, sources(inputs[:1]))
    assert (summary.embedded, summary.failed) == (6, 2)
    rows = rows_of(output)
    assert [row["id"] for row in rows] == ids
    assert {row["id"]: row["error_reason"] for row in rows if row["error_reason"]} == {
        f"{images}/b/9.png": "UNSUPPORTED_FORMAT",
        f"{images}/gone.png": "UNREADABLE_FILE",
    }
    good = [row for row in rows if row["vector"] is not None]
    expected = client.embed([str(row["id"]) for row in good], normalize=True)
    found = np.array([row["vector"] for row in good], dtype=np.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    report = json.loads((output / "_SUCCESS").read_text())
    assert report == {"embedded": 6, "failed": 2, "fingerprint": summary.fingerprint}
    # Again: there is nothing to do.
    before = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    assert run(job, client, sources(inputs[:1])) == summary
    assert before == {path: path.stat().st_mtime_ns for path in output.glob("part-*")}


def test_a_folder_holds_one_job(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    run(Job(output, part_rows=2), client, sources([str(images)]))
    with pytest.raises(JobError, match=r'format "parquet", now it is "npy"'):
        run(Job(output, "npy"), client, sources([str(images)]))
    with pytest.raises(JobError, match="part_rows 2, now it is 3"):
        run(Job(output, part_rows=3), client, sources([str(images)]))
    with pytest.raises(JobError, match="begun with options"):
        run(Job(output, options={"normalize": True}), client, sources([str(images)]))
    (images / "00.png").write_bytes(b"")
    with pytest.raises(JobError, match="they have changed; begin a new folder"):
        run(Job(output), client, sources([str(images)]))


def test_no_images_are_an_error_and_no_success(client: Client, tmp_path: pathlib.Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(JobError, match="the inputs hold no image"):
        run(Job(tmp_path / "out"), client, sources([str(tmp_path / "images")]))
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_an_output_that_cannot_be_is_named(client: Client, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"file is a file; the output is a folder"):
        run(Job(tmp_path / "file"), client, sources([]))
    with pytest.raises(JobError, match=r"the folder .*file/out cannot be made: Not a directory"):
        run(Job(tmp_path / "file" / "out"), client, sources([]))


@pytest.mark.parametrize("kind", ["parquet", "arrow", "npy"])
def test_a_full_disk_is_told_with_the_file_and_its_room_given_back(
    images: pathlib.Path, server: Server, tmp_path: pathlib.Path, kind: str
) -> None:
    # A limit on the size of files stands in the place of a small disk.
    job = (
        "import resource, sys; from pixembed.bulk.__main__ import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); sys.exit(main())"
    )
    output = tmp_path / "out"
    command = [sys.executable, "-c", job, str(images), f"--output={output}", f"--format={kind}"]
    command.append(f"--address={server.address}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("pixembed-bulk: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert f"{output}/part-00000." in done.stderr
    assert not list(output.glob(".*.unfinished"))


def test_another_model_does_not_go_on(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    run(Job(output, part_rows=2), client, sources([str(images)]))
    (output / "part-00001.parquet").unlink()
    record = json.loads((output / "_job.json").read_text())
    record["fingerprint"] = "0" * 64
    (output / "_job.json").write_text(json.dumps(record))
    with pytest.raises(ServiceError, match="FINGERPRINT_MISMATCH"):
        run(Job(output), client, sources([str(images)]))


def test_readers_of_parquet_take_the_folder_as_it_is(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    run(Job(output, part_rows=2), client, sources([str(images)]))
    # As a killed job leaves one, which is there until the next sitting.
    (output / ".part-00004.parquet.unfinished").write_bytes(b"PAR1")
    table = pq.read_table(output)
    assert table.to_pylist() == rows_of(output)
    assert pyarrow.dataset.dataset(output).to_table().equals(table)
    for path in output.iterdir():
        assert path.name.startswith(("_", ".", "part-")), path


def test_a_folder_that_an_older_version_began_goes_on(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    summary = run(Job(output, part_rows=2), client, sources([str(images)]))
    record = (output / "_job.json").read_text()
    (output / "_job.json").rename(output / "job.json")
    (output / "part-00001.parquet").unlink()
    with pytest.raises(JobError, match="part_rows 2, now it is 3"):
        run(Job(output, part_rows=3), client, sources([str(images)]))
    assert (output / "job.json").read_text() == record
    assert run(Job(output, part_rows=2), client, sources([str(images)])) == summary
    assert (output / "_job.json").read_text() == record
    assert not (output / "job.json").exists()


def test_two_jobs_do_not_share_a_folder(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"

    def meddle(embedded: int, failed: int) -> None:
        with pytest.raises(JobError, match="at work in this folder"):
            run(Job(output), client, sources([str(images)]))

    run(Job(output), client, sources([str(images)]), meddle)


# ---- The command ----


def test_the_command_works_offline(
    images: pathlib.Path,
    vit: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    library = os.environ["PIXEMBED_ENGINE_LIBRARY"]
    command = [str(images), f"--output={output}", f"--engine-library={library}"]
    assert main([*command, "--offline=/none"]) == 1
    assert "CHECKPOINT_MISSING: " in capsys.readouterr().err
    assert main([*command, f"--offline={vit}", "--engine-option=precision=none"]) == 1
    assert "INVALID_OPTION: --precision" in capsys.readouterr().err
    assert main([*command, f"--offline={vit}"]) == 0
    assert capsys.readouterr().out.startswith("6 images embedded, 1 failed; fingerprint ")
    assert len(rows_of(output)) == 7


def test_a_job_that_embeds_nothing_fails_and_says_so(
    server: Server, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        (images / f"{i}.png").write_bytes(b"broken")
    (images / "gone.png").symlink_to("/none")
    output = tmp_path / "out"
    command = [str(images), f"--output={output}", f"--address={server.address}", "--part-rows=2"]
    for _ in range(2):  # nothing to do the second time
        assert main(command) == 3
        assert capsys.readouterr().out == (
            "0 images embedded, all 4 failed: nothing could be embedded; the rows in "
            f"{output} say why\n"
        )
        assert [row["vector"] for row in rows_of(output)] == [None] * 4
        assert (output / "_SUCCESS").exists()


def test_one_embedded_image_is_enough_whenever_that_was(
    server: Server, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "0.png").write_bytes(encode(picture(40, 30, 0), "PNG"))
    for i in range(1, 4):
        (images / f"{i}.png").write_bytes(b"broken")
    output = tmp_path / "out"
    command = [str(images), f"--output={output}", f"--address={server.address}", "--part-rows=2"]
    assert main(command) == 0
    assert main(command) == 0  # nothing to do
    # A sitting in which nothing but failures was left.
    (output / "part-00001.parquet").unlink()
    assert main(command) == 0
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("1 images embedded, 3 failed; fingerprint ")


def test_the_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "3 every image has its row, and not one is embedded" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--output="], 2, "argument --output: it is empty"),
        (["--layers=a,b"], 2, 'argument --layers: "a" is no whole number'),
        (["--part-rows=x"], 2, 'argument --part-rows: "x" is no whole number'),
        (["--dimensions=x"], 2, 'argument --dimensions: "x" is no whole number'),
        (["--engine-option=precision=int8"], 1, "--engine-option is for --offline"),
        (["--engine-library=x"], 1, "--engine-library is for --offline"),
        (["--offline=x", "--engine-option=precision"], 1, "wanted is NAME=VALUE"),
        (["--offline=x", "--engine-option=model=x"], 1, '"model=x"; there are device, backend, '),
        (["--offline=x", "--tls"], 1, "--tls is for a server"),
        (["--token-file=/dev/null"], 1, "it has no token in its first line"),
        (["--token-file=/none"], 1, "No such file or directory: '/none'"),
        (["--tls-ca-file=/dev/null"], 1, "Tls.ca is '/dev/null', and is not PEM"),
        (["--address=localhost:1,localhost"], 1, "the address 'localhost' is not host:port"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told_in_a_line(
    images: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    offline = any("--offline" in argument for argument in arguments)
    command = [str(images), f"--output={images.parent}/out"]
    command += [] if offline else ["--address=unix:/none/socket"]
    try:
        found: object = main([*command, *arguments])
    except SystemExit as error:
        found = error.code
    assert found == status
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_the_command_reaches_a_server_with_tls_and_tokens(
    images: pathlib.Path, vit: pathlib.Path, start_server: StartServer, pki: Pki
) -> None:
    tokens = images.parent / "tokens"
    tokens.write_text("secret\n")
    server = start_server(
        f"--model={vit}",
        f"--tls_certificate_file={pki.server_cert}",
        f"--tls_private_key_file={pki.server_key}",
        f"--auth_token_file={tokens}",
    )
    command = [str(images), f"--output={images.parent}/out", f"--address={server.address}"]
    command += [f"--tls-ca-file={pki.ca}", "--tls-server-name=embeddings.test"]
    assert main(command) == 1  # without a token
    assert main([*command, f"--token-file={tokens}"]) == 0


def test_rows_are_the_same_online_and_offline(
    client: Client, images: pathlib.Path, vit: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    online = run(Job(tmp_path / "online"), client, sources([str(images)]))
    with Engine(vit) as engine:
        offline = run(Job(tmp_path / "offline"), engine, sources([str(images)]))
    assert offline == online
    for row, other in zip(rows_of(tmp_path / "offline"), rows_of(tmp_path / "online"), strict=True):
        vector, expected = row.pop("vector"), other.pop("vector")
        assert row == other
        if expected is not None:
            np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-5)
    # A job goes on either way.
    for part in (tmp_path / "online").glob("part-*"):
        part.unlink()
    with Engine(vit) as engine:
        assert run(Job(tmp_path / "online"), engine, sources([str(images)])) == online


def test_what_a_killed_job_left_unfinished_is_removed(
    client: Client, images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    job = Job(tmp_path / "out")
    run(job, client, sources([str(images)]))
    # Of a part that a later sitting finds complete: parts behind a gap are made again.
    left = job.output / ".part-00000.parquet.unfinished"
    left.write_bytes(b"PAR1")
    run(job, client, sources([str(images)]))
    assert not left.exists()


@pytest.mark.parametrize(("where", "kills"), [("server", KILLS), ("offline", KILLS // 3)])
def test_a_job_that_is_killed_again_and_again_loses_and_repeats_nothing(
    server: Server, vit: pathlib.Path, tmp_path: pathlib.Path, where: str, kills: int
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(300):
        (images / f"{i:03}.png").write_bytes(encode(picture(24, 20, i), "PNG"))
    (images / "100.png").write_bytes(b"broken")
    output = tmp_path / "out"
    command = [
        sys.executable,
        *("-m", "pixembed.bulk", str(images), f"--output={output}"),
        f"--address={server.address}" if where == "server" else f"--offline={vit}",
        "--part-rows=5",
    ]
    # How long a job takes here; the kills fall anywhere in it.
    begin = time.monotonic()
    subprocess.run([*command, f"--output={tmp_path / 'whole'}"], check=True, timeout=PATIENCE)
    whole = time.monotonic() - begin
    random_time = random.Random(7)
    unfinished = 0
    for _ in range(kills):
        job = subprocess.Popen(command)
        try:
            job.wait(random_time.uniform(0, whole))
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            unfinished += 1
        if (output / "_SUCCESS").exists() and random_time.random() < 0.8:
            # It is done; undo a part, as if it had been killed before it.
            parts = sorted(output.glob("part-*"))
            for part in parts[random_time.randrange(len(parts)) :]:
                part.unlink()
            (output / "_SUCCESS").unlink()
        ids = [row["id"] for row in rows_of(output)]
        assert len(set(ids)) == len(ids)
    assert unfinished >= kills // 2
    subprocess.run(command, check=True, timeout=PATIENCE)
    rows, expected = rows_of(output), rows_of(tmp_path / "whole")
    assert [row["id"] for row in rows] == [f"{images}/{i:03}.png" for i in range(300)]
    for row, other in zip(rows, expected, strict=True):
        assert row["error_reason"] == other["error_reason"]
        if row["vector"] is not None:
            np.testing.assert_allclose(row["vector"], other["vector"], rtol=0, atol=1e-5)
    assert sum(row["vector"] is None for row in rows) == 1
    assert not list(output.glob(".*.unfinished"))
