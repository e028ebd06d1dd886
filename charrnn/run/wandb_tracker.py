"""Weights & Biases: where people watch the text get better."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charrnn.errors import ConfigError
from charrnn.outside.printable import encodable, quoted
from charrnn.run.folder import METRICS, read_json, whole_rows, write_json
from charrnn.run.shading import shaded_html
from charrnn.run.tracker import COLUMNS, Row, Scored, Tracker, in_json, one_line_of

ALL_SAMPLES = "samples_all"
"""The table of a wandb run that is whole at its end, beside `samples`, which is there from the first epoch on."""

BEST = ("val_loss", "val_bpc")
"""What a wandb run's summary has of the best measurement, too."""


class Wandb(Tracker):
    """Weights & Biases: online with credentials, else offline, to be uploaded later."""

    def start(self, project: str, run_name: str, config: Mapping[str, Any]) -> None:
        import wandb

        # The client would wait for days, at the run's end, for a service that has gone away; what is on disk by then
        # can be uploaded later. Read when the client first looks at its settings.
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", "60")
        mode = os.environ.get("WANDB_MODE")
        if mode in (None, "online"):
            # Finds out in seconds, where `wandb.init` takes minutes, that the service does not answer; and nobody can
            # be asked for a key in a launched job.
            with one_line_of("wandb"):
                known = wandb.login(prompt=False)
            mode = mode or ("online" if known else "offline")
        # The client keeps the command line, and would fail at a name in it that is not UTF-8.
        sys.argv[1:] = map(encodable, sys.argv[1:])
        id_file = self.run_dir / "wandb.json"
        if not id_file.exists():
            write_json(id_file, {"id": secrets.token_hex(4)})
        try:
            run_id = read_json(id_file)["id"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{id_file} is damaged: remove it, to go on as another wandb run") from error
        resume = None if mode == "offline" else "allow"
        # The numbers are in the terminal already, and what to do with an offline run is this trainer's last line.
        wished = {"quiet": True, "silent": mode == "offline"}
        told = {name: on for name, on in wished.items() if on and f"WANDB_{name.upper()}" not in os.environ}
        self.init(
            "wandb",
            project,
            in_json(config),
            name=encodable(run_name),
            dir=str(self.run_dir),
            id=run_id,
            mode=mode,
            resume=resume,
            settings=wandb.Settings(**told),
        )
        self._run = self.accelerator.get_tracker("wandb", unwrap=True)
        # Everything is shown against training's own step, the rarer validation with points at its own. The step itself
        # is no chart.
        self._run.define_metric("*", step_metric="step")
        self._run.define_metric("step", hidden=True)
        self._losses = [row for row in whole_rows(self.run_dir / METRICS) if row.get("val_loss") is not None]
        self._keep_best()
        # Grows by the rows that are new to the run: the client goes on with a resumed run's table.
        self._table = wandb.Table(columns=list(COLUMNS), log_mode="INCREMENTAL")
        if not self._run.offline:
            self._catch_up()

    def _catch_up(self) -> None:
        """Logs what an interrupted attempt could not send any more; only the run knows up to where it came."""
        self.told_until = self._run.starting_step - 1
        for row in whole_rows(self.run_dir / METRICS):
            self.log(row, row["step"])
        self._add([row for row in self.rows if row["step"] > self.told_until])

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        # The axis that `start` defines must be in the row: where it is not, the client puts zero.
        super().log({**metrics, "step": step}, step)
        if metrics.get("val_loss") is not None and step not in {row["step"] for row in self._losses}:
            self._losses.append({**metrics, "step": step})
            self._keep_best()

    def _keep_best(self) -> None:
        if best := _best(self._losses):
            with self.spared("the best loss"):
                # The client's own way to keep the lowest makes a mapping of it, which it shows nowhere as a number.
                self._run.summary.update({f"best_{name}": best[name] for name in BEST if name in best})

    def _both_losses(self) -> Any:
        """A chart of the training and the validation loss, of which the client makes a panel each."""
        import wandb

        series = {"training": "train_loss", "validation": "val_loss"}
        rows = [row for row in self._losses if row.get("train_loss") is not None]
        steps = [row["step"] for row in rows]
        values = [[row[column] for row in rows] for column in series.values()]
        return wandb.plot.line_series(steps, values, keys=list(series), title="Loss, nats a character", xname="step")

    def show_samples(self, rows: Sequence[Row], scored: Sequence[Scored], step: int) -> None:
        import wandb

        self._add(rows)
        shaded = {
            f"surprise/temperature {row['temperature']:g}": wandb.Html(
                shaded_html(characters, f"Epoch {row['epoch']:.2f}, temperature {row['temperature']:g}"),
                data_is_not_path=True,
            )
            for row, characters in zip(rows, scored, strict=True)
        }
        both = {"losses": self._both_losses()} if self._losses else {}
        self._run.log({"samples": self._table, **both, **shaded, "step": step}, step=step)

    def log_model(self, files: Sequence[Path]) -> None:
        import wandb

        with self.spared("the model"):
            artifact = wandb.Artifact(f"model-{self._run.id}", type="model")
            for file in files:
                artifact.add_file(str(file))
            self._run.log_artifact(artifact)

    def _add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._table.add_data(*(row[column] for column in COLUMNS))

    def finish(self, failed: bool) -> str:
        import wandb

        if not self.accelerator.trackers:
            return ""
        offline = self._run.offline
        if self.rows:
            # The growing table is stored in parts; a whole one at the end is what people download. It belongs to no
            # step: logged at one, it could take the place of metrics that a resumed run has yet to log.
            data = [[row[column] for column in COLUMNS] for row in self.rows]
            with self.spared("the table of all samples"):
                self._run.summary[ALL_SAMPLES] = wandb.Table(columns=list(COLUMNS), data=data)
        if failed:
            with self.spared("the end of the run"):
                self._run.finish(exit_code=1)
        super().finish(failed)
        if not offline:
            return ""
        attempts = sorted((self.run_dir / "wandb").glob("offline-run-*"))
        return "wandb ran offline; upload with: wandb sync " + " ".join(map(quoted, attempts))


def _best(rows: Iterable[Row]) -> Row:
    """The row of metrics with the lowest loss on held-out text; an empty one if that was not measured."""
    measured = [row for row in rows if row.get("val_loss") is not None]
    return min(measured, key=lambda row: row["val_loss"], default={})
