"""`mtl-tf inspect`: what a run learned, or what an exported model holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtl_tf.errors import UserError

if TYPE_CHECKING:
    from mtl_tf.inference import Plan
    from mtl_tf.runs import Run


@click.command()
@click.argument("path")
@click.option(
    "--pictures", metavar="DIR", help="Where a run's pictures go.  [default: RUN/pictures]"
)
def command(path: str, pictures: str | None) -> None:
    """Show what a run folder, a dataset folder or models/NAME/VERSION holds.

    Of a run it also draws pictures, as PNG and SVG: how much of each field each
    sub-network reads, what reaches each task, the gates and each task's figures over
    training.
    """
    folder = Path(path)
    if pictures is not None and not (folder / "run.json").is_file():
        raise UserError(f"--pictures: only a run has pictures, and {path} is none")
    report = folder / "assets.extra" / "export_report.json"
    if (folder / "run.json").is_file():
        _run(folder, pictures)
    elif report.is_file():
        from mtl_tf.cli.report import print_report, print_sharing

        data = _read(report)
        print_sharing(data["sharing"])
        print_report(data)
    elif (folder / "dataset.json").is_file():
        _dataset(folder)
    else:
        raise UserError(
            f"{path}: expected a run, a dataset or an exported version (a folder with run.json, "
            "dataset.json or assets.extra/export_report.json)"
        )


def _run(folder: Path, pictures: str | None) -> None:
    from mtl_tf.cli.output import quiet_tensorflow, table
    from mtl_tf.cli.report import print_sharing

    quiet_tensorflow()
    info = _read(folder / "run.json")
    epochs: list[dict[str, Any]] = info["epochs"]
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch))
    table(
        f"{folder}: {info['config']['model']['architecture']}, {len(epochs)} epochs",
        names,
        ([epoch.get(name) for name in names] for epoch in epochs),
    )
    from mtl_tf.inference import capture, sharing
    from mtl_tf.training import load_run

    run = load_run(folder)
    plan = capture(run.model)
    print_sharing(sharing(plan))
    _draw(run, plan, pictures)


def _draw(run: Run, plan: Plan, wanted: str | None) -> None:
    from mtl_tf.cli.output import note, table
    from mtl_tf.pictures import draw_run

    folder = run.folder / "pictures" if wanted is None else Path(wanted)
    try:
        drawn = draw_run(run, folder, plan)
    except OSError as error:
        problem = f"{folder}: pictures cannot be written there ({error.strerror})"
        if wanted is not None:
            raise UserError(f"{problem}; give another folder") from None
        note(f"{problem}; name another folder with --pictures")
        return
    rows = [(file.stem, str(file)) for file in drawn.files]
    table("Pictures", ("picture", "file"), rows + list(drawn.missing.items()))


def _dataset(folder: Path) -> None:
    from mtl_tf.cli.output import table

    info = _read(folder / "dataset.json")
    tasks = [task["name"] for task in info["schema"]["tasks"]]
    table(
        f"{folder}: {info['schema']['name']}, {info['layout']} layout",
        ("split", "rows", "files", *(f"{task}: labelled" for task in tasks)),
        (
            (name, split["rows"], len(split["files"]), *(split["labelled"][t] for t in tasks))
            for name, split in info["splits"].items()
        ),
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); the file is damaged") from None
