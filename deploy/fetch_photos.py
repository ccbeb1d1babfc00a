#!/usr/bin/env python3
"""Unpack sample photos out of the wheels of scikit-learn and scikit-image.

usage: fetch_photos.py SCIKIT_LEARN_WHEEL SCIKIT_IMAGE_WHEEL OUT_DIR

Writes the pictures as they are in the wheels, and a README.md with the origin and licence of each.
Needs nothing but Python.
"""

import dataclasses
import pathlib
import sys
import zipfile

from replace_directory import replace_directory


@dataclasses.dataclass(frozen=True)
class Photo:
    name: str
    shows: str
    origin: str
    licence: str


# Origins and licences as the packages state them (sklearn/datasets/images/README.txt,
# skimage/data/_fetchers.py).
SCIKIT_LEARN = [
    Photo("china.jpg", "a temple", "danielbuechele, flickr.com/photos/danielbuechele/6061409035", "CC BY 2.0"),
    Photo("flower.jpg", "a flower", "vultilion, flickr.com/photos/vultilion/6056698931", "CC BY 2.0"),
]
SCIKIT_IMAGE = [
    Photo("astronaut.png", "Eileen Collins", "NASA Great Images, flic.kr/p/r9qvLn", "public domain"),
    Photo("brick.png", "a brick wall, gray", "CC0Textures, Bricks25", "CC0"),
    Photo("camera.png", "a photographer, gray", "Lav Varshney", "CC0"),
    Photo("chelsea.png", "a cat", "Stefan van der Walt", "CC0"),
    Photo("clock_motion.png", "a clock, blurred, gray", "Stefan van der Walt", "public domain"),
    Photo("coffee.png", "a cup of coffee", "Rachel Michetti, Pikolo Espresso Bar", "CC0"),
    Photo("coins.png", "Greek coins, gray", "Brooklyn Museum", "no known restrictions"),
    Photo("grass.png", "grass, gray", "linolafett, DeviantArt", "CC0"),
    Photo("gravel.png", "gravel, gray", "CC0Textures, Gravel04", "CC0"),
    Photo("hubble_deep_field.jpg", "galaxies", "NASA, hubblesite.org 2012/37", "public domain"),
    Photo("retina.jpg", "a retina", "Mikael Häggström, Wikimedia Commons", "CC0"),
    Photo("rocket.jpg", "a rocket launch", "SpaceX, flickr.com/photos/spacexphotos/16511594820", "public domain"),
]

README_HEAD = """# Sample photos

Unpacked unchanged by `deploy/fetch_photos.py` from the wheels of scikit-learn and scikit-image.

| file | shows | origin | licence |
|---|---|---|---|
"""


def unpack(wheel: pathlib.Path, folder: str, photos: list[Photo], out: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for photo in photos:
                (out / photo.name).write_bytes(archive.read(f"{folder}/{photo.name}"))
    except FileNotFoundError:
        sys.exit(f"fetch_photos: {wheel} does not exist")
    except zipfile.BadZipFile:
        sys.exit(f"fetch_photos: {wheel} is not a wheel")
    except KeyError as error:
        sys.exit(f"fetch_photos: {wheel}: {error.args[0]}")
    print(f"{len(photos)} photos from {wheel.name}", flush=True)


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    scikit_learn, scikit_image, out = map(pathlib.Path, sys.argv[1:])
    try:
        with replace_directory(out) as folder:
            unpack(scikit_learn, "sklearn/datasets/images", SCIKIT_LEARN, folder)
            unpack(scikit_image, "skimage/data", SCIKIT_IMAGE, folder)
            rows = [f"| {p.name} | {p.shows} | {p.origin} | {p.licence} |\n" for p in SCIKIT_LEARN + SCIKIT_IMAGE]
            (folder / "README.md").write_text(README_HEAD + "".join(rows), encoding="utf-8")
    except OSError as error:
        sys.exit(f"fetch_photos: cannot write {out}: {error}")
    print(f"{out}: {len(SCIKIT_LEARN + SCIKIT_IMAGE)} photos", flush=True)


if __name__ == "__main__":
    main()
