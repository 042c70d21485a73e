"""SummaryWriter: writes what TensorBoard shows into event files."""

from __future__ import annotations

import os
import time
from typing import Any

from kkori.utils.tensorboard import summary
from kkori.utils.tensorboard.fields import double, integer, message, text
from kkori.utils.tensorboard.records import record

__all__ = ["FileWriter", "SummaryWriter"]

_VERSION = "brain.Event:2"
_START = 1
_numbers = iter(range(2**63))


class FileWriter:
    """One event file in a folder. Each event is whole in the file once it is flushed.

    Events are collected, at most ``max_queue`` of them or for ``flush_secs`` seconds.
    """

    def __init__(
        self, log_dir: Any, max_queue: int = 10, flush_secs: float = 120, filename_suffix: str = ""
    ) -> None:
        self.log_dir = os.fspath(log_dir)
        self.max_queue = max_queue
        self.flush_secs = flush_secs
        os.makedirs(self.log_dir, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{_host()}.{os.getpid()}"
        self.path = os.path.join(self.log_dir, f"{name}.{next(_numbers)}{filename_suffix}")
        self.file: Any = open(self.path, "ab")
        self.waiting: list[bytes] = []
        self.flushed = time.monotonic()
        self.add_event(text(3, _VERSION))
        self.flush()

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def add_event(self, content: bytes, step: int | None = None, walltime: float | None = None):
        """Adds an event, given the fields beside its time and its step."""
        now = time.time() if walltime is None else walltime
        number = b"" if step is None else integer(2, int(step))
        self.waiting.append(record(double(1, now) + number + content))
        late = time.monotonic() - self.flushed > self.flush_secs
        if len(self.waiting) >= self.max_queue or late:
            self.flush()

    def add_summary(self, values: bytes, global_step: Any = None, walltime: float | None = None):
        """Adds an event with a summary."""
        self.add_event(message(5, values), global_step, walltime)

    def flush(self) -> None:
        """Writes what was collected."""
        if self.file is None:
            self.file = open(self.path, "ab")
        self.file.write(b"".join(self.waiting))
        self.file.flush()
        self.waiting = []
        self.flushed = time.monotonic()

    def close(self) -> None:
        """Writes what was collected and closes the file."""
        if self.file is not None:
            self.flush()
            self.file.close()
            self.file = None

    def reopen(self) -> None:
        """Goes on in the same file; the next event opens it."""


class SummaryWriter:
    """Writes scalars, histograms, images, figures, text and hyperparameters for TensorBoard.

    Args:
        log_dir: the folder; without it ``runs/<date>_<host><comment>``.
        comment: added to that default name.
        purge_step: tells TensorBoard to forget events from this step on, after a crash.
        max_queue, flush_secs: how many events, and how long, may wait to be written.
        filename_suffix: added to the names of event files.

    Source: ``torch.utils.tensorboard.SummaryWriter``. Graphs, audio, video, meshes and
    precision-recall curves are not written.
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            log_dir = os.path.join("runs", f"{time.strftime('%b%d_%H-%M-%S')}_{_host()}{comment}")
        self.log_dir = log_dir
        self.purge_step = purge_step
        self.max_queue = max_queue
        self.flush_secs = flush_secs
        self.filename_suffix = filename_suffix
        self.all_writers: dict[str, FileWriter] | None = None
        self.default_bins = summary.default_bins()
        self._get_file_writer()

    def _open(self, log_dir: str) -> FileWriter:
        return FileWriter(log_dir, self.max_queue, self.flush_secs, self.filename_suffix)

    def _get_file_writer(self) -> FileWriter:
        """The main file; after `close` a new one."""
        log_dir = os.fspath(self.log_dir)
        if self.all_writers is None:
            self.file_writer = self._open(log_dir)
            self.all_writers = {log_dir: self.file_writer}
            if self.purge_step is not None:
                self.file_writer.add_event(text(3, _VERSION), self.purge_step)
                self.file_writer.add_event(message(7, integer(1, _START)), self.purge_step)
                self.purge_step = None
        return self.file_writer

    def get_logdir(self) -> Any:
        """The folder."""
        return self.log_dir

    def _add(self, values: bytes, step: Any, walltime: float | None) -> None:
        self._get_file_writer().add_summary(values, step, walltime)

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """A number at a step."""
        found = summary.scalar(tag, scalar_value, new_style, double_precision)
        self._add(found, global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers in one chart; each gets a folder of its own."""
        walltime = time.time() if walltime is None else walltime
        log_dir = self._get_file_writer().get_logdir()
        assert self.all_writers is not None
        for tag, value in tag_scalar_dict.items():
            folder = f"{log_dir}/{main_tag.replace('/', '_')}_{tag}"
            if folder not in self.all_writers:
                self.all_writers[folder] = self._open(folder)
            found = summary.scalar(main_tag, value)
            self.all_writers[folder].add_summary(found, global_step, walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """How values are distributed at a step; ``bins`` as for ``numpy.histogram``."""
        chosen = self.default_bins if isinstance(bins, str) and bins == "tensorflow" else bins
        self._add(summary.histogram(tag, values, chosen, max_bins), global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture; ``dataformats`` names its dimensions (``CHW``, ``HWC``, ``HW``)."""
        self._add(summary.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Several pictures of one size as a grid."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """A matplotlib figure, or a list of them, as a picture."""
        several = isinstance(figure, list)
        found = [summary.figure_image(one, close) for one in (figure if several else [figure])]
        if several:
            import numpy as np

            self.add_images(tag, np.stack(found), global_step, walltime)
        else:
            self.add_image(tag, found[0], global_step, walltime)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A text, shown as Markdown."""
        self._add(summary.text_summary(tag, text_string), global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyperparameters of a run, and what it reached, in a folder below this one's."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        found = summary.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        log_dir = os.path.join(os.fspath(self.log_dir), run_name or str(time.time()))
        with SummaryWriter(log_dir) as writer:
            for values in found:
                writer._add(values, global_step, None)
            for name, value in metric_dict.items():
                writer.add_scalar(name, value, global_step)

    def flush(self) -> None:
        """Writes what was collected."""
        for writer in (self.all_writers or {}).values():
            writer.flush()

    def close(self) -> None:
        """Writes what was collected and closes the files."""
        for writer in (self.all_writers or {}).values():
            writer.close()
        self.all_writers = None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _host() -> str:
    import socket

    return socket.gethostname()
