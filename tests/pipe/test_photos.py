"""A phone's photographs, HEIC as heif-enc makes them of real ones, through a whole line: an epoch from a folder and a tar."""
import io
import os
import shutil
import subprocess
import tarfile

from PIL import Image

import lines
from lines import DATA, Line, check, folder, json_lines, skip

PHOTOS, BATCH = 40, 8


def make(d, tar):
    with tarfile.open(tar) as t:
        for i, m in enumerate([m for m in t if m.isfile()][:PHOTOS]):
            image = Image.open(io.BytesIO(t.extractfile(m).read())).convert("RGB")
            image.thumbnail((160, 160))
            image.save(f"{d}/photo.png")
            os.makedirs(f"{d}/photos/album{i % 2}", exist_ok=True)
            subprocess.run(["heif-enc", f"{d}/photo.png", "-o", f"{d}/photos/album{i % 2}/IMG_{i:04d}.HEIC"], check=True,
                           capture_output=True)
    with tarfile.open(f"{d}/photos.tar", "w") as t:
        t.add(f"{d}/photos", arcname="photos")


def main(d):
    models = []
    for data in ("photos", "photos.tar"):
        line = Line(["augment", "-j2", "--size", "64", "--batch", str(BATCH), "--epochs", "1", data],
                    ["encode", "-q", "-a", "mobilenet_v3_small", "-o", f"run-{data}"], ["loss", "-q", f"moco:k={4 * BATCH}"],
                    cwd=d).wait(400)
        steps = [r["step"] for r in json_lines(line.stdout) if "step" in r]
        check(f"{data}: an epoch of {PHOTOS} photographs", line.codes == [0] * 3 and steps == list(range(1, PHOTOS // BATCH + 1)),
              f"{line.codes} {steps} {line.stderr}")
        check(f"{data}: none of them was left out", not any(w in line.stderr for w in ("left out", "passed over")), line.stderr)
        models.append(lines.content(f"{d}/run-{data}/model.safetensors") if line.codes == [0] * 3 else None)
    check("folder and tar make the same weights", models[0] and len(set(map(weights, models))) == 1)


def weights(model):
    """The file without its header, which has the command lines."""
    return model and model[8 + int.from_bytes(model[:8], "little"):]


if __name__ == "__main__":
    tar = os.path.join(DATA, "imagenet-sample-200.tar")
    if not shutil.which("heif-enc"):
        skip("a phone's photographs", "Debian's libheif-examples is not installed")
    elif not DATA or not os.path.exists(tar):
        skip("a phone's photographs", "DATA names no folder with imagenet-sample-200.tar")
    else:
        with folder() as d:
            make(d, tar)
            main(d)
    lines.done()
