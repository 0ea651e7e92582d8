"""What joins runs: sweepers, launcher, search, tables, statistics and report."""


def register_plugins() -> None:
    """Make the sweepers and the launcher known to Hydra; `conf/hydra` has their options."""
    from hydra.core.plugins import Plugins

    from cxr_lightning.sweeps.launcher import ProcessesLauncher
    from cxr_lightning.sweeps.sweepers import GridSweeper, SearchSweeper

    plugins = Plugins.instance()
    for plugin in (GridSweeper, SearchSweeper, ProcessesLauncher):
        plugins.register(plugin)
        # Hydra 1.3 makes only plugins whose name begins like this, wherever they lie.
        plugins.class_name_to_class[f"hydra_plugins.cxr_lightning.{plugin.__name__}"] = plugin
