#!/usr/bin/env python3
"""S3 through boto3, and by hand where boto3 would not say what is to be tested.

Environment and output: see s3test.py.
"""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import random
import socket
import string
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

from botocore.exceptions import ClientError

from s3test import (ACCESS, ALGORITHMS, BUCKET, ENDPOINT, LACKS, REGION, SECRET, check, checksum, client, finish, md5,
                    noise, refused, same)

SIZES = [0, 1, 15, 16, 255, 256, 257, 65479, 65480, 65481, 65519, 65520, 65521, 65535, 65536, 65537,
         131000, 131001, 196608, 1 << 20]
s3 = client()


def absent(key):
    refused(("404", "NoSuchKey"), lambda: s3.head_object(Bucket=BUCKET, Key=key), status=404)


def put(key, data, **more):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=data, **more)


def get(key, **more):
    answer = s3.get_object(Bucket=BUCKET, Key=key, **more)
    return answer["Body"].read(), answer


# Requests by hand: signature version 4, with payload forms that boto3 does not use over plain HTTP.

def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signed:
    """A signed PUT, and the chain of chunk signatures that starts from it."""

    def __init__(self, key, payload, headers, secret=SECRET):
        now = datetime.now(timezone.utc)
        self.date = now.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date[:8]}/{REGION}/s3/aws4_request"
        self.key = ("AWS4" + secret).encode()
        for part in self.scope.split("/"):
            self.key = hmac256(self.key, part)
        host = urllib.parse.urlsplit(ENDPOINT).netloc
        self.path = urllib.parse.quote(f"/{BUCKET}/{key}", safe="/-_.~")
        self.headers = {"host": host, "x-amz-date": self.date, "x-amz-content-sha256": payload, **headers}
        names = sorted(self.headers)
        canonical = "\n".join(["PUT", self.path, "", *(f"{n}:{self.headers[n].strip()}" for n in names), "",
                               ";".join(names), payload])
        self.last = self.sign("AWS4-HMAC-SHA256", hashlib.sha256(canonical.encode()).hexdigest(), previous=False)
        self.headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={ACCESS}/{self.scope},"
                                         f"SignedHeaders={';'.join(names)},Signature={self.last}")

    def sign(self, algorithm, *lines, previous=True):
        chain = [self.last] if previous else []
        text = "\n".join([algorithm, self.date, self.scope, *chain, *lines])
        self.last = hmac256(self.key, text).hex()
        return self.last

    def send(self, body):
        parts = urllib.parse.urlsplit(ENDPOINT)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=60)
        connection.putrequest("PUT", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**self.headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            connection.send(body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (ConnectionError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()


EMPTY = hashlib.sha256(b"").hexdigest()


def chunked(key, data, *, signed=True, trailer=None, chunk=65536, secret=SECRET, spoil=None):
    """An aws-chunked PUT. `spoil` may change the encoded body."""
    form = {(True, False): "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (True, True): "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (False, True): "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}[signed, trailer is not None]
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data))}
    if trailer:
        headers["x-amz-trailer"] = trailer[0]
    request = Signed(key, form, headers, secret)
    body = b""
    for start in [*range(0, len(data), chunk), len(data)]:
        part = data[start:start + chunk]
        line = f"{len(part):x}"
        if signed:
            digest = hashlib.sha256(part).hexdigest()
            line += ";chunk-signature=" + request.sign("AWS4-HMAC-SHA256-PAYLOAD", EMPTY, digest)
        body += line.encode() + b"\r\n" + part
        if part or not trailer:
            body += b"\r\n"
    if trailer:
        name, value = trailer
        body += f"{name}:{value}\r\n".encode()
        if signed:
            digest = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
            signature = request.sign("AWS4-HMAC-SHA256-TRAILER", digest)
            body += f"x-amz-trailer-signature:{signature}\r\n".encode()
        body += b"\r\n"
    if spoil:
        body = spoil(body)
    return request.send(body)


# Buckets

@check("create, head, locate and list a bucket")
def _():
    s3.create_bucket(Bucket=BUCKET)
    s3.head_bucket(Bucket=BUCKET)
    same(s3.get_bucket_location(Bucket=BUCKET).get("LocationConstraint") in (None, REGION, "default", ""), True)
    same(BUCKET in [b["Name"] for b in s3.list_buckets()["Buckets"]], True, "listed")


@check("a new bucket is empty")
def _():
    same(s3.list_objects_v2(Bucket=BUCKET)["KeyCount"], 0)
    same("Contents" in s3.list_objects(Bucket=BUCKET), False)


# Objects

for size in SIZES:
    @check(f"put, head, get, list {size} bytes")
    def _():
        data = noise(size)
        key = f"size/{size}"
        same(put(key, data)["ETag"], f'"{md5(data)}"', "ETag of PUT")
        head = s3.head_object(Bucket=BUCKET, Key=key)
        same(head["ContentLength"], size, "length of HEAD")
        same(head["ETag"], f'"{md5(data)}"', "ETag of HEAD")
        body, answer = get(key)
        same(answer["ContentLength"], size, "length of GET")
        same(answer["ETag"], f'"{md5(data)}"', "ETag of GET")
        same(answer["LastModified"], head["LastModified"], "date")
        same(body, data, "body")
        for listed in (s3.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"][0],
                       s3.list_objects(Bucket=BUCKET, Prefix=key)["Contents"][0]):
            same(listed["Size"], size, "size in the listing")
            same(listed["ETag"], f'"{md5(data)}"', "ETag in the listing")


@check("overwriting replaces body, size and ETag")
def _():
    put("over", noise(70000, 1))
    put("over", noise(100, 2))
    body, answer = get("over")
    same(body, noise(100, 2))
    same(answer["ETag"], f'"{md5(body)}"')
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="over")["Contents"]
    same([o["Size"] for o in listed], [100])


@check("ranges around segment boundaries")
def _():
    size = 5 * 65536 + 1234
    data = noise(size, 3)
    put("ranges", data)
    edges = {0, size}
    for segment in (65536, 65520):
        for k in range(1, 6):
            for shift in (-16, 0, -56, -512, 512):
                edges.add(k * segment + shift)
    points = sorted({min(max(e + d, 0), size - 1) for e in edges for d in (-1, 0, 1)})
    pick = random.Random(4)
    spans = [(a, a) for a in points] + [(a, b) for a, b in zip(points, points[1:])]
    spans += [tuple(sorted(pick.sample(points, 2))) for _ in range(60)] + [(0, size - 1), (0, size + 10)]
    ranges = {f"bytes={a}-{b}": (a, min(b, size - 1)) for a, b in spans}
    ranges.update({f"bytes={a}-": (a, size - 1) for a in pick.sample(points, 10)})
    for tail in (1, 15, 16, 17, 255, 256, 257, 512, 65535, 65536, 65537, size - 1, size, size + 1):
        ranges[f"bytes=-{tail}"] = (max(size - tail, 0), size - 1)

    def one(item):
        header, (first, last) = item
        body, answer = get("ranges", Range=header)
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 206, header)
        same(answer["ContentRange"], f"bytes {first}-{last}/{size}", header)
        same(answer["ContentLength"], last - first + 1, header)
        same(body == data[first:last + 1], True, header)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, ranges.items()))


@check("ranges of small objects")
def _():
    for size in (1, 2, 255, 256, 257, 300):
        data = noise(size, 5)
        put("small", data)
        for first, last in ((0, 0), (size - 1, size - 1), (0, size - 1), (size // 2, size)):
            same(get("small", Range=f"bytes={first}-{last}")[0], data[first:last + 1])
        same(get("small", Range=f"bytes=-{size}")[0], data)
        same(get("small", Range="bytes=-1000")[0], data)


@check("a range past the end is refused")
def _():
    refused("InvalidRange", lambda: get("size/257", Range="bytes=257-"), status=416)
    refused("InvalidRange", lambda: get("size/257", Range="bytes=300-400"), status=416)
    refused("InvalidRange", lambda: get("size/0", Range="bytes=0-0"), status=416)


KEYS = ["plain", "with space", " leading", "trailing ", "plus+plus", "percent%41", "100%", "%2F", "a//b", "a///b//",
        "//double", "/lead", "dir/", "dir//", "a", "a/b", "a/b/c", "..", "../up", "x/../y", "x/./y", "./z", ".", "x/..",
        "@", "=", "&", "(", ")", "[", "]", "!", "'", "*", "all@=&()[]!'*", ";", ":", "?", "#", "?a=b&c=d", "x?y#z", "~",
        "$", ",", "\"quoted\"", "back\\slash", "pipe|", "<tag>", "`", "^", "{}", "ümläut", "日本語/キー", "emoji-🔒",
        "e\u0301", "\u00e9", "\U0010ffff", "tab\there", "new\nline", "k" * 1024, "d" * 300 + "/" + "f" * 300, "ü" * 512,
        "CaSe", "case", ".hidden", ".tmp.0.internal.part", "-dash", "catalog.redb", "nul", "+", "%", "%%", "a+b c%20d"]


def hard(key):
    """Keys that not every store takes."""
    return any(ord(c) < 32 for c in key) or key in (".", "..") or key.startswith("../")


for key in KEYS:
    label = key if len(key) < 40 else f"{key[:12]}… ({len(key.encode())} bytes)"

    @check(f"key {label!r}", needs="hard-keys" if hard(key) else "")
    def _():
        data = key.encode() * 3
        put(key, data)
        same(get(key)[0], data, "body")
        same(s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"], len(data), "size")
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=key, MaxKeys=1)["Contents"]
        same([(o["Key"], o["Size"]) for o in listed], [(key, len(data))], "listing")
        s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": key})
        same(get("copied")[0], data, "copy")
        url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})
        same(urllib.request.urlopen(url, timeout=60).read(), data, "presigned")


@check("a key does not answer for another", needs="hard-keys")
def _():
    for key in KEYS:
        same(get(key)[0] == key.encode() * 3, True, key)


@check("all keys are listed once, in the order of their UTF-8 bytes", needs="hard-keys")
def _():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 7})
    listed = [o["Key"] for page in pages for o in page.get("Contents", [])]
    same(listed, sorted(listed, key=str.encode))
    same(sorted(set(KEYS) - set(listed)), [])
    pages = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 11})
    same([o["Key"] for page in pages for o in page.get("Contents", [])], listed, "v1")


@check("DeleteObjects with special keys")
def _():
    keys = [k for k in KEYS if not hard(k) or "hard-keys" not in LACKS]
    objects = [{"Key": k} for k in keys if k.isprintable()]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
    same(answer.get("Errors", []), [])
    same(len(answer["Deleted"]), len(objects))
    for key in keys:
        if key.isprintable():
            absent(key)
        else:
            s3.delete_object(Bucket=BUCKET, Key=key)


@check("a key over 1024 bytes is refused")
def _():
    refused(("KeyTooLongError", "InvalidArgument", "InvalidObjectName", "400", "InvalidRequest"),
            lambda: put("k" * 1025, b"x"))


@check("user metadata and standard headers come back, and none of the gateway's own")
def _():
    metadata = {"one": "1", "two-words": "a b  c", "empty": "", "long": "x" * 900}
    headers = {"ContentType": "text/x-test; charset=utf-8", "CacheControl": "max-age=7",
               "ContentDisposition": 'attachment; filename="a b.txt"', "ContentEncoding": "gzip",
               "ContentLanguage": "de", "Expires": datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone.utc)}
    put("meta", noise(70000, 6), Metadata=metadata, **headers)
    for answer in (s3.head_object(Bucket=BUCKET, Key="meta"), get("meta")[1], get("meta", Range="bytes=5-9")[1]):
        # A store may drop metadata without a value.
        same({k: v for k, v in answer["Metadata"].items() if v}, {k: v for k, v in metadata.items() if v})
        for name, value in headers.items():
            same(answer[name], value, name)


@check("response overrides of a presigned GET")
def _():
    parameters = {"Bucket": BUCKET, "Key": "meta", "ResponseContentType": "x/y",
                  "ResponseContentDisposition": "attachment; filename=z"}
    answer = urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=parameters), timeout=60)
    same(answer.headers["Content-Type"], "x/y")
    same(answer.headers["Content-Disposition"], "attachment; filename=z")


@check("presigned PUT, and a presigned URL that was changed or has expired")
def _():
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "presigned"})
    urllib.request.urlopen(urllib.request.Request(url, data=noise(70001), method="PUT"), timeout=60)
    same(get("presigned")[0], noise(70001))
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "presigned"}, ExpiresIn=1)
    for bad in (url.replace("presigned?", "meta?"), url.replace("X-Amz-Expires=1&", "X-Amz-Expires=9&")):
        try:
            urllib.request.urlopen(bad, timeout=60)
        except urllib.error.HTTPError as error:
            same(error.code, 403)
            continue
        raise AssertionError("a changed URL was accepted")


# Browsers: forms with a policy that boto3 signed

class Straight(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def post_form(form, data, filename="file.bin"):
    """Status, headers and body of the answer to the form, sent as browsers send it."""
    boundary = "----WebKitFormBoundary" + "".join(random.choices(string.ascii_letters, k=16))
    head = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                   for name, value in form["fields"].items())
    head += (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
             "Content-Type: application/octet-stream\r\n\r\n")
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(form["url"], data=body, method="POST", headers={
        "Content-Type": f"multipart/form-data; boundary={boundary}"})
    try:
        answer = urllib.request.build_opener(Straight).open(request, timeout=120)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.headers, answer.read()


@check("forms that boto3 presigned")
def _():
    for size in (0, 1, 65480, 65481, 1 << 20, 10 << 20):
        form = s3.generate_presigned_post(BUCKET, f"posted/{size}")
        status, headers, body = post_form(form, noise(size))
        same((status, body), (204, b""), body)
        same(headers["ETag"], f'"{md5(noise(size))}"', "ETag")
        same(get(f"posted/{size}")[0], noise(size), "posted")


@check("fields and conditions of a form")
def _():
    fields = {"Content-Type": "image/png", "x-amz-meta-one": "1", "success_action_status": "201"}
    conditions = [["starts-with", "$Content-Type", "image/"], {"x-amz-meta-one": "1"}, {"success_action_status": "201"},
                  ["content-length-range", 10, 100000]]
    form = s3.generate_presigned_post(BUCKET, "posted/${filename}", Fields=fields, Conditions=conditions)
    status, headers, body = post_form(form, noise(70000), "a b.png")
    same(status, 201, body)
    for part in (f"<Bucket>{BUCKET}</Bucket>", "<Key>posted/a b.png</Key>", "<ETag>&quot;"):
        same(part in body.decode(), True, part)
    data, answer = get("posted/a b.png")
    same(data, noise(70000))
    same((answer["ContentType"], answer["Metadata"]), ("image/png", {"one": "1"}))
    for size, code in ((9, "EntityTooSmall"), (100001, "EntityTooLarge")):
        status, _, body = post_form(form, noise(size))
        same((status, f"<Code>{code}</Code>" in body.decode()), (400, True), body)
    redirect = {"success_action_redirect": "https://app.example.org/done"}
    form = s3.generate_presigned_post(BUCKET, "posted/redirected", Fields=redirect, Conditions=[redirect])
    status, headers, _ = post_form(form, b"data")
    expected = f"https://app.example.org/done?bucket={BUCKET}&key=posted%2Fredirected&etag=%22{md5(b'data')}%22"
    same((status, headers["Location"]), (303, expected))


@check("forms that were changed or have expired")
def _():
    for name, value in (("key", "posted/another"), ("policy", "e30="), ("x-amz-meta-new", "1"), ("x-amz-signature", "0" * 64)):
        form = s3.generate_presigned_post(BUCKET, "posted/never")
        form["fields"][name] = value
        status, _, body = post_form(form, noise(70000))
        same(status, 403, f"{name}: {body}")
    form = s3.generate_presigned_post(BUCKET, "posted/never", ExpiresIn=-1)
    same(post_form(form, b"data")[0], 403, "expired")
    refused("404", lambda: s3.head_object(Bucket=BUCKET, Key="posted/never"))


# Copies

@check("copy keeps metadata, or replaces it")
def _():
    source = {"Bucket": BUCKET, "Key": "meta"}
    answer = s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source)
    # Ceph leaves the quotes out.
    same(answer["CopyObjectResult"]["ETag"].strip('"'), md5(noise(70000, 6)), "ETag")
    body, answer = get("copy")
    same(body, noise(70000, 6))
    same((answer["Metadata"]["one"], answer["ContentType"]), ("1", "text/x-test; charset=utf-8"))
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source, MetadataDirective="REPLACE",
                   Metadata={"new": "yes"}, ContentType="x/new")
    body, answer = get("copy")
    same(body, noise(70000, 6))
    same((answer["Metadata"], answer["ContentType"]), ({"new": "yes"}, "x/new"))


@check("copy onto itself with new metadata, and not without")
def _():
    source = {"Bucket": BUCKET, "Key": "copy"}
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source, MetadataDirective="REPLACE", Metadata={"third": "3"})
    body, answer = get("copy")
    same((body, answer["Metadata"]), (noise(70000, 6), {"third": "3"}))
    refused("InvalidRequest", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source))


@check("a copy is independent of its source")
def _():
    put("first", noise(5000, 7))
    s3.copy_object(Bucket=BUCKET, Key="second", CopySource={"Bucket": BUCKET, "Key": "first"})
    s3.delete_object(Bucket=BUCKET, Key="first")
    same(get("second")[0], noise(5000, 7))


@check("conditions on the source of a copy", needs="copy-conditions")
def _():
    source = {"Bucket": BUCKET, "Key": "meta"}
    etag = s3.head_object(Bucket=BUCKET, Key="meta")["ETag"]
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source, CopySourceIfMatch=etag)
    refused("PreconditionFailed", lambda: s3.copy_object(
        Bucket=BUCKET, Key="copy", CopySource=source, CopySourceIfMatch='"' + "0" * 32 + '"'))
    refused("PreconditionFailed", lambda: s3.copy_object(
        Bucket=BUCKET, Key="copy", CopySource=source, CopySourceIfNoneMatch=etag))


@check("copy from where nothing is")
def _():
    refused("NoSuchKey", lambda: s3.copy_object(
        Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "not-there"}), status=404)


# Integrity of uploads

@check("Content-MD5 is accepted, and a wrong one leaves nothing")
def _():
    data = noise(70000, 8)
    put("md5", data, ContentMD5=base64.b64encode(hashlib.md5(data).digest()).decode())
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused("BadDigest", lambda: put("md5-bad", data, ContentMD5=wrong), status=400)
    absent("md5-bad")
    refused("BadDigest", lambda: put("md5", noise(9), ContentMD5=wrong))
    same(get("md5")[0], data, "the object that was there")


for algorithm in ALGORITHMS:
    @check(f"checksum {algorithm} in a header", needs="checksums")
    def _():
        data = noise(70000, 9)
        name = f"Checksum{algorithm}"
        value = checksum(algorithm, data)
        key = f"sum/{algorithm}"
        same(put(key, data, **{name: value}).get(name), value, "PUT")
        for answer in (s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED"),
                       get(key, ChecksumMode="ENABLED")[1]):
            same(answer.get(name), value, "read")
        same(name in s3.head_object(Bucket=BUCKET, Key=key), False, "only when asked for")
        refused(("BadDigest", "InvalidRequest", "XAmzContentChecksumMismatch", "400"),
                lambda: put(key + "-bad", data, **{name: checksum(algorithm, b"other")}))
        absent(key + "-bad")

    for signed in (True, False):
        @check(f"checksum {algorithm} in {'a signed' if signed else 'an unsigned'} trailer",
               needs="checksums trailers")
        def _():
            data = noise(200001, 10)
            value = checksum(algorithm, data)
            name = f"x-amz-checksum-{algorithm.lower()}"
            key = f"trailer/{algorithm}/{signed}"
            same(chunked(key, data, signed=signed, trailer=(name, value))[0], 200, "status")
            body, answer = get(key, ChecksumMode="ENABLED")
            same(body == data, True, "body")
            same(answer.get(f"Checksum{algorithm}"), value)
            same("aws-chunked" in answer.get("ContentEncoding", ""), False, "Content-Encoding")
            status, text = chunked(key + "-bad", data, signed=signed, trailer=(name, checksum(algorithm, b"other")))
            same(status in (0, 400), True, f"{status} {text}")
            absent(key + "-bad")


@check("signed chunks", needs="chunked")
def _():
    for size in (0, 1, 65535, 65536, 65537, 200000):
        same(chunked("chunks", noise(size, 11))[0], 200, size)
        body, answer = get("chunks")
        same(body == noise(size, 11), True, size)
        same("aws-chunked" in answer.get("ContentEncoding", ""), False, "Content-Encoding")


@check("a changed chunk, a wrong chunk signature leave nothing", needs="chunked")
def _():
    data = noise(200000, 12)

    def flip(at):
        return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]

    for name, spoil in {"changed": flip(70000), "first": flip(200), "signature": flip(30),
                        "short": lambda body: body[:100000]}.items():
        status, text = chunked("bad-" + name, data, spoil=spoil)
        same(status in (0, 400, 403), True, f"{name}: {status} {text}")
        absent("bad-" + name)


@check("an aws-chunked body without its last chunk leaves nothing", needs="chunked last-chunk")
def _():
    status, text = chunked("bad-last", noise(200000, 12), spoil=lambda body: body[:-86])
    same(status in (0, 400, 403), True, f"{status} {text}")
    absent("bad-last")


@check("a wrong x-amz-content-sha256 leaves nothing")
def _():
    data = noise(70000, 13)
    request = Signed("bad-sha", hashlib.sha256(b"other").hexdigest(), {})
    status, text = request.send(data)
    same(status in (400, 403), True, f"{status} {text}")
    absent("bad-sha")
    request = Signed("good-sha", hashlib.sha256(data).hexdigest(), {})
    same(request.send(data)[0], 200)


@check("UNSIGNED-PAYLOAD")
def _():
    data = noise(70000, 14)
    same(Signed("unsigned", "UNSIGNED-PAYLOAD", {}).send(data)[0], 200)
    same(get("unsigned")[0] == data, True)


@check("a body that breaks off stores nothing, and leaves what was there")
def _():
    put("cut", b"before")
    for size, cut in ((10, 1), (70000, 1), (70000, 65536), (300000, 1), (300000, 299000)):
        for key in ("cut", "cut-new"):
            request = Signed(key, "UNSIGNED-PAYLOAD", {})
            parts = urllib.parse.urlsplit(ENDPOINT)
            if parts.scheme != "http":
                return
            with socket.create_connection((parts.hostname, parts.port or 80), timeout=60) as connection:
                head = f"PUT {request.path} HTTP/1.1\r\ncontent-length: {size}\r\n"
                head += "".join(f"{n}: {v}\r\n" for n, v in request.headers.items()) + "\r\n"
                connection.sendall(head.encode() + noise(size - cut))
                connection.shutdown(socket.SHUT_WR)
                try:
                    answer = connection.recv(4096)
                except ConnectionError:
                    answer = b""
                same(answer.startswith(b"HTTP/1.1 2"), False, "answer")
    absent("cut-new")
    same(get("cut")[0], b"before")


# Conditions

@check("conditional GET and HEAD")
def _():
    data = noise(70000, 15)
    etag = put("if", data)["ETag"]
    other = '"' + "0" * 32 + '"'
    same(get("if", IfMatch=etag)[0] == data, True)
    same(get("if", IfNoneMatch=other)[0] == data, True)
    refused(("PreconditionFailed", "412"), lambda: get("if", IfMatch=other), status=412)
    refused(("304", "NotModified"), lambda: get("if", IfNoneMatch=etag), status=304)
    refused(("412", "PreconditionFailed"), lambda: s3.head_object(Bucket=BUCKET, Key="if", IfMatch=other), status=412)
    refused(("304", "NotModified"), lambda: s3.head_object(Bucket=BUCKET, Key="if", IfNoneMatch=etag), status=304)
    modified = s3.head_object(Bucket=BUCKET, Key="if")["LastModified"]
    refused(("304", "NotModified"), lambda: get("if", IfModifiedSince=modified + timedelta(seconds=1)), status=304)
    refused(("PreconditionFailed", "412"), lambda: get("if", IfUnmodifiedSince=modified - timedelta(days=1)))
    same(get("if", IfModifiedSince=modified - timedelta(days=1))[0] == data, True)
    same(get("if", IfMatch=etag, Range="bytes=65530-65540")[0], data[65530:65541])
    refused(("PreconditionFailed", "412"), lambda: get("if", IfMatch=other, Range="bytes=0-1"), status=412)


@check("PUT If-None-Match: *", needs="if-none-match")
def _():
    put("once", b"first", IfNoneMatch="*")
    refused("PreconditionFailed", lambda: put("once", b"second", IfNoneMatch="*"), status=412)
    same(get("once")[0], b"first")


@check("PUT If-Match", needs="if-match")
def _():
    etag = put("swap", b"one")["ETag"]
    etag = put("swap", b"two", IfMatch=etag)["ETag"]
    refused("PreconditionFailed", lambda: put("swap", b"three", IfMatch='"' + "0" * 32 + '"'), status=412)
    same(get("swap")[0], b"two")
    refused(("NoSuchKey", "PreconditionFailed", "404"), lambda: put("swap-absent", b"x", IfMatch=etag))
    absent("swap-absent")


@check("one of many If-None-Match writers wins", needs="if-none-match")
def _():
    def one(number):
        try:
            client().put_object(Bucket=BUCKET, Key="race", Body=noise(70000, number), IfNoneMatch="*")
            return number
        except ClientError as error:
            same(error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"), True, error)
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [n for n in pool.map(one, range(8)) if n is not None]
    same(len(winners), 1, "winners")
    same(get("race")[0] == noise(70000, winners[0]), True)


@check("readers see one version or the other while a key is overwritten")
def _():
    versions = [noise(150000, n) for n in (20, 21)]
    put("busy", versions[0])

    def write(count):
        mine = client()
        for number in range(count):
            mine.put_object(Bucket=BUCKET, Key="busy", Body=versions[number % 2])

    def read(count):
        mine = client()
        for _ in range(count):
            answer = mine.get_object(Bucket=BUCKET, Key="busy")
            body = answer["Body"].read()
            same(body in versions, True, "a mixture")
            same(answer["ETag"], f'"{md5(body)}"')

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(write, 20), pool.submit(read, 20), pool.submit(read, 20)]:
            job.result()


# Listings

def tree():
    names = ["list/a", "list/a-b", "list/a/1", "list/a/2", "list/a/x/1", "list/a0", "list/b/1", "list/c", "list/d/",
             "list/d/1", "list/z", "list/é/1"]
    for name in names:
        put(name, name.encode())
    return names


@check("delimiter and prefix")
def _():
    names = tree()
    for call in (s3.list_objects, s3.list_objects_v2):
        answer = call(Bucket=BUCKET, Prefix="list/", Delimiter="/")
        same([o["Key"] for o in answer["Contents"]], [n for n in names if n.count("/") == 1], "keys")
        same([p["Prefix"] for p in answer["CommonPrefixes"]], ["list/a/", "list/b/", "list/d/", "list/é/"], "prefixes")
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/a", Delimiter="-")
    same([p["Prefix"] for p in answer["CommonPrefixes"]], ["list/a-"])
    same(answer["KeyCount"], 6, "KeyCount")
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/nothing")
    same((answer["KeyCount"], answer["IsTruncated"]), (0, False))


@check("pages of every length, with and without delimiter")
def _():
    for delimiter in ("", "/"):
        for method in ("list_objects", "list_objects_v2"):
            whole = getattr(s3, method)(Bucket=BUCKET, Prefix="list/", Delimiter=delimiter)
            expected = ([o["Key"] for o in whole.get("Contents", [])],
                        [p["Prefix"] for p in whole.get("CommonPrefixes", [])])
            for length in range(1, 13):
                pages = s3.get_paginator(method).paginate(Bucket=BUCKET, Prefix="list/", Delimiter=delimiter,
                                                          PaginationConfig={"PageSize": length})
                keys, prefixes = [], []
                for page in pages:
                    mine = [o["Key"] for o in page.get("Contents", [])]
                    more = [p["Prefix"] for p in page.get("CommonPrefixes", [])]
                    same(len(mine) + len(more) <= length, True, "length of a page")
                    keys += mine
                    prefixes += more
                same((keys, prefixes), expected, f"{method} {delimiter!r} {length}")


@check("start-after and marker")
def _():
    names = tree()
    for place in (0, 3, 7, 11):
        answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter=names[place])
        same([o["Key"] for o in answer.get("Contents", [])], names[place + 1:], names[place])
        answer = s3.list_objects(Bucket=BUCKET, Prefix="list/", Marker=names[place])
        same([o["Key"] for o in answer.get("Contents", [])], names[place + 1:], names[place])


@check("list versions", needs="versions")
def _():
    names = tree()
    answer = s3.list_object_versions(Bucket=BUCKET, Prefix="list/")
    same([(v["Key"], v["Size"], v["ETag"], v["IsLatest"]) for v in answer["Versions"]],
         [(n, len(n.encode()), f'"{md5(n.encode())}"', True) for n in names])
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix="list/",
                                                              PaginationConfig={"PageSize": 5})
    same([v["Key"] for page in pages for v in page["Versions"]], names, "pages")


@check("a bucket with versioning: sizes, ETags and bodies of old versions, delete markers", needs="versions versioning")
def _():
    bucket = BUCKET + "-versions"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="before", Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    same(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
    bodies = [noise(size, 30) for size in (10, 70000, 0, 65480)]
    ids = [s3.put_object(Bucket=bucket, Key="v", Body=body)["VersionId"] for body in bodies]
    same(len(set(ids)), len(ids), "version ids")
    marker = s3.delete_object(Bucket=bucket, Key="v")
    same(marker["DeleteMarker"], True)

    answer = s3.list_object_versions(Bucket=bucket, Prefix="v")
    same([(v["VersionId"], v["Size"], v["ETag"], v["IsLatest"]) for v in answer["Versions"]],
         [(i, len(b), f'"{md5(b)}"', False) for i, b in zip(ids[::-1], bodies[::-1])], "versions")
    same([(m["Key"], m["VersionId"], m["IsLatest"]) for m in answer["DeleteMarkers"]],
         [("v", marker["VersionId"], True)], "delete markers")
    before = s3.list_object_versions(Bucket=bucket, Prefix="before")["Versions"]
    same([(v["VersionId"], v["Size"], v["ETag"]) for v in before], [("null", 6, f'"{md5(b"before")}"')], "null version")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    same([(v["VersionId"], v["Size"]) for page in pages for v in page.get("Versions", [])],
         [("null", 6)] + [(i, len(b)) for i, b in zip(ids[::-1], bodies[::-1])], "pages")
    same([o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["before"], "current objects")

    for version, body in zip(ids, bodies):
        head = s3.head_object(Bucket=bucket, Key="v", VersionId=version)
        same((head["ContentLength"], head["ETag"], head["VersionId"]), (len(body), f'"{md5(body)}"', version), "HEAD")
        answer = s3.get_object(Bucket=bucket, Key="v", VersionId=version)
        same(answer["Body"].read() == body, True, "GET")
    answer = s3.get_object(Bucket=bucket, Key="v", VersionId=ids[1], Range="bytes=65475-65485")
    same(answer["Body"].read(), bodies[1][65475:65486], "range")
    same(s3.get_object(Bucket=bucket, Key="before", VersionId="null")["Body"].read(), b"before", "null version")
    refused("NoSuchKey", lambda: s3.get_object(Bucket=bucket, Key="v"), status=404)

    s3.copy_object(Bucket=bucket, Key="restored", CopySource={"Bucket": bucket, "Key": "v", "VersionId": ids[1]})
    same(s3.get_object(Bucket=bucket, Key="restored")["Body"].read() == bodies[1], True, "copy of a version")
    s3.delete_object(Bucket=bucket, Key="v", VersionId=marker["VersionId"])
    same(s3.get_object(Bucket=bucket, Key="v")["Body"].read() == bodies[-1], True, "after the marker is gone")
    s3.delete_object(Bucket=bucket, Key="v", VersionId=ids[-1])
    same(s3.get_object(Bucket=bucket, Key="v")["Body"].read(), bodies[-2], "after the newest is gone")

    answer = s3.list_object_versions(Bucket=bucket)
    every = answer.get("Versions", []) + answer.get("DeleteMarkers", [])
    objects = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in every]
    same(s3.delete_objects(Bucket=bucket, Delete={"Objects": objects}).get("Errors", []), [])
    s3.delete_bucket(Bucket=bucket)


@check("1005 keys in two pages")
def _():
    shared = client(config={"max_pool_connections": 16})

    def one(number):
        shared.put_object(Bucket=BUCKET, Key=f"many/{number:05}", Body=b"x" * (number % 7))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1005)))
    first = s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")
    same((first["KeyCount"], first["IsTruncated"]), (1000, True))
    second = s3.list_objects_v2(Bucket=BUCKET, Prefix="many/", ContinuationToken=first["NextContinuationToken"])
    same((second["KeyCount"], second["IsTruncated"]), (5, False))
    listed = first["Contents"] + second["Contents"]
    same([(o["Key"], o["Size"]) for o in listed], [(f"many/{n:05}", n % 7) for n in range(1005)])


# Refusals

@check("reads of what is not there")
def _():
    refused("NoSuchKey", lambda: get("not-there"), status=404)
    refused("NoSuchBucket", lambda: s3.get_object(Bucket=BUCKET + "-not", Key="x"), status=404)
    refused("NoSuchBucket", lambda: s3.list_objects_v2(Bucket=BUCKET + "-not"), status=404)
    refused("NoSuchBucket", lambda: s3.put_object(Bucket=BUCKET + "-not", Key="x", Body=noise(300000)), status=404)
    refused(("404", "NoSuchBucket"), lambda: s3.head_bucket(Bucket=BUCKET + "-not"), status=404)
    s3.delete_object(Bucket=BUCKET, Key="not-there")


@check("wrong secret and unknown access key")
def _():
    wrong = client(aws_secret_access_key=SECRET + "x")
    refused("SignatureDoesNotMatch", lambda: wrong.list_objects_v2(Bucket=BUCKET), status=403)
    refused("SignatureDoesNotMatch", lambda: wrong.put_object(Bucket=BUCKET, Key="wrong", Body=b"x"))
    absent("wrong")
    unknown = client(aws_access_key_id="AKNOBODY")
    refused(("InvalidAccessKeyId", "NotSignedUp", "AccessDenied"), lambda: unknown.list_objects_v2(Bucket=BUCKET),
            status=403)


@check("no credentials")
def _():
    for path in (f"/{BUCKET}/meta", f"/{BUCKET}", "/"):
        try:
            urllib.request.urlopen(ENDPOINT + path, timeout=60)
        except urllib.error.HTTPError as error:
            same(error.code, 403, path)
            continue
        if path != "/":
            raise AssertionError(f"{path} answered without credentials")


@check("a bucket that is not empty cannot be deleted")
def _():
    refused("BucketNotEmpty", lambda: s3.delete_bucket(Bucket=BUCKET), status=409)


@check("delete everything, a thousand at a time")
def _():
    while True:
        keys = [{"Key": o["Key"]} for o in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        if not keys:
            break
        same(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True}).get("Errors", []), [])
    s3.delete_bucket(Bucket=BUCKET)
    refused(("404", "NoSuchBucket"), lambda: s3.head_bucket(Bucket=BUCKET))


finish()
