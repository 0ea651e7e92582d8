"""All files of a sweep's folder, and where they are."""

from pathlib import Path

from cxr_lightning.sweeps.page import write_html
from cxr_lightning.sweeps.table import print_summary, write_summary


def write_report(folder: Path) -> Path:
    """Write `summary.csv`, `cells.csv`, `summary.md` and `report.html`; print the table.

    A sweep that is not finished has a report of what is.

    Raises:
        DataError: `folder` holds no sweep.
    """
    summary = write_summary(folder)
    print_summary(summary)
    print(f"Report:    {write_html(folder, summary)} (open it in a browser)")
    print(f"Tables:    {folder / 'summary.csv'} (every metric), {folder / 'summary.md'}")
    print(f"Dashboard: tensorboard --logdir {folder}")
    return folder / "report.html"
