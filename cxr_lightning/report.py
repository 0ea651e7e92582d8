"""Write the report of a run or a sweep again: `cxr-report run=outputs/NAME`, `sweep=…`."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.cli import run_command


def run(cfg: DictConfig) -> Path:
    """Write the report of a run or a sweep, finished or not, as `conf/report.yaml` says.

    What the folder is, its files say: either key takes either.
    """
    from cxr_lightning.config import ReportConfig, parse
    from cxr_lightning.errors import ConfigError
    from cxr_lightning.runs.folder import CONFIG
    from cxr_lightning.sweeps.plan import FILE

    config = parse(ReportConfig, cfg)
    given = [folder for folder in (config.run, config.sweep) if folder is not None]
    if len(given) != 1:
        raise ConfigError("cxr-report takes one folder: run=outputs/NAME, or sweep=outputs/NAME.")
    (folder,) = given
    is_run = (folder / CONFIG).exists() or folder == config.run
    if is_run and not (folder / FILE).exists():
        from cxr_lightning.cards.page import print_pages, write_pages

        page = write_pages(folder)
        print_pages(folder)
        return page
    from cxr_lightning.sweeps.page import write_report

    return write_report(folder)


def main() -> None:
    """The command `cxr-report`."""
    run_command("report", run)


if __name__ == "__main__":
    main()
