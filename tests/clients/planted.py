"""Objects of several formats, as a store has them before Sealgate: what the suite migrate plants, reads and compares.

Whatever is written is made from its key, a number and a length, and says so in its first line, its metadata and its headers: who
reads an object can tell which it is, and that all of it belongs together. Long objects are made on the way, never held.
"""

import hashlib
import mmap
import os
import random
import tempfile

from boto3.s3.transfer import TransferConfig
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

CHUNK = 1 << 20
SECRET = "what the old proxy was run with"
MAGIC = b"\x89SEAL\r\n\x1a"
FORMATS = ("plaintext", "s3proxy", "sealgate")
NOISE = random.Random("planted").randbytes(2 * CHUNK)
# Longest object that is sealed as one string.
ONE_SHOT = 64 * CHUNK


def chunks(key, number, size):
    """The content, a piece at a time. Pieces of two contents differ all over."""
    at = 0
    while at < size:
        mark = hashlib.sha256(f"{key} {number} {at}".encode()).digest()
        head = (f"{key} {number} {size}\n".encode() if at == 0 else b"") + mark
        start = int.from_bytes(mark[:2], "big") * 16
        chunk = head + NOISE[start:start + CHUNK - len(head)]
        yield chunk[:size - at]
        at += CHUNK


def content(key, number, size):
    return b"".join(chunks(key, number, size))


def described(number):
    """What comes with it."""
    return {"ContentType": f"application/x-number-{number}", "CacheControl": f"max-age={number}",
            "ContentDisposition": f'attachment; filename="{number}"', "Metadata": {"number": str(number), "mixed-case": "Kept As It Is"}}


def tagged(number):
    return f"number={number}&two=a%20b"


class Wrong(Exception):
    """An object is not one of those that may be there."""


def compare(key, answer, originally):
    """Reads an answer to the end. Gives the number of the content that it is; `originally` is the length of number 0."""
    body = answer["Body"]
    first = body.read(CHUNK)
    try:
        name, number, size = first[:first.index(b"\n")].decode().rsplit(" ", 2)
        number, size = int(number), int(size)
    except ValueError:
        # Too short to say what it is.
        name, number, size = key, 0, originally
    if name != key or answer["ContentLength"] != size:
        raise Wrong(f"{key}: {name} of {size} bytes, number {number}, in {answer['ContentLength']} bytes")
    for wanted in chunks(key, number, size):
        if first != wanted:
            raise Wrong(f"{key}: number {number} of {size} bytes has other bytes in it")
        first = body.read(CHUNK)
    if first:
        raise Wrong(f"{key}: more behind number {number} of {size} bytes")
    for name, value in described(number).items():
        if answer.get(name) != value:
            raise Wrong(f"{key}: number {number} with {name} {answer.get(name)!r}")
    return number


def legacy_keys(key, number):
    """A data key, a nonce, and the metadata that keeps the key: under both derivations and both names that were in use."""
    made = hashlib.sha256(f"legacy {key} {number}".encode()).digest()
    data_key, choice = hashlib.sha256(made).digest(), made[0] % 4
    tag, more = ("constellation-dek" if choice == 1 else "isec"), {}
    kek = hashlib.sha256(SECRET.encode()).digest()
    if choice == 0:
        salt = hashlib.sha256(b"s3proxy-kek-salt-v1").digest()
        kek = HKDF(hashes.SHA256(), 32, salt, b"s3proxy/kek/v1").derive(SECRET.encode())
        more = {f"{tag}-kek-ver": "1"}
    return data_key, made[:12], {tag: aes_key_wrap_with_padding(kek, data_key).hex(), **more}


def legacy_file(data_key, nonce, key, number, size):
    """The body of a long legacy object, in a file without a name. Such an object is one message, so both it and the plaintext are
    mapped, and the kernel may write back what it needs the memory of."""
    with tempfile.TemporaryFile() as plain:
        for chunk in chunks(key, number, size):
            plain.write(chunk)
        plain.flush()
        sealed = tempfile.TemporaryFile()
        sealed.write(nonce)
        # The mapping begins at a page, the ciphertext behind the nonce.
        sealed.truncate(len(nonce) + size + 16)
        with mmap.mmap(plain.fileno(), size, access=mmap.ACCESS_READ) as source, mmap.mmap(sealed.fileno(), 0) as target:
            with memoryview(target) as view:
                AESGCMSIV(data_key).encrypt_into(nonce, source, None, view[len(nonce):])
            target.flush()
        os.lseek(sealed.fileno(), 0, os.SEEK_SET)
        return sealed


class Stream:
    """The content as something to read from."""

    def __init__(self, key, number, size):
        self.chunks, self.rest = chunks(key, number, size), b""

    def read(self, size=-1):
        while size < 0 or len(self.rest) < size:
            more = next(self.chunks, b"")
            if not more:
                break
            self.rest += more
        size = len(self.rest) if size < 0 else size
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def plant(form, gateway, store, bucket, key, number, size, tags=True):
    """Puts an object there, in one of FORMATS: one of sealgate through it, others straight into the store."""
    put = {"Bucket": bucket, "Key": key, **described(number)}
    if tags:
        put["Tagging"] = tagged(number)
    through = gateway if form == "sealgate" else store
    if form == "s3proxy":
        data_key, nonce, kept = legacy_keys(key, number)
        put["Metadata"] = {**put["Metadata"], **kept}
        if size <= ONE_SHOT:
            through.put_object(**put, Body=nonce + AESGCMSIV(data_key).encrypt(nonce, content(key, number, size), None))
        else:
            with legacy_file(data_key, nonce, key, number, size) as body:
                through.put_object(**put, Body=body)
    elif size <= 4 * CHUNK:
        through.put_object(**put, Body=content(key, number, size))
    else:
        extra = {name: value for name, value in put.items() if name not in ("Bucket", "Key")}
        config = TransferConfig(multipart_chunksize=64 * CHUNK, max_concurrency=2)
        through.upload_fileobj(Stream(key, number, size), bucket, key, ExtraArgs=extra, Config=config)
