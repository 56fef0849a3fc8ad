"""`mtl-tf inspect`: what a run learned, or what an exported model contains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from mtl_tf.errors import UserError

if TYPE_CHECKING:
    from mtl_tf.compiler import Plan
    from mtl_tf.runs import Run


@click.command()
@click.argument("path")
@click.option(
    "--pictures",
    metavar="DIR",
    help="Folder for the plots.  [default: RUN/pictures; NAME-VERSION-pictures in the working "
    "folder for a version]",
)
def command(path: str, pictures: str | None) -> None:
    """Show what a run, a dataset or a version (models/NAME/VERSION) contains.

    Plots are written as PNG and SVG. For a run: how much of each field each sub-network
    reads, which connections are open, and the gates and metrics over training. For a
    version: its plan, as trained and as served; nothing is written to the version's folder.
    """
    folder = Path(path)
    if pictures is not None and _is_dataset(folder):
        raise UserError(
            f"--pictures: {path} is a dataset, which has no plots; leave the option out"
        )
    report = folder / "assets.extra" / "export_report.json"
    if (folder / "run.json").is_file():
        _run(folder, pictures)
    elif report.is_file():
        from mtl_tf.cli.report import print_report, print_sharing

        data = _read(report)
        try:
            print_sharing(data["sharing"])
            print_report(data)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{report}: damaged, or written by another release (no entry {error}); export again"
            ) from error
        _draw_plans(folder / "assets.extra", pictures)
    elif _is_dataset(folder):
        _dataset(folder)
    else:
        raise UserError(
            f"{path}: expected a run, a dataset or an exported version (a folder with run.json, "
            "dataset.json or assets.extra/export_report.json)"
        )


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and not (folder / "run.json").is_file()


def _run(folder: Path, pictures: str | None) -> None:
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.cli.report import print_sharing

    quiet_tensorflow()
    from mtl_tf.compiler import capture, sharing
    from mtl_tf.training import load_run

    run = load_run(folder)
    _epochs(run)
    plan = capture(run.model)
    print_sharing(sharing(plan))
    _draw(run, plan, pictures)


def _epochs(run: Run) -> None:
    """Print the table of epochs as training prints it; `run.json` has every figure."""
    from mtl_tf.training.epoch_table import finished_table

    details, schema = run.details, run.config.schema
    epochs = details["epochs"]
    click.echo(f"{run.folder}: {run.config.model.architecture}, {len(epochs)} epochs\n")
    width = shutil.get_terminal_size((100, 24)).columns
    for line in finished_table(epochs, schema.tasks, details["best_epoch"], width):
        click.echo(line)
    click.echo()


def _draw(run: Run, plan: Plan, wanted: str | None) -> None:
    from mtl_tf.plots import draw_run

    missing: dict[str, str] = {}

    def draw(folder: Path) -> list[Path]:
        drawn = draw_run(run, folder, plan)
        missing.update(drawn.missing)
        return list(drawn.files)

    _pictures(draw, run.folder / "pictures", wanted, missing)


def _draw_plans(extra: Path, wanted: str | None) -> None:
    from mtl_tf.plots import draw_plans

    if not (extra / "plan.json").is_file():  # an older export
        return
    plans, report = _read(extra / "plan.json"), _read(extra / "export_report.json")
    parts = [plans.get(when) if isinstance(plans, dict) else None for when in ("before", "after")]
    if not all(isinstance(part, dict) and {"features", "nodes"} <= part.keys() for part in parts):
        raise UserError(
            f"{extra / 'plan.json'}: damaged; expected `features` and `nodes`, `before` and "
            "`after`; export again"
        )
    # Not in the version's folder: a served model must not change.
    default = Path(f"{report['name']}-{report['version']}-pictures")
    _pictures(lambda folder: draw_plans(plans, report, folder), default, wanted)


def _pictures(
    draw: Callable[[Path], list[Path]],
    default: Path,
    wanted: str | None,
    missing: Mapping[str, str] = MappingProxyType({}),
) -> None:
    from mtl_tf.cli.output import note, table

    folder = default if wanted is None else Path(wanted)
    try:
        files = draw(folder)
    except OSError as error:
        problem = f"{folder}: cannot write plots there ({error.strerror})"
        if wanted is not None:
            raise UserError(f"{problem}; name another folder") from None
        note(f"{problem}; name another folder with --pictures")
        return
    rows = [(file.stem, str(file)) for file in files]
    table("Plots", ("plot", "file"), rows + list(missing.items()))


def _dataset(folder: Path) -> None:
    from mtl_tf.cli.output import table
    from mtl_tf.records import load_info

    info = load_info(folder)
    tasks = info.schema.task_names
    table(
        f"{folder}: {info.schema.name}, {info.layout} layout",
        ("split", "rows", "files", *(f"{task}: labelled" for task in tasks)),
        (
            (name, split.rows, len(split.files), *(split.labelled.get(t) for t in tasks))
            for name, split in info.splits.items()
        ),
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); the file is damaged") from None
