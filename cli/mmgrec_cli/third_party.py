"""Subcommands that other packages bring by the hook ``mmgrec_commands``: told in the help, imported when called.

The shipped commands are there at once. Others are looked for only where somebody asks for the help or for a name that
no shipped command has, so nothing that another package does wrong can hinder a shipped command.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mmgrec.registry import ENTRY_POINT, Plugin, Registry
from mmgrec_cli import render

__all__ = ["Commands", "ThirdParty", "called"]

# Commands and contexts are Any in this file: Typer has no public names for their classes.


class Commands(TyperGroup):
    """The shipped commands, then those of other packages."""

    called: Plugin | None = None  # the command of another package that has been called

    def list_commands(self, ctx: Any) -> list[str]:
        """Names for the help, which has to come whatever is wrong with what else is installed."""
        try:
            self._announce()
        except Exception as error:
            render.warning(f"commands of other packages cannot be listed ({type(error).__name__}: {error})")
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name, or None.

        Raises:
            PluginError: if there is none, and a package that is broken or blocked, or two that claim it, may be why.
        """
        if cmd_name not in self.commands:
            registry = self._announce()
            ill = [row for row in registry.plugins if row.kind in ("command", ENTRY_POINT) and not row.usable]
            if cmd_name not in self.commands and any(row.name not in self.commands for row in ill):
                registry.find("command", cmd_name)
        return super().get_command(ctx, cmd_name)

    def _announce(self) -> Registry:
        """Put the commands of other packages behind the shipped ones, whose names are taken."""
        registry = Registry.discover()
        for plugin in registry.plugins:
            if plugin.kind == "command" and plugin.usable and plugin.name not in self.commands:
                self.add_command(ThirdParty(plugin, registry))
        return registry


class ThirdParty(TyperCommand):
    """Stands for a command of another package until it is called; its arguments are for the real one to read."""

    def __init__(self, plugin: Plugin, registry: Registry) -> None:
        super().__init__(plugin.name, help=render.inert(plugin.summary), rich_markup_mode=None)
        self.plugin = plugin
        self.registry = registry

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = args
        return args

    def invoke(self, ctx: Any) -> Any:
        root = ctx.find_root().command
        if isinstance(root, Commands):
            root.called = self.plugin
        command = self._imported()
        with command.make_context(ctx.info_name, ctx.args, parent=ctx.parent) as own:
            return command.invoke(own)

    def _imported(self) -> Any:
        """The real command, made in the same way as the shipped ones.

        Raises:
            PluginError: if its target cannot be imported, or is nothing that can be called.
        """
        target = self.registry.load_command(self.plugin.name)
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.callback()(_nothing)  # else an app with a single command would be that command
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=self.plugin.name)
        else:
            app.command(self.plugin.name)(target)
        group: Any = typer.main.get_command(app)
        command = group.commands[self.plugin.name]
        command.help = command.help or self.help
        return command


def called(commands: object) -> Plugin | None:
    """The command of another package that was called, if one was: an error that is left over is its package's."""
    return commands.called if isinstance(commands, Commands) else None


def _nothing() -> None: ...
