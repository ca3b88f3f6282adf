import Testing

@testable import Checkpoint

@Suite("What is kept of guests between takes")
struct ResidentMemoriesTests {
  private let memories = ResidentMemories(store: "/store")

  /// A take of a guest whose domain 7 it has mapped.
  ///
  /// - Returns: whether its mappings are kept.
  private func take(whileTaken: () -> Void) throws -> Bool {
    weak var kept: TakeMemory?
    do {
      let memory = try memories.borrow("web")
      memory.mappedDomain = 7
      kept = memory
    }
    whileTaken()
    memories.giveBack("web")
    return kept != nil
  }

  @Test("A guest that is destroyed during its take is let go when the take ends, whatever the others do")
  func destroyedMeanwhile() throws {
    #expect(try !take { memories.keepOnly([0, 5]) })
    #expect(memories.count == 0)
  }

  @Test("A guest that runs is kept, though another ended during its take")
  func anotherEnded() throws {
    #expect(try take { memories.keepOnly([0, 7]) })
    // What was seen in one take says nothing in the next.
    #expect(try take {})
    memories.keepOnly([0, 7])
    #expect(memories.count == 1)
    memories.keepOnly([0])
    #expect(memories.count == 0)
  }

  @Test("Who was last seen counts: a take may outlive several looks")
  func lastLook() throws {
    #expect(
      try !take {
        memories.keepOnly([0, 7])
        memories.keepOnly([0])
      })
  }

  @Test("Memory that no take has wanted for a while is let go, and what was learned of the guest stays")
  func idle() async throws {
    let memories = ResidentMemories(store: "/store", idleSeconds: 0.01)
    let memory = try memories.borrow("web")
    memory.mappedDomain = 7
    memories.giveBack("web")
    while memory.mappedDomain != nil { try await Task.sleep(for: .milliseconds(5)) }
    memories.keepOnly([7])
    #expect(try memories.borrow("web") === memory)
    memory.mappedDomain = 7
    // One that a take has is not touched by the end of the one before.
    try await Task.sleep(for: .milliseconds(50))
    #expect(memory.mappedDomain == 7)
  }

  @Test("What was learned of a guest goes with its domain, also when its memory was let go before")
  func idleAndGone() async throws {
    let memories = ResidentMemories(store: "/store", idleSeconds: 0.01)
    let memory = try memories.borrow("web")
    memory.mappedDomain = 7
    memories.giveBack("web")
    while memory.mappedDomain != nil { try await Task.sleep(for: .milliseconds(5)) }
    memories.keepOnly([8])
    #expect(memories.count == 0)
  }
}
