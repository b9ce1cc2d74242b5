"""Description of the result files as an RO-Crate, version 1.1 (https://w3id.org/ro/crate/1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_STANDARD = "https://w3id.org/ro/crate/1.1"
_SOFTWARE, _AUTHORS, _ANALYSIS = "#greencv", "#contributors", "#analysis"


def ro_crate(folder: Path, package: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Describe the files of a Data Package, and the file ``description`` with the package itself.

    All of them lie in ``folder``. The crate is dated by the day on which it is written.
    """
    about = {"path": description, "title": "The files' columns, licences and hashes",
             "mediatype": "application/json"}  # fmt: skip
    files = [_file(folder, resource) for resource in (*package["resources"], about)]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": package["title"],
        "description": package["description"],
        "datePublished": datetime.now(UTC).date().isoformat(),
        "keywords": ", ".join(package["keywords"]),
        "license": _to(package["licenses"][0]["path"]),
        "author": _to(_AUTHORS),
        "hasPart": [_to(file["@id"]) for file in files],
        "mentions": _to(_ANALYSIS),
    }
    if "homepage" in package:
        root["url"] = package["homepage"]
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": _to("./"),
        "conformsTo": _to(_STANDARD),
    }
    results, *tables = (file["@id"] for file in files[:-1])
    graph = [descriptor, root, *files, *_makers(package, results, tables)]
    return {"@context": f"{_STANDARD}/context", "@graph": graph}


def _makers(package: Mapping[str, Any], results: str, tables: list[str]) -> list[dict[str, Any]]:
    """Describe the licence, the authors, the software, and what it computed from which files."""
    licence, made_by = package["licenses"][0], package["provenance"]
    return [
        {
            "@id": licence["path"],
            "@type": "CreativeWork",
            "name": licence["title"],
            "identifier": licence["name"],
        },
        {"@id": _AUTHORS, "@type": "Organization", "name": package["contributors"][0]["title"]},
        {
            "@id": _SOFTWARE,
            "@type": "SoftwareApplication",
            "name": made_by["software"],
            "softwareVersion": f"{made_by['software_version']}, commit {made_by['commit']}",
        },
        {
            "@id": _ANALYSIS,
            "@type": "CreateAction",
            "name": f"Analysis of {made_by['runs']} runs of the study {made_by['study']}",
            "instrument": _to(_SOFTWARE),
            "object": [_to(table) for table in tables],
            "result": _to(results),
        },
    ]


def _file(folder: Path, resource: Mapping[str, Any]) -> dict[str, Any]:
    path = resource["path"]
    return {
        "@id": path,
        "@type": "File",
        "name": resource["title"],
        "encodingFormat": resource["mediatype"],
        "contentSize": str((folder / path).stat().st_size),
    }


def _to(name: str) -> dict[str, str]:
    return {"@id": name}
