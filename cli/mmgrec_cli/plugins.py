"""``mmgrec plugins``: every installed plugin."""

from __future__ import annotations

from mmgrec_cli import options, render

__all__ = ["plugins"]


def plugins(json: options.Json = False) -> None:
    """List every installed plugin, the broken ones too."""
    from mmgrec.registry import Registry

    plugins = Registry.discover().plugins
    if json:
        render.as_json([plugin.row() for plugin in plugins])
    else:
        render.plugins(plugins)
