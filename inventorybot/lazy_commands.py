"""Groups of commands that are found by name, so that `--help` imports none of them and no layer imports another.

In: a table of name -> (module:function, its line in the overview). Out: a Typer application.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

Table = dict[str, tuple[str, str]]


def group(table: Table) -> type[TyperGroup]:
    """The class of a group (`typer.Typer(cls=…)`) that shows every line of the table and imports what is called."""

    class LazyCommands(TyperGroup):
        overview = False

        def format_help(self, ctx: Any, formatter: Any) -> None:
            self.overview = True
            try:
                super().format_help(ctx, formatter)
            finally:
                self.overview = False

        def list_commands(self, ctx: Any) -> list[str]:
            return [*table, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in table:
                return super().get_command(ctx, cmd_name)
            target, line = table[cmd_name]
            if self.overview:
                return command_of(_named(line), cmd_name)
            module, _, name = target.partition(":")
            return command_of(getattr(importlib.import_module(module), name), cmd_name)

    return LazyCommands


def command_of(target: Any, name: str) -> Any:
    """A click command from a Typer application, or from a plain annotated function."""
    if not isinstance(target, typer.Typer):
        application = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        application.command(name)(target)
        target = application
    command = get_command(target)
    command.name = name
    return command


def _named(line: str) -> Any:
    """A function that is only its help, for the overview."""

    def command() -> None: ...

    command.__doc__ = line
    return command
