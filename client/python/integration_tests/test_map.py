"""pixembed-map: what it reads, finds and refuses, on data whose answer is known."""

from __future__ import annotations

import base64
import io
import os
import pathlib
import re
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pixembed.bulk.parts import Parts, Row
from pixembed.errors import ImageError
from pixembed.map import MapError, Options, read, survey, thumbnails
from pixembed.map.__main__ import _parser, main
from pixembed.map.drift import clusters, drift
from pixembed.map.embeddings import unit_length
from pixembed.map.neighbours import Pair, near_duplicates, nearest, outliers
from pixembed.map.projection import UMAP_MIN_ROWS, project
from pixembed.map.thumbnails import rows_to_show

README = pathlib.Path(__file__).parents[1] / "README.md"
BROKEN = ImageError("INVALID_ARGUMENT", "TRUNCATED_IMAGE", "it ends too early")
A, B = "a" * 64, "b" * 64


def write(
    folder: pathlib.Path, vectors: Any, number: int = 0, fingerprint: str = A
) -> pathlib.Path:
    """A part as pixembed-bulk writes it; a vector that is None has failed."""
    folder.mkdir(exist_ok=True)
    rows = [
        Row(f"{number}/{i}", None if v is None else np.float32(v), BROKEN if v is None else None)
        for i, v in enumerate(vectors)
    ]
    dimension = next((len(row.vector) for row in rows if row.vector is not None), 2)
    Parts(folder, "parquet", dimension).write(number, rows, fingerprint)
    return folder


def write_columns(file: pathlib.Path, /, **columns: Any) -> pathlib.Path:
    pq.write_table(pa.table(columns), file)
    return file


def unit(vectors: Any) -> NDArray[np.float32]:
    matrix = np.array(vectors, np.float32)
    unit_length(matrix)
    return matrix


def at_angles(*degrees: float) -> NDArray[np.float32]:
    radians = np.radians(degrees)
    return unit(np.stack([np.cos(radians), np.sin(radians)], axis=1))


def random_vectors(rows: int, seed: int = 1, dimension: int = 8) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(rows, dimension)))


# ---- Reading ----


def test_the_parts_of_a_folder_are_read_in_their_order(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "v", [[3, 4], None, [0, 2]])
    write(folder, [[1, 0]], number=1)
    (folder / ".part-00002.parquet").write_bytes(b"not yet")
    found = read(folder)
    assert found.ids == ["0/0", "0/2", "1/0"]
    np.testing.assert_allclose(
        found.vectors, [[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]], rtol=0, atol=1e-7
    )
    assert found.vectors.dtype == np.float32
    assert (found.fingerprint, found.left_out) == (A, {"TRUNCATED_IMAGE": 1})
    assert read(folder / "part-00001.parquet").ids == ["1/0"]


def test_a_part_in_which_all_failed_does_not_say_the_fingerprint(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "v", [None, None], fingerprint="")
    write(folder, [[1, 0, 0]], number=1)
    found = read(folder)
    assert (found.ids, found.fingerprint) == (["1/0"], A)
    assert found.left_out == {"TRUNCATED_IMAGE": 2}


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float16())])
def test_a_file_of_others_may_have_other_columns_and_types(
    tmp_path: pathlib.Path, kind: pa.DataType
) -> None:
    rows = [[0.0, 2.0], [3.0, 4.0], [0.0, 0.0], None, [np.nan, 1.0], [1.0, None]]
    vectors = pa.array(rows, kind)
    path = write_columns(tmp_path / "x", path=[1, None, 3, 4, 5, 6], embedding=vectors)
    found = read(path, id_column="path", vector_column="embedding")
    assert found.ids == ["1", ""]
    np.testing.assert_allclose(found.vectors, [[0.0, 1.0], [0.6, 0.8]], rtol=1e-6)
    assert (found.fingerprint, found.left_out) == ("", {"": 1, "NOT_FINITE": 2, "ZERO": 1})


def test_lengths_are_not_lost_where_squares_overflow() -> None:
    vectors = np.array([[3e30, 4e30], [3e-30, 4e-30]], np.float32)
    unit_length(vectors)
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_what_cannot_be_read_is_refused_in_clear_words(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "x.parquet"
    text.write_text("no Parquet at all")
    (tmp_path / "empty").mkdir()
    lists = pa.list_(pa.float32())
    ragged = pa.array([[1, 2], [1, 2, 3]], lists)
    one = write(tmp_path / "dimensions", [[1, 0]])
    write(one, [[1, 0, 0]], number=1)
    other = write(tmp_path / "spaces", [[1, 0]])
    write(other, [[1, 0]], number=1, fingerprint=B)
    refused = [
        (tmp_path / "none", "there is no such file or folder"),
        (text, r"x\.parquet cannot be read as Parquet"),
        (tmp_path / "empty", r"holds no \.parquet file"),
        (
            write_columns(tmp_path / "columns", id=["x"], embedding=[[1.0]]),
            'has no column "vector"; it has id, embedding',
        ),
        (
            write_columns(tmp_path / "strings", id=["x"], vector=["y"]),
            'the column "vector" holds string, not vectors',
        ),
        (write_columns(tmp_path / "rows", id=[], vector=pa.array([], lists)), "has no rows"),
        (
            write(tmp_path / "failed", [None, None, None]),
            "has no vectors: 3 rows are left out: TRUNCATED_IMAGE 3",
        ),
        (
            write_columns(tmp_path / "ragged", id=["x", "y"], vector=ragged),
            "ragged holds a vector of 3 dimensions, .*ragged one of 2",
        ),
        (
            write_columns(tmp_path / "zero", id=["x"], vector=pa.array([[]], lists)),
            "a vector of 0 dimensions",
        ),
        (one, r"00001\.parquet holds a vector of 3 dimensions, .*00000\.parquet one of 2"),
        (other, f"holds vectors of the space {B}, the files before it of {A}"),
    ]
    for path, said in refused:
        with pytest.raises(MapError, match=said):
            read(path)


def test_two_files_of_different_spaces_are_not_held_against_each_other(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "one", [[1, 0]])
    other = write(tmp_path / "other", [[1, 0]], fingerprint=B)
    output = tmp_path / "map.html"
    assert main([str(one), f"--against={other}", f"--output={output}"]) == 1
    said = capsys.readouterr().err
    assert f"{one} holds vectors of the space {A}, {other} of the space {B}" in said
    assert not output.exists()
    unnamed = write_columns(tmp_path / "unnamed", id=["x"], vector=[[1.0, 0.0]])
    with pytest.raises(MapError, match="unnamed of a space without a name"):
        survey(read(one), read(unnamed))
    longer = write_columns(tmp_path / "longer", id=["x"], vector=[[1.0, 0.0, 0.0]])
    with pytest.raises(MapError, match=r"unnamed holds vectors of 2 dimensions, .*longer of 3"):
        survey(read(unnamed), read(longer))


# ---- Near-duplicates and outliers ----


def test_the_neighbours_are_those_of_a_whole_matrix() -> None:
    vectors = random_vectors(300)
    found = nearest(vectors, 7)
    distances = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :7])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :7], atol=1e-6)
    assert nearest(vectors[:3], 7).indices.shape == (3, 2)
    assert nearest(vectors[:1], 7).indices.shape == (1, 0)


def test_near_duplicates_are_the_pairs_above_the_threshold() -> None:
    vectors = at_angles(0, 40, 2, 200, 41, 0)
    found = near_duplicates(vectors, nearest(vectors, 3), np.cos(np.radians(3)), 10)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 5), (1, 4), (0, 2), (2, 5)]
    expected = [np.cos(np.radians(degrees)) for degrees in (0, 1, 2, 2)]
    np.testing.assert_allclose([pair.similarity for pair in found.pairs], expected, atol=1e-6)
    assert (found.count, found.rows) == (4, [0, 1, 2, 4, 5])
    few = near_duplicates(vectors, nearest(vectors, 3), np.cos(np.radians(3)), 2)
    assert (few.pairs, few.count, few.rows) == (found.pairs[:2], 4, found.rows)
    none = near_duplicates(vectors, nearest(vectors, 3), 1.0, 0)
    assert (none.pairs, none.count, none.rows) == ([], 1, [0, 5])


def test_more_near_duplicates_than_neighbours_are_all_found() -> None:
    vectors = np.concatenate([np.repeat(random_vectors(1), 200, axis=0), random_vectors(100, 2)])
    found = near_duplicates(vectors, nearest(vectors, 3), 0.9, 5)
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    pairs = np.argwhere(np.triu(cosines, 1) >= 0.9)
    assert found.count == len(pairs) >= 200 * 199 / 2
    assert found.rows == sorted(set(pairs.ravel().tolist()))
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, i) for i in range(1, 6)]


def test_outliers_are_far_from_their_neighbours() -> None:
    vectors = at_angles(*np.linspace(0, 10, 50), 90, 150)
    found = outliers(nearest(vectors, 5), 3.5)
    assert [outlier.row for outlier in found] == [51, 50]
    near = [1 - np.cos(np.radians(150 - degrees)) for degrees in (90, *np.linspace(0, 10, 50)[-4:])]
    assert found[0].distance == pytest.approx(np.mean(near), abs=1e-6)
    assert outliers(nearest(vectors, 5), 1e5) == []


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_rows_that_are_all_the_same_have_no_outliers(rows: int) -> None:
    same = np.repeat(random_vectors(1), rows, axis=0)
    assert outliers(nearest(same, 5), 0.0) == []


def test_an_outlier_among_rows_that_are_the_same_is_found() -> None:
    vectors = at_angles(*([0] * 30), 90)
    assert [outlier.row for outlier in outliers(nearest(vectors, 5), 3.5)] == [30]


# ---- Projection, clusters, drift ----


def test_the_same_seed_gives_the_same_map_and_groups_stay_together() -> None:
    centres = random_vectors(3, 5, 32)
    groups = np.repeat(np.arange(3), 30)
    vectors = unit(centres[groups] + 0.02 * random_vectors(90, 6, 32))
    points, method = project(vectors, nearest(vectors, 10), 7)
    assert method == "UMAP"
    assert points.shape == (90, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    np.testing.assert_array_equal(project(vectors, nearest(vectors, 10), 7).points, points)
    for group in range(3):
        middle = points[groups == group].mean(axis=0)
        far = np.linalg.norm(points - middle, axis=1)
        assert far[groups == group].max() < far[groups != group].min()


@pytest.mark.parametrize("rows", [1, 2, 3, UMAP_MIN_ROWS - 1])
def test_too_few_rows_for_umap_are_placed_by_their_principal_components(rows: int) -> None:
    vectors = random_vectors(rows)
    points, method = project(vectors, nearest(vectors, 15), 0)
    assert method == f"principal components: {rows} of the {UMAP_MIN_ROWS} rows that UMAP needs"
    assert points.shape == (rows, 2)
    assert np.isfinite(points).all()
    if rows > 1:
        assert np.ptp(points, axis=0).max() == pytest.approx(1)


@pytest.mark.parametrize("rows", [5, 100])
def test_rows_that_are_all_the_same_have_places(rows: int) -> None:
    vectors = np.repeat(random_vectors(1), rows, axis=0)
    points, _ = project(vectors, nearest(vectors, 15), 0)
    assert np.isfinite(points).all()
    assert set(clusters(vectors, 4, 0)) == {0}


def test_clusters_are_numbered_by_their_size() -> None:
    vectors = at_angles(90, 91, 0, 1, 2, 3, 200)
    assert clusters(vectors, 3, 0).tolist() == [1, 1, 0, 0, 0, 0, 2]
    assert clusters(vectors, 100, 0).max() == 6
    assert len(set(clusters(vectors, None, 0).tolist())) == 3


def test_drift_is_the_distance_of_the_centroids_and_the_change_of_shares() -> None:
    vectors = unit([[1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
    found = drift(vectors, np.array([0, 0, 0, 1, 0, 1]), 4)
    assert found.centroid_distance == pytest.approx(np.hypot(0.25, 0.25))
    # The variance about the mean (2/3, 1/3) is 4/9.
    assert found.by_chance == pytest.approx(np.sqrt(4 / 9 * (1 / 4 + 1 / 2)))
    assert [share.cluster for share in found.shares] == [0, 1]
    assert [(share.share, share.against) for share in found.shares] == [(0.75, 0.5), (0.25, 0.5)]
    assert [share.change for share in found.shares] == [0.25, -0.25]
    by_chance = [share.by_chance for share in found.shares]
    np.testing.assert_allclose(by_chance, np.sqrt(2 / 3 * 1 / 3 * (1 / 4 + 1 / 2)))


def test_two_samples_of_one_whole_differ_as_chance_would_have_it() -> None:
    vectors = random_vectors(2000, 3, 16)
    found = drift(vectors, clusters(vectors, 5, 0), 1200)
    assert 0.6 < found.centroid_distance / found.by_chance < 1.6
    for share in found.shares:
        assert abs(share.change) < 4 * share.by_chance


def test_two_files_are_looked_at_as_one_whole(tmp_path: pathlib.Path) -> None:
    one = read(write(tmp_path / "one", at_angles(0, 1, 2, 3)))
    other = read(write(tmp_path / "other", at_angles(0, 90, 91)))
    found = survey(one, other, Options(clusters=2, duplicates_above=0.99999))
    assert found.ids == [*one.ids, *other.ids]
    assert [(file.name, file.rows) for file in found.files] == [(one.name, 4), (other.name, 3)]
    assert found.duplicates.pairs == [Pair(0, 4, 1.0)]
    assert found.clusters.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert found.drift is not None
    assert [round(share.change, 6) for share in found.drift.shares] == [0.666667, -0.666667]


# ---- Thumbnails ----


def png(colour: str, width: int = 200, height: int = 100) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(data, "PNG")
    return data.getvalue()


def decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def colour_of(uri: str) -> list[int]:
    pixels = np.asarray(decoded(uri).convert("RGB"))
    return [round(value / 255) for value in pixels[5, 5].tolist()]


def test_thumbnails_are_small_and_missing_images_have_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    (tmp_path / "cut.png").write_bytes(png("red", 400, 400)[:300])
    os.mkfifo(tmp_path / "pipe.png")  # to read it would wait for ever
    ids = [
        *("red.png", "gone.png", "broken.png", "cut.png", "pipe.png", "x\0y", "n" * 5000, ""),
        "red.png",
    ]
    for root, names in ((tmp_path, ids), (None, [str(tmp_path / name) for name in ids])):
        found = thumbnails(names, range(9), root, 32)
        assert sorted(found) == [0, 8]
        assert decoded(found[0]).size == (32, 16)
        assert colour_of(found[0]) == [1, 0, 0]
    assert thumbnails(ids, [1, 2], tmp_path, 32) == {}


def test_nothing_outside_of_the_root_is_read(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png("red"))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "mine.png").write_bytes(png("blue"))
    ids = ["../secret.png", str(tmp_path / "secret.png"), "link.png", str(root / "mine.png")]
    assert list(thumbnails(ids, range(4), root, 32)) == [3]


def test_images_of_a_tar_shard_have_thumbnails(tmp_path: pathlib.Path) -> None:
    shard = tmp_path / "000.tar"
    with tarfile.open(shard, "w") as archive:
        for name, colour in (("a/x.png", "red"), ("y.png", "blue")):
            info = tarfile.TarInfo(name)
            data = png(colour)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    ids = [f"{shard}/y.png", f"{shard}/gone.png", f"{shard}/a/x.png"]
    found = thumbnails(ids, range(3), None, 32)
    assert {row: colour_of(uri) for row, uri in found.items()} == {0: [0, 0, 1], 2: [1, 0, 0]}


def test_the_number_of_thumbnails_is_bounded_and_what_is_listed_comes_first() -> None:
    assert rows_to_show([7, 3], 10, 10) == [7, 3, 0, 1, 2, 4, 5, 6, 8, 9]
    assert rows_to_show([7, 3], 10, 4) == [7, 3, 0, 5]
    assert rows_to_show([7, 3], 10, 1) == [7]
    assert rows_to_show([7, 3], 10, 0) == []
    assert len(rows_to_show(range(100), 100000, 2000)) <= 2000


# ---- The command ----


def test_the_command_writes_a_page_and_says_what_it_found(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "2").write_bytes(png("red"))
    folder = write(tmp_path / "v", [[1, 0], None, [2, 0], [0, 1]])
    output = tmp_path / "map.html"
    assert main([str(folder), f"--output={output}", f"--root={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{output}: 3 images, placed by principal components: 3 of the 16 rows that UMAP needs",
        "pairs of near-duplicates: 1; outliers: 0; thumbnails: 1",
        f"{folder}: 1 row is left out: TRUNCATED_IMAGE 1",
    ]
    assert output.read_text().count("data:image/jpeg;base64,") == 1
    assert main([str(folder), f"--output={output}", f"--against={folder}", "--thumbnails=0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "centroid distance 0.0000, by chance 0.5443"
    assert main([str(folder), f"--output={tmp_path}/none/map.html"]) == 1
    assert capsys.readouterr().err == (
        f"pixembed-map: {tmp_path}/none/map.html: there is no such folder\n"
    )
    assert main([str(tmp_path / "none"), f"--output={output}"]) == 1
    assert capsys.readouterr().err == (
        f"pixembed-map: {tmp_path / 'none'}: there is no such file or folder\n"
    )


def test_a_path_that_makes_no_sense_is_told_before_the_work(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (part,) = write(tmp_path / "v", [[1, 0], [0, 1]]).glob("*.parquet")
    before = part.read_bytes()
    for arguments, said in (
        ([f"--output={tmp_path}"], f"--output is {tmp_path}, a folder; it is a file"),
        (["--output="], "--output is ., a folder"),
        ([f"--output={part}"], f"--output is {part}, which is read: it would be lost"),
        ([f"--output={tmp_path}/m.html", "--root=/none"], "--root is /none: there is no such"),
    ):
        assert main([str(part), *arguments]) == 1
        assert said in capsys.readouterr().err
    assert main([str(part.parent), f"--output={part}"]) == 1
    assert part.read_bytes() == before
    for _ in range(2):  # beside them
        assert main([str(part.parent), f"--output={part.parent}/map.html"]) == 0


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (pa.array([[1], [2]]), 'the column "id" holds list<.*>, not names'),
        (pa.array([b"\xff", b"a"]), 'the column "id" holds what is no text'),
    ],
)
def test_ids_that_are_no_names_are_told(tmp_path: pathlib.Path, ids: Any, said: str) -> None:
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0]])
    pq.write_table(pa.table({"id": ids, "vector": vectors}), tmp_path / "v.parquet")
    with pytest.raises(MapError, match=said):
        read(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    "flag",
    [
        *("--thumbnails=-1", "--thumbnail-size=8", "--clusters=0", "--neighbours=1", "--seed=x"),
        *("--duplicates-above=1.5", "--duplicates-above=nan", "--outliers-above=-1"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["x", "--output=y", flag])
    assert f"argument {flag.partition('=')[0]}" in capsys.readouterr().err


def test_every_flag_is_in_the_documentation() -> None:
    (section,) = re.findall(r"^## Map\n(.*?)^## ", README.read_text(), re.DOTALL | re.MULTILINE)
    flags = {
        flag for action in _parser()._actions for flag in action.option_strings if flag[:2] == "--"
    }
    documented = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", section))
    assert documented == flags - {"--help"}
