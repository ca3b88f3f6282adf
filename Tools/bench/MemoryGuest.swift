import Checkpoint
import EpochStore
import Glibc
import MigrationStream
import Xen

/// A guest that is an array in this process's memory: what a take costs without Xen.
final class MemoryGuest: Guest, @unchecked Sendable {
  let identity: GuestIdentity
  let configuration: [UInt8] = Array("{}".utf8)
  let suspendPath = "none"
  let suspendNote: String? = nil
  let pages: UnsafeMutableRawBufferPointer
  /// What the next collects find.
  var dirty = PageSet()
  /// What the guest writes as it suspends.
  var dirtyAtSuspend = PageSet()
  private(set) var present = PageSet()
  var trackingNote: String?

  init(bytes: Int) {
    pages = .allocate(byteCount: bytes, alignment: 4096)
    var state: UInt64 = 1
    for word in 0..<bytes / 8 {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      pages.storeBytes(of: state >> 32, toByteOffset: word * 8, as: UInt64.self)
    }
    identity = GuestIdentity(
      name: "bench", uuid: BenchStore.uuid, kind: .pvh, vcpus: 1, memoryBytes: UInt64(bytes), xenVersion: "none")
    for pfn in 0..<UInt64(bytes / 4096) { present.insert(pfn) }
  }

  deinit { pages.deallocate() }

  func page(_ pfn: UInt64) -> UnsafeMutableRawPointer { pages.baseAddress! + Int(pfn) * 4096 }

  func hasSameDisks() -> Bool { true }
  func arm() {}
  func disarm() {}
  func dropMemory() {}
  var presence: Suspension.Presence { .suspended }
  func scan() {}
  func assume(_ known: PageSet, pages: UInt64) -> Bool { true }
  var pageTotal: UInt64 { UInt64(pages.count / 4096) }
  func hasResized() -> Bool { false }
  func keepMapped() {}
  func settleLive(anew: Bool) -> (come: PageSet, gone: PageSet) { (PageSet(), PageSet()) }
  func settle() -> (come: PageSet, gone: PageSet) { (PageSet(), PageSet()) }
  func settleAnew() -> (come: PageSet, gone: PageSet) { (PageSet(), PageSet()) }
  func unmapSpent() {}
  var mappingMs: Double { 0 }

  func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) -> Int {
    for (index, pfn) in pfns.enumerated() {
      let source = page(pfn)
      if receiver.holds(pfn, source, type: 0) { continue }
      guard let room = receiver.room() else { return index }
      memcpy(room, source, 4096)
      receiver.received(pfn, type: 0)
    }
    return pfns.count
  }

  private var isLogging = false
  var isBeingSaved: Bool { false }
  func beginLog() -> LogDirty.Start {
    defer { isLogging = true }
    return isLogging ? .alreadyOn : .begun
  }
  func endLog() { isLogging = false }
  func peek(into set: inout PageSet, final: Bool) { set.formUnion(dirty) }
  func collect(into set: inout PageSet) -> Int {
    set.formUnion(dirty)
    defer { dirty = PageSet() }
    return dirty.count
  }
  func mark(_ pfn: UInt64) -> Bool {
    dirty.insert(pfn)
    return true
  }
  func unprotect(_ pages: PageSet) -> PageSet {
    dirty.formUnion(pages)
    return pages
  }
  func setTrackingNote(_ note: String?) { trackingNote = note }

  func prepareRequest() {}
  func request() {}
  func awaitSuspended(unless isTaken: () -> Bool, _ mayGoOn: () throws -> Void) -> Bool {
    // After the round that runs while a guest freezes: what comes now is left to the pause.
    usleep(20_000)
    dirty.formUnion(dirtyAtSuspend)
    return true
  }
  func readProcessors() {}
  func state() -> GuestState { GuestState(records: []) }
  func resume() -> Bool { true }
  let mayStillSuspend = false
  func handOver() {}
}

/// A guest without disks.
final class NoDisks: DiskSet {
  let disks: [DiskEpoch] = []
  func forgetUnpublished(published: Set<Int>, used: Int) {}
  func diskOnlyEpochs(published: Set<Int>, used: Int) -> [DiskOnlyEpochs] { [] }
  func mountedEpochs() -> Set<Int> { [] }
  func rooms() -> [PoolRoom] { [] }
  func check(epoch: Int) {}
  func reserve(epoch: Int) {}
  func snapshot() -> [String: Double] { [:] }
  func commit() {}
  func abandon() {}
}
