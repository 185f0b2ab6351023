"""tiff_files.py - TIFF files of kinds that Pillow does not write: both byte orders, BigTIFF, tiles, planes, 1 to 16 bits

    data = tiff(pixels, photometric=2, bits=16, tile=(32, 16))     pixels: (h, w, channels)
"""
import struct
import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5


def packed(a, bits, big):
    """Rows of samples, each row to a whole byte."""
    if bits == 16:
        return a.astype(">u2" if big else "<u2").tobytes()
    if bits == 8:
        return a.astype(np.uint8).tobytes()
    rows = a.reshape(len(a), -1)
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(a), -1).astype(np.uint8), axis=1).tobytes()


def blocks(a, tile, rows):
    """Strips of so many rows, or tiles that are filled up at the edges."""
    h, w = a.shape[:2]
    if not tile:
        return [a[y:y + rows] for y in range(0, h, rows)]
    across, down = tile
    a = np.pad(a, ((0, -h % down), (0, -w % across), (0, 0)))
    return [a[y:y + down, x:x + across] for y in range(0, h, down) for x in range(0, w, across)]


def tiff(a, photometric=RGB, bits=8, big=False, large=False, planes=False, tile=None, rows=None, orientation=1, extra=(),
         palette=None, claim=None, claim_tile=None):
    """big: the order of bytes; large: BigTIFF; claim, claim_tile: sizes that are said in place of the truth"""
    e, (h, w, channels) = ">" if big else "<", a.shape
    rows = rows or h
    parts = [a[..., c:c + 1] for c in range(channels)] if planes else [a]
    data = [packed(b, bits, big) for p in parts for b in blocks(p, tile, rows)]
    offset_type, at, offsets = 16 if large else 4, 16 if large else 8, []
    for d in data:
        offsets.append(at)
        at += len(d) + len(d) % 2
    said_w, said_h = claim or (w, h)
    tags = [(256, 4, [said_w]), (257, 4, [said_h]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [photometric]),
            (274, 3, [orientation]), (277, 3, [channels]), (284, 3, [2 if planes else 1])]
    if tile:
        tags += [(322, 4, [(claim_tile or tile)[0]]), (323, 4, [(claim_tile or tile)[1]]), (324, offset_type, offsets),
                 (325, 4, [len(d) for d in data])]
    else:
        tags += [(273, offset_type, offsets), (278, 4, [rows]), (279, 4, [len(d) for d in data])]
    if palette is not None:
        tags.append((320, 3, list(palette.T.reshape(-1))))
    if extra:
        tags.append((338, 3, list(extra)))
    room, entries, after = 8 if large else 4, b"", b""
    body = b"".join(d + bytes(len(d) % 2) for d in data)
    start = at + (8 + 20 * len(tags) + 8 if large else 2 + 12 * len(tags) + 4)
    for tag, kind, values in sorted(tags):
        raw = struct.pack(f"{e}{len(values)}{ {3: 'H', 4: 'I', 16: 'Q'}[kind]}", *[int(v) for v in values])
        if len(raw) > room:
            where, after = start + len(after), after + raw + bytes(len(raw) % 2)
            raw = struct.pack(e + ("Q" if large else "I"), where)
        entries += struct.pack(e + ("HHQ" if large else "HHI"), tag, kind, len(values)) + raw.ljust(room, b"\0")
    mark = b"MM" if big else b"II"
    if large:
        return mark + struct.pack(e + "HHHQ", 43, 8, 0, at) + body + struct.pack(e + "Q", len(tags)) + entries + bytes(8) + after
    return mark + struct.pack(e + "HI", 42, at) + body + struct.pack(e + "H", len(tags)) + entries + bytes(4) + after
