import Glibc
import Support

@testable import Xen

/// A PV guest of 64 frames, machine frames 100 to 163 of a host that has 256, as an honest kernel lays it out; then come the
/// fuzzer's writes, some at once, some later while it is read.
final class FuzzDomain: DomainMemory, @unchecked Sendable {
  /// One write of eight bytes, out of eight of the input: machine frame, what it says and when, word, value.
  struct Write {
    let frame: Int
    let kind: UInt8
    /// After so many calls.
    let turn: Int
    let word: Int
    let value: UInt64

    init(_ bytes: [UInt8], _ place: Int) {
      frame = Int(bytes[place])
      kind = bytes[place + 1] & 7
      turn = Int(bytes[place + 1] >> 3)
      word = Int(bytes.little(place + 2, UInt16.self) % 512)
      let given = UInt64(bytes.little(place + 4, UInt32.self))
      value =
        switch kind {
        case 0: given
        case 1: given << 12 | 1
        case 2: given << 12
        case 3: ~given
        case 4: given << 32
        case 5: given << 12 | 0x81
        default: given
        }
    }
  }

  static let frames = 256
  static let sharedInfo: UInt64 = 50
  let domain: UInt32 = 7
  let space = FrameSpace(domain: 7, mostKiB: 256)
  let machine = UnsafeMutableBufferPointer<UInt>.allocate(capacity: frames)
  private let memory = UnsafeMutableRawPointer.allocate(byteCount: frames * pageSize, alignment: pageSize)
  private var types = [UInt8](repeating: PageType.ordinary, count: frames)
  private var later: [Write]
  private var turn = 0

  init(_ writes: [Write]) {
    later = writes.sorted { $0.turn < $1.turn }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: FuzzDomain.frames * pageSize)
    machine.initialize(repeating: 1 << 40)
    for pfn in 0..<64 {
      machine[100 + pfn] = UInt(pfn)
      store(110, pfn, UInt64(100 + pfn))
    }
    // `arch` is at 3088: max_pfn, p2m_cr3 at +24, p2m_vaddr at +32.
    store(50, 386, 64)
    store(50, 389, 112 << 12)
    store(50, 390, 0xffff_c900_0000_0000)
    store(112, 402, 113 << 12 | 1)
    for (table, next) in [(113, 114), (114, 115), (115, 110)] { store(table, 0, UInt64(next) << 12 | 1) }
    types[115] = 1
    goOn()
  }

  deinit {
    machine.deallocate()
    memory.deallocate()
  }

  private func store(_ frame: Int, _ word: Int, _ value: UInt64) {
    memory.storeBytes(of: value, toByteOffset: frame * pageSize + word * 8, as: UInt64.self)
  }

  /// The guest does what comes next.
  private func goOn() {
    while let write = later.first, write.turn <= turn {
      later.removeFirst()
      switch write.kind {
      case 6: machine[write.frame] = UInt(write.value)
      case 7: types[write.frame] = UInt8(write.value & 15)
      default: store(write.frame, write.word, write.value)
      }
    }
    turn += 1
  }

  func pages() -> UInt64 { 64 }
  func frameCount() throws(XenError) -> Int { try space.checked(64) }

  func types(of frames: [UInt64], into types: UnsafeMutableBufferPointer<UInt8>) {
    goOn()
    for (index, frame) in frames.enumerated() { types[index] = owns(frame) ? self.types[Int(frame)] : PageType.invalid }
  }

  private func owns(_ frame: UInt64) -> Bool { (100..<164).contains(frame) || frame == FuzzDomain.sharedInfo }

  /// One page is shown as it is, and so changes while it is read; of more, a copy.
  func map(_ frames: [UInt64]) -> ForeignMapping {
    goOn()
    Fuzz.expect(frames.allSatisfy { $0 < UInt64(FuzzDomain.frames) }, "only frames of this host are mapped")
    let errors = frames.map { owns($0) ? 0 : -EINVAL }
    if frames.count == 1 {
      return ForeignMapping(base: memory + Int(frames[0]) * pageSize, errors: errors) { [self] _, _ in _ = self }
    }
    let copy = UnsafeMutableRawPointer.allocate(byteCount: frames.count * pageSize, alignment: pageSize)
    for (index, frame) in frames.enumerated() where errors[index] == 0 {
      memcpy(copy + index * pageSize, memory + Int(frame) * pageSize, pageSize)
    }
    return ForeignMapping(base: copy, errors: errors) { base, _ in base.deallocate() }
  }
}

/// Checks what it is given: of a page table every frame must be the guest's own.
final class FuzzReceiver: PageReceiver {
  private let page = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: pageSize)
  let frames: UInt64
  var dealtWith = 0

  init(frames: UInt64) { self.frames = frames }
  deinit { page.deallocate() }

  func holds(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool { false }
  func room() -> UnsafeMutableRawPointer? { page }

  func received(_ pfn: UInt64, type: UInt8) {
    dealtWith += 1
    Fuzz.expect(PageType.carriesData(type), "a page with content")
    guard PageType.tableLevel(type) != nil else { return }
    for slot in 0..<512 {
      let entry = page.load(fromByteOffset: slot * 8, as: UInt64.self)
      Fuzz.expect(entry & 1 == 0 || entry & 0xF_FFFF_FFFF_F000 >> 12 < frames, "entry \(entry) of page \(pfn)")
    }
  }

  func absent(_ pfn: UInt64) { dealtWith += 1 }
  func torn(_ pfn: UInt64) { dealtWith += 1 }
}
