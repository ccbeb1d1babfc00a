#!/usr/bin/env python3
"""What Pillow makes of files under a policy: EXIF orientation applied, alpha on a background; and what
transformers then makes of a colour that stays transparent.

usage: make_policy.py OUT_DIR     PIXEMBED_PHOTOS: the sample photos

OUT_DIR/policy.safetensors has for each case NAME: "NAME.encoded", the file, [bytes] uint8; and for
each POLICY, "NAME.POLICY", the pixels under it, [height, width, 3] uint8: absent where Pillow
refuses, or transformers does. Of the cases of make_decode.py there are those of which a policy makes
something else than convert("RGB") does. The test is policy_golden_test.cc.
"""

import io
import itertools
import pathlib
import struct
import sys
import warnings
import zlib

import numpy as np
import PIL.Image
from PIL import ImageOps
from safetensors.numpy import save_file
from transformers.image_transforms import convert_to_rgb

import make_decode
from image_files import *  # a vocabulary of writers
from make_decode import drawn, jpeg_segment, photo, saved

BACKGROUND = (201, 17, 96)
ORIENTATION = 0x0112


def upright(data, apply, background, convert):
    """The reference: image.h DecodePolicy, and ConvertToRgb. None: refused."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            image.load()
            if apply:
                ImageOps.exif_transpose(image, in_place=True)
            if background is not None and image.has_transparency_data:
                canvas = PIL.Image.new("RGBA", image.size, (*background, 255))
                image = PIL.Image.alpha_composite(canvas, image.convert("RGBA"))
            image = image.convert("RGB")
            return convert_to_rgb(image, return_numpy=True) if convert else np.asarray(image)
    except Exception:  # whatever it says, it is no picture
        return None


POLICIES = {"apply": (True, None, False), "background": (False, BACKGROUND, False),
            "converted": (False, None, True), "apply_converted": (True, None, True)}


# ---- EXIF data


def exif(values, kind=SHORT, order="<", before=b"Exif\0\0", after=b"", tag=ORIENTATION):
    """EXIF data of one tag; `values` as tiff_file takes them."""
    return before + tiff_file({tag: (kind, values)}, None, order) + after


def exif_data():
    """What may be in a file's EXIF, without a prefix."""
    for orientation in (*range(10), 255, 65535):
        yield f"{orientation}", exif([orientation], before=b"")
    for orientation in (3, 6):
        yield f"big_endian.{orientation}", exif([orientation], order=">", before=b"")
        yield f"long.{orientation}", exif([orientation], LONG, before=b"")
        yield f"signed_byte.{orientation}", exif([orientation], 6, before=b"")
        yield f"signed_short.{orientation}", exif([orientation], 8, before=b"")
        yield f"byte.{orientation}", exif(bytes([orientation]), 1, before=b"")
        yield f"ascii.{orientation}", exif(b"%d\0" % orientation, 2, before=b"")
        yield f"undefined.{orientation}", exif(bytes([orientation]), 7, before=b"")
        yield f"rational.{orientation}", exif(struct.pack("<II", orientation * 7, 7), 5, before=b"")
        yield f"rational.zero.{orientation}", exif(struct.pack("<II", orientation, 0), 5, before=b"")
        yield f"rational.half.{orientation}", exif(struct.pack("<II", orientation * 2 + 1, 2), 5, before=b"")
        yield f"signed_rational.{orientation}", exif(struct.pack("<ii", -orientation, -1), 10, before=b"")
        yield f"float.{orientation}", exif(struct.pack("<f", orientation), 11, before=b"")
        yield f"double.{orientation}", exif(struct.pack("<d", orientation), 12, before=b"")
        yield f"several.{orientation}", exif([orientation, 8, 8], before=b"")
        yield f"prefix.{orientation}", exif([orientation])
        yield f"prefix.twice.{orientation}", exif([orientation], before=b"Exif\0\0" * 2)
        yield f"prefix.three.{orientation}", exif([orientation], before=b"Exif\0\0" * 3)
        yield f"bad_type.{orientation}", exif(b"\6\0", 3, before=b"").replace(b"\x12\1\3\0", b"\x12\1\x63\0")
        yield f"cut.{orientation}", exif([orientation], before=b"")[:-6]
    good = exif([6], before=b"")
    yield "empty", b""
    yield "prefix_only", b"Exif\0\0"
    yield "other_tag", exif([6], tag=0x0110, before=b"")
    yield "header.cut", good[:7]
    yield "header.only", good[:8]
    yield "header.bad", b"XX*\0" + good[4:]
    yield "header.big", b"II+\0" + good[4:]
    yield "header.offset.0", good[:4] + bytes(4) + good[8:]
    yield "header.offset.far", good[:4] + b"\xff\xff\0\0" + good[8:]
    yield "entry.cut", good[:16]
    yield "count.zero", good[:14] + bytes(4) + good[18:]
    yield "count.huge", good[:14] + b"\xff" * 4 + good[18:]
    yield "twice", good[:8] + b"\2\0" + good[10:22] + good[10:18] + b"\3\0\0\0" + good[22:]


XMP = {
    "attribute": b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>',
    "element": b"<x:xmpmeta><tiff:Orientation>3</tiff:Orientation></x:xmpmeta>",
    "second": b'<a tiff:Orientation="x" tiff:Orientation="8"/>',
    "nine": b'<a tiff:Orientation="9"/>',
    "not_utf8": b'\xff<a tiff:Orientation="6"/>',
    "empty": b"",
}


def orientations(rng):
    picture = photo(17, 11)
    jpeg, png, webp = saved(picture, "JPEG"), saved(picture, "PNG"), saved(picture, "WEBP")
    dense = saved(picture, "JPEG", dpi=(72, 72))
    png_header_end = len(PNG_MAGIC) + 25
    webp_data = webp_chunks(webp)

    def with_exif_jpeg(data, base=jpeg):
        return base[:2] + jpeg_segment(0xE1, data) + base[2:]

    def with_png(chunks, where="before"):
        at = png_header_end if where == "before" else len(png) - 12
        return png[:at] + chunks + png[at:]

    def with_webp(flags, *chunks):
        return riff(webp_extended(flags, 17, 11), *webp_data, *chunks)

    for name, data in exif_data():
        yield f"exif.jpeg.{name}", with_exif_jpeg(b"Exif\0\0" + data)
        yield f"exif.jpeg.dense.{name}", with_exif_jpeg(b"Exif\0\0" + data, dense)
        yield f"exif.png.{name}", with_png(png_chunk(b"eXIf", data))
        yield f"exif.png.after.{name}", with_png(png_chunk(b"eXIf", data), "after")
        yield f"exif.webp.{name}", with_webp(8, (b"EXIF", data))
        hexadecimal = data.hex().encode()
        lines = b"\nexif\n%8d\n" % len(data) + b"\n".join(hexadecimal[i:i + 72] for i in range(0, len(hexadecimal), 72)) + b"\n"
        yield f"exif.png.profile.{name}", with_png(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(lines)))
    for name, text in XMP.items():
        segment = b"http://ns.adobe.com/xap/1.0/\0" + text
        itxt = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
        yield f"xmp.jpeg.{name}", with_exif_jpeg(segment)
        yield f"xmp.png.{name}", with_png(itxt)
        yield f"xmp.png.after.{name}", with_png(itxt, "after")
        yield f"xmp.png.text.{name}", with_png(png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + text))
        yield f"xmp.png.compressed.{name}", with_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)))
        yield f"xmp.webp.{name}", with_webp(4, (b"XMP ", text))
        for what, data in (("upright", exif([1])), ("other", exif([6], tag=0x0110)), ("bad", b"Exif\0\0bad")):
            yield f"xmp.jpeg.exif.{what}.{name}", with_exif_jpeg(segment, with_exif_jpeg(data))
            yield f"xmp.jpeg.exif.dense.{what}.{name}", with_exif_jpeg(segment, with_exif_jpeg(data, dense))
            yield f"xmp.png.exif.{what}.{name}", with_png(itxt + png_chunk(b"eXIf", data[6:]))
            yield f"xmp.webp.exif.{what}.{name}", with_webp(12, (b"EXIF", data), (b"XMP ", text))
    six = exif([6], before=b"")
    for at in (3, 8, 20):
        yield f"exif.jpeg.parts.{at}", with_exif_jpeg(b"Exif\0\0" + six[:at], with_exif_jpeg(b"Exif\0\0" + six[at:]))
        yield f"exif.jpeg.parts.back.{at}", with_exif_jpeg(b"Exif\0\0" + six[at:], with_exif_jpeg(b"Exif\0\0" + six[:at]))
    for density, unit in itertools.product((True, False), range(4)):
        jfif = b"JFIF\0\1\1" + bytes([unit]) + (b"\0\1\0\1\0\0" if density else b"")
        yield f"exif.jpeg.jfif.{density}.{unit}", jpeg[:2] + jpeg_segment(0xE0, jfif) + jpeg_segment(
            0xE1, b"Exif\0\0bad data") + jpeg[20:]
    for flags in (0, 4, 8):
        yield f"exif.webp.flags.{flags}", with_webp(flags, (b"EXIF", six), (b"XMP ", XMP["element"]))
    yield "exif.webp.two_chunks", with_webp(8, (b"EXIF", six), (b"EXIF", exif([3])))
    for name, chunk in (
            ("text", png_chunk(b"tEXt", b"exif\0" + six)),
            ("text.compressed", png_chunk(b"zTXt", b"exif\0\0" + zlib.compress(six))),
            ("text.international", png_chunk(b"iTXt", b"exif\0\0\0\0\0text")),
            ("text.international.not_utf8", png_chunk(b"iTXt", b"exif\0\0\0\0\0\xed\xa0\x80")),
            ("text.then_exif", png_chunk(b"zTXt", b"exif\0\0" + zlib.compress(six)) + png_chunk(b"eXIf", six)),
            ("profile.plain", png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 34\n" + six.hex().encode())),
            ("profile.spaces", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb\nc\n " + six.hex(" ").encode())),
            ("profile.split", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb\nc\n0 " + six.hex().encode())),
            ("profile.odd", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb\nc\n" + six.hex().encode()[:-1])),
            ("profile.short", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb")),
            ("profile.not_hex", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb\nc\nxyz")),
            ("profile.and_exif", png_chunk(b"tEXt", b"Raw profile type exif\0a\nb\nc\nxyz") + png_chunk(b"eXIf", six)),
            ("profile.broken", png_chunk(b"zTXt", b"Raw profile type exif\0\0broken")),
            ("xmp.twice", png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP["attribute"]) + png_chunk(
                b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP["not_utf8"].replace(b"6", b"3"))),
            ("xmp.language", png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\xff\0\0" + XMP["attribute"])),
            ("xmp.cut_stream", png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP["attribute"])[:-5])),
            ("xmp.broken_stream", png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0broken"))):
        for where in ("before", "after"):
            yield f"exif.png.{where}.{name}", with_png(chunk, where)
    control = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 17, 11, 0, 0, 1, 10, 0, 0))
    more = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 17, 11, 0, 0, 1, 10, 0, 0))
    frames = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    for where, chunks in (("before", png_chunk(b"eXIf", six) + more), ("after", more + png_chunk(b"eXIf", six))):
        animated = with_png(frames + control)
        yield f"exif.png.animated.{where}", animated[:-12] + chunks + animated[-12:]
    gray = photo(13, 29).convert("L")
    for orientation in range(1, 9):
        data = gray.getexif()
        data[ORIENTATION] = orientation
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield f"exif.saved.{kind.lower()}.{orientation}", saved(gray, kind, exif=data)
        yield f"exif.saved.mpo.{orientation}", saved(gray, "MPO", save_all=True, exif=data, append_images=[photo(9, 9)])


# ---- alpha


def transparencies(rng):
    palette = rng.bytes(768)
    for (depth, kind), interlace in itertools.product(make_decode.PNG_KINDS, (0, 1)):
        rows = png_rows(rng, 40, 31, depth, kind, [0, 1, 2, 3, 4], interlace)
        header = png_header(40, 31, depth, kind, interlace=interlace)
        colors = png_chunk(b"PLTE", palette) if kind == 3 else b""
        for what, data in (("none", None), ("zero", bytes(6)), ("one", b"\0\1" * 3), ("three", b"\0\3" * 3),
                           ("high", b"\1\xff" * 3), ("max", b"\xff\xff" * 3), ("long", bytes([0, 85]) * 8),
                           ("index", b"\xff\xff\0\xff"), ("index.line", b"\xff\0\n"), ("alphas", rng.bytes(200)),
                           ("opaque", b"\xff" * 9), ("empty", b""), ("full", rng.bytes(256)), ("257", rng.bytes(257)),
                           ("index.300", b"\xff" * 300 + b"\0"), ("index.5.300", b"\xff" * 5 + b"\0" + b"\xff" * 300)):
            chunk = png_chunk(b"tRNS", data) if data is not None else b""
            name = f"alpha.png.{depth}.{kind}{'.interlaced' * interlace}.{what}"
            yield name, png_file(header, zlib.compress(rows, 1), colors + chunk)
            if kind in (0, 2, 3):
                yield f"{name}.after", png_file(header, zlib.compress(rows, 1), colors, chunk)
            if kind == 3:
                yield f"{name}.no_palette", png_file(header, zlib.compress(rows, 1), chunk)
    # Few values, so that a transparent color is met.
    for depth, kind in ((8, 0), (16, 0), (8, 2), (16, 2)):
        bands = 3 if kind == 2 else 1
        values = rng.integers(0, 3, (20, 20 * bands)).astype(">u2" if depth == 16 else "u1")
        rows = b"".join(b"\0" + row.tobytes() for row in values)
        for key in (b"\0\1" * 3, b"\1\1" * 3, b"\1\0" * 3, b"\0\1\0\2\0\1"):
            yield f"alpha.png.few.{depth}.{kind}.{key.hex()}", png_file(
                png_header(20, 20, depth, kind), zlib.compress(rows), png_chunk(b"tRNS", key))
    # What takes the place of tRNS in Pillow's info: a text of that name, or a tRNS for other pixels.
    for depth, kind in make_decode.PNG_KINDS:
        header, rows = png_header(12, 9, depth, kind), zlib.compress(png_rows(rng, 12, 9, depth, kind, [0]))
        colors = png_chunk(b"PLTE", palette) if kind == 3 else b""
        trns = png_chunk(b"tRNS", b"\xff\0" if kind == 3 else b"\0\1" * 3)
        for what, chunk in (
                ("plain", png_chunk(b"tEXt", b"transparency\0x")),
                ("no_value", png_chunk(b"tEXt", b"transparency")),
                ("compressed", png_chunk(b"zTXt", b"transparency\0\0" + zlib.compress(b"x"))),
                ("broken", png_chunk(b"zTXt", b"transparency\0\0broken")),
                ("international", png_chunk(b"iTXt", b"transparency\0\0\0en\0key\0text")),
                ("international.compressed", png_chunk(b"iTXt", b"transparency\0\1\0\0\0" + zlib.compress(b"x"))),
                ("international.broken", png_chunk(b"iTXt", b"transparency\0\1\0\0\0broken")),
                ("international.not_utf8", png_chunk(b"iTXt", b"transparency\0\0\0en\0key\0\xff")),
                ("other_case", png_chunk(b"tEXt", b"Transparency\0x"))):
            name = f"alpha.png.text.{depth}.{kind}.{what}"
            yield name, png_file(header, rows, colors + trns + chunk)
            yield f"{name}.first", png_file(header, rows, colors + chunk + trns)
            yield f"{name}.after", png_file(header, rows, colors, chunk)
    for (depth, kind), (other_depth, other_kind) in itertools.product(make_decode.PNG_KINDS, ((1, 0), (8, 0), (16, 0), (8, 2),
                                                                                             (8, 3), (8, 6))):
        rows = zlib.compress(png_rows(rng, 12, 9, depth, kind, [0]))
        colors = png_chunk(b"PLTE", palette) if kind == 3 else b""
        for what, data in (("index", b"\xff\xff\0"), ("levels", b"\0\3\0\1\0\2"), ("zero", bytes(6))):
            chunk = png_header(12, 9, other_depth, other_kind) + png_chunk(b"tRNS", data)
            name = f"alpha.png.two_headers.{depth}.{kind}.{other_depth}.{other_kind}.{what}"
            yield name, png_file(chunk + png_header(12, 9, depth, kind), rows, colors)
            yield f"{name}.after", png_file(png_header(12, 9, depth, kind), rows, colors, chunk)
    # GIF: of a gray ramp, of colors, of few and of twice the same; where the frame does not reach.
    gray = bytes(v for i in range(256) for v in (i, i, i))
    indices = rng.integers(0, 8, 20 * 10, dtype=np.uint8).tobytes()
    for what, screen, local in itertools.product(("after", "before"), (None, palette[:24], palette[:12], palette[:12] * 2, gray),
                                                 (None, palette[30:54], gray)):
        for transparent in (None, 0, 3, 7, 8, 255):
            for width, height in ((20, 10), (23, 12)):
                frame = gif_frame(0, 0, 20, 10, sub_blocks(lzw(indices, 8)), palette=local)
                control = gif_control(transparent)
                named = [len(part) if part else 0 for part in (screen, local)]
                same = "twice" if screen == palette[:12] * 2 else "once"
                yield (f"alpha.gif.{what}.{named[0]}.{named[1]}.{same}.{transparent}.{width}", gif_screen(width, height, screen)
                       + (control + frame if what == "after" else frame + control) + b";")
    translucent = photo(48, 33, "astronaut.png")
    translucent.putalpha(drawn(48, 33).convert("L"))
    holed = translucent.copy()
    holed.putalpha(drawn(48, 33).convert("1"))
    for what, picture in (("translucent", translucent), ("holed", holed)):
        for lossless, exact in ((False, False), (True, False), (True, True)):
            yield f"alpha.webp.{what}.{lossless}.{exact}", saved(picture, "WEBP", lossless=lossless, exact=exact)
        for mode in ("RGBA", "LA", "PA"):
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
                if mode != "PA":
                    yield f"alpha.tiff.{what}.{mode}.{compression}", saved(picture.convert(mode), "TIFF",
                                                                         compression=compression)
        yield f"alpha.png.{what}", saved(picture, "PNG")
        yield f"alpha.png.{what}.palette", saved(picture.quantize(30), "PNG")
        yield f"alpha.gif.{what}", saved(picture, "GIF")
        yield f"alpha.bmp.{what}", saved(picture, "BMP")
        for orientation in (3, 6, 7):
            data = picture.getexif()
            data[ORIENTATION] = orientation
            for kind in ("PNG", "WEBP", "TIFF"):
                yield f"alpha.turned.{what}.{kind.lower()}.{orientation}", saved(picture, kind, exif=data)


def own_cases():
    rng = np.random.default_rng(29)
    names = set()
    for name, data in itertools.chain(orientations(rng), transparencies(rng)):
        assert name not in names, name
        names.add(name)
        yield name, data, True
    for name, data in make_decode.cases():
        yield name, data, False


def same(a, b):
    return a is b if a is None or b is None else a.shape == b.shape and np.array_equal(a, b)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    tensors, files, refused = {}, 0, 0
    with make_decode.silent_libraries():
        for name, data, own in own_cases():
            plain = make_decode.decoded(data)
            if plain is not None and plain.size > 3_000_000 and name.startswith("damaged."):
                continue
            results = {policy: upright(data, *options) for policy, options in POLICIES.items()}
            if not own and all(same(plain, rgb) for rgb in results.values()):
                continue
            files += 1
            tensors[f"{name}.encoded"] = np.frombuffer(data or b"\0", np.uint8)
            for policy, rgb in results.items():
                refused += rgb is None
                if rgb is not None:
                    tensors[f"{name}.{policy}"] = np.ascontiguousarray(rgb)
    save_file(tensors, pathlib.Path(sys.argv[1]) / "policy.safetensors")
    print(f"{files} files, {refused} refusals", flush=True)


if __name__ == "__main__":
    main()
