import EpochStore
import Foundation
import Testing
import Xen

@testable import Checkpoint

@Suite("The pages that a freeze writes")
struct FreezePagesTests {
  /// As many takes as it takes to know them; each freeze writes `pages` and what `others` says.
  private func learned(_ pages: [UInt64], turns: Int, others: (Int) -> [UInt64] = { _ in [] }) -> FreezePages {
    var known = FreezePages()
    for turn in 0..<turns {
      let unprotected = known.toUnprotect(atMost: FreezePages.most)
      known.learn(unprotected: unprotected, written: PageSet(pages + others(turn)).subtracting(unprotected))
    }
    return known
  }

  @Test("lose their protection from the third take on, all but a sixteenth")
  func twice() {
    let pages = Array(100..<UInt64(132))
    #expect(learned(pages, turns: 0).toUnprotect(atMost: 99).isEmpty)
    #expect(learned(pages, turns: 1).toUnprotect(atMost: 99).isEmpty)
    let given = learned(pages, turns: 2).toUnprotect(atMost: 99)
    #expect(given == PageSet(pages.filter { $0 % 16 != 2 }))
    #expect(learned(pages, turns: 50).expected == pages)
  }

  @Test("what a freeze wrote by chance does not pile up")
  func chance() {
    let known = learned([7], turns: 100) { [1000 + UInt64($0)] }
    #expect(known.expected == [7])
    #expect(known.seen == [1099])
  }

  @Test("what it does not write any more is given up within sixteen takes")
  func forgotten() {
    var known = learned([5, 6, 7], turns: 2)
    for _ in 0..<16 { known.learn(unprotected: known.toUnprotect(atMost: 99), written: PageSet()) }
    #expect(known.expected.isEmpty)
  }

  @Test("never more than the room that is for them")
  func room() {
    let known = learned(Array(0..<10_000), turns: 3)
    #expect(known.expected.count == FreezePages.most)
    #expect(known.toUnprotect(atMost: 100).count == 100)
  }

  @Test("a file that is not ours is as good as none", arguments: ["", "{", #"{"turn":16,"expected":[],"seen":[]}"#])
  func damaged(text: String) throws {
    let temporary = try TemporaryStore()
    temporary.folder.setFreezePages(learned([1, 2], turns: 3))
    #expect(temporary.folder.freezePages == learned([1, 2], turns: 3))
    try Data(text.utf8).write(to: URL(fileURLWithPath: temporary.folder.path + "/freeze"))
    #expect(temporary.folder.freezePages == FreezePages())
  }

  @Test("pages that the guest does not have are none, whatever the file says")
  func wild() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: Journal())
    try Data(#"{"turn":4,"expected":[1,3,1152921504606846976],"seen":[18446744073709551615]}"#.utf8)
      .write(to: URL(fileURLWithPath: temporary.folder.path + "/freeze"))
    _ = try Take(guest, disks: ScriptedDisks(journal: Journal()), into: temporary.folder).run()
    #expect(guest.journal.events.contains("unprotect 1"))
    #expect(temporary.folder.freezePages.expected == [1])
  }

  @Test("lose their protection right before the request, and each epoch is the guest all the same")
  func takes() throws {
    let temporary = try TemporaryStore()
    let content = Dictionary(uniqueKeysWithValues: (1...40).map { (UInt64($0), page(UInt8($0))) })
    let guest = ScriptedGuest(pages: content, journal: Journal())
    for number in 1...20 {
      // Page 21 is written in each freeze but the last ones, 22 by chance; 21 right after the resume as well, unseen.
      guest.whileSuspending = { guest in
        if number < 18 { guest.write(21, page(UInt8(100 + number))) }
        if number % 5 == 0 { guest.write(22, page(UInt8(100 + number))) }
      }
      guest.afterResume = { $0.write(21, page(UInt8(200 + number))) }
      var options = TakeOptions()
      options.tracking = .continuous
      options.stagingBytes = 64 * 4096
      options.precopy.smallPages = 0
      var atResume: [UInt64: [UInt8]] = [:]
      guest.beforeState = { atResume = $0.pages }
      let epoch = try Take(guest, disks: ScriptedDisks(journal: Journal()), into: temporary.folder, options: options)
        .run().epoch
      #expect(try pages(of: epoch, in: temporary.folder) == atResume)
    }
    let events = guest.journal.events
    #expect(events.contains("unprotect 1"))
    for (index, event) in events.enumerated() where event.hasPrefix("unprotect") {
      let next = events[(index + 1)...].first { $0 == "collect" || $0 == "request" }
      #expect(next == "request")
    }
  }
}
