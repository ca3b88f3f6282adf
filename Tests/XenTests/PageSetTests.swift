import Testing

@testable import Xen

@Suite("A set of frame numbers")
struct PageSetTests {
  private func all(_ set: PageSet, most: Int, byStretch: Bool = false) -> [[UInt64]] {
    var batches = PageSet.Batches(set, most: most, byStretch: byStretch)
    var pieces: [[UInt64]] = []
    while let piece = batches.take() { pieces.append(piece) }
    return pieces
  }

  @Test("is what was put in and not taken out")
  func members() {
    var set = PageSet([3, 64, 1_044_479] as [UInt64])
    set.insert(5)
    set.remove(64)
    set.remove(9_999_999)
    #expect(set.count == 3)
    #expect(set.first == 3)
    #expect([3, 5, 1_044_479].allSatisfy { set.contains($0) })
    #expect(!set.contains(64) && !set.contains(9_999_999))
    set.subtract(PageSet([3, 5] as [UInt64]))
    set.formUnion(PageSet([70] as [UInt64]))
    #expect(all(set, most: 1024) == [[70, 1_044_479]])
  }

  @Test("reads Xen's bitmap: lowest frame in the lowest bit of the first byte")
  func bitmap() {
    var bytes = [UInt8](repeating: 0, count: 24)
    bytes[0] = 0b101
    bytes[23] = 0x80
    var set = PageSet([1] as [UInt64])
    let count = bytes.withUnsafeBytes { set.formUnion(bitmap: $0) }
    #expect(count == 3)
    #expect(all(set, most: 64) == [[0, 1, 2, 191]])
  }

  @Test("is handed out whole and in order, in pieces of at most as many as asked for", arguments: [64, 128, 1024])
  func batches(most: Int) {
    let pfns = (0..<5000).map { UInt64($0 * 3) }
    let pieces = all(PageSet(pfns), most: most)
    #expect(pieces.flatMap(\.self) == pfns)
    #expect(pieces.allSatisfy { !$0.isEmpty && $0.count <= most })
    let stretches = all(PageSet(pfns), most: most, byStretch: true)
    #expect(stretches.flatMap(\.self) == pfns)
    #expect(stretches.allSatisfy { $0.first! / 1024 == $0.last! / 1024 })
  }

  @Test("tells what of it was not handed out")
  func rest() {
    let pfns = (0..<500).map { UInt64($0 * 3) }
    var batches = PageSet.Batches(PageSet(pfns), most: 64)
    #expect(batches.rest.pfns == pfns)
    let first = batches.take() ?? []
    #expect(!first.isEmpty && batches.rest.pfns == Array(pfns.dropFirst(first.count)))
    while batches.take() != nil {}
    #expect(batches.rest.isEmpty)
  }
}
