"""The trackers that one chooses among: wandb, trackio, tensorboard or none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from charrnn.outside.printable import encodable, quoted
from charrnn.run.tracker import COLUMNS, Row, Scored, Tracker, in_block, in_json, in_paragraphs
from charrnn.run.wandb_tracker import Wandb


class Trackio(Tracker):
    """Trackio: a local database beside the run folder, for it and its neighbours, unless TRACKIO_DIR names another."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        # Read when trackio is first imported.
        self._folder = os.environ.setdefault("TRACKIO_DIR", str(self.run_dir.absolute().parent / "trackio"))
        self._project = encodable(project)
        # Another run of the same name, which a new folder may have, is not gone on with.
        resume = "allow" if self.told_until else "never"
        self.init("trackio", project, in_json(config), name=encodable(run_name), resume=resume)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        import trackio

        # Trackio's table does not grow: each has the rows of its step. It shows texts cut, with their lines joined; its
        # reports are whole.
        data = [[row[column] for column in COLUMNS] for row in rows]
        table = trackio.Table(columns=list(COLUMNS), data=data)
        report = "\n\n".join(f"**Temperature {row['temperature']:g}**\n\n{in_paragraphs(row)}" for row in rows)
        self.accelerator.log({"samples": table, "samples as text": trackio.Markdown(report)}, step=step)

    def finish(self, failed: bool) -> str:
        super().finish(failed)
        return (
            f"look at the run with: TRACKIO_DIR={quoted(self._folder)} trackio show --project {quoted(self._project)}"
        )


class TensorBoard(Tracker):
    """TensorBoard: event files in the run folder."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        self.init("tensorboard", "tensorboard", None)
        from torch.utils.tensorboard.summary import hparams

        # The writer's own `add_hparams` makes a run of its own for each call, without metrics.
        plain = {name: str(value) if isinstance(value, list) else value for name, value in in_json(config).items()}
        writer = self.accelerator.get_tracker("tensorboard", unwrap=True)
        for summary in hparams(plain, dict.fromkeys(("val_loss", "val_bpc", "train_loss"), 0.0)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        for row in rows:
            self.accelerator.log({f"samples/temperature {row['temperature']}": in_block(row)}, step=step)

    def finish(self, failed: bool) -> str:
        super().finish(failed)
        return f"look at the run with: tensorboard --logdir {quoted(self.run_dir)}"


TRACKERS: dict[str, type[Tracker]] = {"wandb": Wandb, "trackio": Trackio, "tensorboard": TensorBoard, "none": Tracker}
