"""Description of the result files as an RO-Crate, version 1.2 (https://w3id.org/ro/crate/1.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, SoftwareApplication
from rocrate.rocrate import ROCrate


def ro_crate(folder: Path, package: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Describe the files of a Data Package, and the file ``description`` with the package itself.

    All of them are in ``folder`` and stay there. The crate has the date on which it is written.
    """
    crate = ROCrate(version="1.2")
    digest = hashlib.sha256((folder / description).read_bytes()).hexdigest()
    about = {"path": description, "title": "The files' columns, licences and hashes",
             "mediatype": "application/json", "hash": f"sha256:{digest}"}  # fmt: skip
    files = [
        crate.add_file(dest_path=resource["path"], properties=_file(folder, resource))
        for resource in (*package["resources"], about)
    ]
    licence, made_by = package["licenses"][0], package["provenance"]
    crate.license = _entity(
        crate, licence["path"], "CreativeWork", name=licence["title"], identifier=licence["name"]
    )
    software = SoftwareApplication(crate, "#greencv", {
        "name": made_by["software"],
        "softwareVersion": f"{made_by['software_version']}, commit {made_by['commit']}",
    })  # fmt: skip
    results, *tables = files[:-1]
    analysis = crate.add_action(
        crate.add(software),
        "#analysis",
        object=tables,
        result=results,
        properties={"name": f"Analysis of {made_by['runs']} runs of the study {made_by['study']}"},
    )
    root = crate.root_dataset
    root["name"] = package["title"]
    root["description"] = package["description"]
    root["datePublished"] = datetime.now(UTC).date().isoformat()
    root["keywords"] = ", ".join(package["keywords"])
    root["author"] = _entity(
        crate, "#contributors", "Organization", name=package["contributors"][0]["title"]
    )
    root["mentions"] = analysis
    if "homepage" in package:
        root["url"] = package["homepage"]
    described: dict[str, Any] = crate.metadata.generate()
    return described


def _entity(crate: ROCrate, name: str, kind: str, /, **properties: str) -> ContextEntity:
    return crate.add(ContextEntity(crate, name, {"@type": kind, **properties}))


def _file(folder: Path, resource: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": resource["title"],
        "encodingFormat": resource["mediatype"],
        "contentSize": str((folder / resource["path"]).stat().st_size),
        "sha256": resource["hash"].removeprefix("sha256:"),
    }
