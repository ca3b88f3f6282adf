import Testing

@testable import Checkpoint

/// A killed take's remainder that ends after so many looks, or cannot be ended.
private struct Remainder: Error, Equatable {
  let name: String
  var looks: Int
  var fails = false
}

@Suite("Recovery from killed takes")
struct RecoverTests {
  /// What happened to each, and the order in which they ended.
  private func end(_ items: [Remainder]) -> (results: [Result<String, any Error>], order: [String], waits: Int) {
    var order: [String] = []
    var waits = 0
    func look(_ item: inout Remainder) throws -> String? {
      item.looks -= 1
      guard item.looks <= 0 else { return nil }
      order.append(item.name)
      if item.fails { throw item }
      return item.name
    }
    let results = endSideBySide(items, wait: { waits += 1 }, step: look)
    return (results, order, waits)
  }

  @Test("one that cannot be ended keeps no other")
  func failure() throws {
    let (results, order, waits) = end([
      Remainder(name: "a", looks: 1, fails: true), Remainder(name: "b", looks: 1),
      Remainder(name: "c", looks: 3, fails: true), Remainder(name: "d", looks: 4),
    ])
    #expect(order == ["a", "b", "c", "d"])
    #expect(results.map { (try? $0.get()) ?? "failed" } == ["failed", "b", "failed", "d"])
    #expect(waits == 3)
  }

  @Test("one that must be watched does not hold up one that can be ended at once")
  func sideBySide() {
    let (results, order, waits) = end([
      Remainder(name: "watched", looks: 5), Remainder(name: "suspended", looks: 1), Remainder(name: "late", looks: 2),
    ])
    #expect(order == ["suspended", "late", "watched"])
    #expect(results.map { try? $0.get() } == ["watched", "suspended", "late"])
    #expect(waits == 4)
  }

  @Test("with nothing to end nothing is waited for") func nothing() { #expect(end([]).waits == 0) }
}
