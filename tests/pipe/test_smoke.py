"""The README's two lines in small, and the bytes of views for a look without Pillow: any change of them is a change of every
run."""
import hashlib
import subprocess

import lines
from lines import Line, check, folder, images, json_lines
from peer import Client

# Views as tests/parity found them equal to Pillow's and torchvision's: of the first batch, by all that recipe mocov2 does.
GOLDEN = {"view0": "9ef457975ca1dd33", "view1": "8bb2bed15eeff1cd"}
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--batch", "16"]
PROBES = ("knn", "linear", "metrics")


def test_golden(d):
    line = Line(AUGMENT + ["-r", "mocov2", "-s", "3", "--epochs", "1", "data"], cwd=d, stdout=subprocess.PIPE)
    client = Client(line[-1].stdout.readline().decode(), "encode")
    client.open()
    client.want(0, list(GOLDEN))
    got = {n: hashlib.sha256(t.tobytes()).hexdigest()[:16] for n, t in client.take().tensors.items()}
    client.close()
    line.wait(20)
    check("two views of sixteen pictures have the bytes they always had", got == GOLDEN and line.codes == [0],
          f"{got} {line.codes}")


def test_lines(d):
    line = Line(AUGMENT + ["-r", "moco-cifar", "--epochs", "8", "data"],
                ["encode", "-q", "-a", "mobilenet_v3_small", "--small", "--bn-momentum", "0.1", "-o", "run"],
                ["loss", "-q", "moco:k=64"], cwd=d).wait()
    rows = json_lines(line.stdout)
    check("a run of 32 steps", line.codes == [0] * 3 and [r["step"] for r in rows if "step" in r] == list(range(1, 33)),
          f"{line.codes} {rows[-3:]} {line.stderr}")
    line = Line(AUGMENT + ["-r", "moco-cifar", "--eval", "data"], ["encode", "-q", "--eval", "-w", "run/model.safetensors"],
                ["probe", "-q", *PROBES], cwd=d).wait()
    rows = json_lines(line.stdout)
    check("is evaluated by every probe", line.codes == [0] * 3 and {r.get("probe") for r in rows} == set(PROBES),
          f"{line.stdout} {line.stderr}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data/train", 64)
        images(f"{d}/data/test", 24, seed=2)
        test_golden(d)
        test_lines(d)
    lines.done()
