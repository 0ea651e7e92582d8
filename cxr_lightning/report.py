"""A sweep's tables and report, at any time: `cxr-report sweep=outputs/NAME`."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.cli import run_command


def run(cfg: DictConfig) -> Path:
    """Write `summary.csv`, `cells.csv`, `summary.md` and `report.html` of a sweep.

    A sweep that is not finished has a report of what is.
    """
    from cxr_lightning.config import ReportConfig, parse

    return write_report(parse(ReportConfig, cfg).sweep)


def write_report(folder: Path) -> Path:
    """Write all files of a sweep's folder, print the table and where they are."""
    from cxr_lightning.sweeps.html import write_html
    from cxr_lightning.sweeps.table import print_summary, write_summary

    summary = write_summary(folder)
    print_summary(summary)
    print(f"Report:    {write_html(folder, summary)} (open it in a browser)")
    print(f"Tables:    {folder / 'summary.csv'} (every metric), {folder / 'summary.md'}")
    print(f"Dashboard: tensorboard --logdir {folder}")
    return folder / "report.html"


def main() -> None:
    """The command `cxr-report`."""
    run_command("report", run)


if __name__ == "__main__":
    main()
