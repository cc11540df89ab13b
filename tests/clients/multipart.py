#!/usr/bin/env python3
"""Uploads in parts through boto3: what S3 documents of them, and what a store may not forget over them.

Environment and output: see s3test.py. BIG=1 takes larger files through the transfer manager.
"""

import base64
import concurrent.futures
import hashlib
import os
import random
import socket
import tempfile
import time
import urllib.parse

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from s3test import (ALGORITHMS, BIG, BUCKET, ENDPOINT, LACKS, check, checksum, client, digest, finish, md5, noise,
                    refused, request, same, send)

MIN = 5 << 20
# Around what a segment of a sealed stream, the end of one and a whole one hold.
SHORT = [0, 1, 255, 256, 257, 65479, 65480, 65481, 131000, 131001, 1 << 20, MIN - 1, MIN, MIN + 1]
WRONG = '"' + "0" * 32 + '"'
# A store that is not strict takes what S3 refuses, or names it otherwise.
STRICT = "strict" not in LACKS
NO_UPLOAD = "NoSuchUpload" if STRICT else ("NoSuchUpload", "NoSuchKey")
s3 = client()
pool = concurrent.futures.ThreadPoolExecutor(4)
# One run of noise, of which parts are cut: making it anew for each would take longer than to upload it.
NOISE = noise(4 * MIN, "parts")


def cut(size, seed=0):
    """Bytes of a part; other seeds make others."""
    start = random.Random(f"{size}/{seed}").randrange(len(NOISE) - size)
    return seed.to_bytes(4, "big")[:size] + NOISE[start:start + size][4:]


def etag_of(bodies):
    return f'"{md5(b"".join(hashlib.md5(body).digest() for body in bodies))}-{len(bodies)}"'


class Upload:
    """One upload, and what was put into it."""

    def __init__(self, key, bucket=BUCKET, **more):
        self.where = {"Bucket": bucket, "Key": key}
        self.answer = s3.create_multipart_upload(**self.where, **more)
        self.id = self.answer["UploadId"]
        self.named = {**self.where, "UploadId": self.id}
        self.bodies, self.etags, self.more = {}, {}, {}

    def put(self, number, body, **more):
        answer = s3.upload_part(**self.named, PartNumber=number, Body=body, **more)
        self.bodies[number], self.etags[number] = body, answer["ETag"]
        return answer

    def parts(self, numbers=None):
        return [{"PartNumber": n, "ETag": self.etags[n], **self.more.get(n, {})} for n in numbers or sorted(self.etags)]

    def complete(self, numbers=None, *, parts=None, **more):
        parts = self.parts(numbers) if parts is None else parts
        return s3.complete_multipart_upload(**self.named, MultipartUpload={"Parts": parts}, **more)

    def expected(self, numbers=None):
        return [self.bodies[n] for n in numbers or sorted(self.bodies)]

    def abort(self):
        return s3.abort_multipart_upload(**self.named)

    def listed(self, **more):
        return s3.list_parts(**self.named, **more)


def upload(key, bodies, bucket=BUCKET, **more):
    """Bodies is a list, or a map from part numbers."""
    made = Upload(key, bucket, **more)
    for number, body in bodies.items() if isinstance(bodies, dict) else enumerate(bodies, 1):
        made.put(number, body)
    return made


def holds(key, bodies, bucket=BUCKET, etag=None):
    """The object is these parts, whichever way one looks at it."""
    whole = b"".join(bodies)
    etag = etag or etag_of(bodies)
    where = {"Bucket": bucket, "Key": key}
    head = s3.head_object(**where)
    same((head["ContentLength"], head["ETag"]), (len(whole), etag), f"HEAD {key}")
    answer = s3.get_object(**where)
    same((answer["ContentLength"], answer["ETag"]), (len(whole), etag), f"GET {key}")
    same(answer["LastModified"], head["LastModified"], "date")
    same(answer["Body"].read() == whole, True, f"body of {key}")
    for method in (s3.list_objects, s3.list_objects_v2):
        found = [o for o in method(Bucket=bucket, Prefix=key)["Contents"] if o["Key"] == key]
        same([(o["Size"], o["ETag"]) for o in found], [(len(whole), etag)], f"listing of {key}")
    if not LACKS & {"versions"}:
        found = s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
        found = [v for v in found if v["Key"] == key and v["IsLatest"]]
        same([(v["Size"], v["ETag"]) for v in found], [(len(whole), etag)], f"versions of {key}")
    if not LACKS & {"attributes"}:
        found = s3.get_object_attributes(**where, ObjectAttributes=["ETag", "ObjectSize"])
        same((found["ObjectSize"], found["ETag"].strip('"')), (len(whole), etag.strip('"')), f"attributes of {key}")


def absent(key, bucket=BUCKET):
    refused(("404", "NoSuchKey"), lambda: s3.head_object(Bucket=bucket, Key=key), status=404)


def uploads(bucket=BUCKET, **more):
    return s3.list_multipart_uploads(Bucket=bucket, **more).get("Uploads", [])


def pages(call, following, **more):
    """All pages of a listing; `following` maps what an answer says to what the next request asks."""
    result = []
    while True:
        answer = call(**more)
        result.append(answer)
        if not answer["IsTruncated"]:
            return result
        same(len(result) < 200, True, "a listing that ends")
        more.update({ask: answer[said] for said, ask in following.items()})


# The plain course of things

s3.create_bucket(Bucket=BUCKET)


@check("three parts, in order")
def _():
    made = upload("plain", [cut(MIN, 1), cut(MIN, 2), cut(1000, 3)])
    same((made.answer["Bucket"], made.answer["Key"]), (BUCKET, "plain"), "create")
    answer = made.complete()
    same((answer["ETag"], answer["Bucket"], answer["Key"]), (etag_of(made.expected()), BUCKET, "plain"), "complete")
    holds("plain", made.expected())


@check("the ETag of a part is the MD5 of what was sent, in quotes", needs="part-md5")
def _():
    made = upload("part-etag", [cut(MIN, 1)])
    same(made.etags[1], f'"{md5(cut(MIN, 1))}"')
    made.abort()


@check("parts side by side, uploaded in any order")
def _():
    made = Upload("any-order")
    bodies = {n: cut(MIN + n * 1000, n) for n in range(1, 9)}
    order = list(bodies)
    random.Random(1).shuffle(order)
    list(pool.map(lambda n: made.put(n, bodies[n]), order))
    same(made.complete()["ETag"], etag_of(made.expected()))
    holds("any-order", made.expected())


@check("unequal sizes, gaps in the numbers, numbers 1 and 10000")
def _():
    made = upload("gaps", {10000: cut(77777, 4), 2: cut(MIN + 65480, 2), 1: cut(MIN, 1), 500: cut(2 * MIN - 1, 3)})
    made.complete()
    holds("gaps", made.expected([1, 2, 500, 10000]))


@check("part numbers out of bounds are refused", needs="strict")
def _():
    made = Upload("bounds")
    for number in (0, 10001, -1):
        refused("InvalidArgument", lambda: made.put(number, b"x"), status=400)
    same(made.listed().get("Parts", []), [], "parts")
    made.abort()


for size in SHORT:
    @check(f"a last part of {size} bytes")
    def _():
        made = upload(f"last/{size}", [cut(MIN, 1), cut(size, 2)])
        same(made.complete()["ETag"], etag_of(made.expected()))
        holds(f"last/{size}", made.expected())

    @check(f"a single part of {size} bytes")
    def _():
        made = upload(f"single/{size}", [cut(size, 3)])
        same(made.complete()["ETag"], etag_of(made.expected()))
        holds(f"single/{size}", made.expected())


@check("a part uploaded again takes the place of the earlier one")
def _():
    made = upload("again", [cut(MIN, 1), cut(MIN, 2)])
    for size, seed in ((MIN, 3), (100, 4), (0, 5), (MIN + 1, 6), (65480, 7)):
        made.put(2, cut(size, seed))
        same([(p["PartNumber"], p["Size"]) for p in made.listed()["Parts"]], [(1, MIN), (2, size)], "list_parts")
    made.complete()
    holds("again", [cut(MIN, 1), cut(65480, 7)])


@check("a short part that was uploaded before a long one leaves nothing in the object")
def _():
    made = upload("short-then-long", [cut(10, 1), cut(20, 2)])
    made.put(1, cut(MIN, 3))
    made.put(2, cut(MIN, 4))
    made.put(3, cut(5, 5))
    made.complete()
    holds("short-then-long", [cut(MIN, 3), cut(MIN, 4), cut(5, 5)])


@check("the ETag of a part that was uploaded again since is refused")
def _():
    made = upload("stale", [cut(MIN, 1), cut(1000, 2)])
    stale = dict(made.etags)
    made.put(1, cut(MIN, 3))
    made.put(2, cut(1000, 4))
    for number in (1, 2):
        parts = [{"PartNumber": n, "ETag": stale[n] if n == number else made.etags[n]} for n in (1, 2)]
        refused("InvalidPart", lambda: made.complete(parts=parts), status=400)
    absent("stale")
    made.complete()
    holds("stale", made.expected())


@check("a long last part of number 10000")
def _():
    made = upload("last-number", {1: cut(MIN, 1), 10000: cut(MIN + 7, 2)})
    made.complete()
    holds("last-number", made.expected())


@check("parts that are not named at the end are not in the object", needs="unnamed-parts")
def _():
    bodies = [cut(MIN, 1), cut(1000, 2), cut(MIN, 3), cut(2000, 4), cut(3000, 5)]
    for numbers in ([1], [1, 2], [1, 3], [1, 3, 4], [1, 3, 5], [3, 5], [2], [5]):
        key = "named/" + "".join(map(str, numbers))
        made = upload(key, bodies)
        same(made.complete(numbers)["ETag"], etag_of(made.expected(numbers)), numbers)
        holds(key, made.expected(numbers))
        refused(NO_UPLOAD, made.listed, status=404)


@check("ETags without quotes, and as list_parts gives them, are accepted")
def _():
    bodies = [cut(MIN, 1), cut(MIN, 2), cut(300, 3)]
    made = upload("unquoted", bodies)
    parts = [{"PartNumber": n, "ETag": e.strip('"')} for n, e in sorted(made.etags.items())]
    made.complete(parts=parts)
    holds("unquoted", bodies)
    made = upload("listed", bodies)
    listed = [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in made.listed()["Parts"]]
    # Where the list has no MD5s, the end can only have some other ETag of three parts.
    known = "listed-md5" not in LACKS
    answer = made.complete(parts=listed)
    same((answer["ETag"].endswith('-3"'), answer["ETag"] == etag_of(bodies)), (True, known), "ETag")
    holds("listed", bodies, etag=answer["ETag"])
    made = upload("listed-mixed", bodies)
    listed = [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in made.listed()["Parts"]]
    answer = made.complete(parts=[made.parts()[0], listed[1], made.parts()[2]])
    same((answer["ETag"].endswith('-3"'), answer["ETag"] == etag_of(bodies)), (True, known), "ETag")
    holds("listed-mixed", bodies, etag=answer["ETag"])


@check("metadata and standard headers of the upload are those of the object, and none besides")
def _():
    metadata = {"one": "1", "two-words": "a b  c", "long": "x" * 900}
    headers = {"ContentType": "text/x-test; charset=utf-8", "CacheControl": "max-age=7", "ContentEncoding": "gzip",
               "ContentDisposition": 'attachment; filename="a b.txt"', "ContentLanguage": "de"}
    made = upload("meta", [cut(MIN, 1), cut(5, 2)], Metadata=metadata, **headers)
    made.complete()
    for answer in (s3.head_object(Bucket=BUCKET, Key="meta"), s3.get_object(Bucket=BUCKET, Key="meta", Range="bytes=5-9")):
        same(answer["Metadata"], metadata)
        for name, value in headers.items():
            same(answer[name], value, name)
    upload("meta-none", [b"x"]).complete()
    same(s3.head_object(Bucket=BUCKET, Key="meta-none")["Metadata"], {})


@check("tags of the upload are those of the object", needs="tagging")
def _():
    upload("tagged", [b"x"], Tagging="a=1&b=2").complete()
    same(sorted((t["Key"], t["Value"]) for t in s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"]),
         [("a", "1"), ("b", "2")])


for key in ("with space", "plus+plus", "percent%41", "a//b", "dir/", "日本語/キー 🔒", "k" * 1024, "?a=b&c=d", "&<>'\""):
    @check(f"key {key[:20]!r}", needs="long-keys" if len(key) == 1024 else "")
    def _():
        made = upload(key, [cut(MIN, 1), cut(10, 2)])
        same([p["Size"] for p in made.listed()["Parts"]], [MIN, 10])
        same(made.listed()["Key"], key, "Key of list_parts")
        same(made.complete()["Key"], key, "Key of complete")
        holds(key, made.expected())
        s3.delete_object(Bucket=BUCKET, Key=key)


# What must not be

@check("EntityTooSmall for a short part that is not the last, and the upload goes on")
def _():
    made = upload("small", [cut(MIN - 1, 1), cut(10, 2), cut(MIN, 3)])
    for numbers in [[1, 2, 3]] + ([] if "unnamed-parts" in LACKS else [[1, 2], [1, 3], [2, 3]]):
        refused("EntityTooSmall", lambda: made.complete(numbers), status=400)
    absent("small")
    same([p["Size"] for p in made.listed()["Parts"]], [MIN - 1, 10, MIN], "list_parts")
    made.put(1, cut(MIN, 4))
    made.put(2, cut(MIN, 5))
    made.complete()
    holds("small", made.expected())


@check("InvalidPart for a wrong ETag, an unknown number, another part's or another upload's ETag")
def _():
    made = upload("invalid", [cut(MIN, 1), cut(10, 2)])
    other = upload("invalid", [cut(MIN, 5), cut(10, 6)])
    one, two = made.parts()
    for parts in ([{**one, "ETag": WRONG}, two], [one, {**two, "ETag": WRONG}], [one, {**two, "PartNumber": 3}],
                  [{**one, "ETag": two["ETag"]}, two], [one, {**two, "ETag": one["ETag"]}],
                  [one, {**two, "ETag": other.etags[2]}], [{**one, "ETag": other.etags[1]}, two],
                  [one, {**two, "ETag": '"x"'}], [one, two, {"PartNumber": 10000, "ETag": two["ETag"]}]):
        refused("InvalidPart", lambda: made.complete(parts=parts), status=400)
    absent("invalid")
    made.complete()
    holds("invalid", made.expected())
    other.abort()


@check("InvalidPartOrder for numbers that do not ascend", needs="strict")
def _():
    made = upload("order", [cut(MIN, 1), cut(MIN, 2), cut(10, 3)])
    for numbers in ([2, 1, 3], [1, 3, 2], [3, 2, 1]):
        refused("InvalidPartOrder", lambda: made.complete(numbers), status=400)
    absent("order")
    made.abort()


@check("InvalidPartOrder for a number that is there twice", needs="strict")
def _():
    made = upload("twice", [cut(MIN, 1), cut(10, 2)])
    for numbers in ([1, 1], [1, 1, 2], [1, 2, 2]):
        refused("InvalidPartOrder", lambda: made.complete(numbers), status=400)
    absent("twice")
    made.abort()


@check("NoSuchUpload for an id that never was, that was aborted, completed, or is of another key")
def _():
    made = upload("no-such", [cut(10, 1)])

    def none(named):
        refused(NO_UPLOAD, lambda: s3.upload_part(**named, PartNumber=1, Body=b"x"), status=404)
        refused(NO_UPLOAD, lambda: s3.list_parts(**named), status=404)
        refused(NO_UPLOAD, lambda: s3.abort_multipart_upload(**named), status=404)

    none({**made.named, "UploadId": made.id[:-1] + ("a" if made.id[-1] != "a" else "b")})
    none({**made.named, "UploadId": "never"})
    none({**made.named, "Key": "no-such-2"})
    if STRICT:
        refused(NO_UPLOAD, lambda: s3.complete_multipart_upload(
            **{**made.named, "Key": "no-such-2"}, MultipartUpload={"Parts": made.parts()}), status=404)
    refused(NO_UPLOAD, lambda: s3.complete_multipart_upload(
        **{**made.named, "UploadId": "never"}, MultipartUpload={"Parts": made.parts()}), status=404)
    made.complete()
    none(made.named)
    made = upload("no-such", [cut(11, 1)])
    made.abort()
    none(made.named)
    refused(NO_UPLOAD, made.complete, status=404)
    holds("no-such", [cut(10, 1)])


@check("completing again says the same, or NoSuchUpload, and changes nothing")
def _():
    made = upload("completed", [cut(MIN, 1), cut(10, 2)])
    answer = made.complete()
    try:
        same(made.complete()["ETag"], answer["ETag"])
    except ClientError as error:
        same(error.response["Error"]["Code"], "NoSuchUpload")
    holds("completed", made.expected())


@check("NoSuchBucket")
def _():
    refused("NoSuchBucket", lambda: s3.create_multipart_upload(Bucket=BUCKET + "-not", Key="x"), status=404)
    refused("NoSuchBucket", lambda: s3.list_multipart_uploads(Bucket=BUCKET + "-not"), status=404)


@check("MalformedXML for an empty list, for what is no list, and for what is no XML")
def _():
    made = upload("xml", [cut(10, 1)])
    query = urllib.parse.urlencode({"uploadId": made.id})

    def complete(body):
        return request("POST", f"/{BUCKET}/xml", query, body)

    part = f"<Part><PartNumber>1</PartNumber><ETag>{made.etags[1]}</ETag></Part>"
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    bad = ["", "not XML", f"<CompleteMultipartUpload {space}/>", f"<CompleteMultipartUpload {space}></CompleteMultipartUpload>",
           f"<CompleteMultipartUpload>{part}"]
    if STRICT:
        bad += [f"<Other>{part}</Other>", f"<CompleteMultipartUpload>{part.replace('>1<', '>one<')}</CompleteMultipartUpload>",
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
                f"<CompleteMultipartUpload>{part.replace('<PartNumber>1</PartNumber>', '')}</CompleteMultipartUpload>"]
    for body in bad:
        status, text = complete(body.encode())
        # To a request without a body AWS says InvalidRequest.
        codes = ("MalformedXML", "InvalidRequest") if not body else ("MalformedXML",)
        same((status, any(f"<Code>{code}<" in text for code in codes)), (400, True), f"{body}: {text}")
    absent("xml")
    status, text = complete(f'<?xml version="1.0"?>\n<CompleteMultipartUpload {space}>\n {part}\n</CompleteMultipartUpload>\n'.encode())
    same(status, 200, text)
    holds("xml", made.expected())


@check("abort leaves nothing, and what was there before")
def _():
    upload("abort", [cut(20, 1)]).complete()
    for key in ("abort", "abort-new"):
        made = upload(key, [cut(MIN, 2), cut(10, 3), cut(MIN + 1, 4), cut(0, 5)])
        same(made.abort()["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
        refused(NO_UPLOAD, made.listed, status=404)
    absent("abort-new")
    holds("abort", [cut(20, 1)])
    same([o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="abort")["Contents"]], ["abort"])


@check("nothing shows before the end")
def _():
    bucket = BUCKET + "-hidden"
    s3.create_bucket(Bucket=bucket)
    made = upload("new", [cut(MIN, 1), cut(10, 2)], bucket)
    absent("new", bucket)
    for answer in (s3.list_objects(Bucket=bucket), s3.list_objects_v2(Bucket=bucket), s3.list_objects_v2(Bucket=bucket, Delimiter="/"),
                   s3.list_objects_v2(Bucket=bucket, Prefix="."), s3.list_objects_v2(Bucket=bucket, MaxKeys=1)):
        same((answer.get("Contents", []), answer.get("CommonPrefixes", []), answer["IsTruncated"]), ([], [], False), "listing")
    if not LACKS & {"versions"}:
        same(s3.list_object_versions(Bucket=bucket).get("Versions", []), [], "versions")
    s3.put_object(Bucket=bucket, Key="old", Body=b"old")
    again = upload("old", [cut(MIN, 1), cut(10, 2)], bucket)
    same(s3.get_object(Bucket=bucket, Key="old")["Body"].read(), b"old")
    same([(o["Key"], o["Size"]) for o in s3.list_objects_v2(Bucket=bucket)["Contents"]], [("old", 3)])
    made.complete()
    again.complete()
    same([(o["Key"], o["Size"]) for o in s3.list_objects_v2(Bucket=bucket)["Contents"]], [("new", MIN + 10), ("old", MIN + 10)])
    for key in ("new", "old"):
        holds(key, made.expected(), bucket)
        s3.delete_object(Bucket=bucket, Key=key)
    # Whatever else had been left in it would show here.
    s3.delete_bucket(Bucket=bucket)


@check("a wrong Content-MD5 of a part is refused, and the part that was there stays")
def _():
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for size in (100, MIN):
        made = upload(f"md5/{size}", [cut(size, 1)])
        right = base64.b64encode(hashlib.md5(cut(size, 2)).digest()).decode()
        refused("BadDigest", lambda: made.put(1, cut(size, 2), ContentMD5=wrong), status=400)
        refused("BadDigest", lambda: made.put(2, cut(size, 2), ContentMD5=wrong), status=400)
        same([(p["PartNumber"], p["Size"]) for p in made.listed()["Parts"]], [(1, size)], "list_parts")
        made.put(1, cut(size, 2), ContentMD5=right)
        made.complete()
        holds(f"md5/{size}", [cut(size, 2)])


@check("a part that breaks off is no part, and leaves the one that was there")
def _():
    if not ENDPOINT.startswith("http:"):
        return
    for size in (70000, MIN + 100000):
        made = upload(f"cut/{size}", [cut(MIN, 1), cut(1000, 2)])
        for number in (1, 2, 3):
            for missing in (1, 65536):
                url = s3.generate_presigned_url("upload_part", Params={**made.named, "PartNumber": number})
                parts = urllib.parse.urlsplit(url)
                with socket.create_connection((parts.hostname, parts.port or 80), timeout=60) as connection:
                    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {size}\r\n\r\n"
                    connection.sendall(head.encode() + cut(size, 3)[:size - missing])
                    connection.shutdown(socket.SHUT_WR)
                    try:
                        answer = connection.recv(4096)
                    except ConnectionError:
                        answer = b""
                    same(answer.startswith(b"HTTP/1.1 2"), False, "answer")
        same([(p["PartNumber"], p["Size"]) for p in made.listed()["Parts"]], [(1, MIN), (2, 1000)], "list_parts")
        made.complete()
        holds(f"cut/{size}", made.expected())


# Listings of what is under way

@check("list_parts: sizes, ETags and dates, a page of every length")
def _():
    sizes = {1: MIN, 2: 100, 3: MIN + 1, 7: 0, 9: 65480, 300: MIN - 1, 10000: 1}
    made = upload("listing", {n: cut(size, n) for n, size in sizes.items()})
    whole = made.listed()
    same((whole["Bucket"], whole["Key"], whole["UploadId"], whole["IsTruncated"], whole["MaxParts"]),
         (BUCKET, "listing", made.id, False, 1000))
    same([(p["PartNumber"], p["Size"]) for p in whole["Parts"]], list(sizes.items()), "sizes")
    now = time.time()
    same([abs(now - p["LastModified"].timestamp()) < 300 for p in whole["Parts"]], [True] * 7, "dates")
    if "listed-md5" not in LACKS:
        same([p["ETag"] for p in whole["Parts"]], [f'"{md5(cut(size, n))}"' for n, size in sizes.items()], "ETags")
    for length in range(1, 9):
        found = pages(made.listed, {"NextPartNumberMarker": "PartNumberMarker"}, MaxParts=length)
        same([p["PartNumber"] for page in found for p in page["Parts"]], list(sizes), length)
        same([len(page["Parts"]) for page in found[:-1]], [length] * (len(found) - 1), "length of a page")
        same(len(found), (len(sizes) - 1) // length + 1, "number of pages")
        same([p["ETag"] for page in found for p in page["Parts"]], [p["ETag"] for p in whole["Parts"]], "ETags of pages")
    for marker, rest in ((0, 7), (2, 5), (5, 4), (9, 2), (10000, 0)):
        same(len(made.listed(PartNumberMarker=marker).get("Parts", [])), rest, f"after {marker}")
    if STRICT:
        refused("InvalidArgument", lambda: made.listed(MaxParts=-1), status=400)
    made.abort()


@check("list_multipart_uploads: keys, ids, prefix, delimiter, a page of every length", needs="list-uploads")
def _():
    bucket = BUCKET + "-uploads"
    s3.create_bucket(Bucket=bucket)
    keys = ["a", "a/1", "a/2", "a/2", "a/2", "b/1", "c d", "é"]
    made = [Upload(key, bucket) for key in keys]
    made[0].put(1, cut(10, 1))
    made[1].put(1, cut(MIN, 1))
    ids = {(u.where["Key"], u.id) for u in made}
    whole = s3.list_multipart_uploads(Bucket=bucket)
    same([u["Key"] for u in whole["Uploads"]], keys, "keys")
    same({(u["Key"], u["UploadId"]) for u in whole["Uploads"]}, ids, "ids")
    same([u["Key"] for u in uploads(bucket, Prefix="a/")], keys[1:5], "prefix")
    if "uploads-markers" not in LACKS:
        answer = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
        same([u["Key"] for u in answer["Uploads"]], ["a", "c d", "é"], "keys with a delimiter")
        same([p["Prefix"] for p in answer["CommonPrefixes"]], ["a/", "b/"], "prefixes")
        same([u["Key"] for u in uploads(bucket, KeyMarker="a/2")], ["b/1", "c d", "é"], "after a key")
    order = [(u["Key"], u["UploadId"]) for u in whole["Uploads"]]
    for length in range(1, 9):
        found = pages(s3.list_multipart_uploads, {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"},
                      Bucket=bucket, MaxUploads=length)
        same([(u["Key"], u["UploadId"]) for page in found for u in page.get("Uploads", [])], order, f"pages of {length}")
        same([len(page["Uploads"]) for page in found[:-1]], [length] * (len(found) - 1), "length of a page")
    made[0].complete()
    for one in made[1:]:
        one.abort()
    same(uploads(bucket), [], "after the end of all")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)


# Copies

SOURCE = [cut(MIN, 31), cut(MIN + 70001, 32), cut(12345, 33)]
WHOLE = b"".join(SOURCE)


@check("upload_part_copy, whole and ranges, over the source's parts")
def _():
    upload("source", SOURCE).complete()
    s3.put_object(Bucket=BUCKET, Key="source-single", Body=WHOLE)
    for source in ("source", "source-single"):
        made = Upload("part-copy")
        spans = {1: None, 2: (0, MIN - 1), 3: (MIN - 1000, 2 * MIN + 99), 4: (len(WHOLE) - MIN - 5, len(WHOLE) - 1),
                 5: (MIN, 2 * MIN + 65480), 6: (65479, 65480)}
        for number, span in spans.items():
            more = {"CopySourceRange": f"bytes={span[0]}-{span[1]}"} if span else {}
            answer = s3.upload_part_copy(**made.named, PartNumber=number, CopySource={"Bucket": BUCKET, "Key": source}, **more)
            made.etags[number] = answer["CopyPartResult"]["ETag"]
            made.bodies[number] = WHOLE[span[0]:span[1] + 1] if span else WHOLE
            same("LastModified" in answer["CopyPartResult"], True, "date")
        same([p["Size"] for p in made.listed()["Parts"]], [len(b) for b in made.expected()], "list_parts")
        made.put(7, cut(70000, 34))
        refused("EntityTooSmall", made.complete)
        made.put(6, cut(MIN, 35))
        made.complete()
        holds("part-copy", made.expected())
        # A short copy as the last part.
        made = upload("part-copy", [cut(MIN, 36)])
        answer = s3.upload_part_copy(**made.named, PartNumber=2, CopySource={"Bucket": BUCKET, "Key": source},
                                     CopySourceRange="bytes=65479-65480")
        made.etags[2], made.bodies[2] = answer["CopyPartResult"]["ETag"], WHOLE[65479:65481]
        made.complete()
        holds("part-copy", made.expected())


@check("upload_part_copy that cannot be")
def _():
    made = Upload("bad-copy")

    def copy(key="source", **more):
        return s3.upload_part_copy(**made.named, PartNumber=1, CopySource={"Bucket": BUCKET, "Key": key}, **more)

    refused("NoSuchKey", lambda: copy("not-there"), status=404)
    refused("NoSuchBucket", lambda: s3.upload_part_copy(
        **made.named, PartNumber=1, CopySource={"Bucket": BUCKET + "-not", "Key": "x"}), status=404)
    for span in ("bytes=5-4", f"bytes=0-{len(WHOLE)}", f"bytes={len(WHOLE)}-{len(WHOLE) + 9}", "bytes=0-", "bytes=-5", "0-5", "bytes=a-b"):
        if STRICT:
            refused(("InvalidArgument", "InvalidRange"), lambda: copy(CopySourceRange=span))
    refused(NO_UPLOAD, lambda: s3.upload_part_copy(
        **{**made.named, "UploadId": "never"}, PartNumber=1, CopySource={"Bucket": BUCKET, "Key": "source"}), status=404)
    same(made.listed().get("Parts", []), [], "parts")
    made.abort()


@check("conditions on the source of upload_part_copy", needs="part-copy-conditions")
def _():
    made = Upload("if-copy")

    def copy(**more):
        return s3.upload_part_copy(**made.named, PartNumber=1, CopySource={"Bucket": BUCKET, "Key": "source"}, **more)

    copy(CopySourceIfMatch=etag_of(SOURCE))
    copy(CopySourceIfNoneMatch=WRONG)
    refused("PreconditionFailed", lambda: copy(CopySourceIfMatch=WRONG), status=412)
    refused("PreconditionFailed", lambda: copy(CopySourceIfNoneMatch=etag_of(SOURCE)), status=412)
    made.abort()


@check("copy_object of an object in parts")
def _():
    answer = s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "source"}, Metadata={"new": "1"},
                            MetadataDirective="REPLACE")
    head = s3.head_object(Bucket=BUCKET, Key="copied")
    # AWS makes one part of it, others keep the parts.
    etag = answer["CopyObjectResult"]["ETag"].strip('"')
    same(etag in (etag_of(SOURCE).strip('"'), md5(WHOLE)), True, etag)
    same(head["Metadata"], {"new": "1"})
    holds("copied", [WHOLE], etag=f'"{etag}"')
    holds("source", SOURCE)
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "copied"}, MetadataDirective="REPLACE",
                   Metadata={"newer": "2"})
    holds("copied", [WHOLE], etag=s3.head_object(Bucket=BUCKET, Key="copied")["ETag"])


# Conditions

@check("If-None-Match on complete", needs="complete-conditions if-none-match")
def _():
    made = upload("once", [cut(MIN, 1), cut(10, 2)])
    made.complete(IfNoneMatch="*")
    holds("once", made.expected())
    again = upload("once", [cut(MIN, 3), cut(11, 4)])
    refused("PreconditionFailed", lambda: again.complete(IfNoneMatch="*"), status=412)
    holds("once", made.expected())


@check("If-Match on complete", needs="complete-conditions if-match")
def _():
    first = upload("swap", [cut(MIN, 1), cut(10, 2)])
    first.complete()
    bad = upload("swap", [cut(MIN, 3), cut(11, 4)])
    refused("PreconditionFailed", lambda: bad.complete(IfMatch=WRONG), status=412)
    holds("swap", first.expected())
    second = upload("swap", [cut(MIN, 5), cut(12, 6)])
    second.complete(IfMatch=etag_of(first.expected()))
    holds("swap", second.expected())
    refused(("PreconditionFailed", "NoSuchKey"), lambda: upload("swap-new", [cut(9, 1)]).complete(IfMatch=WRONG))
    absent("swap-new")


@check("conditional reads of an object in parts")
def _():
    etag = etag_of(SOURCE)
    where = {"Bucket": BUCKET, "Key": "source"}
    same(s3.get_object(**where, IfMatch=etag, Range="bytes=0-9")["Body"].read(), WHOLE[:10])
    refused(("PreconditionFailed", "412"), lambda: s3.get_object(**where, IfMatch=WRONG), status=412)
    refused(("304", "NotModified"), lambda: s3.get_object(**where, IfNoneMatch=etag), status=304)
    refused(("304", "NotModified"), lambda: s3.head_object(**where, IfNoneMatch=etag), status=304)
    same(s3.head_object(**where, IfNoneMatch=WRONG)["ContentLength"], len(WHOLE))
    if not LACKS & {"if-match"}:
        s3.put_object(Bucket=BUCKET, Key="copied", Body=b"new", IfMatch=s3.head_object(Bucket=BUCKET, Key="copied")["ETag"])
        same(s3.get_object(Bucket=BUCKET, Key="copied")["Body"].read(), b"new")


@check("x-amz-mp-object-size", needs="mp-object-size")
def _():
    made = upload("mp-size", [cut(MIN, 1), cut(10, 2)])
    refused("InvalidRequest", lambda: made.complete(MpuObjectSize=MIN + 11), status=400)
    absent("mp-size")
    made.complete(MpuObjectSize=MIN + 10)
    holds("mp-size", made.expected())


# Checksums

PARTS = [cut(MIN, 41), cut(MIN + 3, 42), cut(777, 43)]
KINDS = [(a, "COMPOSITE") for a in ("CRC32", "CRC32C", "SHA1", "SHA256")] + [(a, "FULL_OBJECT") for a in ("CRC32", "CRC32C", "CRC64NVME")]
SUMS = {(a, n): checksum(a, body) for a in ALGORITHMS for n, body in enumerate([*PARTS, b"".join(PARTS)], 1)}


def whole_sum(algorithm, kind):
    if kind == "FULL_OBJECT":
        return SUMS[algorithm, 4]
    values = b"".join(base64.b64decode(SUMS[algorithm, n]) for n in (1, 2, 3))
    return base64.b64encode(digest(algorithm, values)).decode() + "-3"


for algorithm, kind in KINDS:
    name = f"Checksum{algorithm}"

    @check(f"checksums of parts: {algorithm}, {kind}", needs="part-checksums")
    def _():
        key = f"sum/{algorithm}/{kind}"
        made = Upload(key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
        same((made.answer.get("ChecksumAlgorithm"), made.answer.get("ChecksumType")), (algorithm, kind), "create")
        for number, body in enumerate(PARTS, 1):
            answer = made.put(number, body, **{name: SUMS[algorithm, number]})
            same(answer.get(name), SUMS[algorithm, number], f"part {number}")
            made.more[number] = {name: SUMS[algorithm, number]}
        expected = whole_sum(algorithm, kind)
        answer = made.complete()
        same((answer.get(name), answer.get("ChecksumType")), (expected, kind), "complete")
        holds(key, PARTS)
        for answer in (s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED"),
                       s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")):
            same((answer.get(name), answer.get("ChecksumType")), (expected, kind), "read")
        same(name in s3.head_object(Bucket=BUCKET, Key=key), False, "only when asked for")
        if not LACKS & {"attributes"}:
            found = s3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ObjectParts"])
            # Attributes carry it without the number of parts.
            same(found["Checksum"].get(name, "").split("-")[0], expected.split("-")[0], "attributes")
            same(found["Checksum"].get("ChecksumType"), kind, "type in the attributes")

    @check(f"checksums in list_parts: {algorithm}, {kind}", needs="part-checksums listed-md5")
    def _():
        made = Upload(f"listed-sum/{algorithm}/{kind}", ChecksumAlgorithm=algorithm, ChecksumType=kind)
        for number, body in enumerate(PARTS, 1):
            made.put(number, body, **{name: SUMS[algorithm, number]})
        listed = made.listed()
        same([p.get(name) for p in listed["Parts"]], [SUMS[algorithm, n] for n in (1, 2, 3)], "list_parts")
        same((listed.get("ChecksumAlgorithm"), listed.get("ChecksumType")), (algorithm, kind), "list_parts")
        made.abort()

    @check(f"wrong checksums of parts: {algorithm}, {kind}", needs="part-checksums")
    def _():
        key = f"bad-sum/{algorithm}/{kind}"
        made = Upload(key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
        wrong = checksum(algorithm, b"other")
        for number, body in ((1, PARTS[0]), (3, PARTS[2])):
            refused(("BadDigest", "InvalidRequest", "XAmzContentChecksumMismatch"), lambda: made.put(number, body, **{name: wrong}), status=400)
        same(made.listed().get("Parts", []), [], "list_parts")
        for number, body in enumerate(PARTS, 1):
            made.put(number, body, **{name: SUMS[algorithm, number]})
        made.more = {2: {name: wrong}, **{n: {name: SUMS[algorithm, n]} for n in (1, 3)}}
        refused(("InvalidPart", "BadDigest"), made.complete, status=400)
        made.more[2] = {name: SUMS[algorithm, 2]}
        if kind == "FULL_OBJECT":
            refused("BadDigest", lambda: made.complete(**{name: wrong}), status=400)
            absent(key)
            made.complete(**{name: whole_sum(algorithm, kind)})
        else:
            absent(key)
            made.complete()
        holds(key, PARTS)

    @check(f"checksums that boto3 adds as trailers: {algorithm}, {kind}", needs="part-checksums")
    def _():
        key = f"auto/{algorithm}/{kind}"
        made = Upload(key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
        for number, body in enumerate(PARTS, 1):
            same(made.put(number, body, ChecksumAlgorithm=algorithm).get(name), SUMS[algorithm, number])
            made.more[number] = {name: SUMS[algorithm, number]}
        same(made.complete().get(name), whole_sum(algorithm, kind))
        same(s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")["Body"].read() == b"".join(PARTS), True)


@check("checksum algorithms and types that do not go together", needs="part-checksums")
def _():
    for algorithm, kind in (("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        refused(("InvalidRequest", "InvalidArgument"), lambda: Upload("no-sum", ChecksumAlgorithm=algorithm, ChecksumType=kind), status=400)


@check("a part with another checksum algorithm than the upload's is refused", needs="part-checksums")
def _():
    made = Upload("other-sum", ChecksumAlgorithm="SHA256")
    refused("InvalidRequest", lambda: made.put(1, PARTS[2], ChecksumCRC32=SUMS["CRC32", 3]), status=400)
    made.abort()


# One part of a whole

@check("GET and HEAD of a part", needs="part-number")
def _():
    start = 0
    for number, body in enumerate(SOURCE, 1):
        head = s3.head_object(Bucket=BUCKET, Key="source", PartNumber=number)
        answer = s3.get_object(Bucket=BUCKET, Key="source", PartNumber=number)
        for got in (head, answer):
            same((got["ContentLength"], got["PartsCount"], got["ETag"]), (len(body), 3, etag_of(SOURCE)), f"part {number}")
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 206, "status")
        same(answer["ContentRange"], f"bytes {start}-{start + len(body) - 1}/{len(WHOLE)}", "Content-Range")
        same(answer["Body"].read() == body, True, f"body of part {number}")
        start += len(body)
    for number in (4, 10000):
        refused(("InvalidPartNumber", "InvalidPart", "416"), lambda: s3.get_object(Bucket=BUCKET, Key="source", PartNumber=number))
    single = s3.get_object(Bucket=BUCKET, Key="source-single", PartNumber=1)
    same(single["Body"].read() == WHOLE, True, "part 1 of an object of one PUT")
    one = s3.get_object(Bucket=BUCKET, Key="single/65480", PartNumber=1)
    same((one["PartsCount"], one["Body"].read() == cut(65480, 3)), (1, True), "the only part")


@check("a part and a range together are refused", needs="part-number")
def _():
    refused("InvalidRequest", lambda: s3.get_object(Bucket=BUCKET, Key="source", PartNumber=1, Range="bytes=0-1"), status=400)


@check("GetObjectAttributes with parts", needs="attributes part-checksums")
def _():
    made = Upload("attributes", ChecksumAlgorithm="SHA256")
    for number, body in enumerate(PARTS, 1):
        made.put(number, body, ChecksumSHA256=SUMS["SHA256", number])
        made.more[number] = {"ChecksumSHA256": SUMS["SHA256", number]}
    made.complete()
    where = {"Bucket": BUCKET, "Key": "attributes", "ObjectAttributes": ["ETag", "ObjectParts", "ObjectSize", "StorageClass", "Checksum"]}
    found = s3.get_object_attributes(**where)
    same(found["ObjectSize"], sum(map(len, PARTS)))
    parts = found["ObjectParts"]
    same((parts["TotalPartsCount"], parts["IsTruncated"]), (3, False))
    same([(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in parts["Parts"]],
         [(n, len(body), SUMS["SHA256", n]) for n, body in enumerate(PARTS, 1)])
    for length in (1, 2, 3):
        numbers, marker = [], 0
        while True:
            parts = s3.get_object_attributes(**where, MaxParts=length, PartNumberMarker=marker)["ObjectParts"]
            same((parts["TotalPartsCount"], len(parts["Parts"]) <= length), (3, True), "page")
            numbers += [p["PartNumber"] for p in parts["Parts"]]
            if not parts["IsTruncated"]:
                break
            marker = parts["NextPartNumberMarker"]
            same(len(numbers) < 9, True, "a listing that ends")
        same(numbers, [1, 2, 3], f"pages of {length}")


# Whole files

for size, threshold, chunk in ((MIN, MIN, MIN), (MIN + 1, MIN, MIN), (16 * 1000 * 1000 + 3, 8 << 20, 6 << 20), (3 * MIN, 16 << 20, 8 << 20),
                               (((100 if BIG else 41) << 20) + 7, 8 << 20, 8 << 20)):
    @check(f"upload_file and download_file of {size} bytes, threshold {threshold}, chunks of {chunk}")
    def _():
        with tempfile.TemporaryDirectory() as folder:
            whole = (NOISE * (size // len(NOISE) + 1))[:size]
            source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
            with open(source, "wb") as file:
                file.write(whole)
            settings = TransferConfig(multipart_threshold=threshold, multipart_chunksize=chunk, max_concurrency=4)
            s3.upload_file(source, BUCKET, "file", Config=settings, ExtraArgs={"ContentType": "x/y", "Metadata": {"a": "b"}})
            bodies = [whole[at:at + chunk] for at in range(0, size, chunk)]
            holds("file", bodies if size >= threshold else [whole], etag=None if size >= threshold else f'"{md5(whole)}"')
            same(s3.head_object(Bucket=BUCKET, Key="file")["Metadata"], {"a": "b"})
            s3.download_file(BUCKET, "file", target, Config=settings)
            with open(target, "rb") as file:
                same(file.read() == whole, True, "downloaded file")
            with open(source, "rb") as file:
                s3.upload_fileobj(file, BUCKET, "fileobj", Config=settings)
            s3.copy({"Bucket": BUCKET, "Key": "fileobj"}, BUCKET, "file-copy", Config=settings)
            same(s3.get_object(Bucket=BUCKET, Key="file-copy")["Body"].read() == whole, True, "managed copy")


@check("random ranges over an object of many unequal parts")
def _():
    pick = random.Random(7)
    bodies = [cut(MIN + pick.choice((0, 1, 65480, 100000, pick.randrange(1 << 20))), n) for n in range(12)] + [cut(4321, 99)]
    made = Upload("many")
    list(pool.map(lambda item: made.put(*item), enumerate(bodies, 1)))
    made.complete()
    whole = b"".join(bodies)
    holds("many", bodies)
    edges, at = [0, len(whole) - 1], 0
    for body in bodies:
        at += len(body)
        edges += [max(0, min(at + shift, len(whole) - 1)) for shift in (-65480, -257, -1, 0, 1, 65480)]
    spans = [(e, min(e + 1, len(whole) - 1)) for e in edges] + [(max(e - 1000, 0), min(e + 1000, len(whole) - 1)) for e in edges]
    spans += [tuple(sorted((pick.randrange(len(whole)), pick.randrange(len(whole))))) for _ in range(15)]
    spans += [(start, min(start + pick.randrange(200000), len(whole) - 1)) for start in (pick.randrange(len(whole)) for _ in range(60))]

    def one(span):
        first, last = span
        answer = s3.get_object(Bucket=BUCKET, Key="many", Range=f"bytes={first}-{last}")
        same(answer["ContentRange"], f"bytes {first}-{last}/{len(whole)}", span)
        same(answer["Body"].read() == whole[first:last + 1], True, span)

    list(pool.map(one, spans))
    for tail in (1, 4321, 4322, 70000, 2 * MIN):
        same(s3.get_object(Bucket=BUCKET, Key="many", Range=f"bytes=-{tail}")["Body"].read() == whole[-tail:], True, f"last {tail}")
    refused("InvalidRange", lambda: s3.get_object(Bucket=BUCKET, Key="many", Range=f"bytes={len(whole)}-"), status=416)


@check("presigned parts")
def _():
    made = Upload("presigned")
    for number, body in ((1, cut(MIN, 1)), (2, cut(100, 2))):
        url = s3.generate_presigned_url("upload_part", Params={**made.named, "PartNumber": number})
        for wrong in (url.replace(f"partNumber={number}", "partNumber=7"), url[:-1] + ("0" if url[-1] != "0" else "1")):
            same(send("PUT", wrong, body)[0], 403, wrong)
        status, headers = send("PUT", url, body)
        same(status, 200)
        made.etags[number], made.bodies[number] = headers["ETag"], body
    same([p["PartNumber"] for p in made.listed()["Parts"]], [1, 2])
    made.complete()
    holds("presigned", made.expected())


# Many at once

@check("two uploads to one key, the one that ends last stays")
def _():
    one = upload("two", [cut(MIN, 1), cut(10, 2)])
    two = upload("two", [cut(MIN + 5, 3), cut(20, 4)])
    two.complete()
    holds("two", two.expected())
    one.complete()
    holds("two", one.expected())
    s3.put_object(Bucket=BUCKET, Key="two", Body=b"over")
    holds("two", [b"over"], etag=f'"{md5(b"over")}"')
    three = upload("two", [cut(7, 5)])
    three.complete()
    holds("two", three.expected())
    s3.delete_object(Bucket=BUCKET, Key="two")
    absent("two")


@check("readers see one object or the other while uploads end")
def _():
    kinds = [[cut(MIN, 1), cut(1000, 2)], [cut(MIN + 9, 3)]]
    wholes = {etag_of(bodies): b"".join(bodies) for bodies in kinds}
    upload("busy", kinds[0]).complete()
    done = []

    def read():
        count = 0
        while not done:
            answer = s3.get_object(Bucket=BUCKET, Key="busy")
            body = answer["Body"].read()
            same(body == wholes.get(answer["ETag"]), True, f"a mixture: {answer['ETag']}, {len(body)} bytes")
            head = s3.head_object(Bucket=BUCKET, Key="busy")
            same(head["ContentLength"], len(wholes.get(head["ETag"], b"")), "HEAD")
            listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="busy")["Contents"][0]
            same(listed["Size"], len(wholes.get(listed["ETag"], b"")), "listing")
            count += 1
        return count

    readers = [pool.submit(read) for _ in range(2)]
    try:
        for turn in range(8):
            upload("busy", kinds[turn % 2]).complete()
    finally:
        done.append(True)
    same([job.result() > 0 for job in readers], [True, True], "readers that read")


# Kinds of buckets

@check("a bucket with versioning", needs="versions versioning")
def _():
    bucket = BUCKET + "-versions"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kinds = [[cut(MIN, 1), cut(100, 2)], [cut(50, 3)], [cut(MIN, 4), cut(MIN, 5), cut(0, 6)]]
    ids = []
    for bodies in kinds:
        aborted = upload("v", bodies, bucket)
        made = upload("v", bodies, bucket)
        if len(bodies) > 1:
            made.put(2, bodies[1])
        aborted.abort()
        answer = made.complete()
        ids.append(answer["VersionId"])
    same(len(set(ids)), 3, "version ids")
    listed = s3.list_object_versions(Bucket=bucket)
    same([(v["Key"], v["VersionId"], v["Size"], v["ETag"], v["IsLatest"]) for v in listed["Versions"]],
         [("v", i, sum(map(len, b)), etag_of(b), i == ids[-1]) for i, b in zip(ids[::-1], kinds[::-1])], "versions")
    same(listed.get("DeleteMarkers", []), [], "delete markers")
    for version, bodies in zip(ids, kinds):
        where = {"Bucket": bucket, "Key": "v", "VersionId": version}
        head = s3.head_object(**where)
        same((head["ETag"], head["ContentLength"], head["VersionId"]), (etag_of(bodies), sum(map(len, bodies)), version), "HEAD")
        same(s3.get_object(**where)["Body"].read() == b"".join(bodies), True, "GET")
    made = Upload("copy", bucket)
    answer = s3.upload_part_copy(**made.named, PartNumber=1, CopySource={"Bucket": bucket, "Key": "v", "VersionId": ids[0]})
    made.etags[1], made.bodies[1] = answer["CopyPartResult"]["ETag"], b"".join(kinds[0])
    made.complete()
    holds("copy", made.expected(), bucket)
    s3.delete_object(Bucket=bucket, Key="v")
    refused("NoSuchKey", lambda: s3.get_object(Bucket=bucket, Key="v"), status=404)
    listed = s3.list_object_versions(Bucket=bucket)
    every = listed["Versions"] + listed["DeleteMarkers"]
    same(len(every), 5, "versions and markers")
    for one in every:
        s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    # Any version that an upload left beside its own would keep the bucket.
    s3.delete_bucket(Bucket=bucket)


@check("a bucket with default object lock", needs="versions versioning lock")
def _():
    bucket = "locked-" + BUCKET
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
    bodies = [cut(MIN, 1), cut(MIN, 2), cut(100, 3)]
    made = upload("kept", bodies, bucket)
    made.put(3, bodies[2])
    version = made.complete()["VersionId"]
    aborted = upload("aborted", bodies, bucket)
    aborted.abort()
    holds("kept", bodies, bucket)
    retention = s3.get_object_retention(Bucket=bucket, Key="kept")["Retention"]
    same(retention["Mode"], "GOVERNANCE")
    same(22 * 3600 < retention["RetainUntilDate"].timestamp() - time.time() < 25 * 3600, True, "date")
    refused("AccessDenied", lambda: s3.delete_object(Bucket=bucket, Key="kept", VersionId=version), status=403)
    holds("kept", bodies, bucket)
    s3.delete_object(Bucket=bucket, Key="kept", VersionId=version, BypassGovernanceRetention=True)
    same(s3.list_object_versions(Bucket=bucket).get("Versions", []), [], "versions")
    s3.delete_bucket(Bucket=bucket)


@check("nothing is under way in the end, and the bucket can be emptied and deleted")
def _():
    if "list-uploads" not in LACKS:
        for one in uploads():
            s3.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])
        same(uploads(), [])
    while True:
        keys = [{"Key": o["Key"]} for o in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        if not keys:
            break
        same(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True}).get("Errors", []), [])
    s3.delete_bucket(Bucket=BUCKET)


finish()
