"""One threshold, found on some films and judged on others: `cxr-triage run=outputs/NAME`."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import parse
from cxr_lightning.decisions.settings import TriageConfig

if TYPE_CHECKING:
    from cxr_lightning.decisions.judged import Judged


def run(cfg: DictConfig) -> "Judged":
    """Find, freeze and judge as `conf/triage.yaml` says; writes `triage.html` and `triage.json`."""
    from cxr_lightning.decisions.judged import judge
    from cxr_lightning.decisions.triage_page import print_judged, write_page

    config = parse(TriageConfig, cfg)
    judged = judge(config)
    config.folder.mkdir(parents=True, exist_ok=True)
    page: Path = write_page(config.folder, judged)
    print_judged(judged, page)
    return judged


def main() -> None:
    """The command `cxr-triage`."""
    run_command("triage", run)


if __name__ == "__main__":
    main()
