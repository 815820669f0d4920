"""`doctor`: goes through everything that the agent needs, and says what helps. Changes nothing."""

from pathlib import Path

import click

from agent.commands.terminal import harmless, json_text
from agent.diagnosis.checks import checks_of
from agent.diagnosis.finding import Finding, Level, counts
from agent.diagnosis.rounds import go_through
from agent.diagnosis.site import site_of
from hw.discovery_sysfs import REAL, Roots

LIMIT_S = 30.0
"""For all checks together. The slowest that ends, a peer that does not answer, takes a third of it."""


def doctor(config_path: Path, *, offline: bool, as_json: bool, roots: Roots = REAL, limit_s: float = LIMIT_S) -> int:
    """Print a line for each thing that was looked at, as soon as it is known, and a summary. Returns the exit code.

    0: the agent could do its job; 1: it could not, or not all of it; 2: the configuration can't be used.
    """
    site = site_of(config_path)
    findings: list[Finding] = []
    for some in go_through(list(checks_of(site, roots, offline=offline)), limit_s=limit_s):
        for finding in some:
            click.echo(json_text(finding.as_object()) if as_json else harmless(finding.in_words()))
        findings += some
    code = exit_code_of(findings)
    found = counts(findings)
    if as_json:
        click.echo(json_text({**{str(level): found[level] for level in Level}, "exit_code": code}))
    else:
        click.echo(summary(found))
    return code


def exit_code_of(findings: list[Finding]) -> int:
    """What the shell gets."""
    worst = [finding for finding in findings if finding.level is Level.BAD]
    if any(finding.subject == "configuration" for finding in worst):
        return 2
    return 1 if worst else 0


def summary(found: dict[Level, int]) -> str:
    """The last line."""
    looked_at = f"{sum(found.values())} looked at: {found[Level.GOOD]} good, {found[Level.WARNING]} to be looked into"
    if found[Level.BAD]:
        return f"{looked_at}, {found[Level.BAD]} bad: like this the agent can't do its job"
    return f"{looked_at}: the agent can do its job"
