"""The collapse warning: within 50 steps of a run that is built to collapse, never in the same run with a sane decay."""
from lines import Line, check, done, folder, images


def run(d, decay):
    line = Line(["augment", "-q", "-r", "moco-cifar", "--size", "32", "-b", "24", "-e", "25", "data"],
                ["encode", "-q", "-a", "mobilenet_v3_small", "--small", "--bn-momentum", "0.1", "--optim",
                 f"sgd:lr=0.03,wd={decay}"],
                ["loss", "moco:k=480"], cwd=d).wait(240)
    said = [x for x in line.stderr.split("\n") if "collapse" in x]
    return line, said


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 48)
        line, said = run(d, 0.5)
        check("a run whose weights decay away is called a collapse within 50 steps", line.code == 0 and len(said) == 1
              and line.steps() == 50,
              f"{line.code} {said} {line.stderr[-300:]}")
        line, said = run(d, 5e-4)
        check("the same run with a sane decay is not", line.code == 0 and not said and line.steps() == 50,
              f"{line.code} {said} {line.stderr[-300:]}")
    done()
