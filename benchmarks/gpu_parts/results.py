"""Results of gpu.py: one file, written after every item, and its tables."""

import json
import os
import time
import traceback

# An item is not begun when less time is left.
LEAST_SECONDS = 15


class Results:
    """What was found so far, {part: {item: row}}, in a JSON file.

    A row is a dict; its ``"ok"`` is True, False or None, and ``"raised"`` holds the traceback of
    an item that raised. ``"_markdown"`` is printed below the part's table.
    """

    def __init__(self, path, identity=None):
        """
        Args:
            path: JSON file.
            identity: dict that all results of the file share; None: that of the file.
        """
        self.path = path
        self.commit = None  # of the code that runs now; kept with every row
        content = json.loads(path.read_text()) if path.is_file() else {}
        self.parts = content.get("parts", {})
        self.identity = content.get("identity") or identity
        if identity is not None and identity != self.identity:
            changed = [k for k, x in identity.items() if self.identity.get(k) != x]
            raise SystemExit(
                f"gpu: {path} holds results with another {', '.join(changed)}: choose another "
                "--output, or delete that folder."
            )
        self.save()

    def rows(self, part):
        """{item: row} of a part."""
        return self.parts.get(part, {})

    def put(self, part, item, row):
        """Keep a row."""
        self.parts.setdefault(part, {})[item] = {**row, "_commit": self.commit}
        self.save()

    def save(self):
        """Write the file."""
        partial = self.path.with_suffix(".partial")
        content = {"identity": self.identity, "parts": self.parts}
        partial.write_text(json.dumps(content, indent=1, default=float) + "\n")
        os.replace(partial, self.path)

    def are_fine(self):
        """True if nothing failed."""
        return all(x["ok"] is not False for rows in self.parts.values() for x in rows.values())


def run_items(results, part, module, settings, keep_failed=False):
    """Run the items of a part that are missing.

    Args:
        results: :class:`Results`.
        part, module: name of the part, and its module.
        settings: :class:`~gpu_parts.common.Settings`.
        keep_failed: do not repeat those that raised.

    Returns:
        False if the device can no longer be used in this process.
    """
    for item, function in module.items(settings).items():
        known = results.rows(part).get(item)
        if known and (keep_failed or "raised" not in known):
            continue
        if settings.seconds_left() < LEAST_SECONDS:
            print(f">> {item}: no time left", flush=True)
            break
        begin, usable = time.time(), True
        try:
            row = function()
        except Exception as error:
            row = {"ok": False, "raised": traceback.format_exc()}
            usable = not _is_fault(error)
        row["seconds"] = round(time.time() - begin, 1)
        results.put(part, item, row)
        print(f">> {item}: {_summary(row)}", flush=True)
        if not usable:
            return False
    return True


def tables(results, titles):
    """Return the markdown tables of all parts, the failures below them."""
    shared = ", ".join(f"{k} {x}" for k, x in results.identity.items() if x is not None)
    commits = {row["_commit"] for rows in results.parts.values() for row in rows.values()}
    lines = [f"{shared}; commit {', '.join(sorted(map(str, commits)))}", ""]
    for part, title in titles.items():
        rows = results.rows(part)
        if not rows:
            continue
        lines += [f"### {title}", ""]
        columns = dict.fromkeys(
            key for row in rows.values() for key in row
            if not key.startswith("_") and key not in ("ok", "raised")
        )  # fmt: skip
        lines += [
            f"| | {' | '.join(columns)} | as it should be |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for item, row in rows.items():
            cells = [_cell(row.get(key)) for key in columns]
            verdict = {True: "yes", False: "**no**", None: ""}[row["ok"]]
            lines.append(f"| {item} | {' | '.join(cells)} | {verdict} |")
        lines.append("")
        lines += [row["_markdown"] for row in rows.values() if row.get("_markdown")]
        raised = {item: row["raised"] for item, row in rows.items() if "raised" in row}
        lines += [f"{item}: `{text.strip().splitlines()[-1]}`\n" for item, text in raised.items()]
    return "\n".join(lines)


def _is_fault(error):
    """True for errors after which CUDA refuses everything in the process."""
    return "CUDA error" in str(error) or "device-side assert" in str(error)


def _summary(row):
    if "raised" in row:
        return row["raised"].strip().splitlines()[-1]
    shown = {k: x for k, x in row.items() if not k.startswith("_") and x is not None}
    return ", ".join(f"{k} {_cell(x)}" for k, x in shown.items())


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " - ".join(map(_cell, value))
    if isinstance(value, int) or not hasattr(value, "__float__"):
        return str(value)
    return f"{float(value):.4g}"
