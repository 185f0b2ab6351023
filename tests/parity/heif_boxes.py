"""heif_boxes.py - HEIC files of parts: what phones write and heif-enc does not (grids of tiles, turns, a later image as primary)

    tile = part(heif_enc_output)                                the coded image of a file that holds one
    data = container([tile, tile], primary=2)                   two images, the second is the file's own
    data = container([tile] * 6, grid=(3, 2, 150, 90))          columns, rows, width, height of the whole
    data = container([tile], turns=[("irot", 1), ("imir", 0)])  of the primary one

Boxes are those of ISO/IEC 14496-12 and 23008-12."""
import struct


def box(kind, *content):
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind.encode() + data


def full(kind, version, *content, flags=0):
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def part(data):
    """(hvcC box, (width, height), coded bytes)"""
    at, ispe = data.index(b"hvcC") - 4, data.index(b"ispe")
    size = struct.unpack(">I", data[at:at + 4])[0]
    return data[at:at + size], struct.unpack(">II", data[ispe + 8:ispe + 16]), data[data.index(b"mdat") + 4:]


def numbered(properties, wanted):
    """The numbers of the properties that are wanted, with those that are new put in."""
    for p in wanted:
        if p not in properties:
            properties.append(p)
    return [properties.index(p) + 1 for p in wanted]


def container(parts, primary=1, grid=None, turns=(), claim=None):
    """claim: what the primary image's own size is said to be, in place of the truth"""
    items = [("hvc1", coded, [config, full("ispe", 0, struct.pack(">II", *size))]) for config, size, coded in parts]
    references = b""
    if grid:
        columns, rows, w, h = grid
        items.append(("grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, w, h),
                      [full("ispe", 0, struct.pack(">II", w, h))]))
        primary = len(items)
        references = full("iref", 0, box("dimg", struct.pack(f">HH{len(parts)}H", primary, len(parts),
                                                              *range(1, len(parts) + 1))))
    own = items[primary - 1][2]
    if claim:
        own[-1] = full("ispe", 0, struct.pack(">II", *claim))
    own.extend(box(kind, bytes([value])) for kind, value in turns)
    properties = []
    numbers = [numbered(properties, wanted) for _, _, wanted in items]
    associations = b"".join(struct.pack(">HB", i, len(n)) + bytes(0x80 | x for x in n) for i, n in enumerate(numbers, 1))
    head = box("ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(first):
        places, at = b"", first
        for i, (_, coded, _) in enumerate(items, 1):
            places += struct.pack(">HHHII", i, 0, 1, at, len(coded))
            at += len(coded)
        entries = [full("infe", 2, struct.pack(">HH", i, 0), kind.encode(), b"\0", flags=grid is not None and i != primary)
                   for i, (kind, _, _) in enumerate(items, 1)]   # tiles are hidden
        return full("meta", 0, full("hdlr", 0, bytes(4), b"pict", bytes(13)), full("pitm", 0, struct.pack(">H", primary)),
                    full("iloc", 0, b"\x44\0", struct.pack(">H", len(items)), places),
                    full("iinf", 0, struct.pack(">H", len(items)), *entries), references,
                    box("iprp", box("ipco", *properties), full("ipma", 0, struct.pack(">I", len(items)), associations)))
    first = len(head) + len(meta(0)) + 8
    return head + meta(first) + box("mdat", *[coded for _, coded, _ in items])
