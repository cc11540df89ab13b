#!/usr/bin/env python3
"""Two gateways on one store: uploads whose parts go to both, while one of them is killed at random moments.

replicas.py ROUNDS CONFIG   S3_* and S3_ENDPOINT_2 name the two; CONFIG is started again as `$BIN serve --config CONFIG` after
                            each kill of the second one, whose PID is asked for on the way. Output: see s3test.py.
"""

import concurrent.futures
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from botocore.exceptions import BotoCoreError, ClientError

from s3test import BUCKET, LACKS, check, client, finish, md5, noise, same

MIN = 5 << 20
SECOND = os.environ["S3_ENDPOINT_2"]
ROUNDS, CONFIG, BINARY = int(sys.argv[1]), sys.argv[2], os.environ["BIN"]
LOG = open(os.environ["REPLICA_LOG"], "ab")
one = client()
two = client(endpoint_url=SECOND)
NOISE = noise(4 * MIN, "replicas")
pick = random.Random(os.environ.get("SEED") or None)
process = None


def start():
    """The second gateway, until it answers."""
    global process
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEALGATE_")}
    process = subprocess.Popen([BINARY, "serve", "--config", CONFIG], stdin=subprocess.DEVNULL, stdout=LOG, stderr=LOG, env=environment)
    at = urllib.parse.urlsplit(SECOND)
    for _ in range(300):
        try:
            socket.create_connection((at.hostname, at.port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit("the second gateway did not start")


def kill():
    process.send_signal(signal.SIGKILL)
    process.wait()


def cut(size):
    start = pick.randrange(len(NOISE) - size)
    return NOISE[start:start + size]


def etag_of(bodies):
    return f'"{md5(b"".join(hashlib.md5(body).digest() for body in bodies))}-{len(bodies)}"'


class Watch:
    """Reads the object through the first gateway all the time: it is always one of those that may be there, and whole."""

    def __init__(self, key):
        self.key, self.allowed, self.wrong, self.reads, self.done = key, {}, [], 0, False
        self.thread = threading.Thread(target=self.run)

    def allow(self, bodies):
        self.allowed[etag_of(bodies)] = b"".join(bodies)

    def run(self):
        mine = client()
        while not self.done:
            try:
                answer = mine.get_object(Bucket=BUCKET, Key=self.key)
                body = answer["Body"].read()
                if self.allowed.get(answer["ETag"]) != body:
                    self.wrong.append(f"GET: {answer['ETag']}, {len(body)} bytes")
                listed = mine.list_objects_v2(Bucket=BUCKET, Prefix=self.key)["Contents"]
                if [(o["Key"], o["Size"] == len(self.allowed.get(o["ETag"], b"?"))) for o in listed] != [(self.key, True)]:
                    self.wrong.append(f"listing: {listed}")
            except (ClientError, BotoCoreError) as error:
                self.wrong.append(repr(error))
            self.reads += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.thread.join()


def put(through, named, number, body):
    return through.upload_part(**named, PartNumber=number, Body=body)["ETag"]


def round_of(watch, key, kind):
    """An upload of three to five parts over both gateways; the second one is killed at some moment. Returns what is there then."""
    bodies = {n: cut(MIN + pick.choice((0, 1, 70000))) for n in range(1, pick.randrange(3, 6))}
    bodies[max(bodies) + 1] = cut(pick.choice((0, 1, 65480, 300000, MIN - 1)))
    named = {"Bucket": BUCKET, "Key": key}
    named["UploadId"] = pick.choice((one, two)).create_multipart_upload(**named)["UploadId"]
    etags = {}
    timer = threading.Timer(pick.random() * (0.5 if kind == "parts" else 0.05), kill)

    def send(item):
        number, body = item
        if pick.random() < 0.7:
            try:
                etags[number] = put(two, named, number, body)
                return
            except (BotoCoreError, ClientError):
                pass  # the one that was killed; the other takes its part
        etags[number] = put(one, named, number, body)

    def parts():
        return {"Parts": [{"PartNumber": n, "ETag": etags[n]} for n in sorted(etags)]}

    if kind == "parts":
        timer.start()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(send, bodies.items()))
    final = [bodies[n] for n in sorted(bodies)]
    watch.allow(final)
    if kind == "complete":
        timer.start()
        try:
            two.complete_multipart_upload(**named, MultipartUpload=parts())
        except (BotoCoreError, ClientError):
            timer.join()
            # Whether that came through is for the store to say; the other gateway ends the upload, or finds it ended.
            try:
                one.complete_multipart_upload(**named, MultipartUpload=parts())
            except ClientError as error:
                same(error.response["Error"]["Code"], "NoSuchUpload")
    elif kind == "abort":
        timer.start()
        try:
            two.abort_multipart_upload(**named)
        except (BotoCoreError, ClientError):
            timer.join()
            try:
                one.abort_multipart_upload(**named)
            except ClientError as error:
                same(error.response["Error"]["Code"], "NoSuchUpload")
        final = None
    else:
        timer.join()
        one.complete_multipart_upload(**named, MultipartUpload=parts())
    timer.join()
    return final


start()
one.create_bucket(Bucket=BUCKET)
for kind in ("parts", "complete", "abort"):
    @check(f"{ROUNDS} uploads over two gateways, one killed during {kind}")
    def _():
        key = f"object/{kind}"
        bodies = [cut(MIN), cut(1000)]
        named = {"Bucket": BUCKET, "Key": key}
        named["UploadId"] = one.create_multipart_upload(**named)["UploadId"]
        etags = [put(one, named, 1, bodies[0]), put(two, named, 2, bodies[1])]
        two.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in enumerate(etags, 1)]})
        with Watch(key) as watch:
            # The watch may have read before it was allowed: the first object is there already.
            watch.allow(bodies)
            expected = bodies
            for _ in range(ROUNDS):
                try:
                    expected = round_of(watch, key, kind) or expected
                finally:
                    if process.poll() is None:
                        kill()
                    start()
                for through in (one, two):
                    answer = through.get_object(Bucket=BUCKET, Key=key)
                    same(answer["ETag"], etag_of(expected), "ETag")
                    same(answer["Body"].read() == b"".join(expected), True, "body")
        same(watch.wrong[:3], [], "what was read meanwhile")
        same(watch.reads > ROUNDS, True, "reads")


@check("nothing shows that was not completed")
def _():
    listed = [o["Key"] for o in one.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    same(listed, [f"object/{kind}" for kind in sorted(("parts", "complete", "abort"))])
    if "list-uploads" not in LACKS:
        for upload in one.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            one.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])


@check("gc removes what the kills left, and only that: afterwards the store's bucket holds the objects alone")
def _():
    run = [BINARY, "gc", "--config", CONFIG, "--bucket", BUCKET]
    if "list-uploads" in LACKS:
        # They could not be aborted above. A minute is the least that can be said.
        time.sleep(61)
        run += ["--older-than", "1m"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEALGATE_")}
    store = client(**{name: os.environ["STORE_" + variable] for name, variable in
                      (("endpoint_url", "ENDPOINT"), ("aws_access_key_id", "ACCESS"), ("aws_secret_access_key", "SECRET"),
                       ("region_name", "REGION"))})

    def raw():
        pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = sorted(o["Key"] for page in pages for o in page.get("Contents", []))
        if "list-uploads" not in LACKS:
            keys += [f"upload {u['UploadId']}" for u in store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]
        return keys

    before = raw()
    subprocess.run([*run, "--dry-run"], check=True, env=environment, stdout=LOG, stderr=LOG)
    same(raw(), before, "after a dry run")
    subprocess.run(run, check=True, env=environment, stdout=LOG, stderr=LOG)
    same(raw(), [f"object/{kind}" for kind in sorted(("parts", "complete", "abort"))], "after gc")
    for kind in ("parts", "complete", "abort"):
        same(len(one.get_object(Bucket=BUCKET, Key=f"object/{kind}")["Body"].read()) > MIN, True, "object")
        one.delete_object(Bucket=BUCKET, Key=f"object/{kind}")
    one.delete_bucket(Bucket=BUCKET)


kill()
finish()
