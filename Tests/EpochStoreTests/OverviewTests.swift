import Glibc
import Testing

@testable import EpochStore

/// Lists, and what is said of epochs after they were published.
@Suite struct OverviewTests {
  private let store: TemporaryStore
  private let image = Image(pages: [1: Random(3).fixedPage()])

  init() throws { store = try TemporaryStore() }

  /// The quick way of reading against the thorough one.
  @Test(arguments: [
    "web", "", "wéb ☃", #"a "quoted" \ name"#, "two\nlines", #"","epoch":9,"x":""#, "}",
    String(repeating: "x", count: 4000),
  ])
  func aSummaryIsWhatTheManifestSays(guest: String) throws {
    var manifest = store.manifest(7, guest: guest, at: -86_400_001)
    manifest.disks.append(
      .init(vdev: "xvdb", pool: "", thinID: nil, sizeBytes: 0, device: "/dev/\"x", readOnly: true))
    manifest.disks.append(.init(vdev: "xvdc", pool: "p", thinID: 0, sizeBytes: 1, device: "", readOnly: false))
    (manifest.pauseMs, manifest.stopMs) = (1e-7, 123456789.25)
    (manifest.file, manifest.needs, manifest.bytes) = (EpochName.file(7), [1, 2, 6], 1 << 40)
    manifest.phases = ["needs": 3, "epoch": 1]
    try store.folder.publish(bytes: ManifestFile.encode(manifest), as: store.path(EpochName.manifest(7)))
    let overview = try store.folder.overview()
    #expect(overview.damaged.isEmpty)
    #expect(overview.epochs == [EpochSummary(try store.folder.manifest(7))])
    #expect(overview.epochs.first?.disks == ["xvda", "xvdc"])
    #expect(overview.epochs.first?.time == EpochTime(milliseconds: -86_400_001))
  }

  @Test func whatAPlainNameTakesIsTheQuickWay() throws {
    try store.publish(image, epoch: 1)
    let bytes = try Tamper(path: store.path("00000001.json")).read()
    #expect(bytes.withUnsafeBytes(ManifestScanner.summary) == EpochSummary(try store.folder.manifest(1)))
    // All but the newline at the end.
    for length in 0..<(bytes.count - 1) {
      let summary = bytes.prefix(length).withUnsafeBytes(ManifestScanner.summary)
      #expect(summary == nil, "\(length) bytes")
    }
  }

  @Test func aFlippedByteIsDamageInTheListToo() throws {
    try store.publish(image, epoch: 1)
    try store.publish(image, epoch: 2)
    let file = Tamper(path: store.path("00000001.json"))
    for (offset, byte) in try file.read().enumerated() {
      try file.write([byte ^ 0x20], at: offset)
      let overview = try store.folder.overview()
      #expect(overview.epochs.map(\.epoch) == [2] && overview.damaged.map(\.epoch) == [1], "byte \(offset)")
      try file.write([byte], at: offset)
    }
  }

  /// More than a thread reads at a time.
  @Test func aLongListIsInOrderAndWhole() throws {
    for epoch in (1...700).reversed() {
      var manifest = store.manifest(epoch, guest: "guest \(epoch)")
      (manifest.file, manifest.needs) = (EpochName.file(epoch), [epoch])
      let path = store.path(EpochName.manifest(epoch))
      try StoreFile.open(path, O_WRONLY | O_CREAT).write(ManifestFile.encode(manifest), at: 0)
      if epoch % 300 == 0 { try Tamper(path: path).write([0], at: 40) }
    }
    let (overview, list) = (try store.folder.overview(), try store.folder.epochs())
    #expect(overview.epochs.map(\.epoch) == (1...700).filter { $0 % 300 != 0 })
    #expect(overview.epochs == list.epochs.map(EpochSummary.init))
    #expect(overview.damaged.map(\.epoch) == [300, 600])
  }

  @Test func aManifestOfAnotherEpochIsDamage() throws {
    try store.publish(image, epoch: 1)
    try StoreName.rename(store.path("00000001.json"), to: store.path("00000003.json"))
    #expect(try store.folder.overview().damaged.map(\.epoch) == [3])
  }

  @Test(arguments: [
    ("00000001.epoch", 1), ("00000042.json.partial", 42), ("4294967295.marks", 4_294_967_295), ("00000001.marks", 1),
  ])
  func namesThatAreOurs(name: String, epoch: Int) {
    #expect(Array(name.utf8).withUnsafeBytes { EpochName.parse($0)?.epoch } == epoch)
    #expect(Array(name.utf8).withUnsafeBytes { EpochName.parse($0).map { EpochName.of($0.epoch, $0.suffix) } } == name)
  }

  @Test(arguments: [
    "", ".", "..", "1.epoch", "00000000.epoch", "000000001.epoch", "4294967296.json", "99999999999999999999.json",
    "00000001", "00000001.", "00000001.epoch2", "00000001.epoch.partial.partial", "-0000001.epoch", "hashes",
  ])
  func otherNames(name: String) { #expect(Array(name.utf8).withUnsafeBytes { EpochName.parse($0) } == nil) }

  // MARK: Marks

  @Test func marksAreKeptBesideTheEpoch() throws {
    try store.publish(image, epoch: 1)
    let before = try Tamper(path: store.path("00000001.json")).read()
    #expect(try store.folder.marks(1) == .unmarked)
    try store.folder.setMarks(EpochMarks(pinned: true, tags: ["b", "a", "b"]), of: 1)
    #expect(try store.folder.marks(1).tags == ["a", "b"])
    let overview = try store.folder.overview()
    #expect(overview.isPinned(1) && overview.tags(1) == ["a", "b"] && !overview.isPinned(2))
    #expect(mode(store.path("00000001.marks")) == 0o600)
    #expect(try Tamper(path: store.path("00000001.json")).read() == before)
    try store.folder.discardUnpublished()
    #expect(try store.folder.marks(1).pinned)

    try store.folder.setMarks(.unmarked, of: 1)
    #expect(try Set(StoreName.list(store.folder.path)) == ["counter", "hashes", "00000001.epoch", "00000001.json"])
  }

  @Test(arguments: ["", "{}", "{\"pinned\": false, \"tags\": [\"a b\"]}", "{\"pinned\": 0, \"tags\": []}"])
  func unreadableMarksPin(text: String) throws {
    try store.publish(image, epoch: 1)
    try store.folder.publish(bytes: Array(text.utf8), as: store.path("00000001.marks"))
    let overview = try store.folder.overview()
    #expect(overview.isPinned(1) && overview.epochs.count == 1)
    #expect(overview.unreadableMarks[1]?.description.contains("counts as pinned") == true)
    try store.folder.setMarks(EpochMarks(tags: ["x"]), of: 1)
    #expect(try store.folder.overview().isPinned(1) == false)
  }

  @Test func onlyEpochsThatExistAreMarked() throws {
    #expect(throws: StoreError.notFound("epoch 1 of guest \(uuid)")) {
      try store.folder.setMarks(EpochMarks(pinned: true), of: 1)
    }
    #expect(try StoreName.list(store.folder.path) == [])
  }

  @Test(arguments: [[""], ["a b"], ["ü"], [String(repeating: "x", count: 65)], (0..<65).map { "t\($0)" }])
  func badTagsAreRefused(tags: [String]) { #expect(throws: StoreError.self) { try EpochMarks(tags: tags) } }

  @Test("A note that turns text around is refused, and read where it was written before that")
  func turningNotes() throws {
    let old = try EpochMarks(tags: ["x"], note: "a\u{200f}b")
    #expect(try old.adding(tag: "y").note == "a\u{200f}b")
    #expect(throws: StoreError.self) { try old.noting("c\u{202e}d") }
    #expect(try old.noting("c").note == "c" && old.noting("").note == nil)
  }
}
