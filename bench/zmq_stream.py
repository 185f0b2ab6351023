"""zmq_stream - one large record a request over a unix socket through pyzmq, without copies of its own: what the stream is
compared with

    zmq_stream.py BYTES        a JSON line every half second: gb_s
"""
import json
import os
import sys
import tempfile
import time

import zmq


def serve(endpoint, size):
    socket, record = zmq.Context.instance().socket(zmq.ROUTER), bytearray(size)
    socket.bind(endpoint)
    while True:
        client, want = socket.recv_multipart()
        socket.send_multipart([client, b"batch " + want, record], copy=False)


def read(endpoint):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(endpoint)
    for step in range(2):  # two wants are open at any time, as between stages
        socket.send(b"%d" % step)
    since, bytes_read = time.monotonic(), 0
    while True:
        header, frame = socket.recv_multipart(copy=False)
        socket.send(b"next")
        bytes_read += len(frame)
        seconds = time.monotonic() - since
        if seconds >= 0.5:
            print(json.dumps({"gb_s": bytes_read / seconds / 1e9}), flush=True)
            since, bytes_read = time.monotonic(), 0


path = f"ipc://{tempfile.mkdtemp(prefix='zmq-')}/s"
if os.fork() == 0:
    serve(path, int(sys.argv[1]))
read(path)
