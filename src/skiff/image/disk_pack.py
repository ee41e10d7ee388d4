"""A disk image as one takes it to a card writer: compressed, with its checksum and its block map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from skiff.host.run import run
from skiff.model.disk import BLOCK, Placed


def compress(source: Path, target: Path) -> None:
    """Compress with zstd. Nearly all of an image is compressed already: a higher level costs time alone."""
    run(["zstd", "-q", "-T0", "-6", "--check", "-f", "-o", target, source])


def block_ranges(placed: Iterable[Placed]) -> list[tuple[int, int]]:
    """First and last block of each run of blocks that has to be written, in order."""
    ranges: list[tuple[int, int]] = []
    for item in sorted(placed, key=lambda one: one.start):
        if not item.size:
            continue
        first, last = item.start // BLOCK, (item.end - 1) // BLOCK
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return ranges


def block_map(image: Path, ranges: Sequence[tuple[int, int]]) -> bytes:
    """The map in bmaptool's format 2.0, which skips what need not be written and checks what is read.

    Its own checksum is computed with zeros in the checksum's place, as that format wants it.
    """
    size = image.stat().st_size
    lines = []
    with image.open("rb") as file:
        for first, last in ranges:
            file.seek(first * BLOCK)
            digest = hashlib.sha256()
            left = min((last + 1) * BLOCK, size) - first * BLOCK
            while left:
                part = file.read(min(left, 1 << 20))
                digest.update(part)
                left -= len(part)
            span = str(first) if first == last else f"{first}-{last}"
            lines.append(f'        <Range chksum="{digest.hexdigest()}"> {span} </Range>')
    zeros = "0" * 64
    text = "\n".join(
        [
            '<?xml version="1.0" ?>',
            "<!-- Blocks of the disk image that have to be written; the others may hold anything. -->",
            '<bmap version="2.0">',
            f"    <ImageSize> {size} </ImageSize>",
            f"    <BlockSize> {BLOCK} </BlockSize>",
            f"    <BlocksCount> {-(-size // BLOCK)} </BlocksCount>",
            f"    <MappedBlocksCount> {sum(last - first + 1 for first, last in ranges)} </MappedBlocksCount>",
            "    <ChecksumType> sha256 </ChecksumType>",
            f"    <BmapFileChecksum> {zeros} </BmapFileChecksum>",
            "    <BlockMap>",
            *lines,
            "    </BlockMap>",
            "</bmap>",
            "",
        ]
    )
    return text.replace(zeros, hashlib.sha256(text.encode()).hexdigest(), 1).encode()
