import EpochStore
import Glibc
import MigrationStream
import Testing

@testable import Checkpoint

@Suite("Files of xl save as epochs")
struct SaveImportTests {
  /// What `xl save` writes of the guest: our own export has the same form, and Xen's tools agree.
  private func saved(_ house: CarryHouse) throws -> [UInt8] {
    let pages = Dictionary(uniqueKeysWithValues: (0..<300).map { (UInt64($0 * 3), UInt8(truncatingIfNeeded: $0)) })
    try house.take(1, pages)
    let descriptor = open(house.file, O_RDWR | O_CREAT | O_TRUNC, 0o600)
    defer { close(descriptor) }
    try house.engine.export("web", epoch: .number(1), to: descriptor)
    return try DurableFile.read(house.file)
  }

  private func importing(
    _ bytes: [UInt8], into house: CarryHouse, name: String? = nil, tools: [String] = []
  ) throws -> ImportedEpoch {
    try DurableFile.replace(house.file, with: bytes)
    let descriptor = open(house.file, O_RDONLY)
    defer { close(descriptor) }
    return try house.engine.importEpoch(
      from: descriptor, file: "saved", name: name, pools: { throw PoolError.noDefault(pools: []) },
      access: house.access,
      tools: tools)
  }

  @Test("Memory and state come out as they went in; disks do not, and that is said") func content() throws {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    let file = try saved(here)
    let imported = try importing(file, into: there)
    #expect(imported.manifest.epoch == 1 && imported.manifest.guest == "web" && imported.manifest.kind == .pvh)
    #expect(imported.manifest.xenVersion == "4.17" && imported.manifest.disks.map(\.vdev) == ["xvda", "xvdb"])
    #expect(imported.manifest.disks.allSatisfy { $0.thinID == nil })
    #expect(imported.notes.first?.contains("xvda at /dev/mapper/ckpt-web-xvda") == true)
    let (old, new) = (try here.content(1), try there.content(1))
    #expect(old.pages == new.pages)
    func state(_ records: [StoredRecord]) -> Set<StoredRecord> {
      Set(records.filter { $0.type != GuestRecords.configuration })
    }
    #expect(state(old.records) == state(new.records))
    #expect(try there.folder.verdict(1)?.isDamaged == false)
    // Written out again it is the same file.
    let descriptor = open(there.file, O_RDWR | O_TRUNC)
    defer { close(descriptor) }
    try there.engine.export("web", epoch: .number(1), to: descriptor)
    #expect(try DurableFile.read(there.file) == file)
    // The next one is another epoch.
    let named = try importing(file, into: there, name: "other")
    #expect(named.manifest.epoch == 2 && named.manifest.guest == "other")
    #expect(try EpochStream(there.folder.open(epoch: 2)).config.name == "other")
  }

  @Test("Its writable disks are no part of the epoch: a restore says so, and a clone on them is refused") func disks()
    throws
  {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    let imported = try importing(saved(here), into: there).manifest
    #expect(imported.disksInPlace.map(\.fate) == [.leftOut, .leftOut])
    #expect(imported.warningsInPlace.count == 2)
    #expect(imported.warningsInPlace[0].contains("disk xvda (/dev/mapper/ckpt-web-xvda) is NOT part of the epoch"))
    let obstacle = try #require(Clone.obstacle(imported))
    #expect(obstacle == "epoch 1 has no snapshot of its writable disk xvda (it came from xl save)")
    #expect(ExitStatus(CheckpointError.cannotClone(guest: "web", obstacle)) == .badConfiguration)
    // One that was taken has all of them, but for those that nobody writes to.
    let taken = try here.folder.manifest(1)
    #expect(taken.disksInPlace.map(\.fate) == [.goesBack, .goesBack, .stays])
    #expect(taken.warningsInPlace == [] && Clone.obstacle(taken) == nil)
    let error = #expect(throws: ViewError.self) {
      try EpochViews(pools: there.pool.pools).make(.whole, "xvda", of: imported)
    }
    #expect(error?.description.contains("not in the file of xl save") == true)
    _ = try importing(DurableFile.read(there.file), into: there)
    let difference = try there.engine.difference(
      "web", from: .number(1), to: .number(2), pools: { there.pool.pools }, cancellation: TakeCancellation())
    #expect(difference.disks.first?.problem == "epoch 1 came from xl save, without it")
  }

  @Test("Pages that lie far apart are refused before they cost the host its memory") func scattered() throws {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    _ = try saved(here)
    let stream = try EpochStream(here.folder.open(epoch: 1))
    var writer = StreamWriter(MemorySink())
    try writer.writeXLHeader(configJSON: stream.config.encoded())
    try writer.beginLibxl()
    try writer.beginLibxc(kind: .hvm, xenMajor: 4, xenMinor: 17)
    try writer.write(.staticDataEnd)
    for batch in 0..<40 {
      // Descending, as no bundle's could be.
      let entries = (0..<1000).map {
        PageEntry(pfn: UInt64(1 << 30 - (batch * 1000 + $0) * 512), type: .allocateOnly)
      }
      try writer.writePageData(entries, pages: UnsafeRawBufferPointer(start: nil, count: 0))
    }
    let bytes = writer.sink.bytes
    #expect(throws: CarryError.nonsense(file: "saved", "its pages lie too far apart")) {
      try importing(bytes, into: there)
    }
    #expect(there.files == [])
  }

  @Test("Anything else is refused and leaves nothing") func broken() throws {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    let file = try saved(here)
    for cut in [60, 200, 400, file.count / 2, file.count - 1] {
      #expect(throws: CarryError.self) { try importing(Array(file[..<cut]), into: there) }
      #expect(there.files == [], "cut at \(cut)")
    }
    var hvm = file
    let type = try #require(file.firstRange(of: Array("\"pvh\"".utf8)))
    hvm.replaceSubrange(type, with: Array("\"hvm\"".utf8))
    let error = #expect(throws: CarryError.self) { try importing(hvm, into: there) }
    #expect(error?.description.contains("HVM guest") == true)
    #expect(there.files == [])
    #expect(throws: CheckpointError.self) { try importing(file, into: there, name: "1") }
  }

  @Test("A name that would steer a terminal is refused; another can be said") func names() throws {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    var file = try saved(here)
    let name = try #require(file.firstRange(of: Array("\"web\"".utf8)))
    file[name.lowerBound + 2] = 0x7f
    let error = #expect(throws: CarryError.self) { try importing(file, into: there) }
    #expect(error?.description.contains("the name of its guest cannot be used; say another: --name NAME") == true)
    #expect(there.files == [])
    #expect(try importing(file, into: there, name: "other").manifest.guest == "other")
  }

  @Test("The converter finds Xen's modules, before those of others") func modules() {
    let tool = LegacyStream.tools[0]
    #expect(LegacyStream.modules(of: tool, besides: nil) == "/usr/lib/xen-4.17/bin/../lib/python")
    #expect(LegacyStream.modules(of: tool, besides: "/a:/b") == "/usr/lib/xen-4.17/bin/../lib/python:/a:/b")
  }

  @Test("Older files go through Xen's converter, where there is one") func legacy() throws {
    let (here, there) = (try CarryHouse(disks: true), try CarryHouse(disks: false))
    let file = try saved(here)
    var legacy = file
    legacy[36] = 1
    let error = #expect(throws: CarryError.self) { try importing(legacy, into: there, tools: ["/nowhere/convert"]) }
    #expect(error?.description.contains("/nowhere/convert") == true && error?.exitStatus == .badConfiguration)
    // Stands for the tool: it is asked as the real one is, and gives the file of today.
    let (tool, modern) = ("\(there.pool.store)/convert", "\(there.pool.store)/modern")
    defer { for name in [tool, modern] { unlink(name) } }
    // What the tool makes has neither xl's header nor the configuration, and its input neither of them.
    let head = XLFileStart.length + (try #require(XLFileStart(file))).configLength
    let stream = Array(file[head...])
    try DurableFile.replace(modern, with: stream)
    func script(_ lines: String) throws {
      try DurableFile.replace(tool, with: Array("#!/bin/sh\n\(lines)\n".utf8))
      chmod(tool, 0o700)
    }
    try script(
      "test \"$*\" = '-i 0 -o /dev/stdout -w 64 -g hvm -f libxl' || exit 9\n"
        + "test \"$(head -c 8)\" = LibxlFmt || exit 8\n"
        + "test \"${PYTHONPATH%%:*}\" = '\(there.pool.store)/../lib/python' || exit 7\nexec cat \(modern)")
    #expect(try importing(legacy, into: there, tools: [tool]).manifest.guest == "web")
    #expect(try there.content(1).pages == here.content(1).pages)
    try script("head -c 5000 \(modern); echo 'Stream Error:' >&2; echo 'it is broken' >&2; exit 2")
    let failed = #expect(throws: CarryError.self) { try importing(legacy, into: there, tools: [tool]) }
    #expect(failed?.description.contains("\(tool) failed with status 2: it is broken;") == true)
    // The tool that is there is the one that is told of.
    let second = #expect(throws: CarryError.self) {
      try importing(legacy, into: there, tools: ["/nowhere/convert", tool])
    }
    #expect(second?.description.contains("\(tool) failed with status 2") == true)
    // What we refuse is no failure of the tool, though that ends badly as well.
    var hvm = legacy
    let type = try #require(legacy.firstRange(of: Array("\"pvh\"".utf8)))
    hvm.replaceSubrange(type, with: Array("\"hvm\"".utf8))
    try script("cat \(modern); echo 'its reader went away' >&2; exit 3")
    let refused = #expect(throws: CarryError.self) { try importing(hvm, into: there, tools: [tool]) }
    #expect(refused?.description.contains("HVM guest") == true)
    legacy[36] = 0
    #expect(throws: CarryError.self) { try importing(legacy, into: there, tools: [tool]) }
    #expect(there.files.filter { $0.hasSuffix(".epoch") } == ["00000001.epoch"])
  }
}
