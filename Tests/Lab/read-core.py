# Reads core files: ours, and those of `xl dump-core`. Needs no module but struct.
#   read-core.py registers CORE        rip and rsp of the first vCPU, from the note that debuggers read
#   read-core.py same CORE XEN         the first vCPU's registers and all pages are those of Xen's dump of the same instant
#   read-core.py instant CORE XEN      the same, with no page that differs, for Xen's dump of that very domain
#   read-core.py changed CORE CORE     how many pages differ
#   read-core.py regions CORE CORE FILE   FILE has the stretches where pages differ: start and bytes in it, how many, a line each
import struct
import sys

PAGE = 4096
NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
         " fs_base gs_base ds es fs gs").split()


class Core:
    """Places of pages in the file by pfn, and the registers of the first vCPU."""

    def __init__(self, path):
        self.file = open(path, "rb")
        head = self.read(0, 64)
        phoff, shoff = struct.unpack_from("<QQ", head, 32)
        phnum, shentsize, shnum, names = struct.unpack_from("<HHHH", head, 56)
        self.places, self.registers, self.machine = {}, {}, {}
        for number in range(phnum):
            kind, _, offset, virtual, physical, size = struct.unpack("<IIQQQQ", self.read(phoff + 56 * number, 40))
            if kind == 4:
                self.notes(self.read(offset, size))
            elif virtual == physical:  # not the kernel's second place
                for page in range(size // PAGE):
                    self.places[physical // PAGE + page] = offset + page * PAGE
        sections = {}
        if shnum:
            headers = [struct.unpack("<IIQQQQIIQQ", self.read(shoff + shentsize * n, 64)) for n in range(shnum)]
            for header in headers:
                name = self.read(headers[names][4] + header[0], 32).split(b"\0")[0].decode()
                sections[name] = (header[4], header[5])
        self.sections(sections)

    def read(self, offset, count):
        self.file.seek(offset)
        return self.file.read(count)

    def notes(self, data):
        at = 0
        while at < len(data):
            name, size, kind = struct.unpack_from("<III", data, at)
            start = at + 12 + (name + 3) // 4 * 4
            if kind == 1 and not self.registers:
                self.registers = dict(zip(NAMES, struct.unpack_from("<27Q", data, start + 112)))
            at = start + (size + 3) // 4 * 4

    def sections(self, sections):
        if ".xen_pages" not in sections:
            return
        pages = sections[".xen_pages"][0]
        if ".xen_p2m" in sections:
            table = self.read(*sections[".xen_p2m"])
            entries = [struct.unpack_from("<QQ", table, at) for at in range(0, len(table), 16)]
        else:
            table = self.read(*sections[".xen_pfn"])
            entries = [(pfn, pfn) for (pfn,) in struct.iter_unpack("<Q", table)]
        for index, (pfn, machine) in enumerate(entries):
            if machine != (1 << 64) - 1:
                self.places[pfn] = pages + index * PAGE
                self.machine[machine] = pfn
        if ".xen_prstatus" in sections and not self.registers:
            context = self.read(sections[".xen_prstatus"][0], 5168)
            words = struct.unpack_from("<25Q", context, 520)
            self.registers = dict(zip(NAMES, words[:15]), rip=words[16], cs=words[17] & 0xFFFF, eflags=words[18],
                                  rsp=words[19], ss=words[20] & 0xFFFF)

    def page(self, pfn):
        place = self.places.get(pfn)
        return None if place is None else self.read(place, PAGE)


def is_table(ours, xens, machine):
    """Ours is Xen's page table, each machine frame turned into the guest's own."""
    for mine, theirs in zip(struct.unpack("<512Q", ours), struct.unpack("<512Q", xens)):
        if mine == theirs:
            continue
        frames = 0x000FFFFFFFFFF000
        pfn = machine.get((theirs & frames) >> 12)
        # Xen's own window in a top table is left out of ours.
        if not theirs & 1 or (mine != 0 and (pfn is None or mine != theirs & ~frames | pfn << 12)):
            return False
    return True


def same(ours, xens):
    registers = {name: (ours.registers[name], value) for name, value in xens.registers.items()
                 if ours.registers[name] != value}
    # rdx of a suspended PV guest is start_info's machine frame, in ours the guest's own.
    if registers.get("rdx") and xens.machine.get(registers["rdx"][1]) == registers["rdx"][0]:
        del registers["rdx"]
    missing = set(ours.places) ^ set(xens.places)
    missing = {pfn for pfn in missing if any((ours.page(pfn) or xens.page(pfn)))}
    other, tables = [], 0
    for pfn in set(ours.places) & set(xens.places):
        mine, theirs = ours.page(pfn), xens.page(pfn)
        if mine == theirs:
            continue
        if is_table(mine, theirs, xens.machine):
            tables += 1
        else:
            other.append(pfn)
    print(f"registers that differ: {registers}; pages: {len(ours.places)}, of them {tables} page tables in the guest's own"
          f" frames, {len(other)} others differ: {sorted(other)[:16]}, only in one: {len(missing)} {sorted(missing)[:16]}")
    return not registers, len(other), len(missing)


if __name__ == "__main__":
    command, cores = sys.argv[1], [Core(path) for path in sys.argv[2:4]]
    if command == "registers":
        print("rip=%#x rsp=%#x" % (cores[0].registers["rip"], cores[0].registers["rsp"]))
    elif command in ("changed", "regions"):
        pfns = set(cores[0].places) | set(cores[1].places)
        changed = [pfn for pfn in pfns if cores[0].page(pfn) != cores[1].page(pfn)]
        if command == "changed":
            print(len(changed))
            sys.exit()
        told = [tuple(map(int, line.split())) for line in open(sys.argv[4])]
        counts = [sum(start <= pfn * PAGE < start + size for pfn in changed) for start, size, _ in told]
        sys.exit(0 if len(told) > 1 and counts == [count for *_, count in told] and sum(counts) == len(changed) else 1)
    else:
        registers, other, missing = same(*cores)
        if command == "instant":
            sys.exit(0 if registers and not other and not missing else 1)
        # What Xen and libxl make anew at a restore: the rings of store and console, start_info, shared pages, the p2m of a PV guest.
        sys.exit(0 if registers and other <= 80 and missing <= 40 else 1)
