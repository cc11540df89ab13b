#!/usr/bin/env python3
"""One object of many parts of 5 MiB each, which are made as they are sent: PARTS of them (100; BIG=1: 300; parts10000.sh: 10000).

GATEWAY_PID, where it is set, names the gateway, whose memory must not grow with the parts. WHOLE=0 leaves out reading all of it.
Environment and output: see s3test.py.
"""

import concurrent.futures
import hashlib
import os
import random
import time

from s3test import BIG, BUCKET, LACKS, check, client, finish, noise, same

MIN = 5 << 20
PARTS = int(os.environ.get("PARTS") or (300 if BIG else 100))
PID = os.environ.get("GATEWAY_PID")
# The last part is a short one.
TAIL = 123457
SIZE = (PARTS - 1) * MIN + TAIL
BASE = noise(MIN, "many")
s3 = client()
where = {"Bucket": BUCKET, "Key": "many"}


def part(number):
    """Each part differs from every other in its first bytes and in where the noise begins."""
    turn = number * 7919 % MIN
    body = number.to_bytes(8, "big") + BASE[turn:] + BASE[:turn]
    return body[:MIN if number < PARTS else TAIL]


def piece(first, last):
    """Bytes first to last of the whole."""
    parts = range(first // MIN + 1, last // MIN + 2)
    return b"".join(part(n) for n in parts)[first % MIN:][:last - first + 1]


def peak():
    """The most memory that the gateway has had, in MiB."""
    with open(f"/proc/{PID}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) >> 10


s3.create_bucket(Bucket=BUCKET)
named = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
etags, sums = {}, {}


def send(number):
    body = part(number)
    sums[number] = hashlib.md5(body).digest()
    etags[number] = s3.upload_part(**named, PartNumber=number, Body=body)["ETag"]


def etag():
    return f'"{hashlib.md5(b"".join(sums[n] for n in range(1, PARTS + 1))).hexdigest()}-{PARTS}"'


@check(f"{PARTS} parts are uploaded, four at a time, in no order")
def _():
    order = list(range(1, PARTS + 1))
    random.Random(1).shuffle(order)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(send, order))
    print(f"# {SIZE / (time.monotonic() - started) / 1e6:.0f} MB/s up", flush=True)


@check("list_parts pages through all of them")
def _():
    found = [(p["PartNumber"], p["Size"]) for page in s3.get_paginator("list_parts").paginate(**named) for p in page["Parts"]]
    same(found, [(n, MIN if n < PARTS else TAIL) for n in range(1, PARTS + 1)])


@check("complete")
def _():
    parts = [{"PartNumber": n, "ETag": etags[n]} for n in range(1, PARTS + 1)]
    same(s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})["ETag"], etag())


@check("size and ETag in HEAD and the listing")
def _():
    head = s3.head_object(**where)
    same((head["ContentLength"], head["ETag"]), (SIZE, etag()))
    listed = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    same([(o["Key"], o["Size"], o["ETag"]) for o in listed], [("many", SIZE, etag())])


@check("random ranges compare equal")
def _():
    pick = random.Random(2)
    spans = [(0, 0), (SIZE - 1, SIZE - 1), (SIZE - TAIL - 1, SIZE - TAIL), (0, 2 * MIN)]
    for _ in range(100):
        edge = pick.randrange(1, PARTS) * MIN + pick.choice((-65480, -1, 0, 1, 65480))
        spans.append((max(edge - 500, 0), min(edge + 500, SIZE - 1)))
        first = pick.randrange(SIZE)
        spans.append((first, min(first + pick.randrange(1 << 20), SIZE - 1)))

    def one(span):
        first, last = span
        answer = s3.get_object(**where, Range=f"bytes={first}-{last}")
        same(answer["ContentRange"], f"bytes {first}-{last}/{SIZE}", span)
        same(answer["Body"].read() == piece(first, last), True, span)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, spans))


@check("parts by their number", needs="part-number")
def _():
    for number in {1, 2, PARTS // 2, PARTS - 1, PARTS}:
        answer = s3.get_object(**where, PartNumber=number)
        same((answer["PartsCount"], answer["Body"].read() == part(number)), (PARTS, True), number)


@check("GetObjectAttributes counts them", needs="attributes part-number")
def _():
    found = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts", "ObjectSize"])
    same((found["ObjectSize"], found["ObjectParts"]["TotalPartsCount"]), (SIZE, PARTS))


if os.environ.get("WHOLE") != "0":
    @check("all of it reads back")
    def _():
        body = s3.get_object(**where)["Body"]
        for number in range(1, PARTS + 1):
            expected = part(number)
            same(body.read(len(expected)) == expected, True, f"part {number}")
        same(body.read(1), b"", "the end")

if PID:
    @check("the gateway's memory did not grow with the parts")
    def _():
        print(f"# {peak()} MiB at most", flush=True)
        same(peak() < 300, True, f"{peak()} MiB")


@check("delete")
def _():
    s3.delete_object(**where)
    if "list-uploads" not in LACKS:
        same(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []), [])
    s3.delete_bucket(Bucket=BUCKET)


finish()
