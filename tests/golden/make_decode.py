#!/usr/bin/env python3
"""What Pillow decodes, and what it refuses: OUT_DIR/decode.safetensors.

usage: make_decode.py OUT_DIR     PIXEMBED_PHOTOS: the sample photos

For each case NAME: "NAME.encoded", the file, [bytes] uint8; and "NAME.rgb", the pixels of
Image.open(file).convert("RGB"), [height, width, 3] uint8, absent where Pillow refuses.
The test is decode_golden_test.cc.
"""

import io
import itertools
import os
import pathlib
import struct
import sys
import warnings
import zlib

import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import OPEN_INFO
from safetensors.numpy import save_file

from image_files import *  # a vocabulary of writers

SEED = 13
PHOTOS = {name: PIL.Image.open(pathlib.Path(os.environ["PIXEMBED_PHOTOS"]) / name).convert("RGB")
          for name in ("china.jpg", "astronaut.png", "hubble_deep_field.jpg")}
SIZES = [(1, 1), (2, 3), (7, 13), (17, 3), (48, 33), (64, 64), (3, 150), (150, 2)]


def photo(width, height, name="china.jpg"):
    """A piece of a photo; of small sizes the whole, scaled. Without its metadata."""
    whole = PHOTOS[name]
    whole.info = {}
    if width * height < 64:
        return whole.resize((width, height))
    return whole.crop((200, 150, 200 + width, 150 + height))


def drawn(width, height):
    """Smooth, with hard edges."""
    y, x = np.mgrid[0:height, 0:width]
    bands = np.stack([128 + 120 * np.sin(x / 5 + y / 9), 255 * ((x // 4 + y // 3) % 2), (x * 7 + y * 3) % 256], -1)
    return PIL.Image.fromarray(np.clip(bands, 0, 255).astype(np.uint8))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg_segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpegs(rng):
    for (width, height), subsampling in itertools.product(SIZES, ["4:4:4", "4:2:2", "4:2:0"]):
        for quality, progressive in ((25, False), (80, True), (95, False), (100, True)):
            name = f"jpeg.{width}x{height}.{subsampling.replace(':', '')}.q{quality}{'.progressive' * progressive}"
            picture = photo(width, height) if quality != 95 else drawn(width, height)
            yield name, saved(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    for width, height in SIZES:
        for progressive in (False, True):
            suffix = f"{width}x{height}{'.progressive' * progressive}"
            yield f"jpeg.gray.{suffix}", saved(photo(width, height).convert("L"), "JPEG", progressive=progressive)
            cmyk = saved(photo(width, height).convert("CMYK"), "JPEG", progressive=progressive)
            yield f"jpeg.cmyk.{suffix}", cmyk
            yield f"jpeg.ycck.{suffix}", cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    # By cjpeg, whose options Pillow does not have: arithmetic coding, other samplings.
    for path in sorted((pathlib.Path(__file__).parents[1] / "data" / "decode").glob("*.jpg")):
        yield f"jpeg.cjpeg.{path.stem}", path.read_bytes()
    arithmetic = (pathlib.Path(__file__).parents[1] / "data" / "decode" / "arithmetic.jpg").read_bytes()
    for size in (65000, 65200, 65235, 65240, 65300, 65400, 65533):  # the scan crosses 64 KiB, or does not
        yield f"jpeg.arithmetic.{size}", arithmetic[:2] + jpeg_segment(0xFE, bytes(size)) + arithmetic[2:]
    base = photo(48, 33)
    for size in (65000, 65533):
        for progressive in (False, True):
            plain = saved(photo(150, 100), "JPEG", progressive=progressive)
            yield f"jpeg.block.{size}.{progressive}", plain[:2] + jpeg_segment(0xFE, bytes(size)) + plain[2:]
    yield "jpeg.rgb", saved(base, "JPEG", keep_rgb=True)
    yield "jpeg.rgb.adobe", saved(base, "JPEG").replace(b"JFIF", b"xxxx", 1)[:2] + jpeg_segment(
        0xEE, b"Adobe\0\x64\0\0\0\0\0") + saved(base, "JPEG")[20:]
    for rows in (1, 2):
        yield f"jpeg.restart.{rows}", saved(base, "JPEG", restart_marker_rows=rows)
    yield "jpeg.optimized", saved(base, "JPEG", optimize=True)
    exif = base.getexif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        yield f"jpeg.orientation.{orientation}", saved(base, "JPEG", exif=exif)
    yield "jpeg.profile", saved(base, "JPEG", icc_profile=rng.bytes(100000))
    yield "jpeg.comment", saved(base, "JPEG", comment=b"a comment \xff\xd9 with an end marker")
    yield "jpeg.mpo", saved(base, "MPO", save_all=True, append_images=[photo(33, 48)])
    good = saved(base, "JPEG")
    yield "jpeg.trailing", good + b"\0" * 100 + b"\xff\xd8\xff"
    yield "jpeg.two", good + good
    yield "jpeg.junk_before_marker", good[:20] + b"\x00\x11\x22" + good[20:]
    yield "jpeg.padding", good[:20] + b"\xff\xff\xff" + good[20:]
    yield "jpeg.no_marker", good[:20] + b"\xff\x05" + good[20:]
    yield "jpeg.jfif.short", good[:2] + jpeg_segment(0xE0, b"JFIF\0") + good[20:]
    yield "jpeg.adobe.short", good[:2] + jpeg_segment(0xEE, b"Adobe") + good[20:]
    yield "jpeg.segment.zero_length", good[:2] + b"\xff\xfe\0\0" + good[2:]
    yield "jpeg.mp.broken", good[:2] + jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff") + good[2:]
    frame = good.index(b"\xff\xc0")
    for marker in (0xC1, 0xC2, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE):
        yield f"jpeg.frame.{marker:02x}", good[:frame + 1] + bytes([marker]) + good[frame + 2:]
    for what, at, value in (("bits.12", 4, 12), ("components.2", 9, 2), ("components.5", 9, 5), ("height.0", 6, 0),
                            ("height.34", 6, 34), ("height.49", 6, 49), ("height.20", 6, 20), ("width.40", 8, 40),
                            ("sampling.14", 11, 0x14), ("sampling.41", 11, 0x41), ("sampling.33", 11, 0x33),
                            ("sampling.12", 11, 0x12), ("sampling.55", 11, 0x55), ("table.3", 12, 3)):
        broken = bytearray(good)
        broken[frame + at] = value
        yield f"jpeg.frame.{what}", bytes(broken)
    yield "jpeg.frame.twice", good[:frame] + good[frame:frame + 19] + good[frame:]
    yield "jpeg.bomb", good[:frame + 5] + struct.pack(">HH", 60000, 60000) + good[frame + 9:]
    scan = good.index(b"\xff\xda")
    yield "jpeg.header_only", good[:scan]
    yield "jpeg.no_tables", good[:2] + good[frame:]
    yield "jpeg.eoi_only", b"\xff\xd8\xff\xd9"
    yield "jpeg.three_bytes", b"\xff\xd8\xff"


PNG_KINDS = [(depth, kind) for kind, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)),
                                                (6, (8, 16))) for depth in depths]


def pngs(rng):
    for mode, (width, height) in itertools.product(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), SIZES):
        picture = photo(width, height)
        if mode == "I;16":
            values = rng.integers(0, 65536, (height, width), dtype=np.uint16)
            values[::2] = rng.integers(0, 300, values[::2].shape)
            picture = PIL.Image.fromarray(values)
        elif mode in ("LA", "RGBA"):
            picture = picture.convert("RGBA")
            picture.putalpha(drawn(width, height).convert("L"))
            picture = picture.convert(mode)
        else:
            picture = picture.quantize(19) if mode == "P" else picture.convert(mode)
        yield f"png.saved.{mode.replace(';', '')}.{width}x{height}", saved(picture, "PNG")
    palette = png_chunk(b"PLTE", rng.bytes(768))
    for (depth, kind), (width, height), interlace in itertools.product(PNG_KINDS, SIZES, (0, 1)):
        rows = png_rows(rng, width, height, depth, kind, [0, 1, 2, 3, 4, 4, 3, 2, 1], interlace)
        name = f"png.{depth}.{kind}.{width}x{height}{'.interlaced' * interlace}"
        yield name, png_file(png_header(width, height, depth, kind, interlace=interlace), zlib.compress(rows, 1), palette)

    # One image, and everything that can be said about it.
    header = png_header(17, 9, 8, 2)
    rows = png_rows(rng, 17, 9, 8, 2, [0, 1, 2, 3, 4])
    stream = zlib.compress(rows)
    for split in (1, 2, 7, 100):
        yield f"png.split.{split}", png_file(header, stream, split=split)
    empty = png_chunk(b"IDAT", b"")
    yield "png.empty_idat", png_file(header, stream, before=empty, after=empty)
    yield "png.no_end", png_file(header, stream, end=False)
    yield "png.trailing", png_file(header, stream) + rng.bytes(100)
    yield "png.idat.after_other", png_file(header, stream[:50], after=png_chunk(b"tEXt", b"a\0b") + png_chunk(
        b"IDAT", stream[50:]))
    for cut in (1, 2, 3, 4, 5, 6, 8, 20, len(stream) - 2):
        yield f"png.stream.cut.{cut}", png_file(header, stream[:-cut])
        yield f"png.stream.cut.{cut}.no_end", png_file(header, stream[:-cut], end=False)
    yield "png.stream.extra", png_file(header, stream + b"more")
    yield "png.stream.few_rows", png_file(header, zlib.compress(rows[:52 * 4]))
    yield "png.stream.few_rows.palette", png_file(png_header(17, 9, 8, 3), zlib.compress(rows[:18 * 4]), palette)
    yield "png.stream.half_row", png_file(header, zlib.compress(rows[:52 * 4 + 7]))
    yield "png.stream.many_rows", png_file(header, zlib.compress(rows * 2))
    yield "png.stream.empty", png_file(header, zlib.compress(b""))
    yield "png.stream.raw_deflate", png_file(header, stream[2:])
    wrong = stream[:-4] + b"\0\0\0\0"
    yield "png.checksum.same_chunk", png_file(header, wrong)
    yield "png.checksum.next_chunk", png_file(header, wrong, split=len(wrong) - 4)
    yield "png.checksum.between", png_file(header, wrong, split=len(wrong) - 2)
    dictionary = zlib.compressobj(zdict=b"abc")
    yield "png.stream.dictionary", png_file(header, dictionary.compress(rows) + dictionary.flush())
    for filtering in (5, 255):
        yield f"png.filter.{filtering}", png_file(header, zlib.compress(bytes([filtering]) + rows[1:]))
    big = png_rows(rng, 300, 400, 8, 2, [0])
    yield "png.large", png_file(png_header(300, 400, 8, 2), zlib.compress(big, 0))
    yield "png.large.split", png_file(png_header(300, 400, 8, 2), zlib.compress(big, 0), split=70000)

    good = png_file(header, stream)
    for name, position in (("magic", 3), ("ihdr.length", 11), ("ihdr.name", 13), ("ihdr.crc", 30), ("idat.name", 38)):
        broken = bytearray(good)
        broken[position] ^= 1
        yield f"png.broken.{name}", bytes(broken)
    yield "png.idat.crc", PNG_MAGIC + header + png_chunk(b"IDAT", stream, crc=1) + png_chunk(b"IEND", b"")
    yield "png.end.crc", PNG_MAGIC + header + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"", crc=1)
    yield "png.two_headers", png_file(png_header(3, 3, 8, 0) + header, stream)
    yield "png.no_header", png_file(b"", stream)
    yield "png.no_data", PNG_MAGIC + header + png_chunk(b"IEND", b"")
    for what, changed in (("depth.3", png_header(17, 9, 3, 0)), ("kind.5", png_header(17, 9, 8, 5)),
                          ("depth.16.3", png_header(17, 9, 16, 3)), ("width.0", png_header(0, 9, 8, 2)),
                          ("height.0", png_header(17, 0, 8, 2)), ("compression.1", png_header(17, 9, 8, 2, 1)),
                          ("filter.1", png_header(17, 9, 8, 2, 0, 1)), ("interlace.2", png_header(17, 9, 8, 2, 0, 0, 2)),
                          ("bomb", png_header(60000, 60000, 8, 2)), ("negative", png_header(0x80000001, 9, 8, 2))):
        yield f"png.header.{what}", png_file(changed, stream)
    yield "png.header.short", png_file(png_chunk(b"IHDR", struct.pack(">IIBB", 17, 9, 8, 2)), stream)
    yield "png.header.long", png_file(png_chunk(b"IHDR", struct.pack(">IIBBBBB", 17, 9, 8, 2, 0, 0, 0) + b"abc"), stream)

    indices = zlib.compress(png_rows(rng, 17, 9, 8, 3, [0]))
    indexed = png_header(17, 9, 8, 3)
    for size in (0, 1, 3, 4, 30, 768, 770, 771, 900):
        yield f"png.palette.{size}", png_file(indexed, indices, png_chunk(b"PLTE", rng.bytes(size)))
    yield "png.palette.none", png_file(indexed, indices)
    yield "png.palette.twice", png_file(indexed, indices, palette + png_chunk(b"PLTE", rng.bytes(30)))
    yield "png.palette.late", png_file(indexed, indices, after=palette)
    yield "png.palette.rgb", png_file(header, stream, palette)
    for what, alpha in (("one", b"\xff\xff\0\xff"), ("many", b"\1\2\3"), ("zeros", b"\0\0\0"), ("empty", b"")):
        chunk = png_chunk(b"tRNS", alpha)
        yield f"png.transparent.palette.{what}", png_file(indexed, indices, palette + chunk)
        yield f"png.transparent.no_palette.{what}", png_file(indexed, indices, chunk)
    for kind, depth, alpha in ((0, 1, b"\0\1"), (0, 8, b"\0\7"), (0, 16, b"\1\7"), (2, 8, b"\0\1\0\2\0\3"), (2, 8, b"\0\1"),
                               (0, 8, b"\1"), (6, 8, b"")):
        data = zlib.compress(png_rows(rng, 17, 9, depth, kind, [0, 4]))
        yield (f"png.transparent.{depth}.{kind}.{len(alpha)}", png_file(png_header(17, 9, depth, kind), data,
                                                                      png_chunk(b"tRNS", alpha)))

    for where in ("before", "after"):
        for what, chunk in (
                ("iccp", png_chunk(b"iCCP", b"name\0\0" + zlib.compress(b"profile"))),
                ("iccp.method", png_chunk(b"iCCP", b"name\0\1" + zlib.compress(b"profile"))),
                ("iccp.broken", png_chunk(b"iCCP", b"name\0\0broken")),
                ("iccp.short", png_chunk(b"iCCP", b"name\0")),
                ("iccp.no_name", png_chunk(b"iCCP", b"name")),
                ("iccp.no_name.zero", png_chunk(b"iCCP", b"\0")),
                ("iccp.empty", png_chunk(b"iCCP", b"")),
                ("iccp.bomb", png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(1 << 21)))),
                ("ztxt", png_chunk(b"zTXt", b"key\0\0" + zlib.compress(b"text"))),
                ("ztxt.method", png_chunk(b"zTXt", b"key\0\1" + zlib.compress(b"text"))),
                ("ztxt.bomb", png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 21)))),
                ("ztxt.limit", png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20)))),
                ("ztxt.limit.1", png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes((1 << 20) + 1)))),
                ("itxt", png_chunk(b"iTXt", b"key\0\0\0en\0key\0text")),
                ("itxt.compressed", png_chunk(b"iTXt", b"key\0\1\0en\0key\0" + zlib.compress(b"text"))),
                ("itxt.bomb", png_chunk(b"iTXt", b"key\0\1\0en\0key\0" + zlib.compress(bytes(1 << 21)))),
                ("itxt.bomb.method", png_chunk(b"iTXt", b"key\0\1\1en\0key\0" + zlib.compress(bytes(1 << 21)))),
                ("text", png_chunk(b"tEXt", b"key\0text")),
                ("text.no_key", png_chunk(b"tEXt", b"\0text")),
                ("gama.short", png_chunk(b"gAMA", b"abc")),
                ("chrm.short", png_chunk(b"cHRM", bytes(31))),
                ("srgb.empty", png_chunk(b"sRGB", b"")),
                ("phys.short", png_chunk(b"pHYs", bytes(8))),
                ("gama", png_chunk(b"gAMA", struct.pack(">I", 220000))),
                ("exif", png_chunk(b"eXIf", b"MM\0*")),
                ("unknown", png_chunk(b"abCd", b"data")),
                ("unknown.critical", png_chunk(b"ABCD", b"data")),
                ("crc", png_chunk(b"abCd", b"data", crc=7)),
                ("bad_name", png_chunk(b"a\xe9cd", b"data")),
                ("actl.short", png_chunk(b"acTL", bytes(7))),
                ("fctl.short", png_chunk(b"fcTL", bytes(25))),
                ("fdat.first", png_chunk(b"fdAT", bytes(4)))):
            yield f"png.chunk.{where}.{what}", png_file(header, stream, **{where: chunk})
    yield "png.text.total", png_file(header, stream, before=png_chunk(
        b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20), 9)) * 65)
    yield "png.text.total.fits", png_file(header, stream, before=png_chunk(
        b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20), 9)) * 64)

    # Animations.
    def control(number, width, height, x=0, y=0):
        return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, x, y, 1, 10, 0, 0))

    frames = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    second = control(1, 5, 4, 2, 3) + png_chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(png_rows(
        rng, 5, 4, 8, 2, [0])))
    small = zlib.compress(png_rows(rng, 5, 4, 8, 2, [0, 4]))
    yield "png.animated", png_file(header, stream, frames + control(0, 17, 9), second)
    yield "png.animated.default", png_file(header, stream, frames, second)
    yield "png.animated.part", png_file(header, small, frames + control(0, 5, 4, 3, 2), second)
    yield "png.animated.part.interlaced", png_file(
        png_header(17, 9, 8, 2, interlace=1), zlib.compress(png_rows(rng, 5, 4, 8, 2, [0], True)),
        frames + control(0, 5, 4, 3, 2), second)
    yield "png.animated.part.palette", png_file(indexed, zlib.compress(png_rows(rng, 5, 4, 8, 3, [0])),
                                                palette + frames + control(0, 5, 4, 3, 2))
    yield "png.animated.empty", png_file(header, small, frames + control(0, 0, 4, 3, 2), second)
    yield "png.animated.outside", png_file(header, small, frames + control(0, 15, 4, 3, 2), second)
    yield "png.animated.sequence", png_file(header, stream, frames + control(1, 17, 9), second)
    yield "png.animated.sequence.after", png_file(header, stream, frames + control(0, 17, 9), control(
        5, 5, 4) + png_chunk(b"fdAT", struct.pack(">I", 6) + small))
    yield "png.animated.one", png_file(header, stream, png_chunk(b"acTL", struct.pack(">II", 1, 0)) + control(
        0, 17, 9), control(7, 5, 4))
    yield "png.animated.zero", png_file(header, stream, png_chunk(b"acTL", bytes(8)) + control(0, 17, 9), control(7, 5, 4))
    yield "png.animated.twice", png_file(header, stream, frames + frames + control(0, 17, 9), control(7, 5, 4))
    yield "png.animated.fdat_only", PNG_MAGIC + header + frames + control(0, 17, 9) + png_chunk(
        b"fdAT", struct.pack(">I", 1) + stream) + png_chunk(b"IEND", b"")
    yield "png.animated.fdat_more", PNG_MAGIC + header + frames + control(0, 17, 9) + png_chunk(
        b"fdAT", struct.pack(">I", 1) + stream[:60]) + png_chunk(
        b"fdAT", struct.pack(">I", 2) + stream[60:]) + png_chunk(b"IEND", b"")
    yield "png.animated.idat_then_fdat", png_file(header, stream[:60], frames + control(0, 17, 9), png_chunk(
        b"fdAT", struct.pack(">I", 1) + stream[60:]))


def webps(rng):
    for (width, height), lossless, alpha, quality in itertools.product(SIZES, (False, True), (False, True), (10, 80, 100)):
        picture = photo(width, height, "astronaut.png")
        if alpha:
            picture.putalpha(drawn(width, height).convert("L"))
        name = f"webp.{width}x{height}{'.lossless' * lossless}{'.alpha' * alpha}.q{quality}"
        yield name, saved(picture, "WEBP", lossless=lossless, quality=quality, exact=quality == 100)
    base = photo(48, 33)
    exif = base.getexif()
    exif[0x0112] = 6
    yield "webp.metadata", saved(base, "WEBP", exif=exif, icc_profile=rng.bytes(99), xmp=b"<x/>")
    yield "webp.animated", saved(base, "WEBP", save_all=True, append_images=[drawn(48, 33)], duration=100)
    noise = PIL.Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    translucent = noise.copy()
    translucent.putalpha(drawn(12, 9).convert("L"))
    animation = (b"ANIM", b"\x11\x22\x33\x44\0\0")
    for what, picture, options in (("lossless", noise, {"lossless": True}), ("lossy", noise, {}),
                                   ("alpha", translucent, {}), ("lossless.alpha", translucent, {"lossless": True})):
        chunks = [c for c in webp_chunks(saved(picture, "WEBP", **options)) if c[0] in (b"VP8 ", b"VP8L", b"ALPH")]
        for (x, y), flags in itertools.product(((0, 0), (4, 2), (28, 16)), (0, 1, 2, 3)):
            yield f"webp.frame.{what}.{x}.{y}.{flags}", riff(webp_extended(0x12, 40, 25), animation, webp_frame(
                x, y, 12, 9, chunks, flags))
        yield f"webp.frame.{what}.outside", riff(webp_extended(0x12, 40, 25), animation, webp_frame(30, 0, 12, 9, chunks))
        yield f"webp.frame.{what}.wrong_size", riff(webp_extended(0x12, 40, 25), animation, webp_frame(0, 0, 13, 9, chunks))
        yield f"webp.extended.{what}", riff(webp_extended(0x10, 12, 9), *chunks)
        yield f"webp.extended.{what}.flags", riff(webp_extended(0, 12, 9), *chunks)
        yield f"webp.extended.{what}.other_size", riff(webp_extended(0x10, 13, 9), *chunks)
    good = saved(noise, "WEBP")
    yield "webp.trailing", good + rng.bytes(50)
    yield "webp.riff.short", good[:4] + struct.pack("<I", len(good) - 8 - 20) + good[8:]
    yield "webp.riff.long", good[:4] + struct.pack("<I", len(good) - 8 + 20) + good[8:]
    yield "webp.riff.odd", good[:4] + struct.pack("<I", len(good) - 8 + 1) + good[8:]
    yield "webp.unknown_first", riff((b"abcd", b"data"), *webp_chunks(good))
    yield "webp.unknown_after", riff(*webp_chunks(good), (b"abcd", b"data"))
    yield "webp.no_animation_chunk", riff(webp_extended(2, 12, 9), webp_frame(0, 0, 12, 9, webp_chunks(good)))
    yield "webp.no_frame", riff(webp_extended(2, 12, 9), animation)
    yield "webp.bomb", riff(webp_extended(0, 1 << 20, 1 << 20), *webp_chunks(good))
    yield "webp.header_only", good[:16]
    yield "webp.empty", riff()


def avifs(rng):
    for (width, height), subsampling, alpha, quality in itertools.product(
            SIZES, ("4:4:4", "4:2:2", "4:2:0", "4:0:0"), (False, True), (30, 100)):
        picture = photo(width, height, "astronaut.png")
        if alpha:
            picture.putalpha(drawn(width, height).convert("L"))
        name = f"avif.{width}x{height}.{subsampling.replace(':', '')}{'.alpha' * alpha}.q{quality}"
        yield name, saved(picture, "AVIF", quality=quality, subsampling=subsampling, speed=9)
    base = photo(48, 33)
    for value in ("full", "limited"):
        for subsampling in ("4:2:0", "4:0:0"):
            yield f"avif.range.{value}.{subsampling.replace(':', '')}", saved(
                base, "AVIF", range=value, subsampling=subsampling, speed=9)
    translucent = base.copy()
    translucent.putalpha(drawn(48, 33).convert("L"))
    yield "avif.premultiplied", saved(translucent, "AVIF", alpha_premultiplied=True, speed=9)
    exif = base.getexif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        yield f"avif.orientation.{orientation}", saved(base, "AVIF", exif=exif, speed=9)
    described = PIL.Image.Exif()
    described[0x010E] = "a picture"
    sound = saved(base, "AVIF", exif=described, speed=9)
    yield "avif.exif", sound
    yield "avif.exif.damaged", sound.replace(b"MM\0*", b"XX*\0")
    yield "avif.metadata", saved(base, "AVIF", icc_profile=rng.bytes(99), xmp=b"<x/>", speed=9)
    yield "avif.animated", saved(base, "AVIF", save_all=True, append_images=[drawn(48, 33)], speed=9)
    yield "avif.tiled", saved(photo(400, 300, "astronaut.png"), "AVIF", tile_rows=1, tile_cols=1, speed=9)
    sound = saved(base, "AVIF", speed=9)
    for brand in (b"avis", b"mif1", b"msf1", b"heic", b"jpeg"):
        yield f"avif.brand.{brand.decode()}", sound[:8] + brand + sound[12:]
    yield "avif.trailing", sound + bytes(100)
    yield "avif.header_only", sound[:12]


def gifs(rng):
    gray = bytes(v for i in range(256) for v in (i, i, i))
    for (width, height), interlace in itertools.product(SIZES, (0, 1)):
        yield f"gif.saved.{width}x{height}.{interlace}", saved(photo(width, height).quantize(50), "GIF", interlace=interlace)
        yield f"gif.gray.{width}x{height}.{interlace}", saved(photo(width, height).convert("L"), "GIF", interlace=interlace)
    for bits in range(1, 9):
        colors = rng.bytes(3 << bits)
        for (width, height), interlace in itertools.product(((1, 1), (5, 9), (40, 31)), (False, True)):
            indices = rng.integers(0, 1 << bits, width * height, dtype=np.uint8).tobytes()
            smooth = bytes((i // 40) % (1 << bits) for i in range(width * height))
            for what, pixels in (("noise", indices), ("smooth", smooth)):
                code_bits = max(bits, 2)
                yield (f"gif.{bits}.{width}x{height}.{what}{'.interlaced' * interlace}", gif_screen(
                    width, height, colors) + gif_frame(0, 0, width, height, sub_blocks(lzw(pixels, code_bits)), code_bits,
                                                     interlace=interlace) + b";")
    width, height = 90, 80
    colors, other = rng.bytes(768), rng.bytes(768)
    indices = rng.integers(0, 256, width * height, dtype=np.uint8).tobytes()
    data = sub_blocks(lzw(indices, 8))
    screen = gif_screen(width, height, colors)
    yield "gif.clears", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices, 8, clear_every=100))) + b";"
    yield "gif.small_blocks", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices, 8), 3)) + b";"
    yield "gif.full_table", screen + gif_frame(0, 0, width, height, data) + b";"
    yield "gif.no_end_code", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices, 8, end=False))) + b";"
    yield "gif.no_trailer", screen + gif_frame(0, 0, width, height, data)
    yield "gif.no_terminator", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices, 8), terminator=False))
    yield "gif.early_end", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices[:999], 8))) + b";"
    long_file = screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices[:999], 8)) + rng.bytes(70000))
    yield "gif.early_end.more", long_file
    yield "gif.early_end.and_on", screen + gif_frame(0, 0, width, height, sub_blocks(
        lzw(indices[:999], 8) + lzw(indices, 8)) + bytes(70000))
    yield "gif.too_much", screen + gif_frame(0, 0, width, height, sub_blocks(lzw(indices * 2, 8))) + b";"
    yield "gif.empty_data", screen + gif_frame(0, 0, width, height, b"\0") + b";"
    yield "gif.bad_first_code", screen + gif_frame(0, 0, 4, 4, sub_blocks(b"\x00\x07\xff\xff"), 8) + b";"
    yield "gif.bad_code", screen + gif_frame(0, 0, 4, 4, sub_blocks(b"\x00\x03\xfc\xff\xff\xff"), 8) + b";"
    for code_bits in (0, 1, 2, 9, 10, 11, 12, 13, 255):
        yield f"gif.code_bits.{code_bits}", screen + gif_frame(0, 0, 30, 8, sub_blocks(rng.bytes(900)), code_bits) + b";"
    for code_bits in (9, 11, 12):
        yield f"gif.code_bits.{code_bits}.sound", screen + gif_frame(0, 0, 30, 8, sub_blocks(np.packbits(
            np.unpackbits(np.frombuffer(b"".join(int(v).to_bytes(2, "little") for v in [1 << code_bits, *range(240)]),
                                      np.uint8), bitorder="little").reshape(-1, 16)[:, :code_bits + 1].ravel(),
            bitorder="little").tobytes()), code_bits) + b";"

    part = rng.integers(0, 256, 20 * 10, dtype=np.uint8).tobytes()
    part_data = sub_blocks(lzw(part, 8))
    for what, palette in (("none", None), ("color", colors), ("gray", gray)):
        for local_what, local in (("none", None), ("color", other), ("gray", gray), ("short", other[:12])):
            for transparent in (None, 0, 7, 255):
                yield (f"gif.palette.{what}.{local_what}.{transparent}", gif_screen(60, 50, palette) + gif_control(
                    transparent) + gif_frame(9, 8, 20, 10, part_data, palette=local) + b";")
    for x, y in ((0, 0), (50, 45), (55, 0), (0, 45), (40, 40)):
        yield f"gif.offset.{x}.{y}", gif_screen(60, 50, colors) + gif_frame(x, y, 20, 10, part_data) + b";"
    for disposal in range(8):
        yield f"gif.disposal.{disposal}", gif_screen(60, 50, colors, 3) + gif_control(5, disposal) + gif_frame(
            9, 8, 20, 10, part_data) + gif_control(6, disposal) + gif_frame(0, 0, 20, 10, part_data) + b";"
    yield "gif.background", gif_screen(60, 50, colors, 9) + gif_frame(9, 8, 20, 10, part_data) + b";"
    yield "gif.screen.zero", gif_screen(0, 0, colors) + gif_frame(9, 8, 20, 10, part_data) + b";"
    yield "gif.screen.zero.no_offset", gif_screen(0, 0, colors) + gif_frame(0, 0, 20, 10, part_data) + b";"
    yield "gif.frame.zero", gif_screen(60, 50, colors) + gif_frame(0, 0, 0, 10, part_data) + b";"
    yield "gif.frame.zero.height", gif_screen(60, 50, colors) + gif_frame(0, 0, 10, 0, part_data) + b";"
    yield "gif.bomb", gif_screen(60000, 60000, colors) + gif_frame(0, 0, 20, 10, part_data) + b";"
    yield "gif.bomb.frame", gif_screen(60, 50, colors) + gif_frame(65535, 65535, 20, 10, part_data) + b";"
    yield "gif.version.87", gif_screen(20, 10, colors, version=b"GIF87a") + gif_frame(0, 0, 20, 10, part_data) + b";"
    yield "gif.version.88", gif_screen(20, 10, colors, version=b"GIF88a") + gif_frame(0, 0, 20, 10, part_data) + b";"
    frame = gif_frame(0, 0, 20, 10, part_data) + b";"
    for what, blocks in (("comment", b"!\xfe" + sub_blocks(b"hello" * 99)), ("comment.empty", b"!\xfe\0"),
                         ("netscape", b"!\xff" + sub_blocks(b"NETSCAPE2.0") [:-1] + sub_blocks(b"\1\0\0")),
                         ("netscape.empty", b"!\xff" + sub_blocks(b"NETSCAPE2.0")),
                         ("application", b"!\xff" + sub_blocks(b"XMP DataXMP") [:-1] + sub_blocks(rng.bytes(500))),
                         ("application.empty", b"!\xff\0"), ("plain_text", b"!\1" + sub_blocks(bytes(12))),
                         ("unknown", b"!\x33" + sub_blocks(bytes(12))), ("unknown.empty", b"!\x33\0"),
                         ("control.short", b"!\xf9\2\0\0\0"), ("control.short.transparent", b"!\xf9\3\1\0\0\0"),
                         ("control.empty", b"!\xf9\0"), ("control.twice", gif_control(3) + gif_control()),
                         ("control.twice.2", gif_control() + gif_control(3)), ("junk", b"\x01\x02\x00"), ("trailer", b";")):
        yield f"gif.extension.{what}", gif_screen(60, 50, colors) + blocks + frame
    yield "gif.palette.cut", gif_screen(60, 50, colors)[:200]
    yield "gif.header_only", gif_screen(60, 50)
    yield "gif.no_frame", gif_screen(60, 50, colors) + b";"
    yield "gif.animated", saved(photo(48, 33).quantize(9), "GIF", save_all=True, append_images=[drawn(48, 33).quantize(9)])


def bmps(rng):
    def stride(width, bits):
        return (width * bits + 31) // 32 * 4

    gray = b"".join(bytes([i, i, i, 0]) for i in range(256))
    for mode, (width, height) in itertools.product(("1", "L", "P", "RGB", "RGBA"), SIZES):
        picture = photo(width, height)
        picture = picture.quantize(30) if mode == "P" else picture.convert(mode)
        yield f"bmp.saved.{mode}.{width}x{height}", saved(picture, "BMP")
    for bits, (width, height), top_down in itertools.product((1, 4, 8, 16, 24, 32), SIZES, (False, True)):
        pixels = rng.bytes(stride(width, bits) * height)
        palette = rng.bytes(4 << bits) if bits <= 8 else b""
        for header_size in (40, 108, 124):
            yield (f"bmp.{bits}.{width}x{height}.{header_size}{'.top_down' * top_down}", bmp_file(
                width, -height if top_down else height, bits, pixels, palette, header_size))
    for bits in (1, 4, 8, 24):
        pixels = rng.bytes(stride(13, bits) * 7)
        palette = rng.bytes(3 << bits) if bits <= 8 else b""
        yield f"bmp.os2.{bits}", bmp_file(13, 7, bits, pixels, palette, 12)
    masks = {16: [(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xF00, 0xF0, 0xF)],
             24: [(0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)],
             32: [(0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF000000, 0xFF00, 0xFF, 0),
                  (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
                  (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0),
                  (0xFF00, 0xFF, 0xFF0000, 0)], 8: [(1, 2, 4)]}
    for bits, options in masks.items():
        for i, option in enumerate(options):
            for header_size in (40, 52, 56, 64, 108, 124):
                values = option[:3] if header_size in (40, 52) else tuple(option) + (0,) * (4 - len(option))
                yield (f"bmp.masks.{bits}.{i}.{header_size}", bmp_file(
                    9, 5, bits, rng.bytes(stride(9, bits) * 5), b"" if bits > 8 else gray, header_size, 3, masks=values))
    for bits, colors in ((1, 2), (1, 1), (4, 16), (8, 256), (8, 2), (8, 1), (8, 100)):
        for what, palette in (("gray", gray), ("black_white", bytes(4) + b"\xff\xff\xff\0" * 255), ("color", rng.bytes(1024))):
            for width in (3, 4, 9):
                yield (f"bmp.palette.{bits}.{colors}.{what}.{width}", bmp_file(
                    width, 5, bits, rng.bytes(stride(width, bits) * 5), palette[:4 * colors], colors=colors))
    for colors in (257, 300, 65536, 65537):
        yield f"bmp.colors.{colors}", bmp_file(9, 5, 8, rng.bytes(12 * 5), rng.bytes(4 * colors), colors=colors)
        yield f"bmp.colors.{colors}.gray", bmp_file(9, 5, 8, rng.bytes(12 * 5), b"".join(
            bytes([i & 255] * 3 + [0]) for i in range(colors)), colors=colors)
    pixels, palette = rng.bytes(12 * 5), rng.bytes(1024)
    yield "bmp.offset.zero", bmp_file(9, 5, 8, pixels, palette, offset=0)
    yield "bmp.offset.palette", bmp_file(9, 5, 8, pixels, palette, offset=54)
    yield "bmp.offset.early", bmp_file(9, 5, 8, pixels, palette, offset=20)
    yield "bmp.offset.beyond", bmp_file(9, 5, 8, pixels, palette, offset=100000)
    for header_size in (0, 3, 13, 16, 41, 200, 0xFFFFFFFF):
        broken = bytearray(bmp_file(9, 5, 8, pixels, palette))
        broken[14:18] = struct.pack("<I", header_size)
        yield f"bmp.header.{header_size}", bytes(broken)
    for bits in (0, 2, 3, 5, 15, 48, 64):
        yield f"bmp.bits.{bits}", bmp_file(9, 5, bits, rng.bytes(900), palette)
    for compression in (4, 5, 6, 11, 0x1000000):
        yield f"bmp.compression.{compression}", bmp_file(9, 5, 8, pixels, palette, compression=compression)
    for width, height in ((0, 5), (9, 0), (-9, 5), (60000, 60000), (2**31 - 1, 1), (9, -2**31), (9, -(1 << 24) - 1)):
        yield f"bmp.size.{width}.{height}", bmp_file(width, height, 8, pixels, palette)
    short = bmp_file(9, 5, 24, rng.bytes(28 * 5))
    for cut in (1, 2, 20, 100):
        yield f"bmp.cut.{cut}", short[:-cut]

    def runs(kind, width, height, rng):
        """A random run-length stream that makes some sense."""
        out, left = bytearray(), 2 * height
        while left > 0 and len(out) < 4 * width * height:
            choice = rng.integers(0, 10)
            if choice < 5:
                out += bytes([rng.integers(1, width + 3), rng.integers(0, 256)])
            elif choice < 7:
                count = int(rng.integers(3, max(4, width)))
                size = (count + 1) // 2 if kind == 2 else count
                out += bytes([0, count]) + rng.bytes(size) + bytes(size % 2)
            elif choice < 9:
                out += b"\0\0"
                left -= 1
            else:
                out += bytes([0, 2, rng.integers(0, 4), rng.integers(0, 2)])
        return bytes(out) + b"\0\1"

    for kind, bits in ((1, 8), (2, 4), (1, 4), (2, 8), (1, 1), (1, 24), (2, 32)):
        for i, (width, height) in enumerate([(1, 1), (5, 3), (17, 9), (40, 30), (200, 20)] * 4):
            for what, colors in (("color", palette), ("gray", gray)):
                table = colors[:4 << min(bits, 8)] if bits <= 8 else b""
                yield (f"bmp.rle.{kind}.{bits}.{i}.{what}", bmp_file(
                    width, -height if i % 3 == 2 else height, bits, runs(kind, width, height, rng) * 3, table,
                    compression=kind))
    lines = b"".join(bytes([17, i]) + b"\0\0" for i in range(9)) + b"\0\1"
    for what, stream in (("lines", lines), ("no_end", lines[:-2]), ("few", lines[:20]), ("few.end", lines[:20] + b"\0\1"),
                         ("odd", lines[:21]), ("delta_cut", lines[:20] + b"\0\2\1"), ("literal_cut", lines[:20] + b"\0\x09abc")):
        yield f"bmp.rle.{what}", bmp_file(17, 9, 8, stream, palette, compression=1)


def tiff_tags(kind, width, height, rows=None, compression=1, planar=1, palette=b"", extra=None):
    """The tags of a key of Pillow's OPEN_INFO."""
    _, photometric, sample_format, fill_order, bits, extra_samples = kind
    tags = {256: (SHORT, [width]), 257: (SHORT, [height]), 258: (SHORT, list(bits)), 259: (SHORT, [compression]),
            262: (SHORT, [photometric]), 266: (SHORT, [fill_order]), 277: (SHORT, [len(bits)]),
            278: (SHORT, [rows or height]), 284: (SHORT, [planar]), 339: (SHORT, list(sample_format) * len(bits))}
    if extra_samples:
        tags[338] = (SHORT, list(extra_samples))
    if photometric == 3:
        tags[320] = (SHORT, palette)
    tags.update(extra or {})
    return tags


def tiff_samples(rng, columns, lines, sample_bits, order, small):
    """Random rows; `small`: 16-bit values of which some are below 256."""
    data = rng.integers(0, 256, (columns * sample_bits + 7) // 8 * lines, dtype=np.uint8)
    if small and rng.integers(0, 2):
        data[(0 if order == ">" else 1)::2] = 0
    return data.tobytes()


def tiffs(rng):
    compressors = {1: bytes, 8: zlib.compress, 32773: packbits}
    for number, (kind, (mode, _)) in enumerate(OPEN_INFO.items()):
        if mode == "LAB":
            continue  # Pillow converts it with a colour management library
        order = "<" if kind[0] == b"II" else ">"
        colors = [int(v) for v in rng.integers(0, 65536, 3 << min(kind[4][0], 8))]
        for compression, compress in compressors.items():
            for planar in (1, 2):
                prefix = f"tiff.{kind[0].decode()}.{number}.{mode.replace(';', '')}.{compression}.{planar}"
                layers = [sum(kind[4])] if planar == 1 else list(kind[4])
                small = kind[4][0] >= 16

                for (width, height), rows in (((13, 9), 9), ((13, 9), 4), ((1, 1), 1), ((40, 5), 1)):
                    strips = [compress(tiff_samples(rng, width, min(rows, height - y), size, order, small))
                              for size in layers for y in range(0, height, rows)]
                    yield f"{prefix}.{width}x{height}.{rows}", tiff_file(tiff_tags(
                        kind, width, height, rows, compression, planar, colors), strips, order)
                for width, height, tile_width, tile_height in ((33, 20, 16, 16), (16, 16, 16, 16), (5, 3, 32, 16)):
                    tiles = [compress(tiff_samples(rng, tile_width, tile_height, size, order, small)) for size in layers
                             for _ in range(-(-width // tile_width) * -(-height // tile_height))]
                    tags = tiff_tags(kind, width, height, None, compression, planar, colors,
                                   {322: (SHORT, [tile_width]), 323: (SHORT, [tile_height])})
                    del tags[278]
                    yield f"{prefix}.tiles.{width}x{height}.{tile_width}x{tile_height}", tiff_file(
                        tags, tiles, order, offsets_tag=324, counts_tag=325)

    base = photo(48, 33)
    pictures = {"1": base.convert("1"), "L": base.convert("L"), "P": base.quantize(40), "RGB": base, "CMYK": base.convert(
        "CMYK"), "RGBA": base.convert("RGBA"), "LA": base.convert("LA"), "YCbCr": base.convert("YCbCr"),
        "I16": PIL.Image.fromarray(rng.integers(0, 600, (33, 48), dtype=np.uint16)),
        "I": PIL.Image.fromarray(rng.integers(-100, 600, (33, 48), dtype=np.int32)),
        "F": PIL.Image.fromarray(rng.normal(100, 200, (33, 48)).astype(np.float32))}
    for mode, picture in pictures.items():
        for compression in ("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits",
                            "tiff_deflate", "lzma", "zstd"):
            for suffix, tags in (("", {}), (".predictor", {317: 2}), (".rows", {278: 7})):
                try:
                    yield f"tiff.saved.{mode}.{compression}{suffix}", saved(picture, "TIFF", compression=compression,
                                                                         tiffinfo=tags)
                except (OSError, RuntimeError, KeyError):
                    continue  # no such combination
    for quality, rows in ((30, 16), (75, 8), (95, 40)):
        for mode in ("L", "RGB", "YCbCr", "CMYK"):
            yield f"tiff.jpeg.{mode}.{quality}.{rows}", saved(pictures[mode], "TIFF", compression="jpeg", quality=quality,
                                                           tiffinfo={278: rows})
    yield "tiff.pages", saved(base, "TIFF", save_all=True, append_images=[drawn(9, 9)])
    yield "tiff.big", saved(base, "TIFF", big_tiff=True)
    yield "tiff.big.lzw", saved(base, "TIFF", big_tiff=True, compression="tiff_lzw")

    kind = (b"II", 2, (1,), 1, (8, 8, 8), ())
    strips = [rng.bytes(17 * 3 * 5), rng.bytes(17 * 3 * 4)]

    def variant(changes=None, blocks=strips, drop=(), **options):
        tags = tiff_tags(kind, 17, 9, 5, extra=changes)
        for tag in drop:
            del tags[tag]
        return tiff_file(tags, blocks, **options)

    for orientation in range(10):
        tag = {274: (SHORT, [orientation])}
        yield f"tiff.orientation.{orientation}", variant(tag)
        yield f"tiff.orientation.{orientation}.deflate", variant({**tag, 259: (SHORT, [8])}, [zlib.compress(x) for x in strips])
    ycbcr = {262: (SHORT, [6])}
    for what, changes in {
            "plain": {}, "xmp": {700: (1, b'<x tiff:Orientation="6"/>')}, "xmp.element": {
                700: (7, b"<tiff:Orientation>3</tiff:Orientation>")}, "xmp.first_only": {
                700: (1, b'tiff:Orientation="x" tiff:Orientation="8"')}, "xmp.and_tag": {
                700: (1, b'tiff:Orientation="6"'), 274: (SHORT, [1])}, "orientation.long": {274: (LONG, [6])},
            "orientation.byte": {274: (1, b"\6")}, "orientation.two": {274: (SHORT, [6, 1])},
            "width.long": {256: (LONG, [17])}, "width.byte": {256: (1, b"\x11")}, "width.zero": {256: (SHORT, [0])},
            "width.negative": {256: (9, [-17])}, "width.two": {256: (SHORT, [17, 3])}, "width.long8": {256: (LONG8, [17])},
            "bomb": {256: (LONG, [60000]), 257: (LONG, [60000])}, "huge": {256: (LONG, [2**32 - 1])},
            "bits.one_value": {258: (SHORT, [8])}, "bits.four": {258: (SHORT, [8, 8, 8, 8])}, "bits.byte": {258: (1, b"\x08")},
            "bits.two": {258: (SHORT, [8, 8])}, "bits.mixed": {258: (SHORT, [8, 8, 16])}, "samples.1": {277: (SHORT, [1])},
            "samples.7": {277: (SHORT, [7])}, "samples.0": {277: (SHORT, [0])}, "format.2": {339: (SHORT, [2])},
            "format.mixed": {339: (SHORT, [1, 1, 2])}, "format.one": {339: (SHORT, [1])}, "compression.2": {259: (SHORT, [2])},
            "compression.5": {259: (SHORT, [5])}, "compression.6": {259: (SHORT, [6])}, "compression.7": {259: (SHORT, [7])},
            "compression.50001": {259: (SHORT, [50001])}, "compression.99": {259: (SHORT, [99])},
            "compression.8": {259: (SHORT, [8])}, "planar.3": {284: (SHORT, [3])}, "planar.2": {284: (SHORT, [2])},
            "fill_order.2": {266: (SHORT, [2])}, "fill_order.3": {266: (SHORT, [3])}, "photometric.4": {262: (SHORT, [4])},
            "photometric.two": {262: (SHORT, [2, 2])}, "photometric.9": {262: (SHORT, [9])}, "ycbcr": ycbcr,
            "rows.0": {278: (SHORT, [0])}, "rows.huge": {278: (LONG, [2**32 - 1])}, "rows.1": {278: (SHORT, [1])},
            "media_photo": {0xBC01: (SHORT, [1])}, "extra.unneeded": {338: (SHORT, [0])}, "resolution": {
                282: (5, struct.pack("<2L", 72, 1)), 296: (SHORT, [2])}, "resolution.zero": {282: (5, bytes(8))},
            "profile": {34675: (7, rng.bytes(300))}, "exif": {34665: (LONG, [8])}, "exif.beyond": {34665: (LONG, [99999])},
            "type.99": {305: (7, b"abcdefgh")}, "interop": {40965: (LONG, [8])}}.items():
        yield f"tiff.tag.{what}", variant(changes)
        yield f"tiff.tag.{what}.big_endian", tiff_file(tiff_tags((b"MM", *kind[1:]), 17, 9, 5, extra={
            tag: (t, v if t != 5 else struct.pack(">2L", *struct.unpack("<2L", v))) for tag, (t, v) in changes.items()}),
            strips, ">")
    for tag in (256, 257, 258, 259, 262, 266, 277, 278, 284, 339, 273, 279):
        blocks_tags = tiff_tags(kind, 17, 9, 5)
        file = bytearray(tiff_file(blocks_tags, strips))
        count = struct.unpack("<H", file[8:10])[0]
        for i in range(count):
            at = 10 + 12 * i
            if struct.unpack("<H", file[at:at + 2])[0] == tag:
                file[at:at + 2] = struct.pack("<H", 65000)
        yield f"tiff.without.{tag}", bytes(file)
    yield "tiff.profile.large", variant({34675: (7, bytes(6 << 20)), 259: (SHORT, [8])}, [zlib.compress(x) for x in strips])
    yield "tiff.big_endian_magic", variant(magic=b"\0*")
    yield "tiff.strips.many", variant(blocks=strips + [rng.bytes(300), rng.bytes(300)])
    yield "tiff.strips.few", variant(blocks=strips[:1])
    yield "tiff.strips.short", variant(blocks=[strips[0], strips[1][:-1]])
    yield "tiff.strips.one", variant({278: (SHORT, [9])}, blocks=[rng.bytes(17 * 3 * 9)] * 3)
    yield "tiff.no_directory", b"II*\0" + bytes(4)
    yield "tiff.directory.beyond", b"II*\0" + struct.pack("<L", 9999) + bytes(100)
    yield "tiff.header_only", b"II*\0"
    yield "tiff.big_big_endian", b"MM\0\x2b" + bytes(60)
    for count in (255, 256, 768, 769, 771, 3):
        colors = [int(v) for v in rng.integers(0, 65536, count)]
        for width in (7, 9):
            yield f"tiff.palette.{count}.{width}", tiff_file(tiff_tags((b"II", 3, (1,), 1, (8,), ()), width, 5, palette=colors),
                                                           [rng.bytes(width * 5)])
    yield "tiff.palette.long", tiff_file(tiff_tags((b"II", 3, (1,), 1, (8,), ()), 9, 5, extra={320: (LONG, [70000] * 768)}),
                                        [rng.bytes(45)])
    yield "tiff.palette.none", tiff_file({k: v for k, v in tiff_tags((b"II", 3, (1,), 1, (8,), ()), 9, 5).items() if k != 320},
                                        [rng.bytes(45)])
    # Compressions that Pillow does not write. Deflate's old number; CCITT runs that end on words: 8 white
    # pixels and 8 black ones, or 16 white ones; SGI's logarithms, of kinds of pixels that are none.
    yield "tiff.deflate.old", variant({259: (SHORT, [32946])}, [zlib.compress(strip) for strip in strips])
    for photometric in (0, 1):
        yield f"tiff.ccitt.words.{photometric}", tiff_file(tiff_tags((b"II", photometric, (1,), 1, (1,), ()), 16, 3,
                                                                    compression=32771), [b"\x98\xa0\xa8\0\x98\xa0"])
    for compression in (34676, 34677):
        for bits in ((8,), (16,), (8, 8, 8), (16, 16, 16)):
            yield f"tiff.sgilog.{compression}.{len(bits)}x{bits[0]}", tiff_file(tiff_tags(
                (b"II", 1 if len(bits) == 1 else 2, (1,), 1, bits, ()), 5, 3, compression=compression), [rng.bytes(200)])
    # Subsampled YCbCr, which libtiff itself converts.
    for across, down in ((1, 1), (2, 1), (2, 2), (1, 2), (4, 2), (4, 4)):
        for width, height in ((16, 16), (17, 9)):
            unit = across * down + 2
            size = -(-width // across) * -(-height // down) * unit
            data = rng.integers(60, 200, size, dtype=np.uint8).tobytes()
            if across == down == 1:
                planes = [rng.bytes(width * height) for _ in range(3)]
                yield f"tiff.ycbcr.planes.{width}x{height}", tiff_file(tiff_tags(
                    (b"II", 6, (1,), 1, (8, 8, 8), ()), width, height, compression=8, planar=2, extra={
                        530: (SHORT, [1, 1])}), [zlib.compress(plane) for plane in planes])
            for compression, compress in compressors.items():
                yield f"tiff.ycbcr.{across}{down}.{width}x{height}.{compression}", tiff_file(tiff_tags(
                    (b"II", 6, (1,), 1, (8, 8, 8), ()), width, height, compression=compression, extra={
                        530: (SHORT, [across, down])}), [compress(data)])


def mutants(rng, sound):
    """Sound files, cut and damaged. Damaged pictures of more than a million pixels are left out."""
    for name, data in sound:
        parts = {1, 2, 3, 4, 8, 12, 13, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 8, len(data) - 20}
        for part in sorted(parts):
            if 0 < part < len(data):
                yield f"cut.{name}.{part}", data[:-part]
        if name.endswith(VERSION_DEPENDENT) or name.startswith("avif."):
            continue
        for i in range(24):
            damaged = bytearray(data)
            for _ in range(int(rng.integers(1, 4))):
                # Headers are where decisions are made: half of the damage goes there.
                limit = len(data) if i % 2 else min(len(data), 120)
                damaged[int(rng.integers(4, limit))] = int(rng.integers(0, 256))
            yield f"damaged.{name}.{i}", bytes(damaged)


# What a broken stream of these, and of AVIF, gives differs from one version of its library to the next, and Debian's
# are not those in Pillow's wheel.
VERSION_DEPENDENT = (".group3", ".group4", ".zstd", ".lzma")

# Cases of which cut and damaged copies are made.
REPRESENTATIVE = (
    "jpeg.48x33.420.q25", "jpeg.48x33.444.q80.progressive", "jpeg.gray.48x33", "jpeg.cmyk.17x3", "jpeg.restart.1", "jpeg.mpo",
    "png.saved.RGB.48x33", "png.saved.P.48x33", "png.8.6.17x3.interlaced", "png.16.0.7x13", "png.split.7", "png.animated",
    "webp.48x33.q80", "webp.48x33.lossless.q80", "webp.48x33.alpha.q80", "webp.animated", "webp.frame.alpha.4.2.0",
    "gif.saved.48x33.0", "gif.saved.48x33.1", "gif.palette.color.color.7", "gif.animated", "gif.small_blocks",
    "bmp.saved.RGB.17x3", "bmp.saved.P.17x3", "bmp.8.7x13.40", "bmp.masks.32.3.108", "bmp.rle.lines", "bmp.rle.2.4.2.color",
    "tiff.saved.RGB.raw", "tiff.saved.RGB.tiff_lzw", "tiff.saved.RGB.tiff_adobe_deflate", "tiff.saved.RGB.packbits",
    "tiff.saved.1.group4", "tiff.saved.1.group3", "tiff.jpeg.YCbCr.75.8", "tiff.saved.P.raw", "tiff.tag.plain", "tiff.big",
    "tiff.ycbcr.22.17x9.8", "tiff.saved.RGB.zstd", "tiff.saved.RGB.lzma",
    "avif.48x33.420.q30", "avif.64x64.444.alpha.q100", "avif.animated")


def decoded(data):
    """The reference. None: refused."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # whatever it says, it is no picture
        return None


def cases():
    rng = np.random.default_rng(SEED)
    named = [case for make in (jpegs, pngs, webps, gifs, bmps, tiffs, avifs) for case in make(rng)]
    by_name = {}
    for name, data in named:
        assert name not in by_name, name
        by_name[name] = data
    return named + list(mutants(rng, [(name, by_name[name]) for name in REPRESENTATIVE]))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    tensors, files, refused = {}, 0, 0
    with silent_libraries():
        for name, data in cases():
            rgb = decoded(data)
            if rgb is not None and rgb.size > 3_000_000 and name.startswith("damaged."):
                continue
            files += 1
            tensors[f"{name}.encoded"] = np.frombuffer(data, np.uint8)
            if rgb is None:
                refused += 1
            else:
                tensors[f"{name}.rgb"] = np.ascontiguousarray(rgb)
    save_file(tensors, pathlib.Path(sys.argv[1]) / "decode.safetensors")
    print(f"{files} files, of which Pillow refuses {refused}", flush=True)


if __name__ == "__main__":
    main()
