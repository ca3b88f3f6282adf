import Testing

@testable import EpochStore

/// Blocks of a frame that some epochs need and others do not.
@Suite struct BlockTests {
  private let store: TemporaryStore
  /// One frame of four blocks, each stored as it is.
  private var images: [Image] = []

  /// Epoch 2 replaces a block of the lower half, epoch 3 a page of one block and the whole other block of the upper half.
  init() throws {
    store = try TemporaryStore()
    var image = Image(
      pages: Dictionary(uniqueKeysWithValues: (0..<16).map { (UInt64($0), Random(UInt64($0)).fixedPage()) }))
    for changed in [[], [4, 5, 6, 7], [9, 12, 13, 14, 15]] as [[UInt64]] {
      for pfn in changed { image.pages[pfn] = Random(pfn + 100).fixedPage() }
      try store.publish(image, epoch: images.count + 1, base: store.folder.base())
      images.append(image)
    }
  }

  private var file: Tamper { Tamper(path: store.path("00000001.epoch")) }

  private func flip(_ offset: Int) throws { try file.write([try file.read()[offset] ^ 1], at: offset) }

  private static let head = EpochFormat.headerBytes + 8 * EpochFormat.pageSize
  private static let headBytes = EpochFormat.headBytes(blocks: 4)

  /// A byte of a page of epoch 1.
  private func place(_ pfn: Int) -> Int {
    EpochFormat.headerBytes + pfn * EpochFormat.pageSize + 77 + (pfn < 8 ? 0 : Self.headBytes)
  }

  /// Which epochs cannot be read, and which of them verification calls damaged, whatever the order in which it looks.
  private func expect(damaged: [Int], _ comment: Comment) throws {
    for (epoch, image) in zip(1..., images) {
      let reader = try store.folder.open(epoch: epoch)
      if damaged.contains(epoch) {
        #expect(throws: StoreError.self, comment) { try Image.read(reader) }
        #expect(throws: StoreError.self, comment) { try reader.verify() }
      } else {
        #expect(try Image.read(reader) == image, comment)
        #expect(throws: Never.self, comment) { try reader.verify() }
      }
    }
    for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3]] {
      let verifier = FolderVerifier(store.folder, method: .full)
      var outcomes = try order.map { try verifier.verify($0) }
      outcomes += try verifier.finish()
      #expect(outcomes.filter(\.verdict.isDamaged).map(\.verdict.epoch).sorted() == damaged, "\(comment) \(order)")
    }
  }

  @Test(arguments: [
    (2, [1, 2, 3]), (5, [1]), (8, [1, 2, 3]), (9, [1, 2, 3]), (12, [1, 2]), (15, [1, 2]),
  ])
  func damageInOneBlock(pfn: Int, damaged: [Int]) throws {
    try expect(damaged: [], "before")
    try flip(place(pfn))
    try expect(damaged: damaged, "page \(pfn)")
    let error = StoreError.damaged(
      path: file.path,
      what: "the frame of pfn 0 at byte 40 has a block, that of pfn \(pfn / 4 * 4), that does not match its checksum")
    #expect(throws: error) { try store.folder.open(epoch: 1).verify() }
    try flip(place(pfn))
    try expect(damaged: [], "repaired")
  }

  @Test func damageInTheHead() throws {
    for offset in Self.head..<(Self.head + Self.headBytes) {
      try flip(offset)
      for epoch in 1...3 {
        #expect(throws: StoreError.self, "byte \(offset)") { try Image.read(store.folder.open(epoch: epoch)) }
      }
      try flip(offset)
    }
    try flip(Self.head + EpochFormat.frameHeaderBytes + EpochFormat.blockEntryBytes)
    try expect(damaged: [1, 2, 3], "entry of the second block")
  }

  /// The epoch whose file it is never verifies; the others verify exactly when they can be read, and what is read is right.
  @Test func anyByteOfAnyFileFlipped() throws {
    let store = try TemporaryStore()
    var image = Image()
    var images: [Image] = []
    for changed in [Array(0..<16), [4, 5, 6, 7], [9, 12]] as [[UInt64]] {
      for pfn in changed {
        let seed = UInt8(pfn) + UInt8(images.count) * 16
        image.pages[pfn] = .init(type: 0, bytes: (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 100) ^ seed })
      }
      try store.publish(image, epoch: images.count + 1, base: store.folder.base())
      images.append(image)
    }
    for damaged in 1...3 {
      let file = Tamper(path: store.path("0000000\(damaged).epoch"))
      for (offset, byte) in try file.read().enumerated() {
        try file.write([byte ^ 1 << UInt8(offset % 8)], at: offset)
        for (epoch, image) in zip(1..., images) {
          let isSound = (try? store.folder.open(epoch: epoch).verify()) != nil
          let read = try? Image.read(store.folder.open(epoch: epoch))
          #expect(read == nil || read == image, "epoch \(epoch), byte \(offset) of file \(damaged)")
          #expect(
            epoch == damaged ? !isSound : isSound == (read != nil), "epoch \(epoch), byte \(offset) of file \(damaged)")
        }
        try file.write([byte], at: offset)
      }
    }
  }

  /// Looking for those that share damage must not take all of a frame for damaged, and looks at no file again.
  @Test func onlyEpochsThatNeedTheBlockShareItsDamage() throws {
    try flip(place(5))
    let verifier = FolderVerifier(store.folder, method: .full)
    #expect(try verifier.verify(1).verdict.isDamaged)
    #expect(try verifier.finish().isEmpty)
    #expect(try store.folder.base()?.epoch == 3)
    try flip(place(8))
    let second = FolderVerifier(store.folder, method: .full)
    #expect(try second.verify(1).verdict.damageCount == 1)
    #expect(try second.finish().map(\.verdict.epoch) == [2, 3])
  }

  /// A frame that is needed in part stays whole.
  @Test func compactionKeepsFramesThatAreNeededInPart() throws {
    let block = Array(try file.read()[place(4)..<place(8)])
    _ = try store.folder.remove(epochs: [1])
    _ = try store.folder.compact()
    #expect(Array(try file.read()[place(4)..<place(8)]) == block)
    for epoch in [2, 3] {
      let reader = try store.folder.open(epoch: epoch)
      try reader.verify()
      #expect(try Image.read(reader) == images[epoch - 1])
    }
  }

  /// Pages of one block at its front, at its end, in its middle and with gaps, packed and raw.
  @Test(arguments: 1...15 as ClosedRange<UInt64>, [false, true])
  func partsOfABlock(replaced: UInt64, packed: Bool) throws {
    let store = try TemporaryStore()
    var image = Image()
    for pfn in 0..<8 as Range<UInt64> {
      let bytes = (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 50) ^ UInt8(truncatingIfNeeded: pfn) }
      image.pages[pfn] = packed ? Image.Page(type: 0, bytes: bytes) : Random(pfn).fixedPage()
    }
    try store.publish(image, epoch: 1)
    // Some turn to zero, some to another content.
    let zero = Image.Page(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
    for pfn in 0..<4 as Range<UInt64> where replaced >> pfn & 1 != 0 {
      image.pages[pfn] = pfn % 2 == 0 ? Random(pfn + 50).fixedPage() : zero
    }
    try store.publish(image, epoch: 2, base: store.folder.base())
    #expect(try Image.read(store.folder.open(epoch: 2)) == image)
  }
}
