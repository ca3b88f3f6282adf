import CXen
import Testing

@testable import Xen

@Suite("A PV guest that writes what it likes into what we read")
struct HostileGuestTests {
  private let guest = WildGuest()

  @Test func honest() throws {
    let map = try guest.map()
    #expect(try map.scan().count == 1024)
    #expect(try map.listFrames() == [10, 11])
    #expect(map.confirmedFrame(7) == 1007 && map.pfn(ofMachineFrame: 1007) == 7)
  }

  /// What a hostile kernel writes, and what is said of it.
  struct Lie: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let words: String
    let tell: @Sendable (WildGuest) -> Void
    init(_ name: String, says words: String, _ tell: @escaping @Sendable (WildGuest) -> Void) {
      (testDescription, self.words, self.tell) = (name, words, tell)
    }
  }

  static let lies = [
    Lie("max_pfn 0", says: "claims 0 frames") { $0.say(count: 0) },
    Lie("max_pfn 2^52", says: "claims 4503599627370496 frames") { $0.say(count: 1 << 52) },
    Lie("max_pfn 2^64 - 1", says: "claims 18446744073709551615 frames") { $0.say(count: .max) },
    Lie("p2m_cr3 0", says: "legacy p2m tree") { $0.say(cr3: 0) },
    Lie("p2m_cr3 beyond the host", says: "no frame of this host") { $0.say(cr3: .max) },
    Lie("p2m_cr3 at a frame of another", says: "does not have") { $0.say(cr3: 77 << 12) },
    Lie("p2m_vaddr in Xen's own range", says: "no valid address") { $0.say(address: 0xffff_8000_0000_0000) },
    Lie("p2m_vaddr that wraps", says: "no valid address") { $0.say(address: 0xffff_ffff_ffff_f000) },
    Lie("p2m_vaddr where nothing is", says: "hole at level 4") { $0.say(address: 0xffff_d000_0000_0000) },
    Lie("an entry that is not present", says: "hole at level 3") { $0.domain.write(1013, 0, 1014 << 12) },
    Lie("an entry to frame 0", says: "hole at level 2") { $0.domain.write(1014, 0, 1) },
    Lie("an entry beyond the host", says: "hole at level 1") { $0.domain.write(1015, 1, 8192 << 12 | 1) },
    Lie("a table of another", says: "does not have") { $0.domain.write(1014, 0, 77 << 12 | 1) },
    Lie("a page of the list of another", says: "does not have") { $0.domain.write(1015, 1, 77 << 12 | 1) },
    Lie("more frames than the list has", says: "hole at level 2") { $0.say(count: 1 << 20) },
  ]

  @Test("is refused with one line that says what, before anything is made of its numbers", arguments: lies)
  func refused(lie: Lie) {
    lie.tell(guest)
    guest.domain.forgetWhatWasAsked()
    let error = #expect(throws: XenError.self) { _ = try guest.map() }
    #expect(error.map { "\($0)".contains(lie.words) && !"\($0)".contains("\n") } == true, "\(error as Any)")
    // The shared info page, four levels and the list.
    #expect(guest.domain.mapCalls <= 6)
  }

  @Test("is refused as well when it waits until its list was found", arguments: lies)
  func refusedLater(lie: Lie) throws {
    let map = try guest.map()
    let present = try map.scan()
    lie.tell(guest)
    let error = #expect(throws: XenError.self) { _ = try map.change(since: present) }
    #expect(error.map { "\($0)".contains(lie.words) } == true, "\(error as Any)")
  }

  @Test(
    "A list entry that the host's table does not confirm is no page",
    arguments: [0, 1, 77, 8191, 8192, 1 << 62, 1 << 63, .max, 1006] as [UInt64])
  func entry(value: UInt64) throws {
    guest.list(5, value)
    let map = try guest.map()
    #expect(try map.scan().contains(5) == false)
    #expect(map.confirmedFrame(5) == nil && map.frames(of: [5]) == [0])
    #expect(map.pfn(ofMachineFrame: value) != 5)
  }

  @Test(
    "The host's table holds what the guest wrote there, and is not believed either",
    arguments: [0, 6, 1024, 1 << 40, .max] as [UInt])
  func machineEntry(value: UInt) throws {
    guest.machine[1005] = value
    let map = try guest.map()
    #expect(try map.scan().contains(5) == false)
    #expect(map.pfn(ofMachineFrame: 1005) == nil)
  }

  @Test("A list that names one page for all its parts has the pages of one part")
  func aliases() throws {
    for slot in 0..<512 { guest.domain.write(1015, slot, 1010 << 12 | 1) }
    guest.say(count: 512 * 512)
    let present = try guest.map().scan()
    #expect(present.count == 512 && !present.contains(512))
  }

  @Test("A list that lies in no page of its own cannot be saved")
  func foreignList() throws {
    guest.machine[1011] = 0
    let map = try guest.map()
    #expect { try map.listFrames() } throws: { "\($0)".contains("not its own") }
  }

  @Test("A list that shrinks between two looks takes its frames along; one that grows brings them")
  func resized() throws {
    let map = try guest.map()
    var present = try map.scan()
    guest.say(count: 600)
    let less = try map.change(since: present)
    #expect(less.gone.count == 424 && less.come.isEmpty)
    #expect(map.pfn(ofMachineFrame: 1700) == nil)
    present.subtract(less.gone)
    guest.say(count: 1024)
    #expect(try map.change(since: present).come.count == 424)
  }

  @Test("A page table that names another's memory waits for the pause, and fails the take there")
  func pageTable() throws {
    guest.domain.types[1020] = 1
    guest.domain.write(1020, 3, 77 << 12 | 1)
    let memory = GuestMemory(guest.domain, frameMap: try guest.map(), spent: guest.spent)
    let receiver = FakeReceiver()
    #expect(try memory.copy([19, 20, 21], running: true, to: receiver) == 3)
    #expect(receiver.torn == [20] && receiver.pages.keys.sorted() == [19, 21])
    #expect { _ = try memory.copy([20], running: false, to: FakeReceiver()) } throws: {
      "\($0)".contains("page table at page 20 cannot be saved (its entry 3 maps machine frame 77")
    }
  }
}

@Suite("Registers of a hostile PV guest")
struct HostileRegistersTests {
  private func normalised(
    _ change: (inout vcpu_guest_context_x86_64_t) -> Void
  ) throws(XenError) -> vcpu_guest_context_x86_64_t {
    var context = vcpu_guest_context_x86_64_t()
    context.ctrlreg.3 = 1012 << 12
    change(&context)
    try PVProcessors.normalise(&context, domain: 7, WildGuest().map())
    return context
  }

  @Test func frames() throws {
    let context = try normalised {
      $0.ctrlreg.1 = 1013 << 12
      $0.gdt_ents = 513
      ($0.gdt_frames.0, $0.gdt_frames.1) = (1020, 1021)
    }
    #expect(context.ctrlreg.3 == 12 << 12 && context.ctrlreg.1 == 13 << 12 | 1)
    #expect(context.gdt_frames.0 == 20 && context.gdt_frames.1 == 21 && context.gdt_frames.2 == 0)
  }

  @Test("A GDT beyond its sixteen frames is refused", arguments: [7169, 1 << 32, .max] as [UInt64])
  func descriptors(count: UInt64) {
    #expect { _ = try normalised { $0.gdt_ents = count } } throws: { "\($0)".contains("its GDT has \(count) entries") }
  }

  @Test("Registers that name another's frame are refused", arguments: [0, 77, 8192 << 12, .max] as [UInt64])
  func foreign(value: UInt64) {
    #expect { _ = try normalised { $0.ctrlreg.3 = value } } throws: { "\($0)".contains("CR3 names frame") }
    guard value != 0 else { return }
    #expect { _ = try normalised { $0.ctrlreg.1 = value } } throws: { "\($0)".contains("the user CR3 names frame") }
    #expect {
      _ = try normalised {
        $0.gdt_ents = 1
        $0.gdt_frames.0 = value
      }
    } throws: { "\($0)".contains("its GDT names frame") }
  }
}
