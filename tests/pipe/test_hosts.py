"""A line over two hosts: tickets that name an address the other host reaches, a lost cable, a neighbour that is silent. The
hosts are two network namespaces where the system lets a user make them."""
import contextlib
import os
import signal
import subprocess
import time

import lines
from lines import Line, check, folder, images, skip, until
from peer import Client
from test_faults import LOSS

PATIENCE, SILENCE = 1, 5   # seconds: what the stages are given, and the least after which a silent neighbour counts as lost
SLACK = 40
AUGMENT = ["augment", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "100000", "-s", "1",
           "--patience", str(PATIENCE)]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--patience", str(PATIENCE), "-o"]


def program(command):
    return [os.path.join(lines.BIN, command[0])] + command[1:]


# --- one host ---


def test_all_addresses(d):
    for where in ("tcp://*:*", "tcp://0.0.0.0:*", "tcp://[::]:*"):
        line = Line(AUGMENT + ["--bind", where, "data"], cwd=d, stdout=subprocess.PIPE)
        ticket = line[-1].stdout.readline().decode()
        if ticket.startswith("sprat1 fault"):
            line.wait(20)
            check(f"{where}: without an address of this host one is asked for",
                  line.code == 2 and "--bind tcp://ADDRESS:" in line.stderr or
                  "[::]" in where, f"{ticket} {line.stderr}")
            continue
        client = Client(ticket.replace("\n", ""), "test")
        check(f"{where}: the ticket names one address, and a client reaches it", client.open().scalars["stage"] == "augment" and
              not any(x in ticket.split()[2] for x in ("*", "0.0.0.0", "[::]")) and "all addresses" in line.stderr,
              f"{ticket} {line.stderr}")
        client.close()
        line.wait(20)


def test_bad_addresses(d):
    for where, code in (("tcp://127.0.0.1", 2), ("tcp://:", 2), ("udp://x:1", 2), ("ipc://", 2), ("tcp://203.0.113.77:5555", 1),
                        ("ipc:///no/such/s", 1)):
        line = Line(AUGMENT + ["--bind", where, "data"], LOSS, cwd=d).wait(20)
        check(f"--bind {where}: a sentence", line.codes == [code, code] and len(line.words) == 1 and where in line.stderr,
              f"{line.codes} {line.stderr}")


def test_silent_server(d):
    """Stopped, it keeps its connections: only heartbeats show it."""
    line = Line(AUGMENT + ["--bind", "tcp://127.0.0.1:*", "data"], ENCODE + ["silent"],
                LOSS[:2] + ["--patience", "60", "moco:k=64"], cwd=d)
    until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
    line.kill(0, sig=signal.SIGSTOP)
    began = time.monotonic()
    line[-1].wait(SLACK)
    check("a server that is silent on tcp is given up", line[-1].returncode == 3 and time.monotonic() - began > SILENCE - 1 and
          len(line.words) == 1 and "the 'augment' stage at 'tcp://127.0.0.1:" in line.stderr,
          f"{line[-1].returncode} {line.stderr}")
    line.abandon()


def test_dead_folders(d):
    """A killed server leaves its socket; the next one clears it away, but not that of a server that lives."""
    os.mkdir(f"{d}/t")
    env = lines.environment(TMPDIR=f"{d}/t", XDG_RUNTIME_DIR="")
    serve = lambda: Line(AUGMENT[:-1] + ["20", "data"], cwd=d, env=env, stdout=subprocess.PIPE)
    folders = []
    servers = [serve() for _ in range(2)]
    for server in servers:
        folders.append(os.path.dirname(server[-1].stdout.readline().decode().split()[2].removeprefix("ipc://")))
        os.utime(folders[-1], (0, 0))
    servers[0].kill(0)
    servers[0].wait(5)
    left = os.path.exists(folders[0])
    servers.append(serve())
    ticket = servers[-1][-1].stdout.readline().decode()
    check("the socket of a killed server is cleared away by the next one", left and not os.path.exists(folders[0]),
          os.listdir(f"{d}/t"))
    check("that of a living one is not", os.path.exists(f"{folders[1]}/s"), os.listdir(f"{d}/t"))
    client = Client(ticket, "test")
    client.open()
    client.close()
    servers[2].wait(10)
    check("and a server that ends leaves none", os.listdir(f"{d}/t") == [os.path.basename(folders[1])], os.listdir(f"{d}/t"))
    servers[1].abandon()


# --- two hosts ---


def inside(pid, *command):
    return ["nsenter", "-t", str(pid), "-U", "-n", "--preserve-credentials", *command]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


@contextlib.contextmanager
def two_hosts():
    """Process ids in whose networks 10.9.0.1 and 10.9.0.2 are, joined by the links cable0 and cable1; or None and why not."""
    holders = []
    try:
        holders.append(subprocess.Popen(["unshare", "-rn", "sleep", "600"], stderr=subprocess.PIPE))
        time.sleep(0.3)
        a = holders[0].pid
        holders.append(subprocess.Popen(inside(a, "unshare", "-n", "sleep", "600"), stderr=subprocess.PIPE))
        time.sleep(0.3)
        b = holders[1].pid
        setup = [run(*inside(a, "ip", "link", "add", "name", "cable0", "type", "veth", "peer", "name", "cable1", "netns",
                             str(b)))]
        for pid, link, address in ((a, "cable0", "10.9.0.1/24"), (b, "cable1", "10.9.0.2/24")):
            setup += [run(*inside(pid, "ip", "addr", "add", address, "dev", link)),
                      run(*inside(pid, "ip", "link", "set", "dev", link, "up")),
                      run(*inside(pid, "ip", "link", "set", "dev", "lo", "up"))]
        wrong = [x.stderr.strip() for x in setup if x.returncode]
        yield (None, wrong[0] or "ip failed") if wrong else ((a, b), "")
    except OSError as e:
        yield None, str(e)
    finally:
        for h in holders:
            h.kill()
            h.wait()


def test_cable(d):
    with two_hosts() as (hosts, why):
        if not hosts:
            return skip("a line over two hosts and a lost cable", why)
        a, b = hosts
        line = Line(inside(a, *program(AUGMENT + ["--bind", "tcp://*:*", "data"])), inside(b, *program(ENCODE + ["cable"])),
                    LOSS, cwd=d)
        until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
        check("--bind tcp://*:* serves another host", line.steps() >= 2 and "names 10.9.0.1" in line.stderr, line.stderr)
        run(*inside(a, "ip", "link", "set", "dev", "cable0", "down"))
        line.wait(SLACK)
        check("a lost cable ends the line, on both sides",
              line.codes == [3, 3, 3] and "the 'augment' stage at 'tcp://10.9.0.1:" in line.stderr and
              len(line.words) == 1, f"{line.codes} {line.stderr}")
        run(*inside(a, "ip", "link", "set", "dev", "cable0", "up"))
        time.sleep(0.5)
        line = Line(inside(a, *program(AUGMENT + ["data"])), inside(a, *program(ENCODE + ["cable2", "--bind", "tcp://*:*"])),
                    inside(b, *program(LOSS[:3] + ["--patience", str(PATIENCE), "moco:k=64"])), cwd=d)
        until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
        run(*inside(b, "ip", "link", "set", "dev", "cable1", "down"))
        line.wait(SLACK)
        check("and so it does between encode and the loss",
              line.codes[1:] == [3, 3] and "the 'encode' stage at 'tcp://10.9.0.1:" in line.stderr,
              f"{line.codes} {line.stderr}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 40)
        test_all_addresses(d)
        test_bad_addresses(d)
        test_silent_server(d)
        test_dead_folders(d)
        test_cable(d)
    lines.done()
