"""The part `training`: all contenders on all cases, in interleaved rounds."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from statistics import median
from typing import Any

from benchmarks import contenders as who
from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import Result
from benchmarks.contenders import Contender, Options
from benchmarks.contenders.window import window
from benchmarks.images import link_splits
from benchmarks.suite import Suite, progress, show, values

CASES = tuple(product(("cnn5", "resnet18"), (32, 100), ("none", "standard")))
QUICK_CASES = (("cnn5", 32, "none"), ("resnet18", 32, "standard"))
HEADER = ["contender", "settings", "ms per image", "time / ours", "peak MB"]
TARGETS = ["case", "ours / limit", "student / ours", "best peer / ours", "best, given the same"]

One = Callable[[Contender, Options, int], Result]
Ratios = dict[str, list[float]]
"""The time of each contender over that of ours, one value per round."""


def run(suite: Suite) -> None:
    """Every case that is wanted, then the ratios that sum them up."""
    contenders, missing = who.available(suite.contenders)
    suite.left_out.extend(missing)
    fastest: dict[tuple[str, str], Options] = {}
    ratios: dict[str, Ratios] = {}
    for model, batch_size, augment in QUICK_CASES if suite.quick else CASES:
        name = f"training/{model}/{batch_size}/{augment}"
        if not suite.wants(name):
            continue
        progress(name)
        # Fewer timed steps where each takes long.
        n_images = suite.n_images if model == "cnn5" else suite.n_images // 3
        plan = window(n_images, batch_size)
        epoch_images = plan.steps * batch_size
        root = suite.work / "training"
        different = link_splits(suite.found, root, epoch_images, n_test=8)
        case = {
            "root": str(root),
            "model": model,
            "batch_size": batch_size,
            "augment": augment == "standard",
            "image_size": suite.image_size,
        }
        one = partial(_one, suite, case, n_images)
        for c in contenders:
            if (model, c.name) not in fastest:
                fastest[model, c.name] = _fastest(suite, name, c, one)
        options = {c.name: fastest[model, c.name] for c in contenders}
        runs = {c.name: partial(one, c, options[c.name]) for c in contenders}
        results = suite.interleave(name, runs)
        seconds = values(results, "seconds_per_image")
        ours = seconds.get(who.OURS)
        ratios[name] = {x: paired_ratios(times, ours) for x, times in seconds.items() if ours}
        peak_mb = values(results, "peak_rss_mb")
        suite.data[name] = {
            "settings": options,
            "seconds_per_image": seconds,
            "time_over_ours": ratios[name],
            "peak_rss_mb": peak_mb,
        }
        rows = []
        for x, times in seconds.items():
            ratio = spread(ratios[name][x]) if ours else ""
            peak = f"{max(peak_mb[x]):.0f}"
            rows.append([x, _words(options[x]), spread(times, 1000), ratio, peak])
        note = (
            f"{plan.timed * batch_size} timed images per run, in an epoch of {epoch_images} "
            f"({different} different ones)."
        )
        show(name, HEADER, rows, note)
    rows = [[name.removeprefix("training/"), *_targets(found)] for name, found in ratios.items()]
    show("training: the ratios that count", TARGETS, rows)


def _one(
    suite: Suite, case: dict[str, Any], n_images: int, c: Contender, options: Options, _: int
) -> Result:
    return suite.measure(
        "benchmarks.contenders.window:measure",
        contender=c.module,
        case={**case, "same": c.same},
        options=options,
        n_images=n_images,
    )


def _fastest(suite: Suite, case: str, contender: Contender, one: One) -> Options:
    """The fastest of the contender's choices, each tried once; such a run counts for nothing else.

    Where all fail, the first: the rounds then say why.
    """
    choices = contender.choices
    if len(choices) == 1 or suite.quick:
        return choices[0]
    tried = suite.interleave(case, {_words(o): partial(one, contender, o) for o in choices}, 1)
    seconds = values(tried, "seconds_per_image")
    return min(choices, key=lambda options: seconds.get(_words(options), [math.inf])[0])


def _words(options: Options) -> str:
    """`fused, bf16`."""
    return ", ".join(key for key, value in options.items() if value)


def _targets(ratios: Ratios) -> list[str]:
    """Ours against the limit, the student and the best peers."""
    limit = [1 / ratio for ratio in ratios.get(who.LIMIT, [])]
    return [
        spread(limit) if limit else "not measured",
        spread(ratios[who.STUDENT]) if who.STUDENT in ratios else "not measured",
        _best(ratios, [c for c in who.USUAL if c.name != who.STUDENT]),
        _best(ratios, who.SAME),
    ]


def _best(ratios: Mapping[str, Sequence[float]], contenders: Sequence[Contender]) -> str:
    """The fastest of some contenders, by the median over rounds."""
    medians = {c.name: median(ratios[c.name]) for c in contenders if c.name in ratios}
    if not medians:
        return "not measured"
    best = min(medians, key=medians.__getitem__)
    return f"{spread(ratios[best])} {best.removesuffix(who.SUFFIX)}"
