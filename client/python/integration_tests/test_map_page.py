"""The page of pixembed-map as people have it: in a real Chromium."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browser import HEIGHT, WIDTH, Browser
from PIL import Image
from pixembed_fixtures import StartServer, encode

from pixembed.bulk.__main__ import main as bulk
from pixembed.map import Survey, page
from pixembed.map.__main__ import main
from pixembed.map.drift import Drift, Share
from pixembed.map.neighbours import Duplicates, Outlier, Pair
from pixembed.map.projection import Projection
from pixembed.map.survey import File, Options

# As page.css has them.
PLAIN, DUPLICATE, OUTLIER = "#4878a8", "#d98200", "#c62828"
DARK_PLAIN, DARK_OUTLIER = "#6f9fd0", "#ff4d6d"
FILE, AGAINST = "#0072b2", "#d55e00"
CLUSTERS = ["#0072b2", "#e69f00", "#009e73"]

HOSTILE = [
    "</script><img src=x onerror='document.title = 1'>",
    "<script>document.title = 2</script>",
    '"><svg onload="document.title = 3">',
    "' onmouseover='document.title = 4",
    "]]>--><!--{{data}}{{script}}",
    "\u2028\u202e\ud7ff\\u003c&lt;b&gt;",
    "javascript:alert(1)",
    "https://example.com/a.png",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("chromium"))
    yield running
    running.close()


def survey_of(
    points: Any,
    *,
    ids: list[str] | None = None,
    clusters: list[int] | None = None,
    pairs: list[Pair] | None = None,
    outliers: list[int] | None = None,
    against: int = 0,
) -> Survey:
    """A survey with points at places that the test chooses; the last `against` rows are another
    file's."""
    rows = len(points)
    pairs = pairs or []
    files = [File("one.parquet", rows - against, {"TRUNCATED_IMAGE": 2})]
    if against:
        files.append(File("other.parquet", against, {}))
    return Survey(
        files=files,
        ids=ids or [f"{row}.png" for row in range(rows)],
        fingerprint="f" * 64,
        projection=Projection(np.array(points, np.float64), "UMAP"),
        clusters=np.array(clusters or [0] * rows, np.int64),
        duplicates=Duplicates(pairs, len(pairs), rows_of(pairs)),
        outliers=[Outlier(row, 0.5) for row in outliers or []],
        drift=Drift(0.25, 0.125, [Share(0, 0.25, 0.5, 0.03)]) if against else None,
        options=Options(),
    )


def rows_of(pairs: list[Pair]) -> list[int]:
    return sorted({row for pair in pairs for row in (pair.first, pair.second)})


def show(
    browser: Browser, folder: pathlib.Path, survey: Survey, pictures: dict[int, str] | None = None
) -> None:
    file = folder / "map.html"
    file.write_text(page(survey, pictures or {}), encoding="utf-8")
    browser.open(file)


def place(browser: Browser, x: float, y: float) -> tuple[int, int]:
    """Where on the screen a point of the projection stands while all is shown."""
    box = browser.run(
        "(({left, top, width, height}) => ({left, top, width, height}))"
        "(document.querySelector('canvas').getBoundingClientRect())"
    )
    scale = min(box["width"], box["height"]) - 48
    left = box["left"] + box["width"] / 2 + (x - 0.5) * scale
    return round(left), round(box["top"] + box["height"] / 2 + (y - 0.5) * scale)


def colour_at(screen: Image.Image, where: tuple[int, int]) -> str:
    red, green, blue = np.asarray(screen)[where[1], where[0]].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def colours(browser: Browser, points: list[list[float]]) -> list[str]:
    screen = browser.screenshot()
    return [colour_at(screen, place(browser, x, y)) for x, y in points]


def assert_clean(browser: Browser) -> None:
    """Nothing went wrong, and nothing but the page was asked for."""
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [
        browser.run("location.href")
    ]


CORNERS = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]]
MIDDLES = [[0.5, 0.0], [0.25, 0.25], [0.75, 0.6]]  # where no point is


def test_points_stand_where_they_were_placed_in_the_colours_of_what_they_are(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    survey = survey_of(CORNERS, clusters=[0, 1, 2, 0, 1], pairs=[Pair(1, 2, 0.99)], outliers=[3])
    show(browser, tmp_path, survey)
    expected = [PLAIN, DUPLICATE, DUPLICATE, OUTLIER, PLAIN]
    assert colours(browser, CORNERS) == expected
    assert set(colours(browser, MIDDLES)) == {"#ffffff"}
    ringed = np.asarray(browser.screenshot())
    left, top = place(browser, 1.0, 1.0)
    assert f"#{bytes(ringed[top, left + 7].tolist()).hex()}" != "#ffffff"

    browser.run("mode.value = 'cluster'; mode.dispatchEvent(new Event('change'))")
    browser.drawn()
    assert colours(browser, CORNERS) == [CLUSTERS[cluster] for cluster in (0, 1, 2, 0, 1)]
    assert browser.texts("#legend li") == ["cluster 0", "cluster 1", "cluster 2", "outlier"]
    browser.click("button[data-cluster='1']")
    shown = colours(browser, CORNERS)
    assert shown == ["#ffffff", CLUSTERS[1], "#ffffff", "#ffffff", CLUSTERS[1]]
    assert_clean(browser)


def test_the_page_is_dark_for_those_who_want_it_so(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    show(browser, tmp_path, survey_of(CORNERS, outliers=[3]))
    browser.colour_scheme("dark")
    browser.drawn()
    assert colours(browser, CORNERS) == [*[DARK_PLAIN] * 3, DARK_OUTLIER, DARK_PLAIN]
    (ground,) = set(colours(browser, MIDDLES))
    assert ground < "#303030"
    browser.colour_scheme("light")
    browser.drawn()
    assert colours(browser, CORNERS[:1]) == [PLAIN]
    assert_clean(browser)


def test_the_whole_map_stays_in_a_window_that_becomes_narrow(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    show(browser, tmp_path, survey_of(CORNERS))
    browser.resize(420, 800)
    try:
        assert colours(browser, CORNERS) == [PLAIN] * 5
        assert browser.run("document.documentElement.scrollWidth") <= 420
    finally:
        browser.resize(WIDTH, HEIGHT)
    assert colours(browser, CORNERS) == [PLAIN] * 5
    browser.click("#zoom-in")
    browser.resize(WIDTH - 100, HEIGHT)
    browser.resize(WIDTH, HEIGHT)
    assert colours(browser, CORNERS[:1]) == ["#ffffff"]
    assert_clean(browser)


def test_what_was_found_is_listed(browser: Browser, tmp_path: pathlib.Path) -> None:
    survey = survey_of(CORNERS, pairs=[Pair(1, 2, 0.99), Pair(0, 4, 0.985)], outliers=[3])
    show(browser, tmp_path, survey, {1: thumbnail("red"), 3: thumbnail("blue")})
    assert browser.texts("title, h1") == ["one.parquet", "one.parquet"]
    assert browser.texts(".facts li") == [
        "5 images, placed by UMAP",
        "one.parquet: 2 rows are left out: TRUNCATED_IMAGE 2",
        f"fingerprint {'f' * 64}",
    ]
    cells = browser.texts("#duplicates td")
    assert cells == ["0.9900", "1.png", "2.png", "0.9850", "0.png", "4.png"]
    assert browser.texts("#outliers td") == ["0.5000", "3.png"]
    assert browser.texts("#clusters td") == ["0", "5", "100.0\N{NO-BREAK SPACE}%"]
    pictured = browser.run(
        "[...document.querySelectorAll('aside button img')]"
        ".map((image) => [image.parentElement.dataset.row, image.naturalWidth])"
    )
    assert sorted(pictured) == [["1", 8], ["3", 8]]
    browser.click("#outliers button[data-row='3']")
    assert browser.texts("#chosen bdi, #chosen .note") == ["3.png", "cluster 0, outlier"]
    assert colours(browser, [[0.5, 0.5]]) == [OUTLIER]  # it is in the middle now
    assert_clean(browser)


def thumbnail(colour: str) -> str:
    data = base64.b64encode(encode(Image.new("RGB", (8, 8), colour), "JPEG")).decode()
    return f"data:image/jpeg;base64,{data}"


def test_drift_is_a_table(browser: Browser, tmp_path: pathlib.Path) -> None:
    show(browser, tmp_path, survey_of(CORNERS, pairs=[Pair(1, 4, 0.99)], against=2))
    assert colours(browser, CORNERS) == [FILE, FILE, FILE, AGAINST, AGAINST]
    assert browser.texts("h1, #clusters strong") == ["one.parquet against other.parquet", "0.2500"]
    row = ["0", "25.0\N{NO-BREAK SPACE}%", "50.0\N{NO-BREAK SPACE}%", "\N{MINUS SIGN}25.0", "±3.0"]
    assert browser.texts("#clusters td") == row
    assert browser.texts("#duplicates td") == ["0.9900", "1.png file", "4.png against"]
    assert browser.texts("#legend li") == ["file: one.parquet", "against: other.parquet", "outlier"]
    assert_clean(browser)


def test_a_hostile_id_is_text_and_nothing_else(browser: Browser, tmp_path: pathlib.Path) -> None:
    rows = len(HOSTILE)
    points = [[i / (rows - 1), 0.5] for i in range(rows)]
    pairs = [Pair(0, row, 0.99) for row in range(1, rows)]
    survey = survey_of(points, ids=HOSTILE, pairs=pairs, outliers=list(range(rows)), against=2)
    survey.files[0] = File(HOSTILE[0], rows - 2, {HOSTILE[1]: 3})
    survey.files[1] = File(HOSTILE[2], 2, {})
    show(browser, tmp_path, survey)
    title = f"{HOSTILE[0]} against {HOSTILE[2]}"
    ids = "[...document.querySelectorAll('#outliers bdi')].map((e) => e.textContent)"
    assert browser.run(ids) == HOSTILE
    assert browser.run("document.querySelector('h1').textContent") == title
    for row in range(rows):
        browser.click(f"#outliers button[data-row='{row}']")
        assert browser.run("document.querySelector('#chosen bdi').textContent") == HOSTILE[row]
    browser.click("#whole")
    browser.mouse("mouseMoved", *place(browser, *points[0]))
    assert browser.run("document.querySelector('#tip bdi').textContent") == HOSTILE[0]
    browser.run("document.getElementById('search').focus()")
    browser.type("<")
    found = "[...document.querySelectorAll('#found bdi')].map((e) => e.textContent)"
    assert browser.run(found) == [name for name in HOSTILE if "<" in name]
    elements = browser.run("document.querySelectorAll('img, svg, iframe, link[href^=http]').length")
    assert elements == 0
    assert browser.run("document.scripts.length") == 2
    assert browser.run("document.title") == title
    assert_clean(browser)


def test_the_markup_has_no_way_out_of_its_text() -> None:
    """As it is written, before a browser makes something of it."""
    survey = survey_of([[0.5, 0.5]] * len(HOSTILE), ids=HOSTILE, outliers=[0, 1, 2, 3])
    text = page(survey, {})
    assert text.count("</script>") == text.count("<script") == 2
    assert "<img" not in text
    data = text.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&\u2028") & set(data)
    assert json.loads(data)["ids"] == HOSTILE


def test_should_markup_get_through_its_script_does_not_run(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    text = page(survey_of(CORNERS), {})
    hole = "<script>document.title = 1</script><img src='https://example.com/x.png' onerror='x()'>"
    file = tmp_path / "map.html"
    file.write_text(text.replace("</main>", f"{hole}</main>"), encoding="utf-8")
    browser.open(file)
    assert browser.run("document.title") == "one.parquet"
    assert "Content Security Policy" in " ".join(browser.problems)
    assert len(browser.problems) >= 2


def test_pointing_at_an_image_shows_it_and_the_wheel_zooms_there(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    close = [[0.2, 0.3], [0.208, 0.3], [0.9, 0.9], [0.1, 0.9]]
    show(browser, tmp_path, survey_of(close), {0: thumbnail("red")})
    where = place(browser, *close[0])
    assert browser.run("tip.hidden")
    browser.mouse("mouseMoved", *where)
    assert browser.texts("#tip bdi") == ["0.png"]
    assert browser.run("document.querySelector('#tip img').naturalWidth") == 8
    for _ in range(3):
        browser.mouse("mouseWheel", *where, deltaX=0, deltaY=-200)
    assert browser.texts("#tip bdi") == ["0.png"]
    screen = browser.screenshot()
    assert colour_at(screen, where) == PLAIN
    # They were one blot; now there is room between them.
    line = np.asarray(screen)[where[1], where[0] : where[0] + 100]
    between = np.flatnonzero((line == [255, 255, 255]).all(axis=1))
    other = np.flatnonzero((line == [0x48, 0x78, 0xA8]).all(axis=1))
    assert other.max() > between.min()
    browser.mouse("mouseMoved", where[0] + 60, where[1] + 60)
    assert browser.run("tip.hidden")
    browser.click("#whole")
    assert colours(browser, close[2:]) == [PLAIN, PLAIN]
    assert_clean(browser)


def test_dragging_and_keys_move_the_map_and_a_click_keeps_an_image(
    browser: Browser, tmp_path: pathlib.Path
) -> None:
    show(browser, tmp_path, survey_of(CORNERS))
    x, y = place(browser, 0.5, 0.5)
    button: dict[str, Any] = {"button": "left", "clickCount": 1}
    browser.mouse("mousePressed", x + 40, y + 40, **button)
    browser.mouse("mouseMoved", x + 90, y + 10, buttons=1)
    browser.mouse("mouseReleased", x + 90, y + 10, **button)
    assert colour_at(browser.screenshot(), (x + 50, y - 30)) == PLAIN
    assert browser.run("chosen.hidden")
    browser.mouse("mousePressed", x + 50, y - 30, **button)
    browser.mouse("mouseReleased", x + 50, y - 30, **button)
    assert browser.texts("#chosen bdi") == ["4.png"]
    browser.run("canvas.focus()")
    browser.key("ArrowRight")
    assert colour_at(browser.screenshot(), (x - 10, y - 30)) == PLAIN
    browser.key("0")
    browser.key("Escape")
    assert colours(browser, CORNERS) == [PLAIN] * 5
    browser.key("+")
    assert colours(browser, CORNERS[:1]) == ["#ffffff"]
    assert_clean(browser)


def test_an_image_is_found_by_its_id(browser: Browser, tmp_path: pathlib.Path) -> None:
    ids = ["Cat/1.png", "dog/2.png", "cat/3.png", "dog/4.png", "bird.png"]
    show(browser, tmp_path, survey_of(CORNERS, ids=ids))
    browser.run("search.focus()")
    browser.type("cat/")
    assert browser.texts("#found bdi, #found-count") == ["2 of 5 images", "Cat/1.png", "cat/3.png"]
    browser.key("Enter")
    assert browser.texts("#chosen bdi") == ["Cat/1.png"]
    browser.key("Enter")
    assert browser.texts("#chosen bdi") == ["cat/3.png"]
    assert colours(browser, [[0.5, 0.5]]) == [PLAIN]
    browser.click("#found li:first-child button")
    assert browser.texts("#chosen bdi") == ["Cat/1.png"]
    browser.run("search.value = 'fish'; search.dispatchEvent(new Event('input'))")
    assert browser.texts("#found-count") == ["0 of 5 images"]
    assert_clean(browser)


def test_a_hundred_thousand_points_are_shown(browser: Browser, tmp_path: pathlib.Path) -> None:
    rows = 100_000
    points = np.random.default_rng(1).uniform(0.2, 1, (rows, 2))
    points[77_777] = [0.0, 0.0]
    show(browser, tmp_path, survey_of(points, clusters=[row % 30 for row in range(rows)]))
    browser.mouse("mouseMoved", *place(browser, 0.0, 0.0))
    assert browser.texts("#tip bdi") == ["77777.png"]
    browser.run("search.focus()")
    browser.type("9999")
    expected = sum("9999" in str(row) for row in range(rows))
    assert browser.texts("#found-count") == [f"{expected} of {rows} images"]
    assert_clean(browser)


def crops(folder: pathlib.Path) -> None:
    """Of three photos 12 pictures each, of a fourth one, and one of the first twice."""
    folder.mkdir()
    photos = pathlib.Path(os.environ["PIXEMBED_PHOTOS"])
    for name, count in (("chelsea.png", 12), ("coffee.png", 12), ("rocket.jpg", 12)):
        with Image.open(photos / name) as photo:
            for i in range(count):
                crop = photo.crop(
                    (5 * i, 3 * i, photo.width - 60 + 5 * i, photo.height - 40 + 3 * i)
                )
                crop.resize((150, 100)).save(folder / f"{name[:-4]}{i:02}.png")
    with Image.open(photos / "retina.jpg") as photo:
        photo.resize((150, 150)).save(folder / "retina.png")
    shutil.copy(folder / "chelsea03.png", folder / "same.png")
    (folder / "broken.png").write_bytes(b"broken")


def test_pictures_become_a_map(
    browser: Browser,
    start_server: StartServer,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole way: photos, the real model and server, pixembed-bulk, pixembed-map, a browser."""
    server = start_server(f"--model=default={os.environ['PIXEMBED_MODEL']}")
    pictures = tmp_path / "pictures"
    crops(pictures)
    vectors, older, output = tmp_path / "vectors", tmp_path / "older", tmp_path / "map.html"
    for inputs, folder in ((str(pictures), vectors), (f"{pictures}/c*.png", older)):
        assert bulk([inputs, f"--output={folder}", f"--address={server.address}"]) == 0
    flags = [f"--output={output}", "--duplicates-above=0.9999", "--neighbours=8"]
    assert main([str(vectors), *flags]) == 0
    said = capsys.readouterr().out
    assert f"{output}: 38 images, placed by UMAP" in said
    assert f"{vectors}: 1 row is left out: UNSUPPORTED_FORMAT 1" in said

    browser.open(output)
    twice = [f"{pictures}/chelsea03.png", f"{pictures}/same.png"]
    assert browser.texts("#duplicates td") == ["1.0000", *twice]
    assert browser.texts("#outliers bdi")[0] == f"{pictures}/retina.png"
    listed = browser.run("document.querySelectorAll('aside table button.row').length")
    assert listed >= 3
    assert browser.run("document.querySelectorAll('aside table button.row img').length") == listed
    pixels = np.asarray(browser.screenshot())
    for colour in (PLAIN, DUPLICATE, OUTLIER):
        assert (pixels == list(bytes.fromhex(colour[1:]))).all(axis=2).sum() >= 20
    browser.run("search.focus()")
    browser.type("retina")
    browser.key("Enter")
    assert browser.run("document.querySelector('#chosen img').naturalWidth") == 96
    assert_clean(browser)

    assert main([str(vectors), *flags, f"--against={older}", "--clusters=3"]) == 0
    browser.open(output)
    assert browser.texts("h1") == [f"{vectors} against {older}"]
    # The rocket is new, and the retina goes with one of the three.
    row = browser.texts("#clusters tbody tr:first-child td")
    assert row[2] == "0.0\N{NO-BREAK SPACE}%"
    assert float(row[3]) >= 100 * 12 / 38 - 0.1
    assert_clean(browser)
