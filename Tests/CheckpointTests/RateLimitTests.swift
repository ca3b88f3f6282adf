import EpochStore
import Testing
import Xen

@testable import Checkpoint

@Suite("The limit of live copying")
struct RateLimitTests {
  @Test("asks for a wait after each piece, and makes up for no time in which less was copied")
  func waits() {
    var limit = RateLimit(bytesPerSecond: 1 << 20)
    let start = limit.due
    limit.charge(1 << 19, at: start)
    #expect(limit.due == start + .milliseconds(500))
    // The copy itself took a part of its time.
    limit.charge(1 << 19, at: start + .milliseconds(600))
    #expect(limit.due == start + .seconds(1))
    // A minute of comparing, in which nothing was copied.
    limit.charge(0, at: start + .seconds(60))
    #expect(limit.due == start + .seconds(60))
    limit.charge(1 << 20, at: start + .seconds(60))
    #expect(limit.due == start + .seconds(61))
  }

  @Test("copies a tenth of a second's bytes at a time, 1 MiB at least")
  func piece() {
    #expect(RateLimit(bytesPerSecond: 1).piece == 1 << 20)
    #expect(RateLimit(bytesPerSecond: 200 << 20).piece == 20 << 20)
    #expect(RateLimit(bytesPerSecond: nil).piece == .max)
  }

  private func guest(pages: Int) -> ScriptedGuest {
    let content = page(1)
    return ScriptedGuest(
      pages: Dictionary(uniqueKeysWithValues: (0..<pages).map { (UInt64($0), content) }), most: pages,
      journal: Journal())
  }

  /// Copies all of the guest in pieces of about 256 pages; returns how many pages each had.
  private func pieces(_ guest: ScriptedGuest, _ copier: PageCopier) throws -> [Int] {
    var sizes: [Int] = []
    var rest = PageSet(guest.pages.keys)
    while !rest.isEmpty {
      let outcome = try copier.copy(rest, pages: guest.pages.count, running: true, most: 256)
      sizes.append(outcome.copied.count)
      copier.staging.clear()
      rest = outcome.rest
    }
    return sizes
  }

  @Test("ends a copy after a piece, on any number of threads", arguments: [1, 4])
  func copies(threads: Int) throws {
    let guest = guest(pages: 5000)
    let copier = PageCopier(guest: guest, staging: try Staging(pages: 1024, threads: threads), threads: threads)
    let sizes = try pieces(guest, copier)
    #expect(sizes.dropLast().allSatisfy { $0 == 256 })
    #expect(guest.copied.sorted() == guest.pages.keys.sorted())
  }

  @Test("does not count pages that need no copy", arguments: [1, 4])
  func known(threads: Int) throws {
    let guest = guest(pages: 5000)
    var copier = PageCopier(guest: guest, staging: try Staging(pages: 1024, threads: threads), threads: threads)
    copier.holds = { pfn, _, _ in pfn % 10 != 0 }
    let sizes = try pieces(guest, copier)
    #expect(sizes.count == 2 && sizes.reduce(0, +) == 500)
    #expect(sizes[0] >= 256)
  }

  @Test("holds a take back from its first piece on")
  func take() throws {
    let temporary = try TemporaryStore()
    let guest = guest(pages: 512)
    var first: Int?
    guest.whileCopied = { first = first ?? $0.copied.count }
    var options = TakeOptions()
    options.threads = 1
    options.bytesPerSecond = 10 << 20
    options.precopy.smallPages = 0
    let manifest = try Take(
      guest, disks: ScriptedDisks(journal: guest.journal), into: temporary.folder, options: options
    ).run()
    #expect(first == 256)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == guest.pages)
  }
}
