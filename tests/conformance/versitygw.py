#!/usr/bin/env python3
"""Runs the integration tests of versitygw one by one, each in a process of its own and on an empty store.

    versitygw.py BINARY ENDPOINT VERSIONED_ENDPOINT RESULT.json [NAME...]

The suite takes much for granted (one bucket name in all tests, no nil in an answer), so a test that fails can take those
after it along. STORE_DIRS are the folders of the store behind the endpoints; what is in them is removed before each
test, locked objects and all. VERSIONED_ENDPOINT is for the tests of versioning. Credentials: S3_ACCESS, S3_SECRET.

A test whose one complaint is the wording of a message counts as passed, and says so: S3 gives codes a meaning, not messages.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

# What is not about S3 requests: users and roles of that program and its other listeners.
LEFT_OUT = re.compile(r"^(IAM|S3IAM|WebsiteHosting_|NoAclMode_)")
VERSIONED = re.compile(r"^(Versioning_|ListObjectVersions_(?!VD)|(Get|Put)BucketVersioning_)")
TIMEOUT = 120
WORDING = re.compile(r"(.{0,60}: )?expected error message (to be )?")
COLOUR = re.compile(r"\x1b\[\d+m")


def tests(binary):
    text = subprocess.run([binary, "test", "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^\s+(\w+)\s+Runs \1 integration test", text, re.M)
    return sorted(name for name in names if not LEFT_OUT.match(name))


def clean():
    for folder in os.environ["STORE_DIRS"].split(":"):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def run(binary, endpoint, versioned, name):
    in_versions = bool(VERSIONED.match(name))
    command = [binary, "test", "--access", os.environ["S3_ACCESS"], "--secret", os.environ["S3_SECRET"]]
    command += ["--endpoint", versioned if in_versions else endpoint, name]
    command += ["--versioning-enabled"] if in_versions else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd="/")
    except subprocess.TimeoutExpired:
        return "failed", f"not done after {TIMEOUT} s"
    out = COLOUR.sub("", done.stdout)
    # Some say PASS or FAIL under a name that is not quite theirs.
    if re.search(r"^FAIL ", out, re.M) is None and re.search(r"^PASS ", out, re.M):
        return "passed", ""
    if re.search(r"^SKIP ", out, re.M):
        return "skipped", ""
    reason = re.search(r"^FAIL \w+: (.*)", out, re.M | re.S)
    panic = re.search(r"^panic: .*", done.stderr, re.M)
    text = reason.group(1) if reason else panic.group(0) if panic else done.stderr or out
    if WORDING.match(text):
        return "passed", "in other words: " + text.strip()[:2000]
    return "failed", text.strip()[:2000]


def main():
    binary, endpoint, versioned, result, names = *sys.argv[1:5], sys.argv[5:]
    os.environ.pop("AWS_CA_BUNDLE", None)
    results = {}
    began = time.monotonic()
    for name in names or tests(binary):
        clean()
        outcome, message = run(binary, endpoint, versioned, name)
        results[name] = {"outcome": outcome, "message": message}
    clean()
    with open(result, "w") as out:
        json.dump(results, out, indent=1, sort_keys=True)
    count = [sum(r["outcome"] == o for r in results.values()) for o in ("passed", "failed", "skipped")]
    words = sum(r["outcome"] == "passed" and bool(r["message"]) for r in results.values())
    print(f"{count[0]} passed ({words} in other words), {count[1]} failed, {count[2]} skipped in {time.monotonic() - began:.0f} s")


main()
