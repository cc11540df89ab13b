#!/usr/bin/env python3
"""Makes objects as two other S3 encryption proxies store them, from format-spec/IMPORTS.md, with none of Sealgate's code.

Everything follows from fixed seeds, so a second run writes the same bytes:

    python3 -m venv venv && venv/bin/pip install cryptography && venv/bin/python make.py

writes s3ep.json and s3eg.json beside itself. Plaintexts are not stored: byte i of the plaintext of a seed is byte i of
SHA-256(seed, 0) SHA-256(seed, 1) …, with the counter as eight bytes, big-endian; their SHA-256 is.
"""

import base64
import hashlib
import hmac
import json
import os
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

HERE = os.path.dirname(os.path.abspath(__file__))


def stream(seed, length):
    out = bytearray()
    counter = 0
    while len(out) < length:
        out += hashlib.sha256(seed.encode() + struct.pack(">Q", counter)).digest()
        counter += 1
    return bytes(out[:length])


def b64(data):
    return base64.b64encode(data).decode()


def ctr(key, iv, data):
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def vector(name, key, plain_seed, plain, body, metadata, **more):
    return {
        "name": name,
        "key": key,
        "plaintext_seed": plain_seed,
        "plaintext_len": len(plain),
        "plaintext_sha256": hashlib.sha256(plain).hexdigest(),
        "metadata": metadata,
        "body": b64(body),
        **more,
    }


# --- s3ep ---------------------------------------------------------------------------------------------------------

KEKS = {
    "base64": b64(stream("kek one", 32)),
    "text": "an aes key of thirty-two letters",
}


def kek_bytes(text):
    try:
        decoded = base64.b64decode(text, validate=True)
        if len(decoded) == 32:
            return decoded
    except ValueError:
        pass
    return text.encode()


def s3ep(name, mode, length, kek="base64", prefix="s3ep-", key=None, parts=None, iv=None, with_hmac=True, label=None):
    key = key or "folder/" + name
    raw = kek_bytes(KEKS[kek])
    dek = stream(name + " dek", 32)
    wrap_iv = stream(name + " wrap", 16)
    seed = name + " plain"
    plain = stream(seed, length)
    meta = {
        prefix + "encrypted-dek": b64(wrap_iv + ctr(raw, wrap_iv, dek)),
        prefix + "dek-algorithm": label or "aes-" + mode,
        prefix + "kek-algorithm": "aes",
        prefix + "kek-fingerprint": hashlib.sha256(raw).hexdigest(),
    }
    more = {}
    if mode == "gcm":
        nonce = stream(name + " nonce", 12)
        body = nonce + AESGCM(dek).encrypt(nonce, plain, key.encode())
        meta[prefix + "aes-iv"] = b64(nonce)
    else:
        iv = iv or stream(name + " iv", 16)
        # One key stream over all parts, however they are cut.
        cipher = Cipher(algorithms.AES(dek), modes.CTR(iv)).encryptor()
        mac_key = HKDF(hashes.SHA256(), 32, b"s3-proxy-integrity-v1", b"file-hmac-key").derive(dek)
        mac = hmac.new(mac_key, digestmod=hashlib.sha256)
        body = b""
        at = 0
        for part in parts or [length]:
            piece = plain[at : at + part]
            mac.update(piece)
            body += cipher.update(piece)
            at += part
        assert at == length
        body += cipher.finalize()
        meta[prefix + "aes-iv"] = b64(iv)
        if with_hmac:
            meta[prefix + "hmac"] = b64(mac.digest())
        if parts:
            more["parts"] = parts
    return vector(name, key, seed, plain, body, meta, kek=KEKS[kek], prefix=prefix, **more)


def all_s3ep():
    out = []
    for length in (0, 1, 15, 16, 17, 65535, 65537):
        out.append(s3ep(f"gcm-{length}", "gcm", length))
    for length in (0, 1, 15, 16, 17, 65536):
        out.append(s3ep(f"ctr-{length}", "ctr", length))
    out.append(s3ep("gcm-text-kek", "gcm", 100, kek="text"))
    out.append(s3ep("gcm-prefix", "gcm", 100, prefix="own-"))
    out.append(s3ep("gcm-no-prefix", "gcm", 100, prefix=""))
    out.append(s3ep("gcm-unicode-key", "gcm", 33, key="bücher/ключ 🔑+&%"))
    out.append(s3ep("gcm-release-2", "gcm", 100, label="aes-256-gcm"))
    # Borders within a block of the cipher, and an empty last part.
    out.append(s3ep("ctr-parts", "ctr", 50001, parts=[20000, 29999, 2, 0]))
    # The counter wraps around in the middle, in its low 32 bits and in all 128.
    out.append(s3ep("ctr-wrap-32", "ctr", 200, iv=bytes.fromhex("00112233445566778899aabbfffffffe")))
    out.append(s3ep("ctr-wrap-128", "ctr", 200, iv=b"\xff" * 15 + b"\xfc"))
    out.append(s3ep("ctr-no-hmac", "ctr", 100, with_hmac=False, iv=None) | {"unauthenticated": True})
    return out


# --- s3eg ---------------------------------------------------------------------------------------------------------

PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "пароль of another bucket"
META = "encryption-"


def pbkdf2(password, salt, iterations):
    return PBKDF2HMAC(hashes.SHA256(), 32, salt, iterations).derive(password.encode())


def chunk_iv(base, index, hkdf):
    if hkdf:
        # The library refuses a pseudo-random key of 12 bytes, so this is HKDF-Expand's first block by hand.
        return hmac.new(base, b"chunk-iv" + struct.pack(">I", index) + b"\x01", hashlib.sha256).digest()[:12]
    tail = struct.unpack(">I", base[8:])[0] ^ index
    return base[:8] + struct.pack(">I", tail)


def length_prefixed(*fields):
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def s3eg(name, length, chunk=None, iterations=100000, wrapped=None, kdf=None, hkdf=True, password=PASSWORD,
         content_type="text/plain", sizes=True, algorithm="AES256-GCM", extra=None, provider="password"):
    """`wrapped`: None, "old" (0.6.1 to 0.7.2) or "new" (from 0.8). `kdf`: whether kdf-params is there."""
    kdf = (wrapped == "new") if kdf is None else kdf
    salt = stream(name + " salt", 32)
    base = stream(name + " iv", 12)
    seed = name + " plain"
    plain = stream(seed, length)
    meta = {
        "encrypted": "true",
        META + "algorithm": algorithm,
        META + "key-salt": b64(salt),
        META + "iv": b64(base),
    }
    if kdf:
        meta[META + "kdf-params"] = f"pbkdf2-sha256:{iterations}"
    if wrapped:
        key = stream(name + " dek", 32)
        wrap_salt = stream(name + " wrap salt", 32)
        wrap_nonce = stream(name + " wrap nonce", 12)
        envelope = wrap_salt + wrap_nonce + AESGCM(pbkdf2(password, wrap_salt, iterations)).encrypt(wrap_nonce, key, None)
        if wrapped == "new":
            envelope = struct.pack(">I", iterations) + envelope
        meta[META + "wrapped-key"] = b64(envelope)
        meta[META + "kms-provider"] = provider
        meta[META + "key-version"] = "1"
    else:
        key = pbkdf2(password, salt, iterations)
    cipher = ChaCha20Poly1305(key) if algorithm.startswith("ChaCha") else AESGCM(key)
    if sizes:
        meta["original-content-length"] = str(length)
    if chunk:
        body = b"".join(
            cipher.encrypt(chunk_iv(base, at // chunk, hkdf), plain[at : at + chunk], None)
            for at in range(0, length, chunk)
        )
        manifest = {"v": 1, "cs": chunk, "cc": 0, "iv": b64(base)}
        if hkdf:
            manifest["ivd"] = "hkdf-sha256"
            meta["enc-iv-deriv"] = "hkdf-sha256"
        meta[META + "chunked"] = "true"
        meta[META + "chunk-size"] = str(chunk)
        meta[META + "manifest"] = b64(json.dumps(manifest, separators=(",", ":")).encode())
    else:
        meta[META + "original-size"] = str(length)
        meta[META + "original-etag"] = hashlib.md5(plain).hexdigest()
        if content_type:
            meta[META + "content-type"] = content_type
        version = meta.get(META + "key-version", "")
        if kdf:
            aad = length_prefixed(algorithm.encode(), salt, base, version.encode(), content_type.encode(), str(length).encode())
        else:
            aad = f"alg:{algorithm}|salt:{b64(salt)}|iv:{b64(base)}"
            aad += f"|kv:{version}" if version else ""
            aad += f"|ct:{content_type}" if content_type else ""
            aad = (aad + f"|osz:{length}").encode()
        body = cipher.encrypt(base, plain, aad)
    meta.update(extra or {})
    return vector(name, "folder/" + name, seed, plain, body, meta, password=password, content_type=content_type)


def check_expand():
    """The HKDF-Expand by hand agrees with the library's where the library takes the key."""
    key = stream("a long key", 32)
    info = b"chunk-iv" + struct.pack(">I", 7)
    assert chunk_iv(key, 7, True) == HKDFExpand(hashes.SHA256(), 12, info).derive(key)


def all_s3eg():
    check_expand()
    small = 16384
    out = []
    for length in (0, 1, 15, 16, 17, small - 1, small, small + 1):
        out.append(s3eg(f"new-{length}", length, chunk=small, wrapped="new"))
    for length in (65535, 65536, 65537):
        out.append(s3eg(f"new-default-{length}", length, chunk=65536, wrapped="new"))
    out.append(s3eg("new-no-sizes", 2 * small + 5, chunk=small, wrapped="new", sizes=False))
    out.append(s3eg("new-600k", 100, chunk=65536, wrapped="new", iterations=600000))
    out.append(s3eg("new-other-password", small + 100, chunk=small, wrapped="new", password=OTHER_PASSWORD))
    out.append(s3eg("old-wrapped-hkdf", small + 100, chunk=small, wrapped="old"))
    out.append(s3eg("old-wrapped-xor", 3 * small + 100, chunk=small, wrapped="old", hkdf=False))
    out.append(s3eg("direct-xor", 2 * small, chunk=small, hkdf=False))
    out.append(s3eg("direct-hkdf", 2 * small + 1, chunk=small))
    out.append(s3eg("direct-hkdf-kdf", 10, chunk=small, kdf=True, iterations=150000))
    out.append(s3eg("direct-other-password", 2 * small + 1, chunk=small, password=OTHER_PASSWORD))
    for length in (0, 1, 15, 16, 17):
        out.append(s3eg(f"whole-direct-{length}", length))
    out.append(s3eg("whole-no-type", 100, content_type=""))
    out.append(s3eg("whole-other-password", 100, password=OTHER_PASSWORD))
    out.append(s3eg("whole-kdf", 65537, kdf=True))
    out.append(s3eg("whole-wrapped-old", 1000, wrapped="old"))
    out.append(s3eg("whole-wrapped-new", 1000, wrapped="new"))
    refused = [
        ("refused-chacha", {"algorithm": "ChaCha20-Poly1305"}, "algorithm"),
        ("refused-kms", {"wrapped": "new", "provider": "cosmian-kmip"}, "key"),
        ("refused-compressed", {"extra": {"compression-enabled": "true", "compression-algorithm": "gzip",
                                          "compression-original-size": "9"}}, "compressed"),
        ("refused-fallback", {"extra": {"encryption-fallback": "true", "encryption-fallback-version": "2"}}, "body"),
        ("refused-argon2", {"extra": {"encryption-kdf-params": "argon2id:3:65536:4"}}, "algorithm"),
        ("refused-work", {"extra": {"encryption-kdf-params": "pbkdf2-sha256:4000000000"}}, "work"),
        ("refused-no-aad", {"extra": {"enc-legacy-no-aad": "true"}}, "unauthenticated"),
    ]
    for name, options, why in refused:
        chunk = small if name == "refused-kms" else None
        out.append(s3eg(name, 20, chunk=chunk, **options) | {"refused": why})
    parts = s3eg("refused-parts", 20)
    parts["metadata"] = {"encrypted-mpu": "true", "encryption-fallback": "mpu",
                         "encryption-fallback-ptr": "folder/refused-parts.mpu-manifest"}
    out.append(parts | {"refused": "manifest"})
    return out


for name, vectors in (("s3ep", all_s3ep()), ("s3eg", all_s3eg())):
    with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as file:
        json.dump({"made_by": "make.py", "vectors": vectors}, file, indent=1, ensure_ascii=False)
        file.write("\n")
    print(name, len(vectors), "vectors")
