import DeviceMapper
import Glibc
import Synchronization
import Testing

@testable import Checkpoint

@Suite("A disk that is made of another one")
final class DiskCopyTests {
  private static let block = 65536
  /// A block of content, one of zeros, one of content, and one that the disk ends in.
  private static let bytes =
    [UInt8](repeating: 0x61, count: block) + [UInt8](repeating: 0, count: block)
    + [UInt8](repeating: 0x62, count: block) + [UInt8](repeating: 0x63, count: 512)

  /// Where something was written, in order.
  private final class Writes: Sendable {
    let places = Mutex<[Range<UInt64>]>([])
  }

  /// The new disk's device, open for as long as this lives.
  private final class Open: DiskContent {
    private let fake: FakePool
    private let device: String
    private let bytes: FakeContent
    private let writes: Writes

    init(_ fake: FakePool, _ device: String, _ writes: Writes) {
      (self.fake, self.device, self.writes) = (fake, device, writes)
      bytes = FakeContent(fake, device, writable: true)
      fake.kernel { $0.devices[device]?.isOpen = true }
    }

    deinit { fake.kernel { $0.devices[device]?.isOpen = false } }

    func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws { try bytes.read(buffer, at: offset) }
    func write(_ piece: UnsafeRawBufferPointer, at offset: UInt64) throws {
      writes.places.withLock { $0.append(offset..<(offset + UInt64(piece.count))) }
      try bytes.write(piece, at: offset)
    }
    func discard(_ range: Range<UInt64>) throws -> Bool { false }
    func sync() {}
  }

  /// A disk whose bytes are all the same, and stay so.
  private final class Constant: DiskContent {
    private let byte: UInt8
    init(_ byte: UInt8) { self.byte = byte }

    func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
      buffer.initializeMemory(as: UInt8.self, repeating: byte)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {}
    func discard(_ range: Range<UInt64>) -> Bool { false }
    func sync() {}
  }

  private let house: PoolHouse
  private let writes = Writes()
  private var file: String { "\(house.store)/old.img" }
  private var access: DiskAccess {
    DiskAccess { [fake = house.fake, writes] device, _ in Open(fake, device, writes) }
  }

  init() throws {
    house = try PoolHouse()
    try DurableFile.replace(file, with: Self.bytes)
  }

  deinit { unlink(file) }

  @discardableResult
  private func copy(
    _ cancellation: TakeCancellation = TakeCancellation(),
    progress: (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> String {
    try Disks(house.pools).create(
      guest: "web", vdev: "xvdc", from: DiskSource(file), access: access, cancellation: cancellation, progress: progress
    )
  }

  private func source(
    _ byte: UInt8, size: UInt64, _ number: DeviceNumber = DeviceNumber(major: 8, minor: 3)
  ) -> DiskSource {
    DiskSource(
      path: "/dev/old", identity: .device(number), sizeBytes: size, sectorBytes: 512, content: Constant(byte))
  }

  private func expectNothing(_ context: Comment) throws {
    try house.expectSettled(context)
    #expect(try house.catalog().volumes.map(\.vdev) == ["xvda", "xvdb"], context)
    #expect(house.fake.kernel { $0.devices.keys.filter { $0.contains("xvdc") } } == [], context)
    #expect(try DurableFile.read(file) == Self.bytes, context)
  }

  private func expectCopied(_ context: Comment) throws {
    try house.expectSettled(context)
    let content = CarryHouse.bytes(house.fake.content(of: "ckpt-web-xvdc"))
    #expect(content.starts(with: Self.bytes), context)
    #expect(content.dropFirst(Self.bytes.count).allSatisfy { $0 == 0 }, context)
    #expect(house.fake.kernel { $0.devices.keys.filter { $0.contains("-copy") } } == [], context)
    #expect(try DurableFile.read(file) == Self.bytes, context)
  }

  @Test("has its content, without what is zero, in whole blocks") func content() throws {
    #expect(try copy() == "/dev/mapper/ckpt-web-xvdc")
    try expectCopied("after a copy")
    #expect(writes.places.withLock { $0 } == [0..<65536, 131072..<197120])
    let disk = try #require(try Disks(house.pools).list().last)
    #expect(disk.guest == "web" && disk.vdev == "xvdc" && disk.sizeBytes == 4 * 65536 && disk.pool == "p")
    #expect(throws: DiskError.exists(device: "ckpt-web-xvdc")) { try self.copy() }
    try expectCopied("after a second one")
  }

  @Test("keeps nobody from the pool meanwhile, and is not taken for a dead one's") func others() throws {
    var told: [String] = []
    try copy { what, bytes in
      told.append("\(what) \(bytes)")
      #expect(throws: Never.self) { try self.house.take(told.count) }
      #expect(throws: DiskError.exists(device: "ckpt-web-xvdc")) { try self.copy() }
    }
    #expect(told == ["copied 197120", "compared 197120"])
    try expectCopied("after two takes")
    #expect(try house.history.epochs() == [1, 2])
  }

  @Test("is whole or gone after a death at any step", arguments: [false, true]) func deaths(reboot: Bool) throws {
    for after in [false, true] {
      var step = 1
      while try dies(at: step, after: after, reboot: reboot) { step += 1 }
      #expect(step > 3)
    }
  }

  /// - Returns: false when the copy was over before it reached the step.
  private func dies(at step: Int, after: Bool, reboot: Bool) throws -> Bool {
    house.fake.kernel { kernel in
      kernel.changes = 0
      if after { kernel.dieAfter = step } else { kernel.dieBefore = step }
    }
    let outcome = Result { try copy() }
    let died = house.fake.kernel { $0.dead }
    house.fake.restart(reboot: reboot)
    try house.pools.ensureActive("p")
    let context: Comment = "killed \(after ? "after" : "before") step \(step), reboot \(reboot)"
    if try house.catalog().volumes.contains(where: { $0.vdev == "xvdc" }) {
      try expectCopied(context)
      try Disks(house.pools).remove(guest: "web", vdev: "xvdc")
    } else {
      #expect(died, context)
      if case .success = outcome { Issue.record("\(context): it says that it made a disk") }
    }
    try expectNothing(context)
    return died
  }

  @Test("is gone when it is interrupted", arguments: ["copied", "compared"]) func interrupted(_ phase: String) throws {
    let cancellation = TakeCancellation()
    let error = #expect(throws: DiskSourceError.self) {
      try self.copy(cancellation) { what, _ in if what == phase { cancellation.cancel() } }
    }
    #expect(error == .interrupted(path: file) && error?.exitStatus == .interrupted)
    try expectNothing("after an interruption")
  }

  @Test("is given up before guests of the pool run out of room") func shortage() throws {
    // 200 MiB are free, of which 82 MiB are kept for the guests.
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 3200 }
    let access = DiskAccess { [fake = house.fake] _, _ in ImportedDisksTests.Filling(fake) }
    let error = #expect(throws: PoolError.self) {
      try Disks(self.house.pools).create(
        guest: "web", vdev: "xvdc", from: self.source(1, size: 1 << 30), access: access)
    }
    #expect(error?.description.contains("pool p: data nearly full") == true)
    let free = house.fake.kernel { $0.status.freeDataBlocks } * 65536
    #expect(free >= 32 << 20 && free < 82 << 20, "\(free) bytes are left to guests")
    try expectNothing("after a shortage")
  }

  @Test("is not begun in a pool without room") func full() throws {
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 1310 }
    #expect(throws: PoolError.self) { try self.copy() }
    try expectNothing("in a full pool")
  }

  @Test("is given up when it reads otherwise than the old one") func differs() throws {
    let access = DiskAccess { _, _ in Constant(0) }
    #expect(throws: DiskSourceError.differs(path: "/dev/old", offset: 0)) {
      try Disks(self.house.pools).create(
        guest: "web", vdev: "xvdc", from: self.source(1, size: 1 << 20), access: access)
    }
    try expectNothing("after a difference")
  }

  // MARK: What it is made of

  private func expectRefused(_ content: [UInt8], _ error: DiskSourceError) throws {
    try DurableFile.replace(file, with: content)
    #expect(throws: error) { try self.copy() }
    try DurableFile.replace(file, with: Self.bytes)
    try expectNothing("after a refusal")
  }

  @Test("is refused of a file that no disk fills", arguments: [0, 3, 513]) func sizes(count: Int) throws {
    try expectRefused([UInt8](repeating: 1, count: count), .badSize(path: file, bytes: UInt64(count)))
  }

  @Test("is refused of an image, with the command that converts it") func images() throws {
    let zeros = [UInt8](repeating: 0, count: 8192)
    try expectRefused(Array("QFI".utf8) + [0xfb] + zeros.dropFirst(4), .image(path: file, .qcow2))
    try expectRefused(zeros + Array("conectix".utf8) + zeros.prefix(504), .image(path: file, .vhd))
    #expect("\(DiskSourceError.image(path: "/x", .vhd))".contains("qemu-img convert -O raw /x /x.raw"))
  }

  @Test("is refused of what is not there, and of a folder", arguments: ["/nowhere/x", "/tmp"]) func absent(path: String)
  {
    let error = #expect(throws: DiskSourceError.self) { _ = try DiskSource(path) }
    guard case .cannotRead(path, _)? = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test("is refused of one with other sectors than the pool's") func sectors() throws {
    house.fake.kernel { $0.sectorBytes["ckpt-p-pool"] = 4096 }
    #expect(throws: DiskSourceError.sectors(path: file, bytes: 512, ofPool: 4096)) { try self.copy() }
    try expectNothing("after a refusal")
  }

  @Test("is refused of a disk that is in use, or in a pool") func users() throws {
    let number = DeviceNumber(major: 252, minor: 9)
    house.fake.kernel { $0.devices["vg0-raid"] = .init(uuid: "LVM-x", number: number, table: []) }
    func check(_ number: DeviceNumber, _ domains: [UInt32] = []) throws {
      let source = DiskSource(
        path: "/dev/old", identity: .device(number), sizeBytes: 512, sectorBytes: 512, content: Constant(0))
      try source.requireUnused(house.pools, copiedInto: "p") { _ in domains }
    }
    // We have it open ourselves.
    house.fake.kernel { $0.devices["vg0-raid"]?.openCount = 1 }
    try check(number)
    house.fake.kernel { $0.devices["vg0-raid"]?.openCount = 2 }
    for (domains, words) in [([UInt32](), "somebody has it open"), ([7], "a disk of domain 7; shut the guest down")] {
      let error = #expect(throws: DiskSourceError.self) { try check(number, domains) }
      #expect(error?.description.contains(words) == true && error?.exitStatus == .locked)
    }
    let ours = try #require(house.fake.kernel { $0.devices["ckpt-web-xvda"]?.number })
    #expect(throws: DiskSourceError.inPool(path: "/dev/old")) { try check(ours) }
    let pool = try #require(house.fake.kernel { $0.devices["ckpt-p-pool"]?.number })
    #expect(throws: DiskSourceError.inPool(path: "/dev/old")) { try check(pool) }
  }

  @Test("leaves a pool for another one, under another name") func move() throws {
    let folder = PoolFolder(store: house.store, name: "q")
    defer { for name in ["/catalog.json", ""] { _ = name.isEmpty ? rmdir(folder.path) : unlink(folder.path + name) } }
    try folder.make()
    var old = PoolCatalog(name: "q", identity: "ab", backing: .devices(data: "/dev/c", metadata: "/dev/d"))
    old.volumes = [
      PoolCatalog.Volume(guest: "db", vdev: "xvda", thinID: 900, sizeSectors: 2048, device: "ckpt-db-xvda")
    ]
    old.nextThinID = 901
    try folder.save(old)
    let number = DeviceNumber(major: 253, minor: 90)
    house.fake.kernel { kernel in
      kernel.devices["ckpt-db-xvda"] = FakePool.Device(uuid: old.uuid(of: old.volumes[0]), number: number, table: [])
    }
    func copy(_ guest: String, to pool: String) throws -> String {
      try Disks(house.pools).create(
        guest: guest, vdev: "xvda", from: source(0x61, size: 1 << 20, number), pool: pool, access: access)
    }
    let ownName = DiskSourceError.ownName(path: "/dev/old", guest: "db", vdev: "xvda", pool: "p")
    #expect(throws: ownName) { try copy("db", to: "p") }
    #expect("\(ownName)".contains("ckpt disk create db-2 xvda --from /dev/old --pool p"))
    house.fake.kernel { $0.devices["ckpt-db-xvda"]?.openCount = 2 }
    #expect(throws: DiskSourceError.self) { try copy("db-2", to: "p") }
    house.fake.kernel { $0.devices["ckpt-db-xvda"]?.openCount = 1 }
    #expect(try copy("db-2", to: "p") == "/dev/mapper/ckpt-db-2-xvda")
    #expect(CarryHouse.bytes(house.fake.content(of: "ckpt-db-2-xvda")).allSatisfy { $0 == 0x61 })
    try house.expectSettled("after a move")
    #expect(try folder.load() == old)
  }

  @Test("is refused of an adopted disk, which is released instead") func adopted() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.stop()
    let refused = DiskSourceError.adopted(path: "/dev/old", guest: "web", vdev: "xvda")
    #expect("\(refused)".contains("ckpt release web xvda"))
    for device in [web.old, web.new] {
      let number = try #require(web.fake.kernel { $0.devices[device]?.number })
      let disk = source(1, size: 512, number)
      #expect(throws: refused) { try disk.requireUnused(web.house.pools, copiedInto: "q") }
    }
  }
}
