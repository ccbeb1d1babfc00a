"""The pictures whose bytes only have to be carried are what they say."""

import io
import pathlib

import PIL.Image
import pytest

import make_pictures


@pytest.mark.parametrize("name", make_pictures.BITMAPS)
def test_a_bitmap_has_its_size_and_eight_pixels_on_a_side(name: str, tmp_path: pathlib.Path) -> None:
    make_pictures.write_bitmaps(tmp_path)
    data = (tmp_path / name).read_bytes()
    assert len(data) == make_pictures.BITMAPS[name]
    picture = PIL.Image.open(io.BytesIO(data))
    assert (picture.format, picture.size, picture.mode) == ("BMP", (8, 8), "RGB")
    assert len({picture.getpixel((0, row)) for row in range(8)}) == 8
