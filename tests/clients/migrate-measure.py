#!/usr/bin/env python3
"""How fast `sealgate migrate` is, and how much memory it needs; migrate.sh with MIGRATE_MEASURE=1 starts this.

MIGRATE_SMALL objects of 4 KiB, then MIGRATE_LARGE of MIGRATE_BYTES, of each old format, are planted and migrated, without and with
--verify, with nobody else there. Prints a row for each run.
"""

import json
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from planted import CHUNK, plant
from s3test import BUCKET, client

CONFIG, BINARY = os.environ["MIGRATE_CONFIG"], os.environ["BIN"]
SMALL, LARGE, BYTES = (int(os.environ.get(name) or default) for name, default in
                       (("MIGRATE_SMALL", 2000), ("MIGRATE_LARGE", 1), ("MIGRATE_BYTES", 1 << 30)))
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SEALGATE_")}
config = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
gateway = client(config=config)
store = client(config=config, **{name: os.environ["STORE_" + variable] for name, variable in
                                 (("endpoint_url", "ENDPOINT"), ("aws_access_key_id", "ACCESS"),
                                  ("aws_secret_access_key", "SECRET"), ("region_name", "REGION"))})


def status(pid):
    try:
        with open(f"/proc/{pid}/status") as lines:
            return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def migrated(arguments, log):
    with tempfile.NamedTemporaryFile() as report:
        command = [BINARY, "migrate", "--config", CONFIG, "--bucket", BUCKET, "--report", report.name, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT)
        peak, before = 0, os.times()
        while process.poll() is None:
            peak = max(peak, status(process.pid))
            time.sleep(0.01)
        if process.returncode:
            raise SystemExit("the migration failed")
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return json.load(report), peak, used


gateway.create_bucket(Bucket=BUCKET)
print("| objects | were | `--verify` | seconds | objects/s | MiB/s | CPU-s | peak MiB | load |")
print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
for count, size, text in ((SMALL, 4096, "4 KiB"), (LARGE, BYTES, f"{BYTES / (1 << 30):.2g} GiB")):
    for form in ("plaintext", "s3proxy"):
        for verify in ([], ["--verify"]):
            keys = [f"{n:06}" for n in range(count)]
            with ThreadPoolExecutor(8 if size == 4096 else 1) as pool:
                list(pool.map(lambda key: plant(form, gateway, store, BUCKET, key, 0, size, False), keys))
            with open(os.environ["MIGRATE_LOG"], "ab") as log:
                report, peak, used = migrated(["--concurrency", "16", *verify], log)
            done, seconds = report["totals"]["done"], report["seconds"]
            if done["objects"] != count:
                raise SystemExit("not all were migrated")
            print(f"| {count} × {text} | {form} | {'yes' if verify else 'no'} | {seconds:.1f} | {count / seconds:.0f} | "
                  f"{done['bytes'] / seconds / CHUNK:.1f} | {used:.1f} | {peak:.1f} | {os.getloadavg()[0]:.0f} |", flush=True)
            for at in range(0, count, 1000):
                store.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[at:at + 1000]], "Quiet": True})
store.delete_bucket(Bucket=BUCKET)
