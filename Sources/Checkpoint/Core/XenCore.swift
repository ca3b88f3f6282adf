import EpochStore

/// A core of the kind that `xl dump-core` writes (Xen's docs/misc/dump-core-format.txt): the only one in which crash follows the page tables of
/// a PV guest of Linux 4.0 and later, for it looks up machine frames in `.xen_p2m` and nowhere else.
///
/// An epoch's page tables and CR3 name the guest's own frames, so here every frame's machine frame is itself. The guest's own list of
/// machine frames, in its memory, still names those that it had; crash does not read it.
///
/// crash takes an entry's place in `.xen_p2m` for its pfn. So every pfn up to the last has an entry and a place in `.xen_pages`; one without
/// memory has no machine frame, and reads as zeros.
///
/// gdb reads no sections. For it there is a program header with the registers of each vCPU; one with memory would make crash take the file
/// for kdump's.
struct XenCore {
  private let head: [UInt8]
  private let pageCount: UInt64
  private let pagesAt: UInt64
  let bytes: UInt64

  private static let pageBytes = UInt64(EpochFormat.pageSize)
  private static let entryBytes: UInt64 = 16

  struct Contexts {
    /// `vcpu_guest_context_x86_64`, one for each vCPU.
    var vcpus: [[UInt8]]
    var sharedInfo: [UInt8]
  }

  /// - Parameter pageCount: the last pfn plus one.
  init(pageCount: UInt64, _ contexts: Contexts, _ registers: [CoreRegisters], release: (major: UInt64, minor: UInt64)) {
    self.pageCount = pageCount
    let notes = Self.notes(vcpus: contexts.vcpus.count, pages: pageCount, release)
    let threads = registers.flatMap(\.note)
    let states: [UInt8] = Array(contexts.vcpus.joined())
    var sections: [ELF.Section] = [
      .init(name: "", kind: .none), .init(name: ".shstrtab", kind: .names), .init(name: ".note.Xen", kind: .note),
      .init(name: ".xen_prstatus", kind: .data, alignment: 8, entryBytes: UInt64(contexts.vcpus.first?.count ?? 0)),
      .init(name: ".xen_shared_info", kind: .data, alignment: 8, entryBytes: Self.pageBytes),
      .init(name: ".xen_p2m", kind: .data, alignment: 8, entryBytes: Self.entryBytes),
      .init(name: ".xen_pages", kind: .data, alignment: Self.pageBytes, entryBytes: Self.pageBytes),
    ]
    var names: [UInt8] = []
    for section in sections { names += Array(section.name.utf8) + [0] }
    let sectionsAt = ELF.headerBytes + ELF.programHeaderBytes
    var place = sectionsAt + UInt64(sections.count) * ELF.sectionHeaderBytes
    var body: [UInt8] = []
    for (number, content) in [(1, names), (2, notes), (3, states), (4, contexts.sharedInfo)] {
      (sections[number].offset, sections[number].bytes) = (place, UInt64(content.count))
      body += content
      body.pad(to: 8)
      place = sectionsAt + UInt64(sections.count) * ELF.sectionHeaderBytes + UInt64(body.count)
    }
    let threadsAt = place
    body += threads
    body.pad(to: 8)
    place = threadsAt + UInt64(threads.count + 7) / 8 * 8
    (sections[5].offset, sections[5].bytes) = (place, pageCount * Self.entryBytes)
    place += sections[5].bytes
    pagesAt = (place + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
    (sections[6].offset, sections[6].bytes) = (pagesAt, pageCount * Self.pageBytes)
    bytes = pagesAt + pageCount * Self.pageBytes

    var head = ELF.header(programHeaders: 1, sections: sections.count, sectionsAt: sectionsAt, nameSection: 1)
    head += ELF.ProgramHeader(kind: .note, offset: threadsAt, bytes: UInt64(threads.count)).encoded
    var name = 0
    for section in sections {
      head += section.encoded(name: UInt32(name))
      name += section.name.utf8.count + 1
    }
    self.head = head + body
  }

  /// The four notes that the format asks for.
  private static func notes(vcpus: Int, pages: UInt64, _ release: (major: UInt64, minor: UInt64)) -> [UInt8] {
    func words(_ words: [UInt64]) -> [UInt8] {
      var bytes: [UInt8] = []
      for word in words { bytes.append(little: word) }
      return bytes
    }
    let magic: UInt64 = 0xF00F_EBED  // XC_CORE_MAGIC: a PV guest
    // Extra version, compiler, capabilities, changeset and the start of Xen's window are not kept in an epoch.
    let version =
      words([release.major, release.minor]) + Array(repeating: 0, count: 16 + 144 + 1024 + 64 + 8) + words([pageBytes])
    return ELF.note("Xen", type: 0x200_0000, [])
      + ELF.note("Xen", type: 0x200_0001, words([magic, UInt64(vcpus), pages, pageBytes]))
      + ELF.note("Xen", type: 0x200_0002, version) + ELF.note("Xen", type: 0x200_0003, words([1]))
  }

  func write(_ reader: EpochReader, to output: inout CoreOutput, threads: Int) throws {
    try output.write(head)
    try writeFrames(reader, to: &output)
    try reader.forEachStretch(threads: threads) { pfn, pages in
      try output.skip(to: pagesAt + pfn * Self.pageBytes)
      try output.write(pages: pages)
    }
    try output.skip(to: bytes)
    try output.finish()
  }

  /// Each frame and its machine frame: itself, or none.
  private func writeFrames(_ reader: EpochReader, to output: inout CoreOutput) throws {
    var entries: [UInt8] = []
    var next: UInt64 = 0
    try reader.forEachGroup { first, mask in
      for slot in 0..<UInt64(EpochFormat.framePages) where mask >> UInt16(slot) & 1 == 1 {
        let pfn = first + slot
        while next <= pfn {
          entries.append(little: next)
          entries.append(little: next == pfn ? pfn : UInt64.max)
          next += 1
          guard entries.count >= 64 << 10 else { continue }
          try output.write(entries)
          entries.removeAll(keepingCapacity: true)
        }
      }
    }
    try output.write(entries)
  }
}
