"""What a file is that is no text, told by its first bytes: a user who knows it knows what to do with it."""

from __future__ import annotations

_UNPACK = "unpack it"
_EXPORT = "save it as plain text"
_NONE = "name a text file"

# Offset, bytes, what it is, what to do. Bytes that a text may begin with count only where a NUL byte is near.
_KINDS = (
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty zip archive", _NONE),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1f\x8b", "gzip data", _UNPACK),
    (0, b"\x1f\x9d", "data packed by compress", _UNPACK),
    (0, b"BZh91AY&SY", "bzip2 data", _UNPACK),
    (0, b"\xfd7zXZ\0", "xz data", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstandard data", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "lz4 data", _UNPACK),
    (0, b"]\0\0", "lzma data", _UNPACK),
    (0, b"LZIP", "lzip data", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (0, b"MSCF", "a cabinet archive", _UNPACK),
    (0, b"%PDF-", "a PDF document", _EXPORT),
    (0, b"{\\rtf", "a document in rich text format", _EXPORT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document", _EXPORT),
    (60, b"BOOKMOBI", "a Mobipocket book", _EXPORT),
    (0, b"AT&TFORM", "a DjVu document", _EXPORT),
    (0, b"bplist00", "a binary property list", _EXPORT),
    (0, b"SQLite format 3\0", "an SQLite database", "export its text"),
    (0, b"PAR1", "a Parquet file", "read its folder with hf:"),
    (0, b"ARROW1", "an Arrow file", "read its folder with hf:"),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", "read its folder with hf:"),
    (0, b"Obj\x01", "an Avro file", "export its text"),
    (0, b"ORC", "an ORC file", "export its text"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "export its text"),
    (0, b"\x93NUMPY", "a NumPy array", "export its text"),
    (0, b"\x80\x02", "a Python pickle", "export its text"),
    (0, b"\x80\x03", "a Python pickle", "export its text"),
    (0, b"\x80\x04\x95", "a Python pickle", "export its text"),
    (0, b"\x80\x05\x95", "a Python pickle", "export its text"),
    (0, b"GGUF", "a model's weights", _NONE),
    (0, b"\x7fELF", "a program", _NONE),
    (0, b"MZ", "a Windows program", _NONE),
    (0, b"\xfe\xed\xfa", "a program", _NONE),
    (0, b"\xcf\xfa\xed\xfe", "a program", _NONE),
    (0, b"\xca\xfe\xba\xbe", "a Java class or a program", _NONE),
    (0, b"\0asm", "a WebAssembly program", _NONE),
    (0, b"!<arch>\n", "a library or a Debian package", _NONE),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", _NONE),
    (0, b"\xff\xd8\xff", "a JPEG image", _NONE),
    (0, b"GIF87a", "a GIF image", _NONE),
    (0, b"GIF89a", "a GIF image", _NONE),
    (0, b"II*\0", "a TIFF image", _NONE),
    (0, b"MM\0*", "a TIFF image", _NONE),
    (0, b"8BPS", "a Photoshop image", _NONE),
    (0, b"BM", "a BMP image", _NONE),
    (0, b"\0\0\x01\0", "an icon", _NONE),
    (8, b"WEBP", "a WebP image", _NONE),
    (8, b"WAVE", "a sound", _NONE),
    (8, b"AVI ", "a film", _NONE),
    (4, b"ftyp", "a film, a sound or an image", _NONE),
    (0, b"\x1a\x45\xdf\xa3", "a film", _NONE),
    (0, b"OggS", "a sound", _NONE),
    (0, b"fLaC", "a sound", _NONE),
    (0, b"ID3", "a sound", _NONE),
    (0, b"wOFF", "a font", _NONE),
    (0, b"wOF2", "a font", _NONE),
    (0, b"\0\x01\0\0\0", "a font", _NONE),
    (0, b"OTTO", "a font", _NONE),
)
_OFFSETS = sorted({offset for offset, *_ in _KINDS})
_FIRST = {
    offset: frozenset(magic[0] for place, magic, *_ in _KINDS if place == offset) for offset in _OFFSETS
}  # most texts begin with none of these
_ALWAYS = (b"%PDF-", b"{\\rtf", b"BZh91AY&SY")


def kind_of(start: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, and what to do with it; ``None`` if its first bytes tell nothing."""
    if not any(start[offset] in _FIRST[offset] for offset in _OFFSETS if offset < len(start)):
        return None
    has_nul = b"\0" in start
    for offset, magic, kind, advice in _KINDS:
        if start.startswith(magic, offset):
            printable = all(0x20 <= byte < 0x7F or byte in b"\r\n" for byte in magic)
            if has_nul or not printable or magic in _ALWAYS:
                return kind, advice
    return None


def document_in_zip(names: list[str]) -> str | None:
    """Which kind of document a zip archive with such members is."""
    members = set(names)
    if "[Content_Types].xml" in members:
        folders = {"word": "a Word document", "xl": "an Excel table", "ppt": "a PowerPoint presentation"}
        return next((folders[name.split("/")[0]] for name in names if name.split("/")[0] in folders), "a document")
    if "META-INF/container.xml" in members:
        return "an EPUB book"
    if {"mimetype", "content.xml"} <= members:
        return "an OpenDocument text"
    if "META-INF/MANIFEST.MF" in members:
        return "a Java archive"
    if "AndroidManifest.xml" in members:
        return "an Android package"
    return None
