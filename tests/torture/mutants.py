"""Damaged copies of a file's content, the same ones for the same seed."""

import gzip
import io
import random
import re
import zipfile

EXTREMES = [b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01"]
WORDS = b"""NaN Infinity -1 0 1e999 99999999999999999999 null true [] {} "" "\\u001b[31m" [[[[ &a *a
<<: !!python/object @you <script>alert(1)</script> | ` ~ \x00 \xff \xe2\x80\xae 1000000 -0.5
.nan 2001-01-01 '""".split()
TOKEN = re.compile(rb"[\w.+-]+")


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change, remove, repeat or cut off bytes, in one to four places."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1) if rng.random() < 0.5 else rng.randrange(64)
        at = min(at, max(len(changed) - 1, 0))
        size = rng.choice([1, 1, 2, 4, 16, 200])
        match rng.randrange(6):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + size] = rng.randbytes(size)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size] * rng.choice([1, 9])
            case 4:
                changed[at : at + 4] = rng.choice(EXTREMES)
            case 5:
                del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def of_text(content: bytes, rng: random.Random) -> bytes:
    """Put other words in the place of some; or change bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    tokens = list(TOKEN.finditer(content))
    chosen = rng.sample(tokens, min(len(tokens), rng.randint(1, 4)))
    for token in sorted(chosen, key=lambda each: -each.start()):
        content = content[: token.start()] + rng.choice(WORDS) + content[token.end() :]
    return content


def of_zip(content: bytes, rng: random.Random) -> bytes:
    """Change a part of an archive, whose checksum fits all the same; or the archive's own bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as archive:
        names = source.namelist()
        chosen = rng.choice(names)
        for name in names:
            part = source.read(name)
            if name == chosen:
                change = of_text if name.endswith(".json") else of_bytes
                part = change(part, rng)
            if name != chosen or rng.random() < 0.9:
                archive.writestr(name, part)
    return target.getvalue()


def of_gzip(content: bytes, rng: random.Random) -> bytes:
    """Change what is packed; or the packed bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    return gzip.compress(of_bytes(gzip.decompress(content), rng))
