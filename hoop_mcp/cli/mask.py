"""``hoop-mcp mask FILE``: the masking engine alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--no-names", is_flag=True, help="Do not let column names serve as cues.")
@click.option("--ner", default="none", show_default=True, metavar="ENGINE", help="none, rampart or spacy:NAME.")
@click.option(
    "--findings",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write what was found, as JSON lines without values.",
)
def mask(file: str, *, no_names: bool, ner: str, findings: Path | None) -> None:
    """Mask a CSV file with a header, or JSON lines, and write the same shape to stdout.

    Every finding becomes its typed placeholder; every other cell keeps its bytes. FILE may be - for stdin.
    """
    if ner == "rampart" or ner.startswith("spacy:"):
        from hoop_mcp.errors import NotBuiltYet

        raise NotBuiltYet(f"mask --ner {ner.partition(':')[0]}")
    if ner != "none":
        raise click.UsageError("--ner is none, rampart or spacy:NAME")

    import orjson

    from hoop_mcp.masking.detect import Detector
    from hoop_mcp.masking.files import mask_csv, mask_json_lines

    if findings is not None and not findings.absolute().parent.is_dir():
        raise click.UsageError(f"--findings: there is no folder {findings.absolute().parent}")
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    # Bytes that are no UTF-8 pass through as they are; around them the text is read all the same.
    text = raw.decode("utf-8", "surrogateescape")
    finder = Detector(use_names=not no_names)
    try:
        masked = (mask_json_lines if text.startswith("{") else mask_csv)(text, finder)
    except ValueError as wrong:
        raise click.ClickException(str(wrong)) from None
    if findings is not None:
        findings.write_bytes(
            b"".join(orjson.dumps(one._asdict(), option=orjson.OPT_APPEND_NEWLINE) for one in masked.findings)
        )
    sys.stdout.buffer.write(masked.text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
