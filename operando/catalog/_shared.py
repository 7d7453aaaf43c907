"""A catalog that several computers share: a tiled server somewhere else, named by a file."""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ._errors import CatalogError

FILE = "catalog.yaml"
FILE_VARIABLE = "OPERANDO_CATALOG"
KEY_VARIABLE = "OPERANDO_CATALOG_KEY"
_KEY = re.compile(r"[A-Za-z0-9_-]{1,512}")


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "api_key" in text or "@" in text.split("//", 1)[1].split("/", 1)[0]:
        raise ValueError("must not hold a key or a password; a key belongs into key_file")
    return text.rstrip("/")


class SharedCatalog(BaseModel):
    """Where the shared catalog is, and how it sees this data folder.

    Attributes:
        uri: address of the tiled server, with ``/api/v1``.
        key_file: file that holds nothing but the server's API key, readable by its owner only;
            ``$OPERANDO_CATALOG_KEY`` goes first.
        assets_at: the path under which the server sees this data folder, so that it can read images
            and spectra; by default the same path as here.
        file: the file this was read from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: Annotated[str, AfterValidator(_address)]
    key_file: Path | None = None
    assets_at: Path | None = None
    file: Path = Path(FILE)

    def key(self) -> str:
        """Return the server's API key.

        Raises:
            CatalogError: if there is none, or others can read it.
        """
        named = os.environ.get(KEY_VARIABLE, "").strip()
        if named:
            return named
        if self.key_file is None:
            raise CatalogError(
                f"{self.file} names the catalog {self.uri} but no key_file, and {KEY_VARIABLE} is "
                "not set: write the server's API key to a file (chmod 600) and name it there"
            )
        path = self.file.parent / self.key_file.expanduser()
        try:
            key = path.read_text().strip()
        except OSError as error:
            raise CatalogError(
                f"the key of the catalog {self.uri} cannot be read: {path}: {error.strerror}"
            ) from error
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CatalogError(
                f"{path}, the key of the catalog {self.uri}, can be read by others: chmod 600"
            )
        if not key:
            raise CatalogError(f"{path}, the key of the catalog {self.uri}, is empty")
        if _KEY.fullmatch(key) is None:
            # Whoever wrote the file that names it could have any secret of this user's sent there.
            raise CatalogError(
                f"{path} does not hold the key of the catalog {self.uri}: a key is one word of "
                "letters, digits, - and _"
            )
        return key


def find_shared_catalog(data_dir: Path) -> SharedCatalog | None:
    """Return the shared catalog of a data folder; None if it has a catalog of its own.

    It is named by ``catalog.yaml`` in the data folder or, for folders without one, by the file
    ``$OPERANDO_CATALOG``.

    Raises:
        CatalogError: if that file cannot be read or is wrong.
    """
    path = data_dir / FILE
    if not path.is_file():
        named = os.environ.get(FILE_VARIABLE)
        if not named:
            return None
        path = Path(named).expanduser().resolve()
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise CatalogError(
            f"{path}, which is to name the shared catalog: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise CatalogError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise CatalogError(f"{path} must hold `uri: http…`; it holds a {type(content).__name__}")
    try:
        return SharedCatalog(**{**content, "file": path})
    except ValidationError as error:
        # What was given is not shown: it may hold a key.
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CatalogError(
            f"{path} does not name a shared catalog: {wrong}. It may hold uri, key_file and "
            "assets_at"
        ) from error
