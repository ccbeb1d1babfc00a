"""Image files byte by byte: what no encoder writes, and what a decoder meets all the same."""

import contextlib
import os
import struct
import zlib


@contextlib.contextmanager
def silent_libraries():
    """libtiff complains on the standard error stream of every file that it refuses."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


# ---- PNG


def png_chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)


def png_header(width, height, depth, kind, compression=0, filtering=0, interlace=0):
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, compression, filtering, interlace))


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png_rows(rng, width, height, depth, kind, filters, interlace=False):
    """Random filtered rows: what an image of this kind inflates to."""
    passes = ADAM7 if interlace else [(0, 0, 1, 1)]
    rows = []
    for x0, y0, dx, dy in passes:
        columns, lines = -((x0 - width) // dx), -((y0 - height) // dy)
        length = (columns * depth * PNG_CHANNELS[kind] + 7) // 8
        if columns <= 0 or length == 0:
            continue
        for _ in range(max(lines, 0)):
            rows.append(bytes([filters[len(rows) % len(filters)]]) + rng.integers(0, 256, length, "uint8").tobytes())
    return b"".join(rows)


def png_file(header: bytes, stream: bytes, before=b"", after=b"", split=None, end=True):
    """A file of these chunks; the stream in IDAT chunks of `split` bytes."""
    step = split or max(len(stream), 1)
    data = b"".join(png_chunk(b"IDAT", stream[i:i + step]) for i in range(0, max(len(stream), 1), step))
    return PNG_MAGIC + header + before + data + after + (png_chunk(b"IEND", b"") if end else b"")


# ---- GIF


def lzw(indices, code_bits, clear_every=None, end=True):
    """LZW codes of GIF, as bytes; a clear code at the start and after every `clear_every` codes."""
    clear, stop = 1 << code_bits, (1 << code_bits) + 1
    codes, table, size = [], {}, code_bits + 1

    def reset():
        nonlocal table, size
        codes.append((clear, size))
        table = {bytes([i]): i for i in range(clear)}
        size = code_bits + 1

    reset()
    entry, string, since = stop + 1, b"", 0
    for index in indices:
        longer = string + bytes([index])
        if longer in table:
            string = longer
            continue
        codes.append((table[string], size))
        since += 1
        if clear_every and since >= clear_every:
            reset()
            entry, string, since = stop + 1, bytes([index]), 0
            continue
        if entry < 4096:
            table[longer] = entry
            if entry == 1 << size and size < 12:
                size += 1
            entry += 1
        string = bytes([index])
    if string:
        codes.append((table[string], size))
        if entry == 1 << size and size < 12:
            size += 1
    if end:
        codes.append((stop, size))
    bits = count = 0
    out = bytearray()
    for code, width in codes:
        bits |= code << count
        count += width
        while count >= 8:
            out.append(bits & 255)
            bits >>= 8
            count -= 8
    if count:
        out.append(bits & 255)
    return bytes(out)


def sub_blocks(data, size=255, terminator=True):
    return b"".join(bytes([len(data[i:i + size])]) + data[i:i + size] for i in range(0, len(data), size)) + (
        b"\0" if terminator else b"")


def gif_screen(width, height, palette=None, background=0, version=b"GIF89a"):
    flags = 0
    if palette is not None:
        flags = 0x80 | (len(palette) // 3).bit_length() - 2
    return version + struct.pack("<HHBBB", width, height, flags, background, 0) + (palette or b"")


def gif_control(transparent=None, disposal=0, delay=0):
    return b"!\xf9\x04" + struct.pack("<BHBB", disposal << 2 | (transparent is not None), delay, transparent or 0, 0)


def gif_frame(x, y, width, height, data, code_bits=8, palette=None, interlace=False):
    flags = (0x40 if interlace else 0)
    if palette is not None:
        flags |= 0x80 | (len(palette) // 3).bit_length() - 2
    return b"," + struct.pack("<HHHHB", x, y, width, height, flags) + (palette or b"") + bytes([code_bits]) + data


# ---- BMP


def bmp_file(width, height, bits, pixels, palette=b"", header_size=40, compression=0, colors=0, masks=(), offset=None):
    """`height` may be negative; `offset`: None, the right one."""
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", header_size, width, height, 1, bits, compression, len(pixels), 2835, 2835,
                             colors, 0)
        rest = b"".join(struct.pack("<I", mask) for mask in masks) if header_size >= 52 else b""
        header += rest + bytes(max(header_size - len(header) - len(rest), 0))
    after = b"".join(struct.pack("<I", mask) for mask in masks) if 12 < header_size < 52 else b""
    start = 14 + len(header) + len(after) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start if offset is None else offset) + header + after + \
        palette + pixels


# ---- TIFF

SHORT, LONG, LONG8 = 3, 4, 16


def tiff_file(tags, blocks, order="<", big=False, offsets_tag=273, counts_tag=279, magic=None):
    """One directory; `tags`: {tag: (type, values or bytes)}; `blocks`: strips or tiles."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
    codes = {3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 16: "Q"}
    head = (b"II" if order == "<" else b"MM")
    if big:
        head += struct.pack(order + "HHHQ", 43, 8, 0, 16)
    else:
        head += (magic or struct.pack(order + "H", 42)) + struct.pack(order + "L", 8)
    tags = dict(tags)
    if blocks is not None:
        tags[offsets_tag] = (LONG, [0] * len(blocks))
        tags[counts_tag] = (LONG, [len(block) for block in blocks])
    inline, unit = (8, 20) if big else (4, 12)
    directory_size = (8 if big else 2) + unit * len(tags) + inline
    data_start = len(head) + directory_size
    pools, at = {}, data_start
    for tag, (kind, values) in sorted(tags.items()):
        size = len(values) * (1 if isinstance(values, bytes) else sizes[kind])
        if size > inline:
            pools[tag] = at
            at += size + size % 2
    if blocks is not None:
        positions = []
        for block in blocks:
            positions.append(at)
            at += len(block)
        tags[offsets_tag] = (LONG, positions)
    directory, pool = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        count = len(raw) // sizes[kind]
        if tag in pools:
            value = struct.pack(order + ("Q" if big else "L"), pools[tag])
            pool += raw + bytes(len(raw) % 2)
        else:
            value = raw + bytes(inline - len(raw))
        directory += struct.pack(order + ("HHQ" if big else "HHL"), tag, kind, count) + value
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return head + count + directory + bytes(inline) + pool + b"".join(blocks or [])


def packbits(data):
    out = bytearray()
    for i in range(0, len(data), 100):
        part = data[i:i + 100]
        if len(set(part)) == 1:
            out += bytes([257 - len(part) & 255, part[0]]) if len(part) > 1 else bytes([0, part[0]])
        else:
            out += bytes([len(part) - 1]) + part
    return bytes(out)


# ---- WebP


def riff(*chunks, size=None):
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def webp_chunks(data):
    """The chunks of a file, in order."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        (size,) = struct.unpack("<I", data[at + 4:at + 8])
        chunks.append((data[at:at + 4], data[at + 8:at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def _u24(value):
    return struct.pack("<I", value)[:3]


def webp_extended(flags, width, height):
    return b"VP8X", bytes([flags, 0, 0, 0]) + _u24(width - 1) + _u24(height - 1)


def webp_frame(x, y, width, height, chunks, flags=0):
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"ANMF", _u24(x // 2) + _u24(y // 2) + _u24(width - 1) + _u24(height - 1) + _u24(100) + bytes([flags]) + body
