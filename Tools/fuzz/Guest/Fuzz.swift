import CXen
import Support

@testable import Checkpoint
@testable import Xen

/// What a PV guest's kernel can write into everything that is read of it: shared info, page tables, list of frames, the host's
/// table, registers; and any text in xenstore. Input: eight bytes for each write, see ``FuzzDomain``.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  func write(_ frame: UInt8, _ kind: UInt8, turn: UInt8 = 0, _ word: UInt16, _ value: UInt32) -> [UInt8] {
    var bytes: [UInt8] = [frame, kind | turn << 3, 0, 0, 0, 0, 0, 0]
    bytes.setLittle(2, word)
    bytes.setLittle(4, value)
    return bytes
  }
  Fuzz.offer {
    [
      [], Array("4095".utf8), Array("armed 3 512 - /var/lib/ckpt/x".utf8), Array("owed - 12 99".utf8),
      write(50, 0, 386, 1000) + write(115, 1, 1, 110), write(50, 4, turn: 3, 386, 1 << 20), write(50, 2, 389, 113),
      write(110, 0, turn: 5, 7, 120) + write(107, 6, 0, 9), write(120, 7, 0, 0x9) + write(120, 1, 3, 130),
      write(50, 3, 390, 4095), write(113, 5, turn: 2, 0, 114),
    ]
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Fuzz.bytes(data, count)
  readText(String(decoding: bytes, as: UTF8.self))
  let domain = FuzzDomain(stride(from: 0, to: count & ~7, by: 8).map { FuzzDomain.Write(bytes, $0) })
  do { try take(domain, registers: bytes) } catch {
    let text = "\(error)"
    Fuzz.expect(Printable.line(text) == text && text.utf8.count < 500, "an error is a line: \(text)")
  }
  return 0
}

private func take(_ domain: FuzzDomain, registers: [UInt8]) throws(XenError) {
  let machine = MachineToPhysical(UnsafeBufferPointer(domain.machine)) { _ = domain }
  let map = try PVFrameMap(domain, domain.space, machine, sharedInfoFrame: FuzzDomain.sharedInfo, SpentMappings())
  let memory = GuestMemory(domain, frameMap: map, spent: SpentMappings())
  try memory.scan()
  try memory.keepMapped()
  for running in [true, false] {
    _ = running ? try memory.settleLive(anew: false) : try memory.settle()
    let present = memory.present
    Fuzz.expect(present.count <= 64, "\(present.count) pages of a guest that has 64")
    let receiver = FuzzReceiver(frames: UInt64(map.p2m.count))
    var batches = PageSet.Batches(present)
    while let pfns = batches.take() {
      Fuzz.expect(try memory.copy(pfns, running: running, to: receiver) == pfns.count, "all are dealt with")
    }
    Fuzz.expect(receiver.dealtWith == present.count, "\(receiver.dealtWith) of \(present.count) pages")
  }
  for frame in try map.listFrames() { Fuzz.expect(frame < 64, "the list lies in page \(frame)") }
  var context = vcpu_guest_context_x86_64_t()
  withUnsafeMutableBytes(of: &context) { $0.copyBytes(from: registers.prefix($0.count)) }
  try PVProcessors.normalise(&context, domain: 7, map)
  Fuzz.expect(context.ctrlreg.3 >> 12 < 64 && context.ctrlreg.1 >> 12 < 64, "page tables of the guest's own")
}

/// Text that a guest wrote into its nodes, or that stands in the place of a note of ours.
private func readText(_ text: String) {
  if let port = Suspension.port(text) {
    Fuzz.expect(port > 0 && UInt32(text) == port && text.utf8.count <= 10, "port \(port) from \(text)")
  }
  let quoted = Printable.quoted(text)
  Fuzz.expect(quoted.utf8.allSatisfy { (32..<127).contains($0) || $0 > 127 } && quoted.utf8.count < 400, quoted)
  let line = Printable.line(text)
  Fuzz.expect(!line.utf8.contains { $0 < 32 || $0 == 127 } && Printable.line(line) == line, line)
  if let obstacle = Suspension.obstacle(.running, pending: text) { Fuzz.expect(!obstacle.contains("\n"), obstacle) }
  if let note = SuspensionNote(text) {
    Fuzz.expect(SuspensionNote(note.text) == note, "a note that is read as it is written")
    _ = note.deadline
  }
  if let note = TrackingNote(text) {
    Fuzz.expect(TrackingNote(note.text) == note, "a note that is read as it is written")
  }
  _ = GuestDevices.number(text)
}
