import Testing

@testable import Xen

private func read(_ memory: GuestMemory, running: Bool = false) throws -> [UInt64: UInt64] {
  let receiver = FakeReceiver()
  var batches = PageSet.Batches(memory.present, byStretch: true)
  while let pfns = batches.take() {
    #expect(try memory.copy(pfns, running: running, to: receiver) == pfns.count)
  }
  return receiver.pages
}

private func members(_ set: PageSet) -> [UInt64] {
  var batches = PageSet.Batches(set)
  var pfns: [UInt64] = []
  while let piece = batches.take() { pfns += piece }
  return pfns
}

@Suite("The memory of a PVH guest")
struct PVHMemoryTests {
  private let domain = FakeDomain()
  private let memory: GuestMemory

  init() {
    for frame in UInt64(0)..<8 { domain.put(frame, frame) }
    domain.put(3000, 3000)
    memory = GuestMemory(domain, frameMap: TranslatedFrameMap(domain), spent: SpentMappings())
  }

  @Test(
    "a page that was exchanged between two takes is the new one, whether or not memory is kept mapped",
    arguments: [true, false])
  func exchangedBetweenTakes(keeps: Bool) throws {
    try memory.scan()
    try memory.keepMapped()
    #expect(try read(memory)[5] == 5)
    memory.release(forNextTake: true)
    domain.remove(5)
    domain.put(5, 55)
    try memory.scan()
    if keeps { try memory.keepMapped() }
    #expect(try read(memory, running: true)[5] == 55)
    _ = try memory.settle()
    #expect(try read(memory)[5] == 55)
  }

  @Test("a page that was exchanged after it was mapped is the new one", arguments: [true, false])
  func exchangedMeanwhile(found: Bool) throws {
    try memory.scan()
    try memory.keepMapped()
    domain.remove(5)
    domain.put(5, 55)
    // Found live, everything is mapped again then; else the pause does it.
    if found { _ = try memory.settleLive(anew: false) }
    domain.forgetWhatWasAsked()
    _ = try memory.settle()
    #expect(try read(memory)[5] == 55)
    #expect((domain.mapCalls == 0) == found)
  }

  @Test("a page that came while a scan looked elsewhere, for one that went, is found before all is mapped")
  func movedWhileScanned() throws {
    domain.whileQueried = { domain in
      domain.whileQueried = { _ in }
      domain.remove(5)
      domain.put(6, 66)
      domain.put(700, 700)
    }
    try memory.scan()
    try memory.keepMapped()
    _ = try memory.settle()
    let pages = try read(memory)
    #expect(pages[5] == nil && pages[6] == 66 && pages[700] == 700)
  }

  @Test("what came and went is found while the guest runs, and the pause asks for nothing")
  func settledLive() throws {
    try memory.scan()
    domain.remove(3000)
    domain.put(9, 9)
    domain.put(10, 10)
    let moved = try memory.settleLive(anew: false)
    #expect(members(moved.come) == [9, 10])
    #expect(members(moved.gone) == [3000])
    domain.forgetWhatWasAsked()
    let rest = try memory.settle()
    #expect(rest.come.isEmpty && rest.gone.isEmpty)
    #expect(domain.queries == 0)
    #expect(try read(memory).keys.sorted() == Array(0...10).filter { $0 != 8 })
  }

  @Test("a guest that never stops ballooning is settled in the pause")
  func restless() throws {
    var next: UInt64 = 100
    domain.whileQueried = { domain in
      domain.put(next, next)
      next += 1
    }
    try memory.scan()
    try memory.keepMapped()
    _ = try memory.settleLive(anew: false)
    domain.whileQueried = { _ in }
    _ = try memory.settle()
    #expect(try read(memory).count == 9 + Int(next - 100))
  }

  @Test("an earlier scan is believed as long as Xen counts the same number of pages")
  func assumed() throws {
    try memory.scan()
    let (known, pages) = (memory.present, memory.pageTotal)
    let later = GuestMemory(domain, frameMap: TranslatedFrameMap(domain), spent: SpentMappings())
    domain.forgetWhatWasAsked()
    #expect(try later.assume(known, pages: pages))
    #expect(later.present == known && domain.queries == 0)
    domain.put(9, 9)
    #expect(try !later.assume(known, pages: pages))
  }

  @Test("a copy of the suspended guest is unmapped when the guest runs again, one of the running guest at once")
  func unmapping() throws {
    try memory.scan()
    _ = try read(memory, running: true)
    #expect(domain.mapped == 0)
    _ = try read(memory)
    #expect(domain.mapped == 9)
    memory.unmapSpent()
    #expect(domain.mapped == 0)
    try memory.keepMapped()
    _ = try read(memory)
    memory.release(forNextTake: false)
    #expect(domain.mapped == 0)
  }

  @Test("a guest with a frame number beyond all bounds is refused, and told of both numbers")
  func unbounded() throws {
    domain.claimedFrames = 1 << 36
    let error = #expect(throws: XenError.self) { try memory.scan() }
    #expect("\(try #require(error))".contains("68719476736 frames, at most 1572864"))
    #expect(domain.queries == 0)
  }
}

@Suite("The memory of a PV guest")
struct PVMemoryTests {
  private let domain = FakeDomain()
  private let list = FakeList()
  private let memory: GuestMemory

  init() {
    // Frame numbers 0 to 3000, in three stretches.
    for pfn in stride(from: UInt64(0), through: 3000, by: 100) {
      domain.put(10_000 + pfn, pfn)
      list.list[pfn] = 10_000 + pfn
    }
    memory = GuestMemory(domain, frameMap: list, spent: SpentMappings())
  }

  @Test("one frame that changed has its stretch mapped again, and nothing else", arguments: [true, false])
  func oneChange(live: Bool) throws {
    try memory.scan()
    try memory.keepMapped()
    domain.put(20_000, 77)
    list.list[1500] = 20_000
    domain.forgetWhatWasAsked()
    if live {
      let moved = try memory.settleLive(anew: false)
      #expect(members(moved.come) == [1500] && domain.mapCalls == 1)
    }
    _ = try memory.settle()
    #expect(try read(memory)[1500] == 77)
    #expect(domain.mapCalls == 1)
  }

  @Test("what is mapped stays so for the next take, except where it changed")
  func nextTake() throws {
    try memory.scan()
    try memory.keepMapped()
    memory.release(forNextTake: true)
    domain.put(20_000, 77)
    list.list[1500] = 20_000
    domain.forgetWhatWasAsked()
    try memory.scan()
    try memory.keepMapped()
    _ = try memory.settle()
    #expect(try read(memory)[1500] == 77)
    #expect(domain.mapCalls == 1)
  }

  @Test("a stretch that the guest gave back is let go")
  func givenBack() throws {
    try memory.scan()
    try memory.keepMapped()
    for pfn in stride(from: UInt64(1100), to: 2048, by: 100) {
      domain.remove(10_000 + pfn)
      list.list[pfn] = nil
    }
    list.list[3000] = nil
    domain.remove(13_000)
    memory.release(forNextTake: true)
    try memory.scan()
    try memory.keepMapped()
    #expect(domain.mapped == list.list.count)
    #expect(domain.pages() == UInt64(list.list.count))
  }

  @Test("a frame that could not be mapped once is mapped when it can be")
  func hole() throws {
    domain.remove(11_500)
    try memory.scan()
    try memory.keepMapped()
    domain.put(11_500, 88)
    _ = try memory.settle()
    #expect(try read(memory)[1500] == 88)
  }
}

@Suite("How many frames a guest may use")
struct FrameSpaceTests {
  @Test(
    "is bounded by its memory; holes below 4 GiB are no offence", arguments: [16 << 10, 1 << 20, 64 << 20] as [UInt64])
  func bounds(kiB: UInt64) throws {
    let space = FrameSpace(domain: 1, mostKiB: kiB)
    // Where the toolstack puts the special pages of a PVH guest of any size, and the memory above 4 GiB of a large one.
    #expect(try space.checked(0xFF000) == 0xFF000)
    #expect(try space.checked((1 << 20) + kiB / 4) > 0)
    #expect(throws: XenError.self) { try space.checked(0) }
    #expect(throws: XenError.self) { try space.checked(1 << 36) }
  }

  @Test("is bounded even if nobody set a maximum")
  func noMaximum() {
    #expect(throws: XenError.self) { try FrameSpace(domain: 1, mostKiB: .max).checked(1 << 36) }
  }

  @Test("is never more than the stream can count", arguments: [1 << 33, 1 << 34, .max] as [UInt64])
  func stream(kiB: UInt64) throws {
    let space = FrameSpace(domain: 1, mostKiB: kiB)
    #expect(UInt32(exactly: try space.checked(1 << 32) - 1) != nil)
    #expect(throws: XenError.self) { try space.checked(1 << 32 + 1) }
  }
}
