import FoundationEssentials
import Glibc
import Testing

@testable import EpochStore

/// How people name epochs.
@Suite struct ReferenceTests {
  private static let image = Image(pages: [1: .init(type: 0, bytes: [UInt8](repeating: 7, count: 4096))])
  private static let berlin = LocalZone { _ in 3600 }

  @Test(arguments: [
    ("7", EpochReference.number(7)), ("0", .number(0)), ("007", .number(7)), ("4294967295", .number(4_294_967_295)),
    ("latest", .newest(1)), ("-1", .newest(1)), ("-12", .newest(12)),
    ("nightly", .tag("nightly")), ("v1.2_x-3", .tag("v1.2_x-3")), ("2026-11-21", .tag("2026-11-21")),
    ("LATEST", .tag("LATEST")),
  ])
  func names(text: String, reference: EpochReference) throws {
    #expect(try EpochReference(text, zone: .utc) == reference)
  }

  @Test(arguments: [
    ("@2026-11-21T10:00", "2026-11-21T09:00:00.000Z"), ("@2026-11-21T10:00:30", "2026-11-21T09:00:30.000Z"),
    ("@2026-11-21T10:00:30.5", "2026-11-21T09:00:30.500Z"), ("@2026-11-21T10:00Z", "2026-11-21T10:00:00.000Z"),
    ("@2026-11-21T10:00+05:30", "2026-11-21T04:30:00.000Z"), ("@2026-11-21T10:00-0800", "2026-11-21T18:00:00.000Z"),
    ("@2026-11-21T10:00:30.123Z", "2026-11-21T10:00:30.123Z"), ("@2027-01-01T00:30", "2026-12-31T23:30:00.000Z"),
  ])
  func times(text: String, instant: String) throws {
    let time = try #require(EpochTime(instant))
    #expect(try EpochReference(text, zone: Self.berlin) == .time(time))
  }

  @Test func aTimeOfTheWallFollowsTheZoneOfItsDay() throws {
    // Summer time ends at 01:00 UTC.
    let end = try #require(EpochTime("2026-10-25T01:00:00.000Z")).seconds
    let zone = LocalZone { $0 < end ? 7200 : 3600 }
    #expect(try EpochReference("@2026-10-24T10:00", zone: zone) == EpochReference("@2026-10-24T10:00+02:00"))
    #expect(try EpochReference("@2026-10-26T10:00", zone: zone) == EpochReference("@2026-10-26T10:00+01:00"))
  }

  @Test(arguments: [
    "", "-", "-0", "--1", "-1x", "-x", "a b", "é", "٣", "99999999999999999999", "4294967296",
    String(repeating: "x", count: 65), "@", "@now", "@2026-11-21", "@2026-13-21T10:00", "@2026-02-30T10:00",
    "@2026-11-21T24:00",
    "@2026-11-21T10", "@2026-11-21T10:00:60", "@2026-11-21T10:00.5", "@2026-11-21 10:00", "@2026-11-21T10:00+15:00",
    "@2026-11-21T10:00+01:60", "@2026-11-21T10:00+1", "@٢٠٢٦-11-21T10:00", "@2026-11-21T10:00Zx", "@99999-01-01T00:00",
  ])
  func otherTextIsRefusedInOneLine(text: String) {
    #expect {
      try EpochReference(text, zone: .utc)
    } throws: { "\($0)".contains("write it like") || "\($0)".contains("names no epoch; say") }
  }

  @Test func inJSONANumberIsANumberAndTheRestIsText() throws {
    let sent: [EpochReference] = [7, .latest, .newest(3), .tag("a"), .time(EpochTime(milliseconds: 1))]
    let json = try JSONEncoder().encode(sent)
    #expect(String(decoding: json, as: UTF8.self) == #"[7,"latest","-3","a","@1970-01-01T00:00:00.001Z"]"#)
    #expect(try JSONDecoder().decode([EpochReference].self, from: json) == sent)
    #expect(try JSONDecoder().decode([EpochReference].self, from: Data(#"[-2, "9"]"#.utf8)) == [.newest(2), 9])
    for bad in [#"["a b"]"#, "[true]", "[1.5]", "[null]"] {
      #expect(throws: DecodingError.self) { try JSONDecoder().decode([EpochReference].self, from: Data(bad.utf8)) }
    }
  }

  // MARK: Which epoch is meant

  /// Epochs 2, 5, 9 and 10 of 10:00, 11:00, 12:00 and, its clock set back, 11:30; the manifest of 9 is damaged.
  private static func overview(_ marks: [Int: [String]] = [5: ["a", "nightly"], 9: ["b"], 10: ["a"]]) throws
    -> EpochOverview
  {
    var overview = EpochOverview()
    for (epoch, time) in [(2, "10:00"), (5, "11:00"), (10, "11:30")] {
      let manifest = EpochManifest(
        guest: "web", uuid: uuid, epoch: epoch, time: EpochTime("2026-11-21T\(time):00.000Z")!, kind: .pv, vcpus: 1,
        memoryBytes: 0)
      overview.epochs.append(EpochSummary(manifest))
    }
    overview.damaged = [DamagedEpoch(epoch: 9, error: .damaged(path: "9", what: "lost"))]
    overview.marks = try marks.mapValues { try EpochMarks(tags: $0) }
    return overview
  }

  @Test(arguments: [
    ("2", 2), ("9", 9), ("latest", 10), ("-1", 10), ("-2", 9), ("-4", 2), ("nightly", 5), ("b", 9),
    ("@2026-11-21T10:00", 2), ("@2026-11-21T10:59:59.999", 2), ("@2026-11-21T11:00", 5), ("@2026-11-21T12:30", 10),
    ("@2030-01-01T00:00", 10),
  ])
  func meant(text: String, epoch: Int) throws {
    #expect(try Self.overview().resolve(EpochReference(text, zone: .utc)) == epoch)
  }

  @Test(arguments: [
    ("7", "has no epoch 7; it has 2, 5, 9, 10"), ("-5", "has no epoch -5; it has 4 epochs, -4 is epoch 2"),
    ("nightyl", "has no epoch tagged 'nightyl'; its tags are nightly, a, b"),
    ("a", "has 2 epochs tagged 'a': 5, 10; say which by its number"),
    (
      "@2026-11-21T09:59",
      "has no epoch at or before 2026-11-21T09:59:00.000Z; its oldest is epoch 2 of 2026-11-21T10:00:00.000Z"
    ),
  ])
  func unknownNamesTellTheNearest(text: String, words: String) throws {
    let overview = try Self.overview()
    let error = #expect(throws: UnknownEpoch.self) { try overview.resolve(EpochReference(text, zone: .utc)) }
    #expect(error?.text == words)
  }

  @Test func thereMayBeNone() throws {
    for reference in [EpochReference.latest, 1, .tag("a"), .time(.now)] {
      #expect(throws: UnknownEpoch(text: "has no epochs")) { try EpochOverview().resolve(reference) }
    }
    #expect(throws: UnknownEpoch(text: "has no epoch tagged 'a'; none of its epochs has a tag")) {
      try Self.overview([:]).resolve(.tag("a"))
    }
  }

  @Test func ofManyOnlyTheNearestAreNamed() throws {
    var overview = EpochOverview()
    for epoch in 1...100 where epoch != 50 {
      overview.damaged.append(DamagedEpoch(epoch: epoch, error: .invalid("")))
    }
    #expect(
      throws: UnknownEpoch(text: "has no epoch 50; it has 99 epochs, the nearest are 46, 47, 48, 49, 51, 52, 53, 54")
    ) {
      try overview.resolve(50)
    }
  }

  // MARK: What is said of guests and epochs

  @Test(arguments: ["latest", "7", "-1", "-x", "a b", ""])
  func aTagThatNamesAnotherEpochIsRefused(tag: String) {
    #expect(throws: StoreError.self) { try EpochMarks.unmarked.adding(tag: tag) }
  }

  @Test func anOldTagThatWouldBeRefusedTodayIsStillRead() throws {
    let store = try TemporaryStore()
    try store.publish(Self.image, epoch: 1)
    try store.folder.setMarks(EpochMarks(pinned: true, tags: ["latest", "7"]), of: 1)
    #expect(try store.folder.marks(1).tags == ["7", "latest"])
  }

  @Test func aNoteStaysAndIsTakenAway() throws {
    let store = try TemporaryStore()
    try store.publish(Self.image, epoch: 1)
    let note = "before the upgrade – \"ü\""
    try store.folder.setMarks(EpochMarks(tags: ["a"], note: note), of: 1)
    #expect(try store.folder.overview().marks[1]?.note == note)
    #expect(try EpochMarks(note: "") == .unmarked)
    for bad in ["two\nlines", "\u{1b}[2J", String(repeating: "x", count: 1001)] {
      #expect(throws: StoreError.self) { try EpochMarks(note: bad) }
    }
    #expect(throws: Never.self) { try EpochMarks(note: String(repeating: "x", count: 1000)) }
  }

  @Test func aGuestIsFoundByTheNameThatItWasGiven() throws {
    let store = try TemporaryStore()
    for epoch in 1...2 { try store.publish(Self.image, epoch: epoch) }
    try store.folder.rename(to: "old-web")
    #expect(try store.store.find("web") == nil)
    #expect(try store.store.find("old-web") == store.folder)
    #expect(try store.folder.manifest(1).guest == "old-web" && store.folder.open(epoch: 2).givenName == "old-web")
    #expect(try store.folder.overview().epochs.map(\.guest) == ["old-web", "old-web"])
    #expect(try store.folder.epochs().epochs.map(\.guest) == ["old-web", "old-web"])
    // What is taken later bears the domain's name again.
    try store.publish(Self.image, epoch: 3)
    #expect(try store.folder.overview().epochs.map(\.guest) == ["old-web", "old-web", "web"])
    #expect(try store.store.find("web") == store.folder && store.store.find("old-web") == store.folder)
    // The files are what they were.
    try store.folder.open(epoch: 1).verify()
    unlink(store.path("name"))
    #expect(try store.folder.manifest(1).guest == "web")
  }

  @Test func aGuestWithoutEpochsHasNoNameToChange() throws {
    let store = try TemporaryStore()
    #expect(throws: StoreError.self) { try store.folder.rename(to: "x") }
  }
}
