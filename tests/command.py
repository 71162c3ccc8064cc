"""The command, called in the process of a test."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from pyromoe.inference import cli


class Result(NamedTuple):
    """The exit code, and what was printed on both streams."""

    code: int
    out: str
    err: str


def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object
) -> Result:
    """Run `pyromoe` with some arguments, as from a shell."""
    monkeypatch.setattr(sys, "argv", ["pyromoe", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    text = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return Result(ended.value.code, text.out, text.err)
