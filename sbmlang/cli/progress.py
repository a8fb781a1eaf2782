"""What a long computation shows, and how Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socketpair
from typing import Any

import typer

from sbmlang.cli.app import STOPPED
from sbmlang.cli.show import number
from sbmlang.protocols import Progress, ProgressCallback

_STAGES = {"compile": "compiling", "warmup": "warming up", "sample": "sampling", "predict": "predicting", "train": "training",
           "replicate": "replicating", "simulate": "simulating", "apply": "applying"}  # fmt: skip


@contextmanager
def progress_bar(stopped: str = STOPPED) -> Iterator[ProgressCallback]:
    """A bar for each stage with step size, leapfrogs, divergences; only its end when not on a terminal.

    Ctrl-C in the block ends the process with exit code 130; ``stopped`` is said then, so nothing else may be written in it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column as Cell

    details = TextColumn("{task.fields[details]}", table_column=Cell())  # the one to wrap when room is short
    columns = (TextColumn("{task.description:>10}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)

    def leave() -> None:
        console.show_cursor()
        typer.echo(stopped, err=True)

    with _stopped_by_ctrl_c(leave), Bar(*columns, details, console=console) as bar:
        tasks: dict[str, Any] = {}

        def report(p: Progress) -> None:
            if p.message:
                console.print(p.message, markup=False, highlight=False)
            if p.stage not in tasks:
                for task in tasks.values():
                    bar.update(task, completed=bar.tasks[task].total)
                tasks[p.stage] = bar.add_task(_STAGES.get(p.stage, p.stage), total=p.total, details="")
            told = "  ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in p.details.items())
            bar.update(tasks[p.stage], completed=p.done, total=p.total, details=told)

        yield report


@contextmanager
def _stopped_by_ctrl_c(leave: Callable[[], None]) -> Iterator[None]:
    """Lets Ctrl-C call ``leave`` and end the process at once with exit code 130.

    ``KeyboardInterrupt`` is of no use here: while XLA compiles or runs it comes late, and where Python is
    in a callback of XLA it is swallowed or brings the process down. So a thread listens. Nothing may be
    half-written when the block is entered or while it runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are another thread's
        return
    ear, mouth = socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while signals := ear.recv(64):
            if signal.SIGINT in signals:
                leave()
                os._exit(130)

    thread = threading.Thread(target=listen, daemon=True)
    before = signal.signal(signal.SIGINT, lambda *_: None), signal.set_wakeup_fd(mouth.fileno())
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before[1])
        signal.signal(signal.SIGINT, before[0])
        mouth.close()
        thread.join()
        ear.close()
