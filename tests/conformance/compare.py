#!/usr/bin/env python3
"""Compares what a suite said of the store with what it said of the gateway, test by test.

    compare.py SUITE DIRECT THROUGH EXPECTED [SUMMARY.json]

DIRECT and THROUGH are results: JUnit XML, or JSON as versitygw.py writes it. EXPECTED lists the differences that have a
reason. Fails for a test that passes directly and not through the gateway and is not listed, and for a listed one
that makes no difference, so that the list stays true.
"""

import collections
import fnmatch
import json
import sys
import xml.etree.ElementTree as ET


def junit(path):
    results = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        outcome, message = "passed", ""
        for kind in ("failure", "error", "skipped"):
            found = case.find(kind)
            if found is not None:
                outcome = "skipped" if kind == "skipped" else "failed"
                message = found.get("message") or ""
                break
        module = case.get("classname", "").rsplit(".", 1)[-1]
        name = f"{module}::{case.get('name')}"
        # A test whose clean-up fails is there twice; it has failed.
        if results.get(name, ("passed", ""))[0] != "failed":
            results[name] = (outcome, message)
    return results


def read(path):
    if path.endswith(".json"):
        with open(path) as file:
            return {name: (r["outcome"], r["message"]) for name, r in json.load(file).items()}
    return junit(path)


def expected(path, suite):
    """Lines: suite, pattern of test names, reason; separated by white space."""
    patterns = []
    with open(path) as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            fields = line.split(None, 2)
            if len(fields) != 3:
                sys.exit(f"{path}:{number}: a line is a suite, a test and the reason")
            if fields[0] == suite:
                # Parameters stand in brackets, which mean nothing else here.
                patterns.append((fields[1].replace("[", "[[]"), fields[1], fields[2]))
    return patterns


def main():
    suite, direct_path, through_path, expected_path = sys.argv[1:5]
    direct, through = read(direct_path), read(through_path)
    reasons = expected(expected_path, suite)
    used = collections.Counter()
    unexpected, listed, better = [], [], []
    for name in sorted(direct.keys() | through.keys()):
        before, after = direct.get(name, ("absent", ""))[0], through.get(name, ("absent", ""))[0]
        if before == "passed" and after != "passed":
            match = next((p for p in reasons if fnmatch.fnmatchcase(name, p[0])), None)
            if match:
                used[match[1]] += 1
                listed.append((name, match[2]))
            else:
                unexpected.append((name, after, through.get(name, ("", ""))[1]))
        elif after == "passed" and before != "passed":
            better.append(name)
    stale = [pattern for _, pattern, _ in reasons if not used[pattern]]

    def count(results):
        return {o: sum(r[0] == o for r in results.values()) for o in ("passed", "failed", "skipped")}

    totals = {"direct": count(direct), "through": count(through)}
    for way, counts in totals.items():
        print(f"# {suite}, {way}: " + ", ".join(f"{n} {o}" for o, n in counts.items()))
    for name in better:
        print(f"better {suite}: {name} passes through the gateway only")
    for name, reason in listed:
        print(f"known {suite}: {name}: {reason}")
    for pattern in stale:
        print(f"not ok {suite}: {pattern} is listed in {expected_path} and makes no difference")
    for name, outcome, message in unexpected:
        print(f"not ok {suite}: {name} passes directly, {outcome} through the gateway: {' '.join(message.split())[:300]}")
    if len(sys.argv) > 5:
        with open(sys.argv[5], "w") as out:
            json.dump({"suite": suite, **totals, "better": better, "known": listed, "unexpected": unexpected}, out, indent=1)
    if not stale and not unexpected:
        print(f"ok {suite}: what passes directly passes through the gateway, but for {len(listed)} known differences")
    sys.exit(bool(stale or unexpected))


main()
