import Glibc
import Testing

@testable import Checkpoint

struct XLFileTests {
  @Test func onlyTheNamedPathsChange() throws {
    var template = Array("/tmp/ckpt-xl.XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    defer { unlink(path) }
    close(descriptor)
    chmod(path, 0o640)
    let text = """
      name = "web"
      # disk = [ 'phy:/dev/vg0/web,xvda,w' ]
      disk = [ 'phy:/dev/vg0/web,xvda,w', 'phy:/dev/vg0/web2,xvdb,w',
               'format=raw, vdev=xvdc, target=/dev/vg0/web' ]

      """
    let file = open(path, O_WRONLY)
    #expect(write(file, text, text.utf8.count) == text.utf8.count)
    close(file)

    let config = try XLFile(path: path)
    #expect(config.changes([("/dev/vg0/other", "/dev/x")]).isEmpty)
    let changes = config.changes([("/dev/vg0/web", "/dev/mapper/ckpt-web-xvda")])
    #expect(changes.map(\.number) == [3, 4])
    try config.write(changes)
    let written = String(decoding: try DurableFile.read(path), as: UTF8.self)
    let expected = text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { index, line in
      index < 2 || index > 3
        ? String(line)
        : String(line).replacing("/dev/vg0/web,", with: "/dev/mapper/ckpt-web-xvda,")
          .replacing("target=/dev/vg0/web'", with: "target=/dev/mapper/ckpt-web-xvda'")
          .replacing("target=/dev/vg0/web ", with: "target=/dev/mapper/ckpt-web-xvda ")
    }
    #expect(written == expected.joined(separator: "\n"))
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
    // And back.
    let back = try XLFile(path: path)
    try back.write(back.changes([("/dev/mapper/ckpt-web-xvda", "/dev/vg0/web")]))
    #expect(String(decoding: try DurableFile.read(path), as: UTF8.self) == text)
  }
}

extension XLFileTests {
  /// As Windows ends lines, in Latin-1, and with an end of line missing.
  @Test func allOtherBytesStay() throws {
    let path = "/tmp/ckpt-xl-\(UInt64.random(in: 0...UInt64.max))"
    defer { unlink(path) }
    func text(_ path: String) -> [UInt8] {
      Array("name = \"w".utf8) + [0xe9] + Array("b\"\r\ndisk = [ 'phy:\(path),xvda,w' ] # ".utf8) + [0xff]
        + Array("\r\n# /dev/vg0/web\r\n\n'phy:/dev/vg0/web".utf8) + [0xe9]
    }
    try DurableFile.replace(path, with: text("/dev/vg0/web"))
    let config = try XLFile(path: path)
    let changes = config.changes([("/dev/vg0/web", "/dev/mapper/ckpt-web-xvda")])
    #expect(changes.map(\.number) == [2])
    #expect(changes.first?.text == "disk = [ 'phy:/dev/mapper/ckpt-web-xvda,xvda,w' ] # \u{fffd}")
    try config.write(changes)
    #expect(try DurableFile.read(path) == text("/dev/mapper/ckpt-web-xvda"))
  }
}

extension XLFileTests {
  private static let uuid = "1ab0ad09-0000-4000-8000-000000000001"
  private static let added = "uuid = \"\(uuid)\""

  private func file(_ text: String, _ body: (XLFile) throws -> Void) throws {
    let path = "/tmp/ckpt-xl-\(UInt64.random(in: 0...UInt64.max))"
    defer { unlink(path) }
    try DurableFile.replace(path, with: Array(text.utf8))
    try body(XLFile(path: path))
  }

  @Test(
    arguments: [
      ("name = \"web\"\n", nil), ("", nil), ("# uuid = \"x\"\n\t#uuid='x'\n", nil),
      ("name = \"web\" # uuid = \"x\"\n", nil), ("extra = \"uuid=x\"\nuuids = \"x\"\nmy_uuid = \"x\"\n", nil),
      ("uuid = \"x-1\"\n", "x-1"), ("\t uuid='x-1' # why\n", "x-1"), ("uuid=\"x-1\"\r\nname = \"web\"\r\n", "x-1"),
      ("name = \"web\"; uuid = \"x-1\"", "x-1"), ("uuid = \"x-1\"\nuuid = \"x-2\"\n", "x-2"),
    ] as [(String, String?)])
  func theUUID(text: String, uuid: String?) throws {
    try file(text) { file in #expect(file.uuid == uuid) }
  }

  /// Nothing but the line is new, and it ends as the others do.
  @Test(
    arguments: [
      ("name = \"web\"\n", 2, "name = \"web\"\n\(added)\n"), ("name = \"web\"", 2, "name = \"web\"\n\(added)\n"),
      ("a = 1\r\nb = 2\r\n", 3, "a = 1\r\nb = 2\r\n\(added)\r\n"),
      ("a = 1\r\nb = 2", 3, "a = 1\r\nb = 2\r\n\(added)\r\n"),
      ("a = 1\n\n", 3, "a = 1\n\n\(added)\n"), ("", 1, "\(added)\n"),
    ] as [(String, Int, String)])
  func aUUIDIsAdded(text: String, number: Int, result: String) throws {
    try file(text) { file in
      let new = file.line(uuid: Self.uuid)
      #expect(new.number == number && new.text == Self.added)
      try file.write([], adding: new)
      #expect(String(decoding: try DurableFile.read(file.path), as: UTF8.self) == result)
      #expect(try XLFile(path: file.path).uuid == Self.uuid)
    }
  }
}

struct DurableFileTests {
  @Test func aFileOfSomebodyElseThatIsCalledNewIsLeftAlone() throws {
    var template = Array("/tmp/ckpt-durable.XXXXXX".utf8CString)
    let folder = String(cString: try #require(mkdtemp(&template)))
    let (path, other) = ("\(folder)/web.cfg", "\(folder)/web.cfg.new")
    defer {
      for file in [path, other] { unlink(file) }
      rmdir(folder)
    }
    for file in [path, other] { try DurableFile.replace(file, with: Array("his".utf8)) }
    var before = stat()
    #expect(stat(path, &before) == 0)
    try DurableFile.replace(path, with: Array("changed".utf8), like: before)
    #expect(try DurableFile.read(path) == Array("changed".utf8))
    #expect(try DurableFile.read(other) == Array("his".utf8))
    // What cannot be written over leaves nothing either.
    let taken = "\(folder)/taken"
    #expect(mkdir(taken, 0o700) == 0)
    #expect(throws: PoolError.self) { try DurableFile.replace(taken, with: [], like: before) }
    #expect(rmdir(taken) == 0)
    for file in [path, other] { unlink(file) }
    #expect(rmdir(folder) == 0)
  }
}

struct LogicalVolumeTests {
  @Test func namesOfDevices() {
    #expect(LogicalVolume(device: "vg0-web")?.description == "vg0/web")
    #expect(LogicalVolume(device: "vg--a-web--root")?.path == "/dev/vg-a/web-root")
    for other in ["vg0", "vg0-web-real", "vg0-pool-tpool", "", "-web", "vg0-"] {
      #expect(LogicalVolume(device: other) == nil, "\(other)")
    }
    #expect(LogicalVolume(path: "/dev/vg0/web")?.name == "web")
    for other in ["/dev/sda", "/dev/mapper/x/y", "vg0/../x", "/dev/vg0/.."] {
      #expect(LogicalVolume(path: other) == nil)
    }
  }
}

struct KnownVolumesTests {
  private let group = "vBRWxqjkPe2UbgVBbJxMTTkGtr5ZKuWx"
  private let volume = "1hZxXy5Jr3MrPUMcPzYSL2TOvCb9WUzd"
  private let listed = "  1hZxXy-5Jr3-MrPU-McPz-YSL2-TOvC-b9WUzd\n  AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA\n"

  @Test func aGroupThatIsNotThereSaysNothingOfItsVolumes() {
    let groups = "  vBRWxq-jkPe-2Ubg-VBbJ-xMTT-kGtr-5ZKuWx\n"
    #expect(LogicalVolume.isGroupListed(device: "LVM-\(group)\(volume)", in: groups))
    #expect(!LogicalVolume.isGroupListed(device: "LVM-\(volume)\(volume)", in: groups))
  }

  @Test func aVolumeIsKnownByTheUUIDOfItsDevice() {
    #expect(LogicalVolume.isListed(device: "LVM-\(group)\(volume)", in: listed))
    #expect(LogicalVolume.isListed(device: "LVM-\(group)\(volume)-real", in: listed))
    // Its group was split or merged.
    #expect(LogicalVolume.isListed(device: "LVM-\(volume)\(volume)", in: listed))
    #expect(!LogicalVolume.isListed(device: "LVM-\(volume)\(group)", in: listed))
    #expect(!LogicalVolume.isListed(device: "LVM-\(group)\(volume)", in: ""))
  }

  @Test(arguments: ["LVM-abc", "CKPT-abc", ""])
  func ofWhatIsNoneNothingIsKnown(uuid: String) { #expect(LogicalVolume.isListed(device: uuid, in: "")) }
}

struct OriginSampleTests {
  @Test func samplesGoToTheEnd() {
    let parts = OriginSample.parts(behind: [], bytes: 1 << 30)
    #expect(parts.count == 256)
    #expect(parts.first?.offset == 2 << 20 && parts.last?.offset == (1 << 30) - 4096)
    #expect(OriginSample.parts(behind: [], bytes: 2 << 20).isEmpty)
    #expect(OriginSample.parts(behind: [], bytes: (2 << 20) + 4096).map(\.offset) == [2 << 20])
    #expect(OriginSample.parts(behind: [], bytes: 512).isEmpty)
  }

  /// As Debian's cloud images are made: a protective MBR, the root behind the boot partitions, at 128 MiB.
  @Test func theStartsOfPartitionsAreSampled() {
    var disk = [UInt8](repeating: 0, count: 2 << 20)
    func put(_ value: UInt64, _ count: Int, at offset: Int) {
      for index in 0..<count { disk[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }
    put(0xaa55, 2, at: 510)
    put(1, 4, at: 446 + 8)
    disk.replaceSubrange(512..<520, with: "EFI PART".utf8)
    put(2, 8, at: 512 + 72)
    put(128, 4, at: 512 + 84)
    put(262_144, 8, at: 1024 + 32)
    #expect(PartitionTable.starts(in: disk) == [512, 128 << 20])
    #expect(OriginSample.parts(behind: disk, bytes: 1 << 30).first?.offset == 128 << 20)
    // The superblock of btrfs lies 64 KiB behind the start.
    #expect(OriginSample.parts(behind: disk, bytes: 1 << 30).first?.count == 128 << 10)
    // Behind the end of the disk.
    #expect(OriginSample.parts(behind: disk, bytes: 128 << 20).allSatisfy { $0.count == 4096 })
    // A table that leads out of what was read.
    put(.max, 8, at: 512 + 72)
    #expect(PartitionTable.starts(in: disk) == [512])
    put(1023, 8, at: 512 + 72)
    put(4096, 4, at: 512 + 84)
    #expect(PartitionTable.starts(in: disk) == [512])
    #expect(PartitionTable.starts(in: Array(disk[..<512])).isEmpty)
  }
}

struct OlderSampleTests {
  @Test func aSampleOfAnOlderVersionIsComparedWithOneOfItsOwnParts() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    let volume = try #require(try web.house.catalog().volumes.first)
    let sample = try #require(volume.origin?.sample)
    let older = try web.fake.sample(volume, like: "0123abcd")
    #expect(sample == "2:\(older)")
    let folder = PoolFolder(store: web.house.store, name: "p")
    var catalog = try folder.load()
    catalog.changeOrigin(of: volume.device) { $0.sample = older }
    try folder.save(catalog)
    web.stop()
    web.refreshByLVM()
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    web.refreshByLVM()
    web.write("past the pool")
    #expect(try web.house.pools.ensureActive("p").count == 1)
  }
}

struct PoolPlanTests {
  private let group = VolumeGroup(name: "vg0", extent: 4 << 20, total: 1000, free: 300)

  @Test func aShareOfTheGroup() throws {
    let plan = try PoolPlan(group, .percent(20), keeping: 0)
    #expect(plan.data == 200)
    // 800 MiB / 64 are less than the least: 32 MiB.
    #expect(plan.metadata == 8)
    #expect(try PoolPlan(group, .bytes(129 << 20), keeping: 0).data == 33)
  }

  @Test func metadataHoldWhatIsKept() {
    let size: UInt64 = 100 << 30
    #expect(PoolBacking.metadataSize(forData: size, keeping: 100) == size / 64)
    #expect(PoolBacking.metadataSize(forData: size, keeping: 1000) == size / 65536 * 32 / 10 * 1010)
    #expect(PoolBacking.metadataSize(forData: 1 << 42, keeping: 1000) == PoolBacking.largestMetadata)
  }

  @Test(arguments: [PoolSize.percent(30), .percent(1), .bytes(.max), .bytes(1)])
  func whatDoesNotFitIsRefused(size: PoolSize) {
    #expect(throws: PoolError.self) { try PoolPlan(group, size, keeping: 0) }
  }
}
