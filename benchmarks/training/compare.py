"""The part `training`: all contenders on all cases, in interleaved rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import ChildError, Result
from benchmarks.images import link_splits
from benchmarks.rounds import Runs, interleave, progress
from benchmarks.suite import Part, Suite, Table
from benchmarks.training.contenders import (
    LIMIT,
    OURS,
    SAME,
    USUAL,
    Contender,
    Options,
    available,
)
from benchmarks.training.window import Window

MODELS, BATCH_SIZES, AUGMENTS = ("cnn5", "resnet18"), (32, 100), ("none", "standard")
QUICK_CASES = (("cnn5", 32, "none"), ("resnet18", 32, "standard"))
TEST_IMAGES = 8
KEY = "seconds_per_image"


@dataclass(frozen=True)
class Setting:
    """A network, a batch size and an augmentation, under which contenders are compared."""

    model: str
    batch_size: int
    augment: str

    @property
    def name(self) -> str:
        """`training/resnet18/32/none`."""
        return f"training/{self.model}/{self.batch_size}/{self.augment}"

    def window(self, suite: Suite) -> Window:
        """The timed steps: fewer where each takes long."""
        n_images = suite.n_images if self.model == "cnn5" else suite.n_images // 3
        return Window.of(n_images, self.batch_size)


def run(suite: Suite) -> Part:
    """Every setting that is wanted, then the ratios that sum them up."""
    contenders, left_out = available(suite.contenders)
    part = Part(left_out=left_out)
    chosen: dict[tuple[str, ...], Options] = {}
    ratios: dict[str, dict[str, list[float]]] = {}
    cells = QUICK_CASES if suite.quick else product(MODELS, BATCH_SIZES, AUGMENTS)
    for setting in (Setting(*cell) for cell in cells):
        if not suite.wants(setting.name):
            continue
        progress(setting.name)
        window = setting.window(suite)
        root = suite.work / "images" / f"batches-of-{setting.batch_size}"
        different = link_splits(suite.found, root, window.epoch_images, TEST_IMAGES)
        options = {}
        for c in contenders:
            key = (c.name, setting.model)
            if key not in chosen:
                chosen[key] = _fastest(suite, c, setting)
            options[c.name] = chosen[key]
        runs = interleave(
            {c.name: partial(_one, suite, c, setting, options[c.name]) for c in contenders},
            suite.rounds,
        )
        part.left_out += [f"{setting.name}: {reason}" for reason in runs.left_out.values()]
        ratios[setting.name] = _ratios(runs)
        part.show(_table(setting, runs, options, window, different))
        part.data[setting.name] = _plain(runs, options, ratios[setting.name])
    part.show(_targets(ratios))
    return part


def _one(
    suite: Suite, contender: Contender, setting: Setting, options: Options, number: int
) -> Result:
    case = {
        "root": str(suite.work / "images" / f"batches-of-{setting.batch_size}"),
        "model": setting.model,
        "batch_size": setting.batch_size,
        "augment": setting.augment == "standard",
        "image_size": suite.image_size,
        "same": contender.same,
    }
    window = setting.window(suite)
    return suite.measure(
        "benchmarks.training.measure:measure",
        contender=contender.module,
        case=case,
        options=options,
        measured_steps=window.measured,
    )


def _fastest(suite: Suite, contender: Contender, setting: Setting) -> Options:
    """The fastest of the contender's choices, each tried once; such a run counts for nothing else.

    Where all fail, the first: the rounds then say why.
    """
    if len(contender.choices) == 1 or suite.quick:
        return contender.choices[0]
    seconds: dict[int, float] = {}
    for i, options in enumerate(contender.choices):
        progress(f"  trying {contender.name} with {_words(options)}")
        try:
            seconds[i] = _one(suite, contender, setting, options, 0)[KEY]
        except ChildError as error:
            progress(f"  failed: {error}")
    return contender.choices[min(seconds, key=seconds.__getitem__, default=0)]


def _ratios(runs: Runs) -> dict[str, list[float]]:
    """Each contender's time over ours, a round each; none if ours failed."""
    if OURS not in runs.results:
        return {}
    ours = runs.values(OURS, KEY)
    return {name: paired_ratios(runs.values(name, KEY), ours) for name in runs.results}


def _table(
    setting: Setting, runs: Runs, options: Mapping[str, Options], window: Window, different: int
) -> Table:
    ratios = _ratios(runs)
    rows = [
        [
            name,
            _words(options[name]),
            spread(runs.values(name, KEY)).text(scale=1000),
            spread(ratios[name]).text() if name in ratios else "",
            f"{max(runs.values(name, 'peak_rss_mb')):.0f}",
        ]
        for name in runs.results
    ]
    measured = window.measured * window.batch_size
    note = (
        f"{measured} timed images a run, in an epoch of {window.epoch_images} "
        f"({different} different ones)."
    )
    header = ["contender", "settings", "ms an image", "time / ours", "peak MB"]
    return Table(setting.name, header, rows, note)


def _targets(ratios: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """One line a setting: ours against the limit, the student and the best peers."""
    rows = []
    for name, of_setting in ratios.items():
        if not of_setting:
            continue
        limit = [1 / ratio for ratio in of_setting.get(LIMIT, [])]
        student = of_setting.get("student", [])
        others = [c for c in USUAL if c.module != "student"]
        rows.append(
            [
                name.removeprefix("training/"),
                spread(limit).text() if limit else "not measured",
                spread(student).text() if student else "not measured",
                _best(of_setting, others),
                _best(of_setting, SAME),
            ]
        )
    header = ["case", "ours / limit", "student / ours", "best peer / ours", "best, given the same"]
    return Table("training: the ratios that count", header, rows)


def _best(ratios: Mapping[str, Sequence[float]], contenders: Sequence[Contender]) -> str:
    """The fastest of some contenders, by the median over rounds."""
    medians = {c.name: spread(ratios[c.name]).median for c in contenders if c.name in ratios}
    if not medians:
        return "not measured"
    best = min(medians, key=medians.__getitem__)
    return f"{spread(ratios[best]).text()} {best.removesuffix(', given the same')}"


def _plain(
    runs: Runs, options: Mapping[str, Options], ratios: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    return {
        name: {
            "settings": options[name],
            KEY: runs.values(name, KEY),
            "time_over_ours": list(ratios.get(name, [])),
            "peak_rss_mb": runs.values(name, "peak_rss_mb"),
        }
        for name in runs.results
    }


def _words(options: Options) -> str:
    """`workers 2, fused`."""
    words = [
        (key if value is True else f"{key} {value}")
        for key, value in options.items()
        if value is not False
    ]
    return ", ".join(words)
