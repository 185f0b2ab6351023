"""onnx_peers - who else reads ONNX: the onnx package's checker, OpenCV's dnn, onnxruntime by Node.js

    runtime = Runtime()                      from npm, into build/; runtime.why says why there is none
    [[feature]] = runtime.run("net.onnx", [x], ["feature"])
    [feature] = opencv("net.onnx", x, ["feature"])
"""
import json
import os
import shutil
import subprocess
import tempfile

import numpy as np

from lines import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
# Of later ones the package does not hold the library, but downloads it when it is installed.
VERSION = "1.16.3"
FOLDER = f"{ROOT}/build/onnxruntime-{VERSION}"


def _install():
    """Why there is no onnxruntime; "" where there is."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "there is no Node.js with npm"
    if os.path.isdir(f"{FOLDER}/node_modules"):
        return ""
    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as d:
        command = ["npm", "install", "--prefix", d, "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0",
                   "--fetch-timeout=60000", f"onnxruntime-node@{VERSION}"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=180)
        except subprocess.TimeoutExpired:
            return "npm did not install it within 180 seconds"
        if done.returncode:
            return "npm cannot install it: " + " ".join(done.stdout.split())[:200]
        os.rename(f"{d}/node_modules", f"{FOLDER}/node_modules")
    return ""


class Runtime:
    def __init__(self):
        self.why = _install()

    def run(self, model, batches, names):
        """Outputs for each batch, (N, width) each."""
        with tempfile.TemporaryDirectory() as d:
            for i, x in enumerate(batches):
                np.ascontiguousarray(x, "<f4").tofile(f"{d}/x{i}")
            with open(f"{d}/jobs", "w") as f:
                json.dump([{"model": model, "input": f"{d}/x{i}", "shape": x.shape, "outputs": {n: f"{d}/{n}{i}" for n in names}}
                           for i, x in enumerate(batches)], f)
            done = subprocess.run(["node", f"{HERE}/onnx_run.js", f"{FOLDER}/node_modules/onnxruntime-node", f"{d}/jobs"],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=600)
            if done.returncode:
                raise RuntimeError(done.stderr)
            return [[np.fromfile(f"{d}/{n}{i}", "<f4").reshape(len(x), -1) for n in names] for i, x in enumerate(batches)]


def opencv(model, x, names):
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(model)
    net.setInput(np.ascontiguousarray(x, np.float32))
    return [np.array(a) for a in net.forward(names)]
