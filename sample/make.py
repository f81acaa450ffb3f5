#!/usr/bin/env python3
"""Makes packages.ndjson.zst: the best-known programs of Debian, as many as fit into a megabyte.

usage: make.py ALL.ndjson.zst packages.ndjson.zst

ALL.ndjson.zst has one JSON object a line for each binary package of a release, with the fields of README.md and
`depends`, a list of package names. The same input and the same zstd give the same output.
"""

import collections
import json
import subprocess
import sys
import zlib

MAX_BYTES = 1_000_000
FIELDS = ("id", "title", "body", "section", "maintainer", "version", "architecture", "installed_size", "size", "homepage", "tags")
# What people install for its own sake stands in these sections; libraries, languages' modules and documentation do not.
SECTIONS = set(
    "admin comm database editors education electronics embedded games gnome graphics hamradio httpd interpreters kde mail math "
    "misc net news otherosfs science shells sound tex text utils vcs video web x11 xfce".split()
)
PARTS = ("-dev", "-doc", "-docs", "-dbg", "-data", "-common", "-examples", "-bin", "-core", "-l10n", "-plugins", "-tests", "-utils")


def is_program(package):
    name = package["id"]
    return package["section"] in SECTIONS and not name.startswith(("lib", "python3-", "fonts-")) and not name.endswith(PARTS)


def pack(packages):
    lines = "".join(json.dumps({f: p[f] for f in FIELDS if f in p}, ensure_ascii=False) + "\n" for p in packages)
    return subprocess.run(["zstd", "-19", "--single-thread", "-c"], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout


def main(source, target):
    lines = subprocess.run(["zstd", "-dc", source], stdout=subprocess.PIPE, check=True).stdout.splitlines()
    packages = [json.loads(line) for line in lines]
    dependents = collections.Counter(name for package in packages for name in set(package["depends"]))

    def rank(package):
        # Those that many others need come first, then those that somebody has tagged; the hash is a fair draw among equals.
        return -dependents[package["id"]], "tags" not in package, zlib.crc32(package["id"].encode())

    ranked = sorted(filter(is_program, packages), key=rank)
    low, high = 0, len(ranked)
    while low < high:  # the largest number that fits
        middle = (low + high + 1) // 2
        if len(pack(sorted(ranked[:middle], key=lambda p: p["id"]))) <= MAX_BYTES:
            low = middle
        else:
            high = middle - 1
    packed = pack(sorted(ranked[:low], key=lambda p: p["id"]))
    with open(target, "wb") as file:
        file.write(packed)
    print(f"{target}: {low} of {len(packages)} packages, {len(packed)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
