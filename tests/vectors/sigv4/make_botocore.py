"""Writes botocore.json: requests as boto3 puts them on the wire, to be verified by tests/sigv4.rs.

Needs boto3 and no network: each request is caught before it is sent. Times, credentials and bodies
are fixed, so that the same boto3 writes the same file.

    python make_botocore.py > botocore.json
"""

import base64
import datetime
import io
import json

import boto3
import botocore
import botocore.auth
import botocore.awsrequest
from botocore.config import Config

ACCESS_KEY = "AKIDVECTORS"
SECRET = "vector/secret+key=with~all.kinds_of-characters"
REGION = "fsn1"
NOW = datetime.datetime(2026, 11, 21, 12, 34, 56, tzinfo=datetime.timezone.utc)

KEYS = [
    "plain",
    "with space",
    "plus+and%percent%20",
    "//leading//double/",
    "../up/./here/..",
    "trailing/",
    "ünïcödé/€/日本語/😀",
    "at@eq=amp&par()br[]ex!qu'st*co,se;co:do$ha#qu?",
    "tilde~under_score-dash.dot",
    "back\\slash|pipe^caret`tick\"quote<>{}",
    "tab\tand\nnewline",
]


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW.replace(tzinfo=None)

    @classmethod
    def now(cls, tz=None):
        return NOW if tz else NOW.replace(tzinfo=None)


def freeze():
    for name in ("get_current_datetime",):
        if hasattr(botocore.auth, name):
            setattr(botocore.auth, name, lambda remove_tzinfo=True: NOW.replace(tzinfo=None) if remove_tzinfo else NOW)
    if hasattr(botocore.auth, "datetime"):
        botocore.auth.datetime = type("module", (), {"datetime": Clock})


cases = []


class Caught(Exception):
    pass


def client(addressing, scheme="https"):
    made = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=f"{scheme}://s3.example.org",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing},
            retries={"total_max_attempts": 1},
        ),
    )
    made.meta.events.register("before-send.s3", catch)
    return made


def catch(request, **_):
    body = request.body
    if body is None:
        body = b""
    elif hasattr(body, "read"):
        body = body.read()
    elif isinstance(body, str):
        body = body.encode()
    catch.last = (request.method, request.url, dict(request.headers), bytes(body))
    raise Caught


def text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def add(name, method, url, headers, body, presigned, bucket, key):
    scheme, rest = url.split("://", 1)
    host, _, target = rest.partition("/")
    path, _, query = ("/" + target).partition("?")
    headers = [[k.lower(), text(v)] for k, v in headers.items()]
    if not any(k == "host" for k, _ in headers):
        headers.append(["host", host])
    headers = [h for h in headers if h[0] not in ("amz-sdk-invocation-id", "user-agent")]
    cases.append(
        {
            "name": name,
            "method": method,
            "path": path,
            "query": query,
            "headers": sorted(headers),
            "body": base64.b64encode(body).decode(),
            "presigned": presigned,
            "bucket": bucket,
            "key": key,
        }
    )


def send(name, bucket, key, call, **arguments):
    try:
        call(Bucket=bucket, **({"Key": key} if key is not None else {}), **arguments)
    except Caught:
        add(name, *catch.last, False, bucket, key)
    else:
        raise SystemExit("a request was not caught")


def presign(name, made, operation, bucket, key, method, **arguments):
    url = made.generate_presigned_url(
        operation, Params={"Bucket": bucket, "Key": key, **arguments}, ExpiresIn=3600
    )
    headers = {k: v for k, v in (("content-type", arguments.get("ContentType")),) if v}
    add(name, method, url, headers, b"", True, bucket, key)


def main():
    freeze()
    for addressing in ("path", "virtual"):
        made = client(addressing)
        for key in KEYS:
            send(f"get {addressing} {key!r}", "my-bucket", key, made.get_object, Range="bytes=0-9")
            presign(f"presigned get {addressing} {key!r}", made, "get_object", "my-bucket", key, "GET")
            presign(
                f"presigned put {addressing} {key!r}",
                made,
                "put_object",
                "my-bucket",
                key,
                "PUT",
                ContentType="text/plain",
            )
            send(f"list {addressing} {key!r}", "my-bucket", None, made.list_objects_v2, Prefix=key, Delimiter="/")
            send(
                f"copy {addressing} {key!r}",
                "my-bucket",
                key,
                made.copy_object,
                CopySource={"Bucket": "other", "Key": key},
                Metadata={"note": "two  spaces"},
                MetadataDirective="REPLACE",
            )
    secure, plain = client("path"), client("path", "http")
    body = bytes(range(256)) * 20
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        for scheme, made in (("https", secure), ("http", plain)):
            try:
                send(
                    f"put {algorithm} {scheme}",
                    "my-bucket",
                    "k",
                    made.put_object,
                    Body=io.BytesIO(body),
                    ChecksumAlgorithm=algorithm,
                    ContentType="application/octet-stream",
                )
            except (botocore.exceptions.MissingDependencyException, ImportError):
                pass  # needs awscrt
    send("put default", "my-bucket", "k", secure.put_object, Body=body)
    send("put empty", "my-bucket", "k", secure.put_object, Body=b"")
    send("put part", "my-bucket", "k", secure.upload_part, Body=body, PartNumber=3, UploadId="up/load+id==")
    send(
        "put with Content-MD5",
        "my-bucket",
        "k",
        plain.put_object,
        Body=body,
        ContentMD5=base64.b64encode(__import__("hashlib").md5(body).digest()).decode(),
    )
    send(
        "delete several",
        "my-bucket",
        None,
        secure.delete_objects,
        Delete={"Objects": [{"Key": "a&b"}, {"Key": "c"}]},
    )
    send("create upload", "my-bucket", "k", secure.create_multipart_upload, Tagging="a=b&c=d e")
    made = client("path")
    try:
        made.list_buckets()
    except Caught:
        add("list buckets", *catch.last, False, None, None)
    document = {
        "source": f"boto3 {boto3.__version__}, botocore {botocore.__version__}, by make_botocore.py",
        "access_key": ACCESS_KEY,
        "secret": SECRET,
        "region": REGION,
        "now": int(NOW.timestamp()),
        "domain": "s3.example.org",
        "cases": cases,
    }
    print(json.dumps(document, indent=1, ensure_ascii=True))


main()
