"""judges - which errors are too large: two rules by which sprat is measured against float64, with PyTorch's own error as the yardstick

Each gives rows (times the allowed error, our error, PyTorch's, tensor), worst first, from {tensor: array} of ours, PyTorch's in the same
precision, and float64's. Errors are relative, in the L2 norm.
"""
import numpy as np

from sprat_ct import relative

ALL = "all of them"     # name of a row over all tensors

# A tensor that is zero in exact arithmetic (the gradient of a BN shift that a later BN takes out again) has no relative error. float64
# leaves less than ZERO times the largest norm of its kind.
ZERO = 1e-12


def odd_names(ours, double):
    return [(float("inf"), float("inf"), 0.0, f"names {sorted(set(ours) ^ set(double))[:3]}")] if set(ours) != set(double) else None


def errors(found, double, floor):
    """{tensor: relative error}; what is zero is measured against floor times the largest of its kind."""
    largest = max((np.linalg.norm(r) for r in double.values()), default=0)
    return {n: relative(found[n], r, floor * largest if np.linalg.norm(r) < ZERO * largest else 0) for n, r in double.items()}


def judge_f32(bound, ours, theirs, double, factor=2, floor=1e-4):
    """Every tensor's error is at most bound, or twice PyTorch's where that is larger. What is zero may be 1e-7 of the largest of its kind
    where the bound is 1e-3: float32's resolution."""
    if odd := odd_names(ours, double):
        return odd
    ours, theirs = errors(ours, double, floor), errors(theirs, double, floor)
    return sorted(((ours[n] / max(bound, factor * theirs[n]), ours[n], theirs[n], n) for n in double), reverse=True)


def mean_square(errors):
    return float(np.sqrt(np.mean(np.square(list(errors.values())))))


def typical(found, double):
    """{tensor: the median over the draws, of which the arrays are stacks, of the relative error}."""
    draws = len(next(iter(double.values())))
    each = [errors({n: a[i] for n, a in found.items()}, {n: a[i] for n, a in double.items()}, 1) for i in range(draws)]
    return {n: float(np.median([e[n] for e in each])) for n in double}


def judge_bf16(ours, theirs, double, draws=False, factor=1.5, scatter=3):
    """
    Errors of bf16 are random: the same network in another order of sums has tensors with half or twice the error. So

    - the root mean square over the tensors, each of which counts alike, is at most 1.5 times PyTorch's;
    - every tensor's error is at most 1.5 times PyTorch's for that tensor, or PyTorch's root mean square where that is larger. A norm over
      few numbers scatters: for n numbers 1 + 3/sqrt(n) times that.

    Of stacks of draws, the second rule takes the median over the draws, ours and PyTorch's: behind a gate one value that rounds across the
    corner of a ReLU turns a whole tensor of that draw, now of ours, now of PyTorch's. The first rule takes all draws together.
    """
    if odd := odd_names(ours, double):
        return odd
    all_ours, all_theirs = (mean_square(errors(found, double, 1)) for found in (ours, theirs))
    ours, theirs = (typical(found, double) if draws else errors(found, double, 1) for found in (ours, theirs))
    size = {n: a[0].size if draws else a.size for n, a in double.items()}
    rows = [(ours[n] / (factor * (1 + scatter / size[n] ** 0.5) * max(theirs[n], all_theirs)), ours[n], theirs[n], n) for n in double]
    return sorted(rows + [(all_ours / (factor * all_theirs), all_ours, all_theirs, ALL)], reverse=True)
