#!/usr/bin/env python3
"""What the store behind the gateway holds.

raw.py write BUCKET FOLDER   through S3_*: objects full of MARKER, kept beside as FOLDER/N.plain
raw.py read BUCKET FOLDER    through STORE_*: the raw objects as FOLDER/N.sealed, which must not show the marker
raw.py remove BUCKET         through S3_*
"""

import os
import sys

import boto3
from botocore.config import Config

MARKER = b"this-is-plaintext-that-no-store-may-see "
SIZES = [0, 1, 39, 40, 65479, 65480, 65481, 65536, 131000, 1 << 20]


def client(prefix):
    return boto3.client("s3", endpoint_url=os.environ[prefix + "_ENDPOINT"], region_name=os.environ[prefix + "_REGION"],
                        aws_access_key_id=os.environ[prefix + "_ACCESS"],
                        aws_secret_access_key=os.environ[prefix + "_SECRET"],
                        config=Config(s3={"addressing_style": "path"}))


def plain(size):
    return (MARKER * (size // len(MARKER) + 1))[:size]


def write(bucket, folder):
    s3 = client("S3")
    s3.create_bucket(Bucket=bucket)
    for size in SIZES:
        s3.put_object(Bucket=bucket, Key=f"marked/{size}", Body=plain(size))
        with open(f"{folder}/{size}.plain", "wb") as file:
            file.write(plain(size))


def read(bucket, folder):
    s3 = client("STORE")
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    keys = {o["Key"] for o in listed}
    for size in SIZES:
        key = f"marked/{size}"
        if key not in keys:
            sys.exit(f"the store does not list {key}")
        raw = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        if len(raw) <= size:
            sys.exit(f"{key} is not longer than its plaintext: {len(raw)} bytes")
        for at in range(0, max(size - 15, 0)):
            # Every 16 bytes of the plaintext are among those of two markers.
            if at > 2 * len(MARKER):
                break
            if plain(size)[at:at + 16] in raw:
                sys.exit(f"{key} shows plaintext")
        with open(f"{folder}/{size}.sealed", "wb") as file:
            file.write(raw)


def remove(bucket):
    s3 = client("S3")
    for size in SIZES:
        s3.delete_object(Bucket=bucket, Key=f"marked/{size}")
    s3.delete_bucket(Bucket=bucket)


{"write": write, "read": read, "remove": remove}[sys.argv[1]](*sys.argv[2:])
