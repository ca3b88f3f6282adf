import Glibc
import Testing

@testable import EpochStore

@Suite struct PublicationTests {
  private let store: TemporaryStore
  private let image = Image(pages: [1: Random(3).fixedPage()])

  init() throws { store = try TemporaryStore() }

  /// The folder as a crash leaves it after each step of publication, oldest first.
  enum Crash: CaseIterable, Sendable {
    case writing, epochNotRenamed, manifestNotWritten, manifestNotRenamed
  }

  private func crash(_ point: Crash, epoch: Int) throws {
    try store.publish(image, epoch: epoch)
    let (file, manifest) = (store.path(EpochName.file(epoch)), store.path(EpochName.manifest(epoch)))
    switch point {
    case .writing:
      unlink(manifest)
      try StoreName.rename(file, to: file + ".partial")
      Tamper(path: file + ".partial").cut(to: 100)
    case .epochNotRenamed:
      unlink(manifest)
      try StoreName.rename(file, to: file + ".partial")
    case .manifestNotWritten: unlink(manifest)
    case .manifestNotRenamed: try StoreName.rename(manifest, to: manifest + ".partial")
    }
  }

  @Test(arguments: Crash.allCases)
  func whatWasNotPublishedDoesNotExist(point: Crash) throws {
    try store.publish(image, epoch: 1)
    try crash(point, epoch: 2)
    #expect(try store.folder.epochs().epochs.map(\.epoch) == [1])
    #expect(throws: StoreError.notFound("epoch 2 of guest \(uuid)")) { try store.folder.open(epoch: 2) }
    #expect(try store.folder.nextEpochNumber() == 3)

    #expect(try store.folder.discardUnpublished().isEmpty == false)
    #expect(try Set(StoreName.list(store.folder.path)) == ["counter", "hashes", "00000001.epoch", "00000001.json"])
    #expect(try store.folder.nextEpochNumber() == 3)
    try store.folder.open(epoch: 1).verify()
  }

  @Test func anImportCannotUseUpTheNumbers() throws {
    try store.publish(image, epoch: 5)
    #expect(throws: StoreError.self) { try store.folder.create(imported: Int(UInt32.max), reserving: 0) }
    #expect(try store.folder.nextEpochNumber() == 6)
    try store.folder.create(imported: 1_000_000, reserving: 0).abandon()
    #expect(try store.folder.nextEpochNumber() == 1_000_001)
  }

  @Test func discardingKeepsWhatIsPublished() throws {
    try store.publish(image, epoch: 1)
    #expect(try store.folder.discardUnpublished() == [])
    try store.folder.open(epoch: 1).verify()
  }

  @Test func numbersAreNeverUsedAgain() throws {
    #expect(try store.folder.nextEpochNumber() == 1)
    try store.publish(image, epoch: 1)
    try store.publish(image, epoch: 5)
    for name in ["00000005.json", "00000005.epoch"] { unlink(store.path(name)) }
    #expect(try store.folder.nextEpochNumber() == 6)
    for used in [1, 2, 5] {
      #expect(throws: StoreError.exists(path: store.folder.path, epoch: used)) {
        try store.folder.create(epoch: used, reserving: 0)
      }
    }
    try store.folder.create(epoch: 6, reserving: 0).abandon()
    #expect(try store.folder.nextEpochNumber() == 7)
    // Without its counter the folder still knows the epochs that it holds.
    unlink(store.path("counter"))
    #expect(try store.folder.nextEpochNumber() == 2)
  }

  @Test func anUnreadableCounterIsNotGuessed() throws {
    try store.publish(image, epoch: 1)
    try Tamper(path: store.path("counter")).write(Array("x".utf8))
    #expect(throws: StoreError.self) { try store.folder.nextEpochNumber() }
  }

  @Test func abandoningOrDroppingLeavesNothing() throws {
    let writer = try store.folder.create(epoch: 1, reserving: 1 << 20)
    try image.append(to: writer)
    #expect(try store.folder.epochs().epochs.isEmpty)
    writer.abandon()
    #expect(throws: StoreError.self) { try writer.publish(store.manifest(1)) }
    _ = try store.folder.create(epoch: 2, reserving: 0)
    #expect(try StoreName.list(store.folder.path) == ["counter"])
  }

  @Test func theManifestOfAnotherEpochIsRefused() throws {
    let writer = try store.folder.create(epoch: 1, reserving: 0)
    #expect(throws: StoreError.self) { try writer.publish(store.manifest(2)) }
  }

  @Test func filesAndFoldersAreTheOwnersAlone() throws {
    try store.publish(image, epoch: 1)
    let lock = try store.folder.lock(.exclusive)
    for name in try StoreName.list(store.folder.path) { #expect(mode(store.path(name)) == 0o600, "\(name)") }
    #expect(mode(store.folder.path) == 0o700)
    #expect(mode(store.store.path) == 0o700)
    withExtendedLifetime(lock) {}
  }

  @Test func publishGivesTheReserveBack() throws {
    let writer = try store.folder.create(epoch: 1, reserving: 64 << 20)
    try image.append(to: writer)
    let manifest = try writer.publish(store.manifest(1))
    var status = stat()
    #expect(lstat(store.path("00000001.epoch"), &status) == 0)
    #expect(UInt64(status.st_size) == manifest.bytes)
    #expect(status.st_blocks * 512 < 1 << 20)
  }

  @Test func aReserveThatDoesNotFitIsRefusedAtOnce() throws {
    let error = #expect(throws: StoreError.self) { try store.folder.create(epoch: 1, reserving: 1 << 50) }
    guard case .full(let needed, let available, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(needed == 1 << 50 && available < needed)
    #expect(try StoreName.list(store.folder.path) == ["counter"])
  }
}
