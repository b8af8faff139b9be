"""What `inventorybot verify` answers: numbers, findings and a verdict, as a table for people or JSON for machines.

In: findings and counts of one or more passes. Out: `Report`, its `as_json` and `show`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from services.verify.fold import Finding

KINDS = ("lost", "double-counted", "differing", "half-applied")
SHOWN = 20
"""Findings of a kind that are written out; all of them are counted."""
_WORDS = {
    "lost": "events that are neither applied, nor duplicates, nor dead letters",
    "double-counted": "ledger rows that count something once too often",
    "differing": "slots where the tables disagree with the topic",
    "half-applied": "transfers of which one half is missing",
}


@dataclass(slots=True)
class Report:
    """The answer. `behind`: events that the ledger had not handled yet, where it was not waited for long enough."""

    behind: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing at all is wrong, and all of it could be looked at."""
        return not self.findings and not self.behind

    def numbers(self) -> dict[str, int]:
        """How many findings of each kind."""
        found = Counter(f.kind for f in self.findings)
        return {kind: found[kind] for kind in KINDS}

    def as_json(self) -> dict[str, Any]:
        """For machines: verdict, numbers, and up to 20 findings of each kind."""
        return {
            "ok": self.good,
            "behind": self.behind,
            **{kind.replace("-", "_"): number for kind, number in self.numbers().items()},
            "counts": {name.replace(" ", "_"): n for name, n in sorted(self.counts.items())},
            "dead_letters": dict(sorted(self.dead_letters.items())),
            "findings": [asdict(f) for kind in KINDS for f in self._some(kind)],
        }

    def _some(self, kind: str) -> list[Finding]:
        return [f for f in self.findings if f.kind == kind][:SHOWN]

    def show(self, console: Console) -> None:
        """For people."""
        if self.behind:
            console.print(f"The ledger is {self.behind:,} events behind the topic: nothing can be said about it yet.")
            console.print("Start a worker (`inventorybot worker ledger`), or wait longer (`--settle SECONDS`).")
            return
        table = Table("checked", "number", box=None, pad_edge=False)
        for name, number in self.counts.items():
            table.add_row(name, f"{number:,}")
        for code, number in sorted(self.dead_letters.items()):
            table.add_row(f"dead letter: {code}", f"{number:,}")
        console.print(table)
        for kind, number in self.numbers().items():
            mark = "[green]0[/]" if not number else f"[red]{number:,}[/]"
            console.print(f"{mark} {kind}: {_WORDS[kind]}")
            for f in self._some(kind):
                where = "/".join(part for part in (f.site, f.bin, f.sku) if part)
                console.print(f"    {where} {f.event_id} {f.what}".replace("  ", " "), markup=False, highlight=False)
        console.print(
            "[green]Nothing is lost, nothing is counted twice.[/]" if self.good else "[red]Not as it should be.[/]"
        )
