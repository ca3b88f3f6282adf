import Glibc
import Testing

@testable import EpochStore

@Suite struct StoreTests {
  private let store: TemporaryStore
  init() throws { store = try TemporaryStore() }

  @Test(arguments: [
    "", "..", "../../etc", "web", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b810-9dad-11d1-80b4/00c04fd430c8",
  ])
  func onlyUUIDsNameFolders(text: String) {
    #expect(throws: StoreError.self) { try store.store.folder(uuid: text, create: true) }
  }

  @Test func uuidsAreFoundInAnyCase() throws {
    #expect(try store.store.folder(uuid: uuid.uppercased(), create: false) == store.folder)
    #expect(try store.store.find(uuid.uppercased()) == store.folder)
    #expect(throws: StoreError.self) {
      try store.store.folder(uuid: "00000000-0000-0000-0000-000000000000", create: false)
    }
    #expect(try store.store.find("00000000-0000-0000-0000-000000000000") == nil)
  }

  @Test func aNameUsedAgainBelongsToTheNewest() throws {
    let other = try store.store.folder(uuid: "11111111-2222-3333-4444-555555555555", create: true)
    func publish(_ folder: GuestFolder, _ epoch: Int, _ name: String, at time: Int64) throws {
      var manifest = store.manifest(epoch, guest: name, at: time)
      manifest.uuid = folder.uuid
      _ = try folder.create(epoch: epoch, reserving: 0).publish(manifest)
    }
    try publish(store.folder, 1, "web", at: 1000)
    try publish(other, 1, "web", at: 2000)
    #expect(try store.store.find("web") == other)
    try publish(store.folder, 2, "web", at: 3000)
    #expect(try store.store.find("web") == store.folder)
    try publish(store.folder, 3, "old-web", at: 4000)
    #expect(try store.store.find("old-web") == store.folder)
    #expect(try store.store.find("../web") == nil)
    #expect(try store.store.namesakes(of: "web", besides: store.folder.uuid) == [other])
    #expect(try store.store.namesakes(of: "web", besides: other.uuid) == [])
    #expect(try store.store.namesakes(of: "old-web", besides: other.uuid) == [store.folder])
    let summaries = try store.store.guests()
    #expect(summaries.map(\.name) == ["old-web", "web"])
    #expect(summaries.map(\.epochs) == [3, 1])
  }

  @Test func theManifestKeepsEveryField() throws {
    let published = try store.publish(Image(pages: [1: Random(3).fixedPage()]), epoch: 1, guest: "wéb \"1\"\n/x")
    #expect(try store.folder.manifest(1) == published)
    #expect(published.guest == "wéb \"1\"\n/x")
    #expect(published.time.description == "2026-07-31T12:13:20.123Z")
  }

  @Test func fieldsOfTheFutureAreHarmless() throws {
    let published = try store.publish(Image(), epoch: 1)
    var text = String(decoding: try ManifestFile.encode(published), as: UTF8.self)
    text = text.replacing("{\n", with: "{\n  \"a_new_field\" : {\"checksum\" : \"x\"},\n", maxReplacements: 1)
    let body = String(text[..<text.firstRange(of: ",\n  \"checksum\" : \"")!.lowerBound])
    #expect(throws: StoreError.self) { try ManifestFile.decode(Array(text.utf8), path: "p") }
    #expect(try ManifestFile.decode(ManifestFile.seal(Array(body.utf8)), path: "p") == published)
  }

  @Test func anotherFormatIsNamed() throws {
    let sealed = ManifestFile.seal(Array("{\n  \"format\" : \(EpochFormat.version + 1)".utf8))
    #expect(throws: StoreError.otherFormat(path: "p", version: EpochFormat.version + 1)) {
      try ManifestFile.decode(sealed, path: "p")
    }
  }

  @Test(
    arguments: [
      ("1970-01-01T00:00:00.000Z", 0), ("2026-02-28T23:59:59.999Z", 1_772_323_199_999),
      ("1969-12-31T23:59:59.001Z", -999),
    ] as [(String, Int64)])
  func timesAreReadAsWritten(text: String, milliseconds: Int64) {
    #expect(EpochTime(text)?.milliseconds == milliseconds)
    #expect(EpochTime(milliseconds: milliseconds).description == text)
  }

  @Test(arguments: [
    "", "2026-02-30T00:00:00.000Z", "2026-02-28T00:00:00Z", "2026-02-28 00:00:00.000Z", "2026-02-28T00:00:-1.000Z",
  ])
  func otherTimesAreRefused(text: String) { #expect(EpochTime(text) == nil) }

  // MARK: Locks

  @Test func anExclusiveLockKeepsOthersOutAndNamesItsHolder() throws {
    var lock: FolderLock? = try store.folder.lock(.exclusive)
    for kind in [FolderLock.Kind.exclusive, .shared] {
      #expect(throws: StoreError.locked(path: store.path("lock"), pid: getpid())) { try store.folder.lock(kind) }
    }
    withExtendedLifetime(lock) {}
    lock = nil
    _ = try store.folder.lock(.exclusive)
  }

  @Test func readersShare() throws {
    let first = try store.folder.lock(.shared)
    let second = try store.folder.lock(.shared)
    #expect(throws: StoreError.self) { try store.folder.lock(.exclusive) }
    withExtendedLifetime((first, second)) {}
  }

  @Test func whoWaitsForALockHasItAsSoonAsItIsFree() throws {
    var holder: FolderLock? = try store.folder.lock(.exclusive)
    #expect(throws: StoreError.locked(path: store.path("lock"), pid: getpid())) {
      try store.folder.lock(.exclusive, wait: 0) {}
    }
    var asked = 0
    let lock = try store.folder.lock(.exclusive, wait: 600) {
      asked += 1
      holder = nil
    }
    #expect(asked == 1 && holder == nil)
    #expect(throws: StoreError.stopped) { try store.folder.lock(.shared, wait: 600) { throw StoreError.stopped } }
    withExtendedLifetime(lock) {}
  }

  // MARK: Failing writes

  /// A write that the kernel refuses in the middle: the error names file and cause, and nothing is left.
  @Test func aFailingWriteIsReportedAndLeavesNothing() async {
    await #expect(processExitsWith: .success) {
      signal(SIGXFSZ, SIG_IGN)
      let store = try TemporaryStore()
      try store.publish(Image(pages: [1: Random(3).fixedPage()]), epoch: 1)
      let writer = try store.folder.create(epoch: 2, reserving: 0)
      var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
      setrlimit(__rlimit_resource_t(1), &limit)  // RLIMIT_FSIZE
      do {
        for round in 0..<40 {
          let noise = Random(UInt64(round)).fixedPage()
          try Image(pages: Dictionary(uniqueKeysWithValues: (0..<2000).map { (UInt64($0), noise) })).append(to: writer)
        }
        exit(2)
      } catch let error as StoreError {
        guard case .system("write", let path, EFBIG) = error, path.hasSuffix("00000002.epoch.partial"),
          error.description.contains("ulimit")
        else { exit(3) }
      }
      guard (try? writer.publish(store.manifest(2))) == nil else { exit(4) }
      writer.abandon()
      guard try Set(StoreName.list(store.folder.path)) == ["counter", "hashes", "00000001.epoch", "00000001.json"]
      else {
        exit(5)
      }
      try store.folder.open(epoch: 1).verify()
    }
  }
}
