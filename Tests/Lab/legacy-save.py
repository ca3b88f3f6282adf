"""Writes a PV guest that `xl save` of Xen 4.17 saved in the form of Xen before 4.6, as no such Xen is at hand.

legacy-save.py IN OUT. IN has to be a file, as it is read twice: the old form has first what today's has last. 64-bit guests only.
The old form has no place for CPUID and MSR policies, nor for a vCPU's MSRs; they are left out.
Order and layout are those of the saver of Xen 4.5 (tools/libxc/xc_domain_save.c), and what Xen's converter expects.
"""

import struct
import sys

MAGIC = b"Xen saved domain, xl format\n \0 \r"
JSON, STREAM_V2 = 1, 2  # mandatory flags of xl's header
END, PAGE_DATA, PV_INFO, P2M_FRAMES, BASIC, EXTENDED, XSAVE, SHARED_INFO, TSC_INFO = range(9)
MSRS, STATIC_DATA_END, CPUID_POLICY, MSR_POLICY = 0x0C, 0x10, 0x11, 0x12
KNOWN = (*range(9), MSRS, STATIC_DATA_END, CPUID_POLICY, MSR_POLICY)
VCPU_CHUNK, TSC_CHUNK, LAST_CHECKPOINT_CHUNK, TOOLSTACK_CHUNK = -2, -7, -9, -18
BROKEN, ABSENT = 0xD, 0xF  # types from BROKEN on have no page
BATCH, PAGE = 1024, 4096


def need(condition, what):
    if not condition:
        sys.exit(f"{sys.argv[1]}: {what}")


def take(file, length):
    data = file.read(length)
    need(len(data) == length, "cut short")
    return data


def unpack(file, form):
    return struct.unpack(form, take(file, struct.calcsize(form)))


def read_heads(file):
    """xl's optional data, which is the same in both forms. The file is at the first record of libxc then."""
    magic, order, flags, _, length = unpack(file, "<32s4I")
    need((magic, order, flags) == (MAGIC, 0x01020304, JSON | STREAM_V2), "not of today's xl")
    config = take(file, length)
    need(unpack(file, ">QII") == (0x4C6962786C466D74, 2, 0), "not of today's libxl")
    need(unpack(file, "<II") == (1, 0), "no stream of libxc")
    need(unpack(file, ">QIIHHI") == (2**64 - 1, 0x58454E46, 3, 0, 0, 0), "not of today's libxc")
    need(unpack(file, "<IHHII")[:2] == (1, 12), "no PV guest")
    return config


def read_records(file):
    """Bodies by type, those of vCPUs by (type, vCPU), and where the bodies of pages are, which are for later."""
    records, places = {}, []
    while True:
        kind, length = unpack(file, "<II")
        padded = length + 7 & ~7
        if kind == END:
            need(unpack(file, "<II") == (0, 0), "more than a PV guest's records")
            return records, places
        if kind == PAGE_DATA:
            places.append(file.tell())
            file.seek(padded, 1)
            continue
        need(kind in KNOWN, f"record {kind:#x} is unknown here")
        body = take(file, padded)[:length]
        key = kind
        if kind in (BASIC, EXTENDED, XSAVE, MSRS):
            key, body = (kind, struct.unpack_from("<I", body)[0]), body[8:]
        need(key not in records, f"record {key} is there twice")
        records[key] = body


def write_batch(file, out, entries, absent):
    """One batch, whose pages are next in the file; its absent pfns are added to those of others."""
    words = []
    for entry in entries:
        kind, pfn = entry >> 60, entry & (1 << 52) - 1
        need(pfn < 1 << 28, "too large a guest for the old form")
        if kind == ABSENT:
            absent.append(pfn)
        words.append(kind << 28 | (0 if kind == ABSENT else pfn))  # an absent page has no number
    pages = take(file, PAGE * sum(entry >> 60 < BROKEN for entry in entries))
    # Of a batch with nothing in it the converter would make a record that nobody accepts; Xen wrote none.
    if any(word >> 28 != ABSENT for word in words):
        out.write(struct.pack(f"<i{len(words)}Q", len(words), *words))
        out.write(pages)


def write_head(out, config, records, vcpus, xsave):
    out.write(struct.pack("<32s4I", MAGIC, 0x01020304, JSON, 0, len(config)) + config)
    start, end = struct.unpack_from("<II", records[P2M_FRAMES])
    need(start == 0, "a p2m in parts")
    out.write(struct.pack("<Q", end + 1))
    # By the size of a context the reader knows how wide the guest is; "extv" and "xcnt" say what follows each context.
    context = records[BASIC, vcpus[0]]
    blocks = struct.pack("<4sI", b"vcpu", len(context)) + context + struct.pack("<4sI", b"extv", 0)
    if xsave:
        blocks += struct.pack("<4sII", b"xcnt", 4, xsave + 16)
    out.write(struct.pack("<QI", 2**64 - 1, len(blocks)) + blocks + records[P2M_FRAMES][8:])
    # Before the pages, as a guest that is saved to a file stands still from the start.
    mode, khz, nanoseconds, incarnation = struct.unpack_from("<IIQI", records[TSC_INFO])
    out.write(struct.pack("<iIQII", TSC_CHUNK, mode, nanoseconds, khz, incarnation))


def write_tail(out, records, vcpus, xsave, absent):
    online = sum(1 << vcpu for vcpu in vcpus)
    out.write(struct.pack("<ii", VCPU_CHUNK, vcpus[-1]) + online.to_bytes((vcpus[-1] // 64 + 1) * 8, "little"))
    # libxl's own part: version 1 of a list of the device model's mappings. A PV guest has none, yet has the list.
    out.write(struct.pack("<iIII", TOOLSTACK_CHUNK, 8, 1, 0))
    out.write(struct.pack("<ii", LAST_CHECKPOINT_CHUNK, 0))
    out.write(struct.pack(f"<I{len(absent)}Q", len(absent), *absent))
    for vcpu in vcpus:
        # The extended part says itself how long it is; Xen does not look at the rest of the old form's 128 bytes.
        out.write(records[BASIC, vcpu] + records[EXTENDED, vcpu].ljust(128, b"\0"))
        if xsave:
            # A mask of all the machine's features was there, which nobody reads; the nearest is those that the vCPU used.
            area = records[XSAVE, vcpu]
            out.write(area[8:16] + struct.pack("<Q", len(area)) + area)
    out.write(records[SHARED_INFO])


def main(source, target):
    with open(source, "rb") as file:
        config = read_heads(file)
        records, places = read_records(file)
        need(records.get(PV_INFO, b"")[:2] == b"\x08\x04", "no 64-bit guest")
        need(all(kind in records for kind in (P2M_FRAMES, TSC_INFO, SHARED_INFO)), "not a whole guest")
        vcpus = sorted(key[1] for key in records if isinstance(key, tuple) and key[0] == BASIC)
        need(vcpus and all((EXTENDED, vcpu) in records for vcpu in vcpus), "not all of its vCPUs")
        sizes = {len(records.get((XSAVE, vcpu), b"")) for vcpu in vcpus}
        need(len(sizes) == 1, "its vCPUs' extended states differ in size, for which the old form has no room")
        xsave, absent = sizes.pop(), []
        with open(target, "wb") as out:
            write_head(out, config, records, vcpus, xsave)
            for place in places:
                file.seek(place)
                count, _ = unpack(file, "<II")
                entries = unpack(file, f"<{count}Q")
                for first in range(0, count, BATCH):
                    write_batch(file, out, entries[first:first + BATCH], absent)
            write_tail(out, records, vcpus, xsave, absent)


if len(sys.argv) != 3:
    sys.exit("legacy-save.py IN OUT")
main(sys.argv[1], sys.argv[2])
