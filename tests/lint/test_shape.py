"""The rules of shape.py can fail: a tree with an offence of each kind is told of in one sentence each, a tree in shape in none"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
from lines import check, done, folder
import shape

FILES = {
    "lib/base/base.h": "int base(void);\n",
    "lib/image/jpeg.c": '#include "lib/image/codec.h"\n\nint jpeg_open(struct picture *p)\n{\n}\n',
    "lib/image/codec.h": '#include "lib/base/base.h"\n\nint codec_open(void);\nint jpeg_open(struct picture *p);\n'
                         'const char *picture_name(struct picture *p);\n'
                         'static inline int twice(int n)\n{\n\treturn codec(n);\n}\n',
    "lib/image/exif.c": '#include "lib/image/exif.h"\n',
    "lib/image/exif.h": '#include "lib/base/base.h"\n' + "\n" * (shape.LINES - 1),
    "cmd/loss/main.c": "int main(void);\n",
    "cmd/probe/main.c": "int main(void);\n",
    "tests/run": "#!/bin/sh\n\t" + "x" * (shape.COLUMNS - 8) + "\n",
    "docs/speed.md": "x" * 2 * shape.COLUMNS + "\n" * 2 * shape.LINES,
}
ALONE = {"long": (), "wide": (), "round_trips": (), "vocabulary": ()}


def told(root, changes, **exceptions):
    for path, text in {**FILES, **changes}.items():
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(root, path), "w") as f:
            f.write(text)
    return list(shape.offences(root, **{**ALONE, **exceptions}))


def main():
    long, wide = {"lib/image/exif.h": "\n" * (shape.LINES + 1)}, {"tests/run": "#!/bin/sh\n\t" + "x" * (shape.COLUMNS - 7) + "\n"}
    offences = {
        "a long file": (long, "lib/image/exif.h has 401 lines"),
        "a wide line": (wide, "tests/run:2 is 131 columns wide"),
        "a name twice": ({"lib/nn/codec.c": "\n"}, "lib/image/codec and lib/nn/codec share the name 'codec'"),
        "a circle of two": ({"lib/image/codec.h": '#include "lib/image/jpeg.h"\n'},
                            "lib/image/codec -> lib/image/jpeg -> lib/image/codec is a circle"),
        "a circle by way of a source": ({"lib/base/base.c": '#include "lib/image/jpeg.h"\n'},
                                        "lib/base/base -> lib/image/jpeg -> lib/image/codec -> lib/base/base is a circle"),
        "a function of no name": ({"lib/image/exif.h": "int exif_read(void);\nint turn(int way);\n"},
                                  "lib/image/exif.h:2 declares turn, named for no module"),
        "a function named for a module that has no part in it": ({"lib/image/exif.h": "void *jpeg_turn(void);\n"},
                                                                  "lib/image/exif.h:1 declares jpeg_turn, named for no module"),
    }
    with folder() as d:
        found = told(d, {})
        check("a tree in shape is not told of", not found, found)
        found = told(d, {"docs/speed.md": ""}, wide=("tests/run",))
        check("an exception of no use is told of", len(found) == 1 and "tests/run is an exception" in found[0], found)
        found = told(d, {**long, **wide}, long=("lib/image/",), wide=("tests/",))
        check("an exception covers what begins with it", not found, found)
    for name, (changes, sentence) in offences.items():
        with folder() as d:
            found = told(d, changes)
            check(f"{name} is told of", len(found) == 1 and found[0].startswith(sentence), found)
    done()


if __name__ == "__main__":
    main()
