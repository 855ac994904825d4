"""From an object file to code that runs: a linker and loader for what LLVM emits, in Python.

Why not LLVM's own linker: a process whose kernels are all in the disk cache then never loads LLVM (0.1 to 0.2 s and a
library of 170 MB), and loading one kernel costs tens of microseconds instead of a millisecond.  It is small because the
code is ours: position-independent, without writable data, thread-local storage, constructors or unwind tables.

``link`` places the sections of an ELF relocatable file one after another, resolves what is relative, gives each outside
function a stub and each outside address a slot, and leaves an ``Image``: bytes plus the 64-bit words that depend on
where it is loaded or on outside symbols.  ``Image.load`` copies it into fresh pages and makes them executable.

References: System V ABI, chapter 4 (object files); the psABI supplements for AMD64 and AArch64 (relocations).
"""

from __future__ import annotations

import ctypes
import errno
import json
import struct
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from .system import EXECUTE, PAGE, READ, libc, map_pages, protect

__all__ = ["Image", "LinkError", "link", "load_images", "symbol_address"]

_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 1, 2, 4, 8
_SHF_WRITE, _SHF_ALLOC, _SHF_TLS = 1, 2, 0x400
_STT_FUNC = 2
_EM_X86_64, _EM_AARCH64 = 62, 183
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1

# Relocations by what they do; S the symbol, A the addend, P the place, G the slot that holds the symbol's address.
_X86_ABS64 = 1
_X86_RELATIVE32 = {2, 4}  # S + A - P: PC32, PLT32
_X86_SLOT32 = {9, 41, 42}  # G + A - P: GOTPCREL and its relaxable forms
_X86_RELATIVE64 = 24
_ARM_ABS64 = 257
_ARM_RELATIVE64, _ARM_RELATIVE32 = 260, 261
_ARM_PAGE, _ARM_SLOT_PAGE, _ARM_SLOT_LOAD = 275, 311, 312
_ARM_LOW12 = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}  # relocation -> scale of the immediate
_ARM_BRANCH = {282, 283}

# A jump through the 64-bit word that follows it.
_X86_STUB = bytes.fromhex("ff2502000000") + b"\xcc\xcc"  # jmp [rip + 2]; two bytes of padding
_ARM_STUB = struct.pack("<II", 0x58000050, 0xD61F0200)  # ldr x16, #8; br x16


class LinkError(RuntimeError):
    """The object file holds something that this linker was not written for, or an unknown outside symbol."""


class Fixup(NamedTuple):
    """The 64-bit word at ``offset`` becomes the address of ``symbol`` (of the image itself when "") + ``addend``."""

    offset: int
    symbol: str
    addend: int


class Image(NamedTuple):
    """Linked code, loadable at any page: bytes, the offsets of its symbols, and the words to be filled in.

    ``source`` identifies the text that it was made from, for those who want to check.
    """

    code: bytes
    symbols: dict[str, int]
    fixups: tuple[Fixup, ...]
    source: str = ""

    def to_bytes(self) -> bytes:
        """The form kept in files: the length of a JSON header, the header, the code."""
        header = json.dumps({"symbols": self.symbols, "fixups": self.fixups, "source": self.source}).encode()
        return struct.pack("<I", len(header)) + header + self.code

    @staticmethod
    def from_bytes(data: bytes) -> Image:
        """The inverse of ``to_bytes``; raises ``ValueError`` for bytes that are not one of its results."""
        try:
            (length,) = struct.unpack_from("<I", data)
            header = json.loads(data[4 : 4 + length])
            code = data[4 + length :]
            fixups = tuple(Fixup(*fixup) for fixup in header["fixups"])
            image = Image(code, dict(header["symbols"]), fixups, header["source"])
        except (struct.error, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a kernel image: {error}") from None
        if any(not 0 <= f.offset <= len(code) - 8 for f in image.fixups):
            raise ValueError("not a kernel image: a fixup lies outside its code")
        return image


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


class _Object(NamedTuple):
    data: bytes
    machine: int
    sections: list[_Section]
    symbols: list[tuple[str, int, int, bool]]  # name, section index, value, whether a function or seen from outside


def _parse(data: bytes) -> _Object:
    if data[:6] != b"\x7fELF\x02\x01":
        raise LinkError("link: not a 64-bit little-endian ELF object")
    machine = struct.unpack_from("<H", data, 18)[0]
    (table,) = struct.unpack_from("<Q", data, 40)
    entry, count, names_index = struct.unpack_from("<HHH", data, 58)
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * entry) for index in range(count)]
    names = raw[names_index][4]

    def text(start: int) -> str:
        return data[start : data.index(b"\0", start)].decode()

    sections = [_Section(text(names + r[0]), r[1], r[2], r[4], r[5], r[6], r[7], r[8]) for r in raw]
    symbols = []
    for section in sections:
        if section.kind == _SHT_SYMTAB:
            strings = sections[section.link].offset
            for start in range(section.offset, section.offset + section.size, 24):
                name, info, _, index, value, _ = struct.unpack_from("<IBBHQQ", data, start)
                symbols.append((text(strings + name), index, value, info >> 4 != 0 or info & 15 == _STT_FUNC))
    return _Object(data, machine, sections, symbols)


class _Linker:
    """The state of one ``link``: the image so far, and where each section, slot and stub went."""

    def __init__(self, obj: _Object) -> None:
        self.obj = obj
        self.code = bytearray()
        self.fixups: list[Fixup] = []
        self.places: dict[int, int] = {}  # section index -> offset in the image
        self.slots: dict[tuple[str, int], int] = {}
        self.stubs: dict[str, int] = {}

    def place(self) -> None:
        """Copies every section that is part of the program; code first."""
        wanted = []
        for index, section in enumerate(self.obj.sections):
            if not section.flags & _SHF_ALLOC or section.name == ".eh_frame" or section.size == 0:
                continue
            if section.kind not in (_SHT_PROGBITS, _SHT_NOBITS):
                continue
            if section.flags & _SHF_TLS or (section.flags & _SHF_WRITE and not section.name.startswith(".data.rel.ro")):
                raise LinkError(f"link: section {section.name} is writable; generated code keeps no state of its own")
            wanted.append((not section.name.startswith(".text"), index, section))
        for _, index, section in sorted(wanted):
            self.align(max(1, section.align))
            self.places[index] = len(self.code)
            if section.kind == _SHT_NOBITS:
                self.code.extend(bytes(section.size))
            else:
                self.code.extend(self.obj.data[section.offset : section.offset + section.size])

    def align(self, boundary: int) -> None:
        self.code.extend(bytes(-len(self.code) % boundary))

    def target(self, symbol: int) -> tuple[str, int]:
        """``("", offset)`` of a symbol in the image, or ``(name, 0)`` of one outside."""
        name, index, value, _ = self.obj.symbols[symbol]
        if index == _SHN_UNDEF:
            return name, 0
        if index not in self.places:
            raise LinkError(f"link: symbol {name!r} lies in a section that is not loaded")
        return "", self.places[index] + value

    def slot(self, target: tuple[str, int]) -> int:
        """The offset of a word that will hold the target's address."""
        if target not in self.slots:
            self.align(8)
            self.slots[target] = len(self.code)
            self.fixups.append(Fixup(len(self.code), *target))
            self.code.extend(bytes(8))
        return self.slots[target]

    def near(self, target: tuple[str, int]) -> int:
        """The offset of the target, or of a stub that jumps to it when it is outside."""
        name, offset = target
        if not name:
            return offset
        if name not in self.stubs:
            self.align(8)
            self.stubs[name] = len(self.code)
            self.code.extend(_X86_STUB if self.obj.machine == _EM_X86_64 else _ARM_STUB)
            self.fixups.append(Fixup(len(self.code), name, 0))
            self.code.extend(bytes(8))
        return self.stubs[name]

    def relocate(self) -> None:
        for section in self.obj.sections:
            if section.kind != _SHT_RELA or section.info not in self.places:
                continue
            base = self.places[section.info]
            for start in range(section.offset, section.offset + section.size, 24):
                offset, info, addend = struct.unpack_from("<QQq", self.obj.data, start)
                if self.obj.machine == _EM_X86_64:
                    self.x86(base + offset, info & 0xFFFFFFFF, info >> 32, addend)
                else:
                    self.arm(base + offset, info & 0xFFFFFFFF, info >> 32, addend)

    def x86(self, at: int, kind: int, symbol: int, addend: int) -> None:
        target = self.target(symbol)
        if kind == _X86_ABS64:
            self.fixups.append(Fixup(at, target[0], target[1] + addend))
        elif kind in _X86_RELATIVE32:
            struct.pack_into("<i", self.code, at, self.near(target) + addend - at)
        elif kind in _X86_SLOT32:
            struct.pack_into("<i", self.code, at, self.slot(target) + addend - at)
        elif kind == _X86_RELATIVE64 and not target[0]:
            struct.pack_into("<q", self.code, at, target[1] + addend - at)
        else:
            raise LinkError(f"link: relocation {kind} of x86-64 is not handled")

    def arm(self, at: int, kind: int, symbol: int, addend: int) -> None:
        target = self.target(symbol)
        if kind == _ARM_ABS64:
            self.fixups.append(Fixup(at, target[0], target[1] + addend))
            return
        if kind in (_ARM_RELATIVE32, _ARM_RELATIVE64) and not target[0]:
            struct.pack_into("<i" if kind == _ARM_RELATIVE32 else "<q", self.code, at, target[1] + addend - at)
            return
        (word,) = struct.unpack_from("<I", self.code, at)
        if kind in _ARM_BRANCH:
            word |= (self.near(target) + addend - at >> 2) & 0x3FFFFFF
        elif kind in (_ARM_PAGE, _ARM_SLOT_PAGE):
            to = self.slot(target) if kind == _ARM_SLOT_PAGE else self.near(target) + addend
            pages = (to >> 12) - (at >> 12)
            word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        elif kind in _ARM_LOW12:
            word |= ((self.near(target) + addend & 0xFFF) >> _ARM_LOW12[kind]) << 10
        elif kind == _ARM_SLOT_LOAD:
            word |= ((self.slot(target) & 0xFFF) >> 3) << 10
        else:
            raise LinkError(f"link: relocation {kind} of AArch64 is not handled")
        struct.pack_into("<I", self.code, at, word)


def link(data: bytes) -> Image:
    """Links one ELF object file (x86-64 or AArch64).

    Raises ``LinkError`` for writable data and for relocations that position-independent kernels do not need.
    """
    obj = _parse(data)
    if obj.machine not in (_EM_X86_64, _EM_AARCH64):
        raise LinkError(f"link: machine {obj.machine} is not handled")
    linker = _Linker(obj)
    linker.place()
    linker.relocate()
    symbols = {
        name: linker.places[index] + value
        for name, index, value, wanted in obj.symbols
        if wanted and index in linker.places
    }
    return Image(bytes(linker.code), symbols, tuple(linker.fixups))


@cache
def symbol_address(name: str) -> int:
    """The address of a function outside of the image: of the C library, its maths library or Python.

    Raises ``LinkError`` when none of them has it.
    """
    for library in _libraries():
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
        except AttributeError:
            continue
    raise LinkError(f"generated code calls {name!r}, which neither the C library nor Python has")


@cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    found = [libc, ctypes.pythonapi]
    for name in ("libm.so.6", "libm.so", "libgcc_s.so.1"):
        try:
            found.append(ctypes.CDLL(name))
        except OSError:
            continue
    return tuple(found)


def load_images(images: Iterable[Image]) -> list[dict[str, int]]:
    """Makes images executable, all in one mapping that stays for the life of the process.

    Returns the addresses of the symbols of each.  The pages are never writable and executable at once.
    Raises ``OSError`` when the system refuses the memory.
    """
    images = list(images)
    offsets, total = [], 0
    for image in images:
        offsets.append(total)
        # Page boundaries matter to AArch64, whose addresses are split into page and offset.
        total += -(-len(image.code) // PAGE) * PAGE
    if not total:
        return [{} for _ in images]
    base = map_pages(total)
    if base is None:
        raise OSError(errno.ENOMEM, f"no memory for {total} bytes of machine code")
    for image, offset in zip(images, offsets, strict=True):
        start = base + offset
        ctypes.memmove(start, image.code, len(image.code))
        for fixup in image.fixups:
            value = (symbol_address(fixup.symbol) if fixup.symbol else start) + fixup.addend
            ctypes.c_uint64.from_address(start + fixup.offset).value = value & 0xFFFFFFFFFFFFFFFF
    protect(base, total, READ | EXECUTE)
    return [
        {name: base + offset + value for name, value in image.symbols.items()}
        for image, offset in zip(images, offsets, strict=True)
    ]
