import DeviceMapper
import Dispatch
import EpochStore
import Foundation
import Glibc
import Testing

@testable import Checkpoint

@Suite("Epochs carried to another host")
struct CarryTests {
  /// A host with four epochs: memory and disks change from one to the next; a page and a block go, others come.
  private func host() throws -> CarryHouse {
    let house = try CarryHouse(disks: true)
    for device in house.pool.devices { house.pool.fake.write("", to: device) }
    var pages = Dictionary(uniqueKeysWithValues: (0..<600).map { (UInt64($0), UInt8(truncatingIfNeeded: $0)) })
    for block in [0, 3, 9] { house.write("a", block: block, of: "ckpt-web-xvda") }
    try house.take(1, pages)
    for epoch in 2...4 {
      pages[UInt64(epoch * 50)] = UInt8(200 + epoch)
      pages[UInt64(epoch)] = nil
      pages[UInt64(5000 + epoch)] = 0
      house.write(Character("\(epoch)"), block: epoch + 3, of: "ckpt-web-xvda")
      house.write(Character("\(epoch)"), block: epoch, of: "ckpt-web-xvdb")
      if epoch == 3 { house.write("0", block: 9, of: "ckpt-web-xvda") }
      try house.take(epoch, pages)
    }
    return house
  }

  private func expectSame(_ one: CarryHouse, _ other: CarryHouse, _ epoch: Int) throws {
    let (old, new) = (try one.content(epoch), try other.content(epoch))
    #expect(old.pages == new.pages, "pages of epoch \(epoch)")
    #expect(Set(old.records) == Set(new.records), "records of epoch \(epoch)")
    #expect(old.disks == new.disks, "disks of epoch \(epoch)")
  }

  @Test("One as a whole and three as changes are the same there, and can be gone back to where the guest never ran")
  func chain() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    for epoch in 1...4 {
      try here.folder.setMarks(EpochMarks(pinned: epoch == 2, tags: ["t\(epoch)"], note: "a note"), of: epoch)
      let imported = try there.importing(here.bundle(epoch, since: epoch == 1 ? nil : epoch - 1))
      #expect(!imported.wasThere && imported.base == (epoch == 1 ? nil : epoch - 1))
      #expect(imported.notes == ["disk xvdc did not come; it has to be at /dev/loop7 when the guest is restored"])
    }
    for epoch in 1...4 {
      try expectSame(here, there, epoch)
      let (old, new) = (try here.folder.manifest(epoch), try there.folder.manifest(epoch))
      #expect(new.identity == old.identity && new.time == old.time && new.pauseMs == 7 && new.guest == "web")
      #expect(try there.folder.marks(epoch) == here.folder.marks(epoch))
      #expect(try there.folder.verdict(epoch)?.isDamaged == false)
    }
    try there.pool.expectSettled("after the imports")
    #expect(try there.pool.catalog().volumes.isEmpty)

    // What a restore does with the disks.
    for epoch in [3, 1, 4] {
      try there.pool.history.check(epoch: epoch, expected: there.folder.manifest(epoch).disks)
      try there.pool.history.rollBack(to: epoch)
      try there.pool.history.commitRollback()
      for (vdev, bytes) in try here.content(epoch).disks {
        #expect(CarryHouse.bytes(there.pool.fake.content(of: "ckpt-web-\(vdev)")) == bytes)
      }
      try there.pool.expectSettled("after going back to \(epoch)")
    }
    // And the way back: changes that were made there.
    let back = try there.bundle(4, since: 3)
    #expect(try here.importing(back).wasThere)
  }

  @Test("Changes are as large as what changed") func size() throws {
    let here = try host()
    let delta = try here.export(3, since: 2)
    // One page of content, one gone, one zero; a block in each disk, and one that is empty now.
    #expect(delta.totals.pages == 2 && delta.totals.gonePages == 1)
    #expect(delta.totals.diskBytes == 2 * 65536 && delta.totals.unmappedBytes == 65536)
    #expect(delta.diskFileBytes * 100 <= (delta.totals.diskBytes + delta.totals.unmappedBytes) * 105)
    #expect(here.pool.fake.kernel { $0.metadataHeld } == false)
    try here.pool.expectSettled("after an export")
  }

  @Test("What is there already stays as it is; what is another is not replaced") func again() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let bundle = try here.bundle(1)
    try there.importing(bundle)
    let before = there.files
    #expect(try there.importing(bundle).wasThere)
    #expect(there.files == before)
    let other = try CarryHouse(disks: true)
    try other.take(1, [1: 1])
    #expect(throws: CarryError.otherEpoch(file: "carried", guest: "web", epoch: 1)) { try other.importing(bundle) }
    // Older numbers may come later; those that are used by removed epochs come back.
    try there.importing(here.bundle(4))
    try there.importing(here.bundle(3))
    _ = try there.folder.remove(epochs: [1])
    try there.pool.history.forget(epoch: 1)
    try there.importing(bundle)
    for epoch in [1, 3, 4] { try expectSame(here, there, epoch) }
    try there.pool.expectSettled("after them all")
  }

  @Test("Changes need their base, and the same one") func bases() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let delta = try here.bundle(3, since: 2)
    let error = #expect(throws: CarryError.noBase(file: "carried", guest: "web", epoch: 3, base: 2)) {
      try there.importing(delta)
    }
    #expect(error?.description.contains("import epoch 2 first") == true && error?.exitStatus == .notFound)
    #expect(there.files == [])
    let other = try CarryHouse(disks: true)
    try other.take(2, [1: 1])
    let before = other.files
    #expect(throws: CarryError.otherBase(file: "carried", guest: "web", base: 2)) { try other.importing(delta) }
    #expect(other.files == before)
    #expect(throws: CarryError.notOlder(guest: "web", epoch: 2, base: 3)) { try here.export(2, since: 3) }
  }

  @Test("A bundle that is cut or broken is refused and leaves nothing", arguments: [nil, 3] as [Int?])
  func broken(since: Int?) throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    if since != nil {
      for epoch in 1...3 { try there.importing(here.bundle(epoch, since: epoch == 1 ? nil : epoch - 1)) }
    }
    let bundle = try here.bundle(4, since: since)
    let (files, catalog) = (there.files, try there.pool.catalog())
    func expectNothing(_ what: String) throws {
      #expect(there.files == files, "\(what)")
      #expect(try there.pool.catalog().epochs == catalog.epochs, "\(what)")
      try there.pool.expectSettled("\(what)")
      #expect(there.carriedDevices == [], "\(what)")
    }
    for part in 1...12 {
      let cut = bundle.count * part / 13
      let error = #expect(throws: CarryError.self) { try there.importing(Array(bundle[..<cut])) }
      #expect(error?.description.contains("--resume") == true, "cut at \(cut)")
      try expectNothing("cut at \(cut)")
      var flipped = bundle
      flipped[cut] ^= 4
      #expect(throws: CarryError.self) { try there.importing(flipped) }
      try expectNothing("flipped at \(cut)")
    }
    #expect(throws: CarryError.notKnown(file: "carried")) { try there.importing(Array("no bundle at all".utf8)) }
    #expect(throws: CarryError.notKnown(file: "carried")) { try there.importing([]) }
    try there.importing(bundle)
    try expectSame(here, there, 4)
  }

  @Test("An export that broke off is gone on with") func resumed() throws {
    let here = try host()
    for since in [nil, 2] as [Int?] {
      let whole = try here.bundle(4, since: since)
      for part in 0...9 {
        let cut = part == 0 ? 30 : whole.count * part / 10
        try DurableFile.replace(here.file, with: Array(whole[..<cut]) + (part % 2 == 0 ? [] : [1, 2, 3]))
        let exported = try here.export(4, since: since, resume: true)
        let written = try DurableFile.read(here.file).count
        #expect((exported.resumedAt ?? 0) <= UInt64(cut) && exported.bytes == UInt64(written))
        let there = try CarryHouse(disks: false)
        if since != nil { try there.importing(here.bundle(2)) }
        try DurableFile.replace(here.file, with: Array(whole[..<cut]))
        try here.export(4, since: since, resume: true)
        #expect(try DurableFile.read(here.file) == whole, "cut at \(cut)")
        try there.importing(DurableFile.read(here.file))
        try expectSame(here, there, 4)
      }
    }
    // One that is whole stays; one of another epoch, or no bundle, is not touched.
    let whole = try here.bundle(4)
    #expect(try here.export(4, resume: true).resumedAt == UInt64(whole.count))
    #expect(try DurableFile.read(here.file) == whole)
    for (epoch, since) in [(3, nil), (4, 3)] as [(Int, Int?)] {
      #expect(throws: CarryError.self) { try here.export(epoch, since: since, resume: true) }
      #expect(try DurableFile.read(here.file) == whole)
    }
    let words = Array("somebody's words, longer than the header of any bundle could ever come to be".utf8)
    for words in [words, Array(words.prefix(20)), Array("CKPTBND1, and then others".utf8)] {
      try DurableFile.replace(here.file, with: words)
      #expect(throws: CarryError.self) { try here.export(4, resume: true) }
      #expect(try DurableFile.read(here.file) == words)
    }
    try DurableFile.replace(here.file, with: [])
    try here.export(4, resume: true)
    #expect(try DurableFile.read(here.file) == whole)
  }

  @Test("An export is not gone on with under another name of the guest, and is under the old one again")
  func renamed() throws {
    let here = try host()
    let whole = try here.bundle(4)
    let cut = Array(whole[..<(whole.count / 2)])
    try DurableFile.replace(here.file, with: cut)
    _ = try here.engine.rename("web", to: "older")
    let error = #expect(throws: CarryError.self) { try here.export(4, of: "older", resume: true) }
    #expect(error?.description.contains("renamed since: it is called 'web' in it") == true)
    #expect(error?.exitStatus == .badConfiguration)
    #expect(try DurableFile.read(here.file) == cut)
    // One that is whole is of no name's concern.
    try DurableFile.replace(here.file, with: whole)
    #expect(try here.export(4, of: "older", resume: true).resumedAt == UInt64(whole.count))
    _ = try here.engine.rename("older", to: "web")
    try DurableFile.replace(here.file, with: cut)
    try here.export(4, resume: true)
    #expect(try DurableFile.read(here.file) == whole)
  }

  /// A bundle of an epoch with another description, and with whatever else is written.
  private func forged(
    _ bundle: [UInt8], _ change: (String) -> String = { $0 }, _ body: (BundleWriter) throws -> Void = { _ in }
  ) throws -> [UInt8] {
    var place = 0
    let reader = try BundleReader { buffer in
      let part = bundle[place..<min(bundle.count, place + buffer.count)]
      buffer.copyBytes(from: part)
      place += part.count
      return part.count
    }
    guard case .description(let text)? = try reader.next() else { return [] }
    let description = Array(change(String(decoding: text, as: UTF8.self)).utf8)
    var bytes: [UInt8] = []
    let writer = try BundleWriter(reader.header) { bytes += $0 }
    try writer.add(description: description)
    try body(writer)
    return bytes
  }

  @Test("A file that begins as ours and goes on as none of ours does is refused, and no more") func strange() throws {
    let here = try host()
    let strange = try forged(
      here.bundle(4), { $0 },
      { writer in
        try [UInt8](repeating: 1, count: 512).withUnsafeBytes { try writer.add(data: $0, disk: 0, at: 0) }
      })
    try DurableFile.replace(here.file, with: strange)
    let error = #expect(throws: CarryError.self) { try here.export(4, resume: true) }
    #expect(error?.description.contains("cannot be gone on with") == true)
  }

  @Test("A bundle that counts more pages than there can be, or than there is room for, is refused")
  func counts() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let whole = try here.bundle(1)
    func counting(_ pages: Int, _ zeroPages: Int, bytes: Int = 4096) throws -> [UInt8] {
      try forged(
        whole,
        {
          $0.replacing(/"pages":\d+/, with: "\"pages\":\(pages)")
            .replacing(/"zero_pages":\d+/, with: "\"zero_pages\":\(zeroPages)")
            .replacing(/"bytes":\d+/, with: "\"bytes\":\(bytes)")
        })
    }
    for (pages, zeroPages) in [(Int.max, Int.max), (1, Int.max), (1 << 40 + 1, 0), (-1, 0)] {
      #expect(throws: CarryError.nonsense(file: "carried", "its description makes no sense")) {
        try there.importing(counting(pages, zeroPages))
      }
    }
    let error = #expect(throws: StoreError.self) { try there.importing(counting(1 << 39, 0, bytes: 1 << 50)) }
    #expect(error?.description.contains("no room for the epoch") == true)
    #expect(there.files == [])
  }

  @Test("An epoch that is damaged here, or lost a disk, is not said to be here already") func damagedHere() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let bundle = try here.bundle(1)
    try there.importing(bundle)
    func expectRefused(_ words: String) throws {
      let error = #expect(throws: CarryError.self) { try there.importing(bundle) }
      #expect(error?.description.contains("epoch 1 of 'web' is here and damaged: ") == true)
      #expect(error?.description.contains(words) == true && error?.exitStatus == .failed)
      #expect(error?.description.contains("remove it (ckpt remove web 1), then import again") == true)
    }
    try there.pool.history.forget(epoch: 1)
    try expectRefused("the snapshot of its disk xvda is gone from pool p")
    func removeAndImport() throws {
      _ = try RemovePlan(there.folder, guest: "web", epochs: [1], force: false).perform(disks: { there.pool.history })
      #expect(try !there.importing(bundle).wasThere)
      try expectSame(here, there, 1)
    }
    try removeAndImport()
    let path = try there.folder.path + "/00000001.epoch"
    var bytes = try DurableFile.read(path)
    bytes[100] ^= 1
    try DurableFile.replace(path, with: bytes)
    _ = try FolderVerifier(there.folder, method: .full).verify(1)
    try expectRefused("is here and damaged")
    try removeAndImport()
  }

  @Test("A guest whose folder was lost comes back bundle by bundle, once what the pool has of them was given up")
  func lostFolder() throws {
    let here = try host()
    let (first, second) = try (here.bundle(2), here.bundle(3, since: 2))
    let away = FileManager.default.temporaryDirectory.path + "/ckpt-away-\(UInt64.random(in: 0...UInt64.max))"
    try FileManager.default.moveItem(atPath: here.folder.path, toPath: away)
    defer { try? FileManager.default.removeItem(atPath: away) }
    let refused = #expect(throws: CarryError.self) { try here.importing(first) }
    #expect(refused?.description.contains("or give them up: ckpt remove \(PoolHouse.uuid) 2") == true)
    #expect(try here.pool.history.epochs() == [1, 2, 3, 4])
    func giveUp(_ epochs: Set<Int>) throws {
      let plan = try RemovePlan(here.folder, guest: "web", epochs: epochs, unknown: epochs, force: false)
      _ = try plan.perform(disks: { here.pool.history })
    }
    try giveUp([2])
    try here.importing(first)
    // The import has used numbers up to 2 since.
    #expect(try here.pool.history.epochs() == [1, 2, 3, 4])
    try giveUp([3])
    try here.importing(second)
    #expect(try here.pool.history.epochs() == [1, 2, 3, 4])
    for epoch in [2, 3] {
      let disks = try here.folder.manifest(epoch).disks
      #expect(try disks.allSatisfy { try $0.thinID == nil || here.pool.history.holds($0, of: epoch) })
    }
  }

  @Test(
    "A disk whose snapshot is gone does not come by another's id: the base's has it come whole, the epoch's own ends it"
  )
  func missingSnapshots() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    try there.importing(here.bundle(2))
    try DurableFile.replace(here.file, with: Array(here.bundle(3, since: 2)))
    let begun = Array(try DurableFile.read(here.file).dropLast(100))
    try here.pool.history.forget(epoch: 2)
    // What began as changes is not gone on with as something else.
    try DurableFile.replace(here.file, with: begun)
    let refused = #expect(throws: CarryError.self) { try here.export(3, since: 2, resume: true) }
    #expect(refused?.description.contains("disk xvda comes as changes of one that its pool does not have") == true)
    #expect(try DurableFile.read(here.file) == begun)

    let whole = try here.export(3, since: 2)
    #expect(whole.totals.diskBytes > 3 * 65536 && whole.totals.unmappedBytes == 0 && whole.base == 2)
    try there.importing(DurableFile.read(here.file))
    try expectSame(here, there, 3)

    let difference = try here.engine.difference(
      "web", from: .number(2), to: .number(3), pools: { here.pool.pools }, cancellation: TakeCancellation())
    #expect(
      difference.disks.map(\.problem) == [
        "pool p does not have epoch 2's any more", "pool p does not have epoch 2's any more",
        "read-only, it has no snapshots",
      ])

    try here.pool.history.forget(epoch: 3)
    #expect(throws: DiskError.noSuchEpoch(guest: "web", epoch: 3)) { try here.export(3) }
    #expect(throws: DiskError.noSuchEpoch(guest: "web", epoch: 3)) { try here.pool.history.rollBack(to: 3) }
    #expect(try DurableFile.read(here.file) == [])
  }

  // MARK: Ended from outside

  @Test(
    "An export that is told to stop leaves nothing but its file, which is gone on with", arguments: ["memory", "disk"])
  func stoppedExport(in part: String) throws {
    let here = try host()
    let whole = try here.bundle(4)
    let cancellation = TakeCancellation()
    #expect(throws: CheckpointError.interrupted) {
      try here.export(4, cancellation) { what, _ in if what.hasPrefix(part) { cancellation.cancel() } }
    }
    #expect(here.carriedDevices == [] && !here.pool.fake.kernel { $0.metadataHeld })
    try here.pool.expectSettled("stopped in its \(part)")
    #expect(try DurableFile.read(here.file).count < whole.count)
    try here.export(4, resume: true)
    #expect(try DurableFile.read(here.file) == whole)
    // Told before it begins to look at what is there, it cuts nothing off.
    #expect(throws: CheckpointError.interrupted) { try here.export(4, resume: true, cancellation) }
    #expect(try DurableFile.read(here.file) == whole)
  }

  @Test("An import that is told to stop leaves nothing", arguments: [1, 3, 5, 7]) func stoppedImport(item: Int) throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let bundle = try here.bundle(1)
    let cancellation = TakeCancellation()
    var count = 0
    #expect(throws: CheckpointError.interrupted) {
      try there.importing(bundle, cancellation) { _ in
        count += 1
        if count == item { cancellation.cancel() }
      }
    }
    #expect(count == item && there.files == [] && there.carriedDevices == [])
    try there.pool.expectSettled("stopped")
    #expect(try there.pool.catalog().epochs.isEmpty)
  }

  @Test("An import stops while its pipe brings nothing", .timeLimit(.minutes(1))) func stalledImport() throws {
    let (here, there) = (try host(), try CarryHouse(disks: false))
    let bundle = try here.bundle(1)
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    #expect(bundle.withUnsafeBytes { write(ends[1], $0.baseAddress, 500) } == 500)
    let cancellation = TakeCancellation()
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(50)) { cancellation.cancel() }
    #expect(throws: CheckpointError.interrupted) {
      try there.engine.importEpoch(
        from: ends[0], file: "pipe", pools: { there.pool.pools }, access: there.access, cancellation: cancellation)
    }
    #expect(there.files == [])
  }

  @Test("A comparison that is told to stop does") func stoppedComparison() throws {
    let here = try host()
    let cancellation = TakeCancellation()
    cancellation.cancel()
    #expect(throws: CheckpointError.interrupted) {
      try here.engine.difference(
        "web", from: .number(1), to: .number(2), pools: { here.pool.pools }, cancellation: cancellation)
    }
  }

  @Test("Disks of another guest with the same name are left alone") func names() throws {
    let here = try host()
    let there = try CarryHouse(disks: true)
    let error = #expect(throws: CarryError.self) { try there.importing(here.bundle(1)) }
    #expect(error?.description.contains("no epoch of this guest is restored to it") == true)
    #expect(there.files == [])
    try there.pool.expectSettled("after that")
    let none = try CarryHouse(disks: false)
    #expect(throws: PoolError.unknown(pool: "q")) { try none.importing(here.bundle(1), pool: "q") }
    #expect(none.files == [])
  }

  @Test("Killed anywhere, an import leaves nothing that recovery does not find, and can be done again")
  func killed() throws {
    let here = try host()
    let bundle = try here.bundle(1)
    var step = 1
    while step < 60 {
      let there = try CarryHouse(disks: false)
      _ = try there.pool.pools.ensureActive("p")
      let before = there.pool.fake.kernel { $0.changes }
      there.pool.fake.kernel { $0.dieBefore = before + step }
      do {
        try there.importing(bundle)
        break
      } catch {}
      there.pool.fake.restart(reboot: step % 2 == 0)
      _ = try there.importing(bundle)
      try expectSame(here, there, 1)
      try there.pool.expectSettled("killed in step \(step)")
      step += 1
    }
    #expect((5..<60).contains(step))
  }
}

@Suite("Ranges of a disk that are carried")
struct CarriedRangesTests {
  @Test("are what changed, in bytes, with neighbours as one")
  func ranges() throws {
    func parts(_ whole: Bool, size: UInt64 = 1 << 30) -> [CarriedRanges.Part]? {
      CarriedRanges(thinDelta: Array(ThinDeltaTests.output.utf8), blockBytes: 65536, size: size, whole: whole)?.parts
    }
    func part(_ begin: UInt64, _ end: UInt64, _ isMapped: Bool = true) -> CarriedRanges.Part {
      .init(range: (begin * 65536)..<(end * 65536), isMapped: isMapped)
    }
    #expect(parts(false) == [part(3, 5), part(9, 10, false), part(12, 16), part(20, 21)])
    #expect(parts(true)?.first == part(0, 5))
    #expect(parts(false, size: 13 * 65536) == [part(3, 5), part(9, 10, false), part(12, 13)])
    let ranges = try #require(
      CarriedRanges(thinDelta: Array(ThinDeltaTests.output.utf8), blockBytes: 65536, size: 1 << 30, whole: false))
    #expect(ranges.from(4 * 65536).first == part(4, 5) && ranges.from(5 * 65536).first == part(9, 10, false))
  }

  @Test("out of order, or beyond all numbers, are not believed")
  func hostile() {
    for text in [
      "<different begin=\"5\" length=\"2\"/>\n<different begin=\"6\" length=\"2\"/>",
      "<different begin=\"281474976710655\" length=\"281474976710655\"/>\n<different begin=\"1\" length=\"1\"/>",
      "<different length=\"2\"/>",
    ] {
      let output = "<superblock>\n\(text)\n</superblock>\n"
      #expect(CarriedRanges(thinDelta: Array(output.utf8), blockBytes: 65536, size: .max, whole: false) == nil)
    }
  }
}

@Test("pages that lie far apart are refused before they cost the host its memory; what balloons leave is not")
func pageSpread() {
  var far = PageSpread()
  #expect(!(0..<40_000).allSatisfy { far.admits(UInt64($0) << 18) })
  var ballooned = PageSpread()
  #expect((0..<1_000_000).allSatisfy { ballooned.admits(UInt64($0) << 5) })
  var scattered = ScatteredPages()
  #expect((0..<1_000_000).allSatisfy { scattered.admits(UInt64(1_000_000 - $0) << 5, of: $0) })
  // The same page again and again pays for nothing.
  var repeated = ScatteredPages()
  #expect(!(0..<40_000).allSatisfy { repeated.admits($0 % 2 == 0 ? 7 : UInt64($0) << 9, of: $0 / 2) })
  // What a guest of 128 GiB changed, here and there.
  var changes = PageSpread(over: 32 << 20)
  #expect((0..<60_000).allSatisfy { changes.admits(UInt64($0) << 9) })
}
