"""Many experiments at once: groups of seeds in order of validation accuracy, and which are best.

Accuracy on validation chooses, since whatever chooses looks better than it is, and test must not.
Every difference in the ranking holds at once with the others: its interval is that of `k49 compare`
with the quantile of the studentized range in place of Student's t (J. W. Tukey, 1953; C. Y. Kramer,
1956, doi:10.2307/3001469). Among groups that read equally well, however many there are, one is
called better than another in 5 % of rankings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from k49.comparison.differences import LEVEL, std
from k49.comparison.runs import SEED
from k49.data import chunks
from k49.evaluation.metrics import wilson

UNUSUAL = 0.01  # p-value below which a group's spread over seeds is larger than the others'
# degrees of freedom
TABLE = (np.inf, 120, 60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 2.5, 2, 1.5, 1)
FEW = 30  # settings below which shares of variance are rough
METRICS = (  # of a run, in git
    "val_accuracy",
    "test_accuracy",
    "test_balanced_accuracy",
    "overfitting_gap",
    "test_ece",
    "epochs",
    "weights",
)


@dataclass(frozen=True)
class Entry:
    """A run, as far as a ranking needs it."""

    name: str
    dataset: str
    params: dict[str, Any]  # as of `Run`, and hashes of the split data and of own networks
    code: str  # a hash of what trained it; "" if it isn't known
    val_images: str  # fingerprints
    test_images: str
    right: np.ndarray  # (N,) bool, which validation images it reads correctly
    tests: int  # how many test images there are
    metrics: dict[str, float | None]  # of METRICS; None: not known


@dataclass(frozen=True)
class Interval:
    difference: float  # of accuracy, as a share of 1
    low: float
    high: float

    @property
    def significant(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Group:
    """Runs that differ in their training seed alone."""

    names: list[str]
    means: dict[str, float | None]  # of METRICS
    stds: dict[str, float | None]  # over the seeds; None of one run
    params: dict[str, Any]  # those in which groups differ
    # of validation accuracy, this group's minus the base's or the best's; None of itself
    to_base: Interval | None
    to_best: Interval | None

    @property
    def among_the_best(self) -> bool:
        """Return whether nothing tells it apart from the best, or it is the best."""
        return self.to_best is None or not self.to_best.significant


@dataclass(frozen=True)
class Importance:
    """The share of the variance of validation accuracy that each parameter explains."""

    shares: dict[str, float]  # the largest first
    explained: float  # by all together: of a grid the sum; else of settings not seen, 0 is nothing
    settings: int
    grid: bool  # analysis of variance of a full grid; else the importances of a random forest


@dataclass(frozen=True)
class Ranking:
    dataset: str
    images: int  # of validation
    tests: int  # images of test
    groups: list[Group]  # the best first
    importance: Importance | None  # None: fewer than two parameters differ
    left_out: dict[str, str] = field(default_factory=dict)  # names of runs, and why
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Group:
        return self.groups[0]

    @property
    def base(self) -> Group:
        return next(group for group in self.groups if group.to_base is None)

    def shown(self, most: int) -> list[Group]:
        """Return the best groups, so many at most, and the base."""
        first = self.groups[:most]
        return first if self.base in first else [*first, self.base]

    def test_interval(self) -> tuple[float, float]:
        """Return the plain 95 % interval of the best one's test accuracy, over images and seeds.

        Of one run Wilson's; of several Student's t, its variance that of the seeds plus that of
        the images.
        """
        mean, spread = self.best.means["test_accuracy"] or 0.0, self.best.stds["test_accuracy"]
        if spread is None:
            return wilson(mean, self.tests)
        runs = len(self.best.names)
        seeds, images = spread**2 / runs, mean * (1 - mean) / self.tests
        df = (seeds + images) ** 2 * (runs - 1) / seeds**2 if seeds else np.inf
        reach = stats.t.ppf(1 - LEVEL / 2, df) * np.sqrt(seeds + images)
        return float(mean - reach), float(min(mean + reach, 1))


def rank(entries: Sequence[Entry], left_out: dict[str, str] | None = None) -> Ranking:
    """Rank runs; the first is the base, with which all others are compared.

    Runs on other test or validation images than the base's, or trained by other code, are left out.

    Args:
        entries: the runs, at least one.
        left_out: runs that could not be read, and why.
    """
    base, left_out = entries[0], dict(left_out or {})
    kept = []
    for entry in entries:
        if why := unlike(entry, base):
            left_out[entry.name] = why
        else:
            kept.append(entry)
    members = list(group_seeds(kept, left_out).values())
    accuracies = [np.array([entry.right.mean() for entry in group]) for group in members]
    means = np.array([values.mean() for values in accuracies])
    errors, df, unequal = standard_errors(members, accuracies)
    best = int(means.argmax())
    to_base, to_best = (
        intervals(means - means[i], errors[i], df[i], len(members)) for i in (0, best)
    )
    varying = varying_params([group[0].params for group in members])
    groups = [
        summarize(
            group,
            {key: group[0].params.get(key) for key in varying},
            None if i == 0 else to_base[i],
            None if i == best else to_best[i],
        )
        for i, group in enumerate(members)
    ]
    return Ranking(
        dataset=base.dataset,
        images=len(base.right),
        tests=base.tests,
        groups=[groups[i] for i in np.argsort(-means, kind="stable")],
        importance=importance(means, [group.params for group in groups]),
        left_out=left_out,
        notes=notes(members, unequal),
    )


def unlike(entry: Entry, base: Entry) -> str:
    """Return why a run can't be ranked with the base; "" if it can."""
    if entry.test_images != base.test_images:
        return "other test images"
    if entry.val_images != base.val_images:
        return "other validation images"
    return "trained by other code" if entry.code != base.code else ""


def group_seeds(entries: Sequence[Entry], left_out: dict[str, str]) -> dict[str, list[Entry]]:
    """Return runs that differ in nothing but their seed, in the order of their first ones.

    A seed that a group has already is the same training again, and left out.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        others = {key: value for key, value in entry.params.items() if key != SEED}
        group = groups.setdefault(repr(sorted(others.items())), [])
        same = [other for other in group if other.params.get(SEED) == entry.params.get(SEED)]
        if same:
            left_out[entry.name] = "the settings and the seed of another one"
        else:
            group.append(entry)
    return groups


def varying_params(params: Sequence[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for one in params for key in one if key != SEED)
    return [key for key in keys if any(one.get(key) != params[0].get(key) for one in params[1:])]


def summarize(
    group: Sequence[Entry],
    params: dict[str, Any],
    to_base: Interval | None,
    to_best: Interval | None,
) -> Group:
    means, stds = {}, {}
    for name in METRICS:
        known = [value for entry in group if (value := entry.metrics.get(name)) is not None]
        means[name] = float(np.mean(known)) if known else None
        stds[name] = std(np.array(known))
    return Group([entry.name for entry in group], means, stds, params, to_base, to_best)


# --- intervals -----------------------------------------------------------------------------------


def standard_errors(
    groups: Sequence[Sequence[Entry]], accuracies: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return the standard errors of all differences of two groups' accuracies.

    They are over seeds and images, as in `t_interval` of `k49 compare`, but the spread over the
    seeds is pooled over the groups: two or three runs alone say little of it.
    Groups that spread more than the others keep their own.

    Returns:
        Errors (G, G); degrees of freedom (G, G), infinite where no group has two runs; and the
        groups with a spread of their own.
    """
    runs = np.array([len(group) for group in groups])
    variance = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in accuracies])
    freedom = runs - 1
    pool, unequal = pooled(variance, freedom)
    covariance, interaction = covariances(groups, accuracies)
    spread, df_of_spread = variance.copy(), freedom.astype(float)
    if pool.any():
        usual = np.setdiff1d(np.arange(len(groups)), unequal)
        spread[usual] = np.average(variance[pool], weights=freedom[pool])
        df_of_spread[usual] = freedom[pool].sum()
        several = runs > 1
        interaction[~several] = np.average(interaction[several], weights=freedom[several])
    of_images = np.diag(covariance) - interaction / runs
    images = np.maximum(of_images[:, None] + of_images - 2 * covariance, 0)
    seeds = spread / runs
    total = images + seeds[:, None] + seeds
    shared = np.isin(np.arange(len(groups)), unequal, invert=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(df_of_spread > 0, seeds**2 / df_of_spread, 0)
        below = parts[:, None] + parts
        # both of the pool: one part, not two
        both = shared[:, None] & shared & (df_of_spread > 0)
        joint = (seeds[:, None] + seeds) ** 2 / df_of_spread
        df = total**2 / np.where(both, joint, below)
    return np.sqrt(total), np.nan_to_num(df, nan=np.inf, posinf=np.inf), unequal


def pooled(variance: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return which groups share one variance, (G,) bool, and which have a larger one of their own.

    By an F-test of the largest compared with all others, again and again.
    """
    pool, unequal = freedom > 0, []
    while np.count_nonzero(pool) > 1:
        largest = int(np.argmax(np.where(pool, variance, -1)))
        others = pool.copy()
        others[largest] = False
        mean = np.average(variance[others], weights=freedom[others])
        ratio = variance[largest] / mean if mean else 1.0  # of others without spread one can't say
        tail = stats.f.sf(ratio, freedom[largest], freedom[others].sum())
        if tail * np.count_nonzero(pool) >= UNUSUAL:
            break
        pool = others
        unequal.append(largest)
    return pool, unequal


def covariances(
    groups: Sequence[Sequence[Entry]], accuracies: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return how drawing other images would move the groups' accuracies.

    Returns:
        Their covariance (G, G), as a paired bootstrap over the images has it in the limit; and the
        part of one run's variance, (G,), that is its own among runs of a group: 0 of a single run.
        The spread over the seeds has that in it already (see `std_of_images` of `differences`).
    """
    n = len(groups[0][0].right)
    runs = np.array([len(group) for group in groups])
    product, sums, own = np.zeros((len(runs), len(runs))), np.zeros(len(runs)), np.zeros(len(runs))
    for chunk in chunks(n):
        means = np.array([np.mean([e.right[chunk] for e in group], axis=0) for group in groups])
        product += means @ means.T
        sums += means.sum(1)
        own += (means * (1 - means)).sum(1)
    means = sums / n
    covariance = (product / n - np.outer(means, means)) / n
    for i, values in enumerate(accuracies):
        around = runs[i] * own[i] / n - ((values - means[i]) ** 2).sum()
        own[i] = around / n / (runs[i] - 1) if runs[i] > 1 else 0.0
    return covariance, own


def intervals(
    differences: np.ndarray, errors: np.ndarray, df: np.ndarray, groups: int
) -> list[Interval]:
    """Return 95 % intervals (G,) that hold at once for all pairs of so many groups."""
    reach = quantiles(df, groups) * errors
    return [
        Interval(float(d), float(d - r), float(d + r))
        for d, r in zip(differences, reach, strict=True)
    ]


def quantiles(df: np.ndarray, groups: int) -> np.ndarray:
    """Return the quantile of the studentized range over the square root of two, of each df.

    Between the degrees of freedom that printed tables have, interpolated in 1 / df, as for tables.
    """
    if groups == 1:
        return np.zeros(len(df))
    inverse, known = 1 / np.maximum(df, 1), 1 / np.array(TABLE)
    first = np.searchsorted(known, inverse.min(), side="right") - 1
    known = known[first : np.searchsorted(known, inverse.max()) + 1]
    logarithms = [np.log(quantile(1 / one if one else np.inf, groups)) for one in known]
    return np.exp(np.interp(inverse, known, logarithms)) / np.sqrt(2)


@cache
def quantile(df: float, groups: int) -> float:
    return float(stats.studentized_range.ppf(1 - LEVEL, groups, df))  # takes a tenth of a second


# --- parameters ----------------------------------------------------------------------------------


def importance(accuracies: np.ndarray, params: Sequence[dict[str, Any]]) -> Importance | None:
    """Return how much of the variance of accuracies (G,) each parameter explains.

    Of a full grid, with the base or without it, the main effects of an analysis of variance; else
    the importances of a random forest (as F. Hutter et al., 2014, "An Efficient Approach for
    Assessing Hyperparameter Importance", look at a search).
    """
    for first in (0, 1):  # the base, which comes first, is seldom part of a grid
        values, settings = accuracies[first:], params[first:]
        keys = varying_params(settings) if settings else []
        if len(keys) > 1 and is_grid(settings, keys) and np.ptp(values):
            shares = {key: main_effect(values, [one[key] for one in settings]) for key in keys}
            return Importance(by_size(shares), sum(shares.values()), len(settings), grid=True)
    if len(params[0]) < 2 or len(params) < 4 or not np.ptp(accuracies):
        return None
    from sklearn.ensemble import RandomForestRegressor  # takes a second

    columns = [as_numbers([one[key] for one in params]) for key in params[0]]
    forest = RandomForestRegressor(300, oob_score=True, random_state=0)
    forest.fit(np.column_stack(columns), accuracies)
    shares = dict(zip(params[0], forest.feature_importances_.tolist(), strict=True))
    return Importance(by_size(shares), float(forest.oob_score_), len(params), grid=False)


def by_size(shares: dict[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def is_grid(params: Sequence[dict[str, Any]], keys: Sequence[str]) -> bool:
    """Return whether each combination of the values that occur is there, once."""
    combinations = {tuple(repr(one[key]) for key in keys) for one in params}
    levels = [len({repr(one[key]) for one in params}) for key in keys]
    return len(combinations) == len(params) == np.prod(levels)


def main_effect(accuracies: np.ndarray, values: Sequence[Any]) -> float:
    """Return the variance of the means at each value, as a share of all variance."""
    places = np.unique([repr(value) for value in values], return_inverse=True)[1]
    means = np.bincount(places, accuracies) / np.bincount(places)
    return float(means[places].var() / accuracies.var())


def as_numbers(values: Sequence[Any]) -> np.ndarray:
    """Return numbers as they are, and below them anything else, each other value by a number."""
    numbers = [value for value in values if isinstance(value, int | float)]
    others = sorted({repr(value) for value in values if not isinstance(value, int | float)})
    below = {text: min(numbers, default=0) - 1 - i for i, text in enumerate(others)}
    return np.array([below.get(repr(value), value) for value in values], float)


def notes(groups: Sequence[Sequence[Entry]], unequal: Sequence[int]) -> list[str]:
    lines = [
        f"{groups[i][0].name} and its other seeds spread more than all others: their intervals are "
        "their own"
        for i in unequal
    ]
    single = sum(len(group) == 1 for group in groups)
    if single == len(groups) > 1:
        lines.append(
            "one training of each: this ranks models, not settings; another seed alone may change "
            "as much (-S 'train.seed=range(1, 4)' trains three)"
        )
    elif single and len(groups) > 1:
        lines.append(
            f"{single} of {len(groups)} settings have one training; they are taken to spread as "
            "the others do"
        )
    return lines
