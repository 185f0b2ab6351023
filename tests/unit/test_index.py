"""The index of a big tree: it saves reading folders, and notices whatever changes. FULL=1: 200,000 files, with times and
memory."""
import ctypes as C, os, random, shutil, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
for f, restype in (("why", C.c_char_p), ("set_open", C.c_void_p), ("dataset_name", C.c_char_p), ("set_text", C.c_char_p)):
    getattr(lib, f).restype = restype
C.c_int.in_dll(lib, "verbosity").value = -1
FULL = bool(os.environ.get("FULL"))
FILES, FOLDERS = (200000, 1000) if FULL else (4200, 12)
C.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD, as augment sets it
root = tempfile.mkdtemp(dir="/dev/shm" if FULL and os.access("/dev/shm", os.W_OK) else None)
os.environ["XDG_CACHE_HOME"] = f"{root}/cache"
rnd = random.Random(8)


def read(tree):
    """{name: size} in the order of the data set, and its fingerprint; or the error."""
    p = C.c_void_p(lib.set_open(tree.encode(), b""))
    if not p.value:
        return lib.why().decode(), None
    out, found, i = (C.c_int * 3)(), {}, 0
    while lib.set_sample(p, i, out) == 0:
        found[lib.dataset_name(p, i).decode()] = out[2]
        i += 1
    mark = lib.set_text(p, 0).decode(), lib.set_passed(p)
    lib.dataset_free(p)
    return found, mark


def truth(tree):
    """What os.walk says, by the rules of the man page."""
    found, on_the_way = {}, []
    for folder, folders, files in os.walk(tree, followlinks=True):
        here = os.path.realpath(folder)
        above = [p for p in on_the_way if folder.startswith(p[0] + "/")]
        folders[:] = [f for f in folders if f[0] != "." and os.path.realpath(f"{folder}/{f}") not in [p[1] for p in above]
                      + [here]]
        on_the_way.append((folder, here))
        found.update({os.path.relpath(f"{folder}/{f}", tree): os.stat(f"{folder}/{f}").st_size for f in files
                      if f[0] != "." and f.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))
                      and os.path.isfile(f"{folder}/{f}")})
    return dict(sorted(found.items(), key=lambda x: x[0].encode()))


def agrees(name, tree):
    got, want = read(tree)[0], truth(tree)
    odd = got if isinstance(got, str) else next((f"{a} for {b}" for a, b in zip(got.items(), want.items()) if a != b),
                                                f"{len(got)} for {len(want)}")
    check(name, not isinstance(got, str) and list(got.items()) == list(want.items()), odd)


def write(path, size=None):
    with open(path, "wb") as f:
        f.write(bytes(rnd.randrange(1, 9) if size is None else size))


def make(tree):
    names = [f"{i:06d}.jpg" for i in range(FILES // FOLDERS)]
    for c in range(FOLDERS):
        folder = f"{tree}/train/class.{c}" + ("/deep/er" if c % 5 == 1 else "")
        os.makedirs(folder)
        rnd.shuffle(names)
        for n in names:
            write(f"{folder}/{n}")
    write(f"{tree}/train/class.2/words.txt")
    write(f"{tree}/train/class.2/old.gif")
    write(f"{tree}/train/class.6/IMG_0001.JXL")
    write(f"{tree}/train/class.2-more.PNG")   # '-' and '.' stand before '/' in the order of bytes
    write(f"{tree}/train/.hidden.jpg")
    os.symlink("class.3", f"{tree}/train/link")
    os.symlink("../class.4/000001.jpg", f"{tree}/train/class.3/other.jpg")
    os.symlink("..", f"{tree}/train/class.4/loop")
    os.symlink(".", f"{tree}/train/class.4/self")
    os.symlink("nowhere.jpg", f"{tree}/train/class.4/broken.jpg")


def change(tree):
    """Every way in which the entries of a folder change -> what was done."""
    t = f"{tree}/train"
    yield "added", write(f"{t}/class.0/new.webp")
    yield "removed", os.unlink(f"{t}/class.2/000003.jpg")
    yield "renamed", os.rename(f"{t}/class.5/000001.jpg", f"{t}/class.5/renamed.jpg")
    yield "moved from folder to folder", os.rename(f"{t}/class.5/000002.jpg", f"{t}/class.7/moved.jpg")
    yield "renamed so that the count and the sizes stay", os.rename(f"{t}/class.7/000003.jpg", f"{t}/class.7/000003.JPG")
    yield "replaced", (write(f"{tree}/temporary", 77), os.rename(f"{tree}/temporary", f"{t}/class.8/000004.jpg"))
    yield "added deep down", write(f"{t}/class.1/deep/er/new.jpg")
    yield "a folder added", (os.makedirs(f"{t}/zebra/inner"), write(f"{t}/zebra/inner/1.jpg"))
    yield "a folder removed", shutil.rmtree(f"{t}/class.9")
    yield "a folder renamed", os.rename(f"{t}/class.8", f"{t}/class.8 renamed")
    yield "a link led elsewhere", (os.unlink(f"{t}/link"), os.symlink("class.2", f"{t}/link"))
    yield "a broken link mended", write(f"{t}/class.4/nowhere.jpg")


def index_file():
    folder = f"{root}/cache/sprat"
    files = [f for f in os.listdir(folder)] if os.path.isdir(folder) else []
    return f"{folder}/{files[0]}" if len(files) == 1 else None


def damaged(tree):
    path, want = index_file(), truth(tree)
    with open(path, "rb") as f:
        data = f.read()
    for label, bad in (("cut", data[:len(data) // 2]), ("a bit flipped", data[:5000] + bytes([data[5000] ^ 4]) + data[5001:]),
                       ("empty", b""), ("other words", b"x" * 3000)):
        with open(path, "wb") as f:
            f.write(bad)
        check(f"a damaged index is written anew: {label}", read(tree)[0] == want, "wrong files")
    with open(path, "rb") as f:
        check("the index is whole again", len(f.read()) == len(data), "another size")


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(tree, label, most):
    before, t = resident(), time.perf_counter()
    p = C.c_void_p(lib.set_open(tree.encode(), b""))
    seconds, memory = time.perf_counter() - t, (resident() - before) / FILES
    lib.dataset_free(p)
    check(f"{label}: {seconds:.3f} s, {memory:.0f} bytes a file", seconds < most, f"more than {most} s")
    return memory


def main():
    tree = f"{root}/tree"
    make(tree)
    agrees("names, sizes and order are those of os.walk, loops left out", tree)
    time.sleep(3.1)  # until then a folder is too young to be trusted
    if FULL:
        names = sum(len(n) + 1 for n in truth(tree)) / FILES
        measure(tree, "first start", 2), measure(tree, "from the index", 0.3)
        memory = measure(tree, "from the index again", 0.3)
        check(f"memory: less than 64 bytes a file and its name, which has {names:.0f}", memory < 64 + names,
              f"{memory:.0f} bytes a file")
    read(tree)
    check("the index lies in XDG_CACHE_HOME", index_file(), "no")
    agrees("from the index: the same", tree)
    check("from the index: files of other kinds are counted", read(tree)[1][1] == 2, str(read(tree)[1]))
    with open(f"{tree}/train/class.0/000000.jpg", "ab") as f:
        f.write(bytes(100))
    check("folders that have not changed are not read", read(tree)[0]["train/class.0/000000.jpg"] < 10, "the new size is seen")
    wh = (C.c_int * 2)()
    p = C.c_void_p(lib.set_open(tree.encode(), b""))
    first = list(read(tree)[0]).index("train/class.0/000000.jpg")
    check("a file written over in place is an error that says what to do",
          lib.set_pixels(p, first, wh, None) < 0 and "touch" in lib.why().decode(), lib.why().decode())
    os.utime(f"{tree}/train/class.0")
    agrees("a touched folder is read anew", tree)
    write(f"{tree}/train/class.10/at once.jpg")
    agrees("noticed at once: a file added", tree)
    write(f"{tree}/train/class.10/at once again.jpg")
    agrees("noticed at once: another", tree)
    done = [what for what, _ in change(tree)]
    time.sleep(3.1)
    agrees("noticed: " + ", ".join(done), tree)
    check("the same fingerprint without the index",
          read(tree)[1] == (os.environ.update(XDG_CACHE_HOME=f"{root}/other"), read(tree)[1])[1], "another")
    os.environ["XDG_CACHE_HOME"] = f"{root}/cache"
    damaged(tree)
    os.environ["XDG_CACHE_HOME"] = "/proc/nowhere"
    agrees("without a place for it", tree)


try:
    main()
finally:
    shutil.rmtree(root)
done()
