"""report.html, model_card.md and claim.md of one run: what it did, what it is worth, its limits."""

import base64
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cxr_lightning.cards import limits, numbers, recipe
from cxr_lightning.cards.claim import ACTION, Line, sheet, summary
from cxr_lightning.cards.claim_items import SOURCE
from cxr_lightning.cards.mistakes import worst_mistakes
from cxr_lightning.cards.record import RunFiles
from cxr_lightning.cards.words import percent
from cxr_lightning.contrasts import Interval
from cxr_lightning.metrics import Estimate
from cxr_lightning.pages import charts, markdown
from cxr_lightning.pages.template import rendered
from cxr_lightning.runs.folder import job_state
from cxr_lightning.runs.writing import write_text

PAGE, CARD, CLAIM = "report.html", "model_card.md", "claim.md"
TAGS = ["chest-x-ray", "medical-imaging", "image-classification", "pytorch-lightning"]


def write_pages(folder: Path) -> Path:
    """Write all three into the folder of a run, finished or not; returns the page.

    Raises DataError where the folder is not one of a run, or a file in it is damaged.
    """
    run = RunFiles(folder)
    content = _write_cards(run, folder)
    write_text(folder / PAGE, rendered("cards/page.html.j2", content | _pictures(run)))
    return folder / PAGE


def write_cards(run: Path, folder: Path) -> list[Path]:
    """Write model card and CLAIM sheet of the run in `run` into another folder; raises as above."""
    _write_cards(RunFiles(run), folder)
    return [folder / CARD, folder / CLAIM]


def print_pages(folder: Path) -> None:
    """Where they are, from here."""
    at = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"Report: {at / PAGE} (open it in a browser)")
    print(f"Model card: {at / CARD}, and its CLAIM sheet: {at / CLAIM}")


def _write_cards(run: RunFiles, folder: Path) -> dict[str, Any]:
    """Both; returns what they say. The card's head is YAML that huggingface_hub reads."""
    head = {"library_name": "cxr-lightning", "pipeline_tag": "image-classification", "tags": TAGS}
    given: dict[str, Any] = {
        "head": markdown.Markdown(yaml.safe_dump(head, sort_keys=False)),
        "table": markdown.table,
    }
    content = _content(run)
    write_text(folder / CARD, rendered("cards/model_card.md.j2", content | given))
    lines = sheet(run)  # after the card, which is one of its proofs
    content |= {"lines": lines, "summary": summary(lines), "source": SOURCE, "action": ACTION}
    given["by_item"] = _sheet(lines)
    write_text(folder / CLAIM, rendered("cards/claim.md.j2", content | given))
    return content


def _content(run: RunFiles) -> dict[str, Any]:
    config = run.config  # first: it says whether this is a run
    return {
        "name": str(config.get("name") or run.folder.name),
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "state": job_state(run.folder),
        "is_tested": bool(run.results),
        "is_phantom": run.is_phantom,
        "classes": run.classes,
        "headline": _headline(run),
        "nothing": numbers.nothing(run),
        "use": limits.intended_use(run),
        "limits": limits.limits(run),
        "training_data": _frame(recipe.training_data(run)),
        "recipe": _frame(recipe.recipe(run)),
        "tested": recipe.tested(run),
        "overall": numbers.overall(run) if run.results else pd.DataFrame(),
        "by_class": numbers.by_class(run.estimates, run.classes) if run.results else None,
        "calibration": numbers.calibration(run),
        "temperature": run.calibration.get("temperature"),
        "fitted_on": run.calibration.get("fitted_on"),
        "ladder": numbers.ladder(run),
        "missing_rungs": ", ".join(numbers.missing_rungs(run)),
        "external": numbers.external(run),
        "external_sets": numbers.external_sets(run),
        "subgroups": numbers.subgroups(run),
        "triages": numbers.triage(run),
        "explanation": run.explanation,
    }


def _headline(run: RunFiles) -> str:
    if not run.results:
        return ""
    n, patients = run.results["n"], run.results["patients"]
    titles = {
        "accuracy": "Accuracy",
        "balanced_accuracy": "balanced accuracy",
        "f1_macro": "macro F1",
    }
    told = [f"{title} {percent(run.estimates[name])}" for name, title in titles.items()]
    return f"{', '.join(told)}, on {n:,} test images of {patients:,} patients (95% intervals)."


def _pictures(run: RunFiles) -> dict[str, Any]:
    """What only the page has: charts, matrices, films, and the list of files."""
    return {
        "command": _command(run),
        "ladder_chart": _ladder_chart(run),
        "curve_charts": [] if run.curves.empty else charts.learning({("this run", 0): run.curves}),
        "confusion": run.results.get("confusion_matrix"),
        "reliability": _embedded(run.folder / "calibration.png"),
        "mistakes": worst_mistakes(run) if run.results else [],
        "n_mistakes": run.n_mistakes,
        "n": run.results.get("n"),
        "files": _files(run.folder),
    }


def _command(run: RunFiles) -> str:
    program, *words = run.record.get("command") or [""]
    return " ".join([Path(program).name, *words])


def _ladder_chart(run: RunFiles) -> charts.Chart | None:
    if not run.results:
        return None
    rungs = {r["name"]: _interval(numbers.rung_estimate(r, "accuracy")) for r in run.ladder}
    own = {"this network": _interval(run.estimates["accuracy"])}
    label = "test accuracy, percent, with 95% interval; below, what is not the disease (grey)"
    return charts.intervals("Test accuracy", own, label, below=rungs) if rungs else None


def _interval(found: Estimate) -> Interval:
    return Interval(found.value or 0.0, found.low, found.high)


def _embedded(file: Path) -> str | None:
    if not file.exists():
        return None
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def _files(folder: Path) -> list[str]:
    """What the page links to: files of the run, without hidden ones, events and itself."""
    found = [*folder.glob("*"), *folder.glob("external/*/*"), *folder.glob("*/triage.html")]
    names = {f.relative_to(folder).as_posix() for f in found if f.is_file()}
    return sorted(n for n in names if n != PAGE and not n.startswith((".", "events.")))


def _frame(rows: recipe.Rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["what", "value"])


def _sheet(lines: list[Line]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "item": str(line.item.number),
                "topic": line.item.topic,
                "status": line.status,
                "what the run's files say": line.said,
                "files": ", ".join(line.files),
                "left to do": line.action and f"{ACTION}: {line.action}",
            }
            for line in lines
        ]
    )
