#!/usr/bin/env python3
"""Install detectron2 into the running Python, as a pure-Python wheel.

detectron2 is not on PyPI under its own name, but ``sal-detectron2`` is a build of its main branch
of April 2024. This script downloads that wheel, checks its hash, and repacks it for any Python and
any numpy. It removes

* the compiled ``_C`` for CPython 3.10 (torchvision's NMS and RoIAlign are used instead),
* the stray top-level package ``tools`` (it would shadow a project's own folder),
* the requirements ``numpy<2`` (the code runs with numpy 2) and ``black`` from the metadata.

What else it requires is installed where it is missing; nothing is replaced.

If any detectron2 is already installed, nothing is done; ``--force`` replaces it. ``--wheel FOLDER``
only writes the repacked wheel to a folder, for a machine without a network.
"""

import base64
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "sal-detectron2", "0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
FOREIGN_TAGS = ["--python-version", "3.10", "--implementation", "cp", "--abi", "none"]


def download(folder):
    """Download the published wheel into ``folder``, check its hash and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", *FOREIGN_TAGS, "--platform", "any"]
    subprocess.run([*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"], check=True)
    (wheel,) = Path(folder).glob("sal_detectron2-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{wheel.name} has sha256 {digest}, expected {SHA256}; it is not installed.")
    return wheel


def is_dropped(name):
    """Return True if a member of the published wheel is left out."""
    return name.startswith("tools/") or name.endswith((".so", ".pyd")) or name.endswith("/RECORD")


def fix_metadata(name, data):
    """Return a metadata file without the two requirements, the stray name and the binary's tag."""
    lines = data.decode().splitlines(keepends=True)
    if name.endswith(".dist-info/METADATA"):
        dropped = tuple(f"Requires-Dist:{x}" for x in ("numpy", "black"))
        lines = [x for x in lines if not x.replace(" ", "").startswith(dropped)]
    elif name.endswith(".dist-info/top_level.txt"):
        lines = [x for x in lines if x.strip() != "tools"]
    elif name.endswith(".dist-info/WHEEL"):
        lines = [x for x in lines if not x.startswith(("Tag:", "Root-Is-Purelib:"))]
        lines = [x for x in lines if x.strip()] + ["Root-Is-Purelib: true\n", "Tag: py3-none-any\n"]
    return "".join(lines).encode()


def repack(wheel, folder):
    """Repack the wheel into ``folder`` and return its new path."""
    target = Path(folder) / f"sal_detectron2-{VERSION}-py3-none-any.whl"
    records, dist_info = [], None
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for item in source.infolist():
            if ".dist-info/" in item.filename:
                dist_info = item.filename.split("/")[0]
            if item.is_dir() or is_dropped(item.filename):
                continue
            data = source.read(item)
            if ".dist-info/" in item.filename:
                data = fix_metadata(item.filename, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{item.filename},sha256={digest},{len(data)}\n")
            out.writestr(item.filename, data)
        record = f"{dist_info}/RECORD"
        out.writestr(record, "".join(records) + f"{record},,\n")
    return target


def write_wheel(folder):
    """Write the repacked wheel into ``folder``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as published:
        print(repack(download(published), folder))


def main():
    """Install detectron2, unless a build of it is already installed."""
    if "--wheel" in sys.argv[1:-1]:
        write_wheel(sys.argv[sys.argv.index("--wheel") + 1])
        return
    if importlib.util.find_spec("detectron2") and "--force" not in sys.argv[1:]:
        print("detectron2 is already installed; nothing to do (--force replaces it).")
        return
    with tempfile.TemporaryDirectory() as published, tempfile.TemporaryDirectory() as repacked:
        wheel = repack(download(published), repacked)
        command = [sys.executable, "-m", "pip", "install", "--quiet", str(wheel)]
        subprocess.run([*command, "--no-deps", "--force-reinstall"], check=True)
        subprocess.run(command, check=True)  # the packages that it requires, if any are missing
    print(f"installed detectron2 ({PACKAGE} {VERSION}, repacked without its binary)")


if __name__ == "__main__":
    main()
