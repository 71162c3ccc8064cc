"""The command, called in the process of a test."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import pytest

from pyromoe.inference import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def captured(args: Sequence[str]) -> Result:
    """Do the same many times in one test, or without pytest."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["pyromoe", *args]):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Result(code, out.getvalue(), err.getvalue())
