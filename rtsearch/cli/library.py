"""Define the commands ``rtsearch library``: describe, check, rebuild, merge, export and draw a library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    OverwriteFlag,
    answer,
    answer_facts,
    count_bar,
    counted,
    keep_apart,
    keep_older,
    library_and_settings,
    mb,
    print_json,
    px,
    settings_of,
    share_bar,
    tell,
    tell_if_slow,
    tell_some,
)
from rtsearch.config import Settings
from rtsearch.storage.address import library_folder

if TYPE_CHECKING:
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex

__all__ = ["app"]

_LINES = 20  # about photos that cannot be read

app = typer.Typer(
    help="Describe, check, rebuild, merge, import, export and draw a library.", no_args_is_help=True
)


@app.command()
def info(
    lib: LibraryFolder, as_json: JsonFlag = False, config: ConfigFile = None, override: Overrides = None
) -> None:
    """Print the counts and settings of a library.

    [bold]Example:[/bold] rtsearch library info pictures.lib
    """
    library, settings = library_and_settings(lib, config, override)
    facts, recipe = library.info(), library.space.read_recipe
    facts = {
        "photos": facts.pop("photos"),
        "objects": facts.pop("objects"),
        "failed": facts.pop("failed"),
        "dim": settings.project.dim,
        "model": recipe.model,
        "bytes": facts.pop("bytes"),
        "meaning": settings.describe.meaning,
        **facts,
    }
    if as_json:
        print_json(facts)
        return
    answer_facts(
        {
            "photos": facts["photos"],
            "without objects": facts["no_objects"],
            "unreadable": facts["failed"],
            "photos in": facts["photo_root"],
            "objects": facts["objects"],
            "dimensions": f"{facts['dim']} searched, {facts['vector_dim']} stored",
            "meaning": facts["meaning"],
            "model": f"{facts['model']}, {px(recipe.input_wh)}" if recipe.input_wh else facts["model"],
            "fingerprint": facts["fingerprint"][:12],
            "size": f"{mb(facts['bytes'])} in {counted(facts['fragments'], 'fragment')}",
        }
    )


@app.command()
def check(lib: LibraryFolder, as_json: JsonFlag = False) -> None:
    """Read every byte and print the damage; the exit code is 2 if there is any.

    [bold]Example:[/bold] rtsearch library check pictures.lib
    """
    from rtsearch.library import Library, check_library

    settings_of(None, None)
    problems = check_library(Library.open(lib))
    if as_json:
        print_json(
            {"problems": [{"file": p.file, "what": p.what, "photos": list(p.photos)} for p in problems]}
        )
    else:
        for problem in problems:
            answer(f"damaged: {problem}")
    if problems:
        tell(f"{lib} is damaged; to analyse those photos again: rtsearch analyze --repair PHOTOS {lib}")
        raise typer.Exit(2)
    if not as_json:
        answer(f"{lib} is sound")


@app.command()
def rebuild(lib: LibraryFolder, config: ConfigFile = None, override: Overrides = None) -> None:
    """Build the search index again, for example with another dimension.

    [bold]Example:[/bold] rtsearch library rebuild pictures.lib --set project.method=pca --set project.dim=32
    """
    from rtsearch.library.index import build_index

    library, settings = library_and_settings(lib, config, override)
    index = build_index(library, settings, tell)
    tell(f"{counted(len(index), 'object')}, {counted(index.dim, 'dimension')}")


@app.command()
def merge(
    lib: LibraryFolder,
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", help="Libraries of parts of the photos.", parser=library_folder),
    ],
    photos: Annotated[
        Path | None, typer.Option("--photos", metavar="FOLDER", help="Folder of the photos on this machine.")
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Join libraries that analyze --part made; crops are linked, not copied. LIB is made if missing.

    [bold]Example:[/bold] rtsearch library merge pictures.lib part-1.lib part-2.lib part-3.lib
    """
    from rtsearch.library.index import open_index
    from rtsearch.library.merge import merge_libraries

    settings_of(config, override)
    report = merge_libraries(lib, parts, photos)
    if report.objects:
        library, settings = library_and_settings(lib, config, override)
        open_index(library, settings, tell, remember=True)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    for part, count in report.added.items():
        tell(f"{part}: {counted(count, 'photo')} taken over")
    tell(f"{lib}: {counted(report.objects, 'object')} from {counted(report.photos, 'photo')}")


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="VECTORS.dat", help="Vectors that ReverseObjectSearchFast has saved.")
    ],
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Folder that the paths in the file are relative to.")
    ],
    lib: Annotated[Path, typer.Argument(metavar="LIB", help="Folder of the library; made if missing.")],
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Make a library of a vectors file of ReverseObjectSearchFast, with its boxes, scores and vectors.

    Its objects find each other (library sheet, library map); they cannot be compared with those of cameras.

    [bold]Example:[/bold] rtsearch library import vectors.dat ~/Pictures old.lib
    """
    from rtsearch.jobs.import_vectors import import_vectors
    from rtsearch.library import Library
    from rtsearch.library.index import open_index

    settings = settings_of(config, override)
    with count_bar("photos") as bar:
        task = bar.add_task("importing", total=None, rate=0.0)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=bar.tasks[task].speed or 0.0)

        report = import_vectors(file, photos, lib, settings, progress=show)
    tell_some([f"left out {path}: {reason}" for path, reason in report.failed])
    if report.interrupted:
        tell("stopped; the results are kept, and the same command continues")
        raise typer.Exit(130)
    open_index(Library.open(lib), settings, tell, remember=True)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    kept = f", {report.kept:,} were there" * bool(report.kept)
    taken = f"{counted(report.objects, 'object')} from {counted(report.photos, 'photo')} taken over"
    tell(f"{lib}: {taken}{kept}")


@app.command()
def words(lib: LibraryFolder, config: ConfigFile = None, override: Overrides = None) -> None:
    """Embed the crops of a library with the pair of networks describe.text, so that any words find them.

    [bold]Example:[/bold] rtsearch library words pictures.lib --set describe.text=clip
    """
    from rtsearch.cli.words import embed_for_words
    from rtsearch.library.index import open_index

    library, settings = library_and_settings(lib, config, override)
    if not settings.describe.text:
        raise typer.BadParameter("name the pair of networks: --set describe.text=NAME")
    if not embed_for_words(open_index(library, settings, tell), settings):
        tell("stopped; the results are kept, and the same command continues")
        raise typer.Exit(130)
    tell(f"ready: rtsearch find {lib} WORDS")


@app.command()
def export(
    lib: LibraryFolder,
    vectors: Annotated[
        Path | None,
        typer.Option("--vectors", metavar="OUT.npz", help="Write boxes and vectors."),
    ] = None,
    coco: Annotated[
        Path | None, typer.Option("--coco", metavar="OUT.json", help="Write boxes in COCO's format.")
    ] = None,
    yolo: Annotated[
        Path | None, typer.Option("--yolo", metavar="FOLDER", help="Write boxes as a folder of YOLO labels.")
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            "--postgres",
            metavar="DSN",
            help="Write the table rtsearch_objects of a database with pgvector, such as "
            "postgresql://user@host/name.",
        ),
    ] = None,
    lance: Annotated[
        Path | None, typer.Option("--lance", metavar="FOLDER", help="Write a Lance dataset.")
    ] = None,
    overwrite: OverwriteFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Write the objects of a library for other tools.

    --vectors holds path, xyxy, whole, label, score and vector (exactly as searched) of every object; label is
    an index into the array class_names, -1 for a whole image. --coco and --yolo hold the boxes of photos, as
    FiftyOne and training tools read them. --postgres and --lance hold what --vectors does, for databases that
    search it.

    [bold]Examples:[/bold]

    rtsearch library export pictures.lib --vectors vectors.npz

    rtsearch library export pictures.lib --coco boxes.json
    """
    if not any((vectors, coco, yolo, postgres, lance)):
        raise typer.BadParameter(
            "nothing to write; give --vectors OUT.npz, --coco OUT.json, --yolo FOLDER, --postgres DSN or "
            "--lance FOLDER"
        )
    from rtsearch.library.export_labels import export_coco, export_yolo

    library, settings = library_and_settings(lib, config, override)
    for out in (vectors, coco, yolo, lance):
        keep_apart(out, library=library)
    keep_older([out for out in (vectors, coco) if out], overwrite=overwrite)
    if vectors is not None:
        from rtsearch.library import export_npz
        from rtsearch.library.index import open_index

        index = open_index(library, settings, tell)
        rows = export_npz(library, vectors, index.projection.apply)
        tell(f"{counted(rows, 'object')} in {vectors}")
    for path, write in ((coco, export_coco), (yolo, export_yolo)):
        if path is not None:
            counts = write(library, path)
            films = f"; {counts.of_films:,} of films are left out" if counts.of_films else ""
            empty = f"; {counted(counts.empty, 'photo')} without an object" if counts.empty else ""
            told = f"{counted(counts.objects, 'object')} of {counted(counts.photos, 'photo')} in {path}"
            tell(f"{told}{empty}{films}")
    if postgres is not None or lance is not None:
        _export_tables(library, settings, postgres, lance, overwrite=overwrite)


def _export_tables(
    library: Library, settings: Settings, postgres: str | None, lance: Path | None, *, overwrite: bool
) -> None:
    """Write the objects of a library for databases."""
    from rtsearch.library.export_table import export_lance, export_postgres
    from rtsearch.library.index import open_index
    from rtsearch.library.postgres_table import POSTGRES_TABLE

    index = open_index(library, settings, tell)
    if lance is not None:
        rows = export_lance(index, lance, overwrite=overwrite)
        tell(f"{counted(rows, 'object')} in {lance}")
    if postgres is not None:
        with tell_if_slow("writing the table and its index, which takes 10 s for 100,000 objects"):
            rows = export_postgres(index, postgres)
        tell(f"{counted(rows, 'object')} in the table {POSTGRES_TABLE}")


@app.command("map")
def draw_map(
    lib: LibraryFolder,
    out: Annotated[Path, typer.Option("--out", metavar="MAP.png", help="Picture to write.")],
    objects: Annotated[
        int, typer.Option("--objects", metavar="N", min=1, max=20_000, help="Number of random objects.")
    ] = 576,
    overwrite: OverwriteFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Draw objects of the library as one picture, similar ones beside each other.

    [bold]Example:[/bold] rtsearch library map pictures.lib --out map.jpg --objects 2000
    """
    from rtsearch.recording import save_picture
    from rtsearch.render.contact_sheet import map_picture

    index = _opened(lib, out, config, override, overwrite=overwrite)
    with share_bar() as show:
        picture = map_picture(index, objects, progress=show)
    save_picture(picture, out)
    height, width = picture.shape[:2]
    tell(f"map: {out}, {counted(min(objects, len(index)), 'object')}, {width} x {height} px")


@app.command()
def sheet(
    lib: LibraryFolder,
    out: Annotated[Path, typer.Option("--out", metavar="SHEET.png", help="Picture to write.")],
    objects: Annotated[
        int, typer.Option("--objects", metavar="N", min=1, max=200, help="Number of lines.")
    ] = 12,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random choice.")] = 0,
    overwrite: OverwriteFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Draw random objects, each with its 12 nearest neighbours of other photos.

    [bold]Example:[/bold] rtsearch library sheet pictures.lib --out neighbours.jpg --seed 1
    """
    from rtsearch.recording import save_picture
    from rtsearch.render.contact_sheet import neighbour_sheet

    save_picture(
        neighbour_sheet(_opened(lib, out, config, override, overwrite=overwrite), objects, seed=seed), out
    )
    tell(f"sheet: {out}")


def _opened(
    lib: Path, out: Path, config: Path | None, override: list[str] | None, *, overwrite: bool
) -> SearchIndex:
    """Open the index of a library for drawing ``out``."""
    from rtsearch.library.index import open_index
    from rtsearch.recording import require_picture

    library, settings = library_and_settings(lib, config, override)
    keep_apart(out, library=library)
    keep_older([out], overwrite=overwrite)
    require_picture(out)
    return open_index(library, settings, tell)
