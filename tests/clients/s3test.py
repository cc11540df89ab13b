"""What the Python suites share: a client, checks that go on after a failure, comparisons, noise, checksums.

Environment: S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION; S3_LACKS names what the store (behind the gateway) cannot
do (see run.sh). One line a check: `ok SUITE: NAME`, `not ok SUITE: NAME`, `skip SUITE: NAME`.
"""

import base64
import hashlib
import http.client
import os
import random
import string
import sys
import traceback
import urllib.parse
import zlib

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ENDPOINT = os.environ["S3_ENDPOINT"]
ACCESS = os.environ["S3_ACCESS"]
SECRET = os.environ["S3_SECRET"]
REGION = os.environ["S3_REGION"]
LACKS = set(os.environ.get("S3_LACKS", "").split())
BIG = os.environ.get("BIG", "0") == "1"
ONLY = os.environ.get("ONLY", "")
SUITE = os.path.basename(sys.argv[0]).removesuffix(".py")
FILE = os.path.abspath(sys.argv[0])
BUCKET = f"{SUITE}-" + "".join(random.choices(string.ascii_lowercase, k=8))
ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
failures = []


def client(**changes):
    config = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", "retries": {"total_max_attempts": 1},
              "read_timeout": 120, "max_pool_connections": 16}
    config.update(changes.pop("config", {}))
    arguments = {"endpoint_url": ENDPOINT, "region_name": REGION,
                 "aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET}
    arguments.update(changes)
    return boto3.client("s3", config=Config(**config), **arguments)


def check(name, needs=""):
    """Runs the function now, unless the store lacks what it needs or ONLY is set and not part of the name."""
    def run(test):
        missing = LACKS & set(needs.split())
        if ONLY and ONLY not in name:
            return
        if missing:
            print(f"skip {SUITE}: {name} (this store lacks: {' '.join(sorted(missing))})", flush=True)
            return
        try:
            test()
            print(f"ok {SUITE}: {name}", flush=True)
        except Exception as error:  # one failure must not hide the others
            failures.append(name)
            at = traceback.extract_tb(error.__traceback__)
            here = next((f for f in reversed(at) if os.path.abspath(f.filename) == FILE), at[-1])
            text = " ".join(str(error).split())
            print(f"not ok {SUITE}: {name}: line {here.lineno}: {type(error).__name__}: {text[:1000]}", flush=True)
    return run


def finish():
    sys.exit(1 if failures else 0)


def same(actual, expected, what=""):
    if actual != expected:
        def short(value):
            text = repr(value)
            return text if len(text) < 300 else text[:300] + "…"
        raise AssertionError(f"{what}: got {short(actual)}, expected {short(expected)}")


def refused(code, call, *, status=None):
    """The call fails with one of the codes."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        call()
    except ClientError as error:
        got = error.response["Error"]["Code"]
        if got not in codes:
            raise AssertionError(f"refused with {got}, expected {codes}") from error
        if status:
            same(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "status")
        return error
    raise AssertionError(f"not refused, expected {codes}")


def noise(size, seed=0):
    return random.Random(f"{size}/{seed}").randbytes(size)


def md5(data):
    return hashlib.md5(data).hexdigest()


def request(method, path, query="", body=b"", **headers):
    """A signed request of which boto3 has no say: status and body."""
    url = ENDPOINT + urllib.parse.quote(path, safe="/-_.~") + (f"?{query}" if query else "")
    made = AWSRequest(method=method, url=url, data=body, headers=headers)
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", REGION).add_auth(made)
    status, _, text = exchange(method, url, body, dict(made.headers.items()))
    return status, text


def send(method, url, body=b""):
    """A request without any header of its own: status and headers."""
    return exchange(method, url, body, {})[:2]


def exchange(method, url, body, headers):
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=120)
    try:
        try:
            connection.request(method, url[len(f"{parts.scheme}://{parts.netloc}"):], body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of the body was there; what it says is still to be read
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


def table_of(polynomial):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return table


TABLES = {polynomial: table_of(polynomial) for polynomial in (0x82F63B78, 0x9A6C9329AC4BC9B5)}


def crc(data, polynomial, width):
    """Reflected, initial value and final XOR all ones: CRC32C and CRC64-NVME."""
    table = TABLES[polynomial]
    mask = (1 << width) - 1
    value = mask
    for byte in data:
        value = table[(value ^ byte) & 255] ^ (value >> 8)
    return ((value ^ mask) & mask).to_bytes(width // 8, "big")


def digest(algorithm, data):
    return {"CRC32": lambda: zlib.crc32(data).to_bytes(4, "big"),
            "CRC32C": lambda: crc(data, 0x82F63B78, 32),
            "CRC64NVME": lambda: crc(data, 0x9A6C9329AC4BC9B5, 64),
            "SHA1": lambda: hashlib.sha1(data).digest(),
            "SHA256": lambda: hashlib.sha256(data).digest()}[algorithm]()


def checksum(algorithm, data):
    return base64.b64encode(digest(algorithm, data)).decode()
