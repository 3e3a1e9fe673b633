"""`ramify decrypt`."""

from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from ramify.cli import exchange, listing
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def decrypt(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `ramify export --encrypt` wrote.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Where its content goes.")],
    password_file: exchange.PasswordFile = None,
    overwrite: exchange.Overwrite = False,
) -> None:
    """Write the content of an encrypted file. `ramify import` reads them as they are."""
    from ramify.exchange.encryption import Decrypted
    from ramify.exchange.outputs import Outputs

    password = exchange.password_of(password_file, needed=True)
    try:
        raw = Path(file).open("rb")  # noqa: SIM115 - closed with what reads it
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    with Decrypted(cast(BinaryIO, raw), str(password)) as content, Outputs(overwrite=overwrite) as outputs:
        made = outputs.add(Path(out))
        while data := content.read(1 << 16):
            made.write(data)
    listing.echo(f"{out}: {made.size_bytes} bytes")
