#!/usr/bin/env python3
"""`sealgate migrate`, killed over and over, while clients read and write the same keys; see migrate.sh, which starts this.

MIGRATE_SMALL objects of up to a few KiB and MIGRATE_LARGE of MIGRATE_BYTES are planted in each format, a third each. Then
migrations begin and are killed MIGRATE_KILLS times; meanwhile readers compare whatever they get, and writers write: through the
gateway, and old clients straight into the store, in plaintext and as legacy objects. At the end two shards finish the work.
Output: see s3test.py.
"""

import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from planted import CHUNK, FORMATS, MAGIC, Wrong, compare, plant
from s3test import BIG, BUCKET, LACKS, check, client, finish, same

BINARY, CONFIG, LOG = os.environ["BIN"], os.environ["MIGRATE_CONFIG"], open(os.environ["MIGRATE_LOG"], "ab")
PREFIX = os.environ["MIGRATE_RESERVED"]
# The program refuses variables of its prefix that it does not know.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SEALGATE_")}


def number_of(name, default):
    return int(os.environ.get(name) or default)


SMALL, LARGE, BYTES = number_of("MIGRATE_SMALL", 400), number_of("MIGRATE_LARGE", 1), number_of("MIGRATE_BYTES", (80 if BIG else 8) * CHUNK)
KILLS, CLIENTS, HOT = number_of("MIGRATE_KILLS", 6), number_of("MIGRATE_CLIENTS", 4), 48
CONDITIONAL, TAGS = "if-match" not in LACKS, "tagging" not in LACKS
SEED = os.environ.get("SEED") or str(random.randrange(1 << 32))
# What the store and the gateway take in one segment, at its edges and over them.
SIZES = [0, 1, 63, 64, 1000, 4096, 65479, 65480, 65481, 131001, 300000]
# The memory that a migration may need, however long its objects are.
MEMORY = 256 << 20

config = {"max_pool_connections": 3 * CLIENTS, "request_checksum_calculation": "when_required",
          "response_checksum_validation": "when_required"}
gateway = client(config=config)
store = client(config=config, **{name: os.environ["STORE_" + variable] for name, variable in
                                 (("endpoint_url", "ENDPOINT"), ("aws_access_key_id", "ACCESS"),
                                  ("aws_secret_access_key", "SECRET"), ("region_name", "REGION"))})
folder = tempfile.TemporaryDirectory()
# Writes that the store acknowledged and lost to a conditional one at the same moment, where it is known to do so.
lost = set()
print(f"# seed {SEED}, {SMALL} small objects, {LARGE} of {BYTES >> 20} MiB of each format", flush=True)


class Object:
    """What may be at a key: a content that was acknowledged, or a later one that has been sent. One thread writes a key."""

    def __init__(self, key, form, size, owner):
        self.key, self.form, self.size, self.owner, self.sent, self.taken = key, form, size, owner, 0, 0

    def write(self, form, size):
        self.sent += 1
        plant(form, gateway, store, BUCKET, self.key, self.sent, size, TAGS)
        self.taken = self.sent

    def read(self):
        taken = self.taken
        got = compare(self.key, gateway.get_object(Bucket=BUCKET, Key=self.key), self.size)
        if got == taken - 1 and "overlapping-writes" in LACKS:
            lost.add((self.key, taken))
        elif not taken <= got <= self.sent:
            raise Wrong(f"{self.key}: number {got}, where {taken} to {self.sent} may be")
        return got


def planned(pick, many, large, series):
    """Objects of all formats, spread over the listing."""
    objects = []
    for n in range(many + 3 * large):
        form = FORMATS[n % 3]
        size = BYTES if n >= many else pick.choice(SIZES) if n % 20 == 0 else pick.randrange(100, 5000)
        name = "large" if n >= many else "small"
        objects.append(Object(f"all/{pick.randrange(1 << 16):04x}/{series}/{name} ü+{n}.{form}", form, size, n % (2 * CLIENTS)))
    return objects


def put_there(objects):
    small = [one for one in objects if one.size < BYTES]
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        list(pool.map(lambda one: plant(one.form, gateway, store, BUCKET, one.key, 0, one.size, TAGS), small))
    for one in objects:
        if one.size >= BYTES:
            plant(one.form, gateway, store, BUCKET, one.key, 0, one.size, TAGS)


class Migration:
    """One run of the program."""
    peak = 0

    def __init__(self, *arguments, out=LOG):
        self.report = os.path.join(folder.name, f"report-{threading.get_ident()}-{time.monotonic_ns()}")
        command = [BINARY, "migrate", "--config", CONFIG, "--bucket", BUCKET, "--report", self.report, *arguments]
        if not CONDITIONAL:
            command.append("--no-concurrent-writers")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT)

    def watch(self):
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                peak = next((int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM")), 0)
            Migration.peak = max(Migration.peak, peak)
        except (FileNotFoundError, ProcessLookupError):
            pass

    def wait(self, seconds=None):
        """Its status when it ends, or none when the time is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.process.poll() is None and (end is None or time.monotonic() < end):
            self.watch()
            time.sleep(0.01)
        return self.process.poll()

    def kill(self):
        self.process.kill()
        return self.process.wait()

    def totals(self):
        """Of one that is to succeed."""
        status = self.wait()
        with open(self.report) as report:
            report = json.load(report)
        same((status, report["failures"][:3]), (0, []), "migrate")
        return report


class Clients:
    """Readers and writers, until they are told to stop."""

    def __init__(self):
        self.stop, self.wrong, self.count = threading.Event(), [], collections.Counter()
        # Clients that have not been moved behind the gateway yet.
        self.old = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(self.reader, n)) for n in range(CLIENTS)]
        if CONDITIONAL:
            self.old.set()
            self.threads += [threading.Thread(target=self.run, args=(self.writer, n)) for n in range(CLIENTS)]

    def run(self, what, share):
        pick = random.Random(f"{SEED}/{what.__name__}/{share}")
        while not self.stop.is_set():
            try:
                what(pick, share)
                self.count[what.__name__] += 1
            except (Wrong, BotoCoreError, ClientError) as error:
                self.wrong.append(f"{what.__name__}: {error}")

    def reader(self, pick, _):
        one = pick.choice(hot if pick.random() < 0.5 else objects)
        # A long one takes as long as a thousand others.
        if one.size < BYTES or pick.random() < 0.05:
            one.read()

    def writer(self, pick, share):
        # Half of all objects have no writer, to be compared with the original at the end.
        one = pick.choice(hot if pick.random() < 0.7 else objects)
        if one.owner == share and one.size < BYTES:
            form = pick.choice(FORMATS) if self.old.is_set() else "sealgate"
            one.write(form, pick.choice([pick.randrange(100, 3000), pick.randrange(65000, 200000)]))
            self.count[f"written as {form}"] += 1
        else:
            self.writer(pick, share)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def keys_at_store(prefix=""):
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def all_of(test, some):
    """Runs a test of each, and says what went wrong with the first ones."""
    wrong = []

    def one_of(one):
        try:
            test(one)
        except Exception as error:  # all are looked at
            wrong.append(f"{one.key}: {error}")
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        list(pool.map(one_of, some))
    same((len(wrong), wrong[:3]), (0, []), "wrong")


pick = random.Random(SEED)
hot = [Object(f"hot/{n:03}", FORMATS[n % 3], 2000, n % CLIENTS) for n in range(HOT)]
objects = planned(pick, SMALL, LARGE, 0)
gateway.create_bucket(Bucket=BUCKET)
began = time.monotonic()
put_there(objects + hot)
print(f"# planted in {time.monotonic() - began:.0f} s", flush=True)


@check("a dry run counts each format and writes nothing")
def _():
    report = Migration("--dry-run").totals()
    counted = collections.Counter(one.form for one in objects + hot)
    for form in FORMATS:
        side = report["already" if form == "sealgate" else "done"]
        same([row["objects"] for name, row in side.items() if (name == form) or (form == "sealgate" and name not in FORMATS)],
             [counted[form]], form)
    same(report["totals"]["done"]["bytes"], sum(one.size for one in objects + hot if one.form != "sealgate"), "bytes")
    global estimate, planted
    estimate, planted = max(4 * report["seconds"], 2), report["done"]


def without_conditions():
    run = subprocess.run([BINARY, "migrate", "--config", CONFIG, "--bucket", BUCKET], capture_output=True, text=True, env=ENVIRONMENT)
    same(run.returncode != 0, True, "refused")
    same("does not keep If-Match" in run.stderr and "--no-concurrent-writers" in run.stderr, True, run.stderr)
    same(Migration("--dry-run").totals()["done"], planted, "what is there")


if not CONDITIONAL:
    check("without conditional writes it refuses, says what to do and changes nothing")(without_conditions)


def killed():
    """Migrations of everything, each killed at some moment, until there were enough; every other one with its checkpoint."""
    horizon, kills, ends, series = estimate / KILLS, 0, 0, 0
    while kills < KILLS:
        checkpoint = ["--checkpoint", os.path.join(folder.name, "checkpoint")] if (kills + ends) % 2 == 0 else []
        migration = Migration("--verify", *checkpoint)
        status = migration.wait(pick.uniform(0.05, horizon))
        if status is None:
            migration.kill()
            kills += 1
            continue
        same(status, 0, "status of migrate")
        ends += 1
        horizon = max(horizon / 2, 0.3)
        if kills < KILLS:
            # It was faster: here is more.
            series += 1
            more = planned(pick, max(SMALL // 4, 30), 0, series)
            put_there(more)
            objects.extend(more)
    print(f"# {kills} migrations of everything killed, {ends} came to their end before", flush=True)


def hot_ones(stop, clients):
    """Small migrations of the objects that are written most, one after another; some are killed."""
    pick = random.Random(f"{SEED}/hot")
    ends = kills = migrated = 0
    while not stop.is_set() or ends < KILLS:
        migration = Migration("--prefix", "hot/", "--concurrency", "8", "--verify")
        if migration.wait(pick.uniform(0.05, 0.5) if pick.random() < 0.3 else None) is None:
            migration.kill()
            kills += 1
            continue
        try:
            totals = migration.totals()["totals"]
            migrated += totals["done"]["objects"]
            ends += 1
        except AssertionError as error:
            clients.wrong.append(f"migration of hot/: {error}")
            break
    print(f"# of hot/: {ends} migrations came to their end, with {migrated} objects, {kills} were killed", flush=True)


with Clients() as clients:
    @check(f"{KILLS} migrations are killed while clients read and write")
    def _():
        stop = threading.Event()
        beside = threading.Thread(target=hot_ones, args=(stop, clients))
        if CONDITIONAL:
            beside.start()
        try:
            killed()
        finally:
            stop.set()
            if CONDITIONAL:
                beside.join()

    # From here on all clients are behind the gateway.
    clients.old.clear()
    time.sleep(1)

    @check("two shards finish the work side by side, while clients go on")
    def _():
        shards = [Migration("--shard", f"{n}/2", "--checkpoint", os.path.join(folder.name, f"shard-{n}"), "--verify") for n in (0, 1)]
        reports = [shard.totals() for shard in shards]
        same(sum(report["totals"]["examined"] for report in reports), len(objects) + HOT, "examined")
        same([report["totals"]["failed"] for report in reports], [0, 0], "failed")
        for report in reports:
            totals = report["totals"]
            print(f"# shard {report['shard']}: {totals['done']['objects']} migrated of {totals['examined']}, {report['seconds']:.1f} s")

print("# " + ", ".join(f"{what}: {count}" for what, count in sorted(clients.count.items())), flush=True)


@check("whatever clients read meanwhile was whole, and none older than what a writer had been told was taken")
def _():
    print(f"# {len(lost)} writes were lost by the store to ones that overlapped them", flush=True)
    same((len(clients.wrong), clients.wrong[:3]), (0, []), "wrong")
    same(len(lost) <= max(clients.count["writer"] // 200, 1), True, f"lost: {sorted(lost)[:3]}")
    same(clients.count["reader"] > 0 and (clients.count["writer"] > 0 or not CONDITIONAL), True, "reads and writes")


@check("every object is sealed in the store, and nothing of its old format is left in its metadata")
def _():
    def sealed(one):
        answer = store.get_object(Bucket=BUCKET, Key=one.key, Range="bytes=0-15")
        same(answer["Body"].read()[:len(MAGIC)], MAGIC, "magic")
        left = [name for name in answer["Metadata"] if name.startswith(("isec", "constellation-dek"))]
        same(left, [], "metadata")
    all_of(sealed, objects + hot)


@check("every object opens, and is the original or what a writer wrote last, with its metadata and headers")
def _():
    def last(one):
        same(one.read() == 0 or one.owner < CLIENTS, True, "as it was")
    all_of(last, objects + hot)
    same(sum(one.sent == 0 for one in objects) >= len(objects) // 3, True, "objects that nobody wrote")


@check("tags are those of the content", needs="tagging")
def _():
    def tags(one):
        number = one.read()
        wanted = {"number": str(number), "two": "a b"}
        got = gateway.get_object_tagging(Bucket=BUCKET, Key=one.key)["TagSet"]
        same({tag["Key"]: tag["Value"] for tag in got}, wanted, "tags")
    all_of(tags, [one for one in objects if one.size < BYTES][:1000] + hot)


@check("another run does nothing")
def _():
    totals = Migration("--verify").totals()["totals"]
    same((totals["done"]["objects"], totals["already"]["objects"], totals["failed"], totals["gone"], totals["skipped"]),
         (0, len(objects) + HOT, 0, 0, 0))


@check("nothing but the objects is in the store, once gc has been there")
def _():
    left = keys_at_store(PREFIX)
    print(f"# {len(left)} temporary objects are left by those that were killed", flush=True)
    if left:
        # A minute is the least that can be said.
        time.sleep(61)
        subprocess.run([BINARY, "gc", "--config", CONFIG, "--bucket", BUCKET, "--older-than", "1m"], check=True, env=ENVIRONMENT,
                       stdout=LOG, stderr=LOG)
    same(sorted(keys_at_store()), sorted(one.key for one in objects + hot), "keys")
    if "list-uploads" not in LACKS:
        same(store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []), [], "uploads")


@check("a migration needs little memory")
def _():
    print(f"# most that one needed: {Migration.peak / CHUNK:.1f} MiB", flush=True)
    same(0 < Migration.peak < MEMORY, True, "peak")


def remove(keys):
    for at in range(0, len(keys), 1000):
        store.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[at:at + 1000]], "Quiet": True})


remove(keys_at_store())
store.delete_bucket(Bucket=BUCKET)
finish()
