"""Write a sweep's tables and report again: `cxr-report sweep=outputs/NAME`."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.cli import run_command


def run(cfg: DictConfig) -> Path:
    """Write the tables and the report of a sweep, finished or not, as `conf/report.yaml` says."""
    from cxr_lightning.config import ReportConfig, parse
    from cxr_lightning.sweeps.page import write_report

    return write_report(parse(ReportConfig, cfg).sweep)


def main() -> None:
    """The command `cxr-report`."""
    run_command("report", run)


if __name__ == "__main__":
    main()
