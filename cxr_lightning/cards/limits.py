"""What a run's network is for, and what its numbers do not show."""

from cxr_lightning.cards import numbers, recipe
from cxr_lightning.cards.record import RunFiles
from cxr_lightning.contrasts import Interval
from cxr_lightning.data.names import count, some
from cxr_lightning.data.patients import CHILDREN
from cxr_lightning.subgroups import is_age

MOST = 0.95  # of a class's images, from where the class is its source


def intended_use(run: RunFiles) -> list[str]:
    """In sentences; the same for every run, but for the classes."""
    classes = ", ".join(run.classes)
    return [
        f"For research and teaching: it names one of {len(run.classes)} classes ({classes}) for a "
        "chest X-ray, so that training recipes can be compared.",
        "It is not a medical device. No decision about a patient may rest on it.",
        "Before a threshold is used anywhere, it must be found and judged on films of that place "
        "(cxr-triage); WHO recommends computer reading only from 15 years on.",
    ]


def limits(run: RunFiles) -> list[str]:
    """What its numbers do not show, the gravest first; each follows from the run's files."""
    found = []
    if run.is_phantom:
        found.append(
            "The images are phantoms, drawn by a program. The numbers only show that the pipeline "
            "works; they have no medical meaning."
        )
    called = [k for k in run.classes if (run.predictions["predicted"] == k).any()]
    if len(called) == 1:
        found.append(f"It calls every test image {called[0]}: it has learnt to tell nothing apart.")
    if part := recipe.limited(run):
        told = ", ".join(f"trainer.{key}={value}" for key, value in part.items())
        found.append(f"Only a part of the images was used: {told}.")
    found += [*_children(run), *_sources(run), *_nothing(run), *_external(run), *_people(run)]
    if absent := run.results.get("classes_without_images"):
        found.append(f"No test image of {', '.join(absent)}: nothing is known about it.")
    if run.results and not run.calibration:
        found.append("Its probabilities are not calibrated: there were no validation images.")
    found.append("It is one training with one seed: other seeds of the same recipe differ.")
    return found


def _children(run: RunFiles) -> list[str]:
    tests = run.predictions
    of_child = tests["path"].str.contains(CHILDREN, regex=True)
    children = [k for k in run.classes if of_child[tests["label"] == k].mean() >= 0.5]
    if not children:
        return []
    others = [k for k in run.classes if k not in children]
    said = (
        f"Children: the images of {_and(children)} are of children aged one to five, from one "
        "hospital (by their file names)."
    )
    if others:
        said += (
            f" Those of {_and(others)} are not: a network may tell children from adults instead of "
            "the disease."
        )
    return [f"{said} The numbers mean nothing for adults without these diseases."]


def _sources(run: RunFiles) -> list[str]:
    tests = run.predictions
    if run.config["data"].get("name") == "kaggle":
        return [
            "Class and source: in Kaggle's set each disease comes from an archive of its own. The "
            "network may have learnt the archive instead of the disease."
        ]
    if "source" not in tests or tests.empty or run.is_phantom:
        return []
    if tests["source"].nunique() == 1:
        return [
            "Class and source: the images name one source only, so it cannot be seen here whether "
            "a class comes from an archive of its own. If it does, the network may have learnt the "
            "archive."
        ]
    own = {}
    for name in run.classes:
        sources, others = tests["source"][tests["label"] == name], tests["label"] != name
        of_others = set(tests["source"][others])
        if len(sources) and (~sources.isin(of_others)).mean() >= MOST:
            own[name] = some(sorted(set(sources) - of_others), 3, "")
    if not own:
        return []
    told = "; ".join(f"{name} from {sources}" for name, sources in own.items())
    return [
        f"Class and source: some classes come from archives of their own ({told}). The network may "
        "have learnt the archive instead of the disease."
    ]


def _nothing(run: RunFiles) -> list[str]:
    if not run.results:
        return []
    if (rung := numbers.highest_rung(run)) is None:
        return [
            "The null ladder was not computed (ladder_minutes): what file, border or grey levels "
            "alone tell is not known."
        ]
    low = rung["network_minus_rung"]["low"]
    return [] if low is not None and low > 0 else [numbers.beyond(rung)]


def _external(run: RunFiles) -> list[str]:
    if not run.results:
        return []
    if not run.external:
        return ["It was not tested on images of another hospital (external)."]
    found = []
    for name, results in run.external.items():
        lost = results.get("lost", {}).get("accuracy")
        if lost is None:
            found.append(f"On {name} nothing can be compared: no class is in both.")
        elif lost["difference"]["low"] is not None and lost["difference"]["low"] > 0:
            drop = Interval(**lost["difference"])
            n = lost["external"]["n"]
            found.append(
                f"On {name} (n = {n}), another place, its accuracy is {100 * drop.value:.1f} "
                f"points (95% interval {drop.limits}) lower than on its own test images of the "
                "same classes."
            )
    return found


def _people(run: RunFiles) -> list[str]:
    found = list(run.notes)
    columns = [str(name) for name in run.predictions]
    if run.results and not any(map(is_age, columns)):
        found.append("Ages are not recorded, so no number by age can be given.")
    unreadable = run.record.get("unreadable_images", {})
    if unreadable:
        were = "was" if len(unreadable) == 1 else "were"
        found.append(f"{count(len(unreadable), 'image')} could not be read and {were} left out.")
    return found


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
