"""How far two computations of one number may come apart, by the rounding of their sums alone.

The order in which a kernel sums differs from CPU to CPU, and so do the last digits. A tolerance
that one machine happened to meet fails on the next one; these follow from the type of the numbers
and from how many are summed.
"""

from __future__ import annotations

import math

import torch


def worst(terms: int, dtype: torch.dtype = torch.float64) -> float:
    """Most that sums of so many terms differ in any two orders, relative to their magnitudes' sum.

    Each errs by gamma_n = n u / (1 - n u) at most, with u = eps / 2: Higham, Accuracy and Stability
    of Numerical Algorithms, 2nd edition, lemma 3.1 and section 4.2.
    """
    error = terms * _unit(dtype)
    return 2 * error / (1 - error)


def likely(terms: int, dtype: torch.dtype) -> float:
    """The same where `worst` would pass real faults, as in float32: errors mostly cancel out.

    Each sum errs by less than 10 sqrt(n) u but for one case in exp(50) / 2n: Higham and Mary, A New
    Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41 (2019), theorem 2.4.
    """
    return 2 * 10 * math.sqrt(terms) * _unit(dtype)


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2
