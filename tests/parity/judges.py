"""judges - which errors are too large: two rules by which sprat is measured against float64, PyTorch's own error the yardstick

Each gives rows (times the allowed error, our error, PyTorch's, tensor), worst first, from {tensor: array} of ours, PyTorch's in
the same precision, and float64's. Errors are relative, in the L2 norm.
"""
import numpy as np

ALL = "all of them"     # name of a row over all tensors

# A tensor that is zero in exact arithmetic (the gradient of a BN shift that a later BN takes out again) has no relative error.
# float64 leaves less than ZERO times the largest norm of its kind.
ZERO = 1e-12


def odd_names(ours, double):
    odd = sorted(set(ours) ^ set(double))
    return [(float("inf"), float("inf"), 0.0, f"names {odd[:3]}")] if odd else None


def norms(found, truth):
    """(distance from the truth, size of the truth), in float64. NaN or a wrong shape is infinitely far."""
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    good = found.shape == truth.shape and np.isfinite(found).all()
    return (float(np.linalg.norm(found - truth)) if good else np.inf), float(np.linalg.norm(truth))


def quotients(pairs, floor):
    """{tensor: relative error} of {tensor: norms}; what is zero is measured against floor times the largest of its kind."""
    largest = max((size for _, size in pairs.values()), default=0)
    return {n: away and away / max(size, floor * largest if size < ZERO * largest else 0, 1e-300)
            for n, (away, size) in pairs.items()}


def errors(found, double, floor):
    return quotients({n: norms(found[n], r) for n, r in double.items()}, floor)


def judge_f32(bound, ours, theirs, double, factor=2, floor=1e-4):
    """Every tensor's error is at most bound, or twice PyTorch's where that is larger. What is zero may be 1e-7 of the largest
    of its kind where the bound is 1e-3: float32's resolution."""
    if odd := odd_names(ours, double):
        return odd
    ours, theirs = errors(ours, double, floor), errors(theirs, double, floor)
    return sorted(((ours[n] / max(bound, factor * theirs[n]), ours[n], theirs[n], n) for n in double), reverse=True)


def mean_square(errors):
    return float(np.sqrt(np.mean(np.square(list(errors.values())))))


def errors_of_draws(found, double):
    """Of stacks of draws, {tensor: relative error}: of all draws together, and the median over them."""
    each = [{n: norms(found[n][i], r[i]) for n, r in double.items()} for i in range(len(next(iter(double.values()))))]
    together = {n: tuple(np.linalg.norm([pairs[n] for pairs in each], axis=0)) for n in double}
    each = [quotients(pairs, 1) for pairs in each]
    return quotients(together, 1), {n: float(np.median([e[n] for e in each])) for n in double}


def judge_bf16(ours, theirs, double, draws=False, factor=1.5, scatter=3):
    """
    Errors of bf16 are random: the same network in another order of sums has tensors with half or twice the error. So

    - the root mean square over the tensors, each of which counts alike, is at most 1.5 times PyTorch's;
    - every tensor's error is at most 1.5 times PyTorch's for that tensor, or PyTorch's root mean square where that is larger. A
      norm over few numbers scatters: for n numbers 1 + 3/sqrt(n) times that.

    Of stacks of draws, the second rule takes the median over the draws, ours and PyTorch's: behind a gate one value that rounds
    across the corner of a ReLU turns a whole tensor of that draw, now of ours, now of PyTorch's. The first rule takes all draws
    together.
    """
    if odd := odd_names(ours, double):
        return odd
    apart = errors_of_draws if draws else lambda found, double: (errors(found, double, 1),) * 2
    (together, ours), (theirs_together, theirs) = apart(ours, double), apart(theirs, double)
    all_ours, all_theirs = mean_square(together), mean_square(theirs_together)
    size = {n: a[0].size if draws else a.size for n, a in double.items()}
    rows = [(ours[n] / (factor * (1 + scatter / size[n] ** 0.5) * max(theirs[n], all_theirs)), ours[n], theirs[n], n)
            for n in double]
    return sorted(rows + [(all_ours / (factor * all_theirs), all_ours, all_theirs, ALL)], reverse=True)
