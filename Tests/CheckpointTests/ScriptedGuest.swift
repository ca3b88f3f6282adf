import EpochStore
import Foundation
import MigrationStream
import Synchronization

@testable import Checkpoint

/// A guest made of an array of pages. It changes while it runs, and does what the script says.
final class ScriptedGuest: Guest, @unchecked Sendable {
  enum Fault: Error, Equatable { case arm, request, awaitSuspended, copy, records, resume }
  enum State: Equatable { case running, suspended }

  let identity: GuestIdentity
  let configuration = Array(#"{"c_info":{"name":"web"}}"#.utf8)
  private(set) var suspendPath = ""
  /// Called as each thing happens, in order, from any thread.
  let journal: Journal
  var fault: Fault?
  /// What the guest does at the last moment before it is suspended.
  var whileSuspending: (ScriptedGuest) -> Void = { _ in }
  private(set) var state = State.running
  var pages: [UInt64: [UInt8]]
  var types: [UInt64: UInt8] = [:]
  private var order: [UInt64] = []

  init(pages: [UInt64: [UInt8]], most: Int = 64, journal: Journal) {
    self.pages = pages
    self.journal = journal
    identity = GuestIdentity(
      name: "web", uuid: "11111111-2222-3333-4444-555555555555", kind: .pvh, vcpus: 1,
      memoryBytes: UInt64(most * 4096), xenVersion: "4.17")
  }

  private func happens(_ event: String, _ fault: Fault) throws {
    journal.note(event)
    if self.fault == fault { throw fault }
  }

  func arm() throws {
    order = pages.keys.sorted()
    suspendPath = "xenstore"
    try happens("arm", .arm)
  }
  var pageCount: Int { order.count }
  var chunkCount: Int { (order.count + 3) / 4 }
  func request() throws { try happens("request", .request) }
  func awaitSuspended() throws {
    whileSuspending(self)
    try happens("suspended", .awaitSuspended)
    state = .suspended
  }
  func revalidate() -> Bool {
    let now = pages.keys.sorted()
    defer { order = now }
    return now != order
  }
  func copy(chunk: Int, to target: UnsafeMutableRawPointer, types: UnsafeMutableBufferPointer<UInt8>) throws {
    try happens("copy", .copy)
    for index in chunk * 4..<min(chunk * 4 + 4, order.count) {
      types[index] = self.types[order[index]] ?? 0
      pages[order[index]]!.withUnsafeBytes {
        (target + index * 4096).copyMemory(from: $0.baseAddress!, byteCount: 4096)
      }
    }
  }
  func writePFNs(to pfns: UnsafeMutableBufferPointer<UInt64>) {
    for (index, pfn) in order.enumerated() { pfns[index] = pfn }
  }
  func records(in staging: StagedMemory) throws -> [Record] {
    try happens("records", .records)
    return [Record(type: .hvmContext, body: [1, 2, 3])]
  }
  func resume() throws {
    try happens("resume", .resume)
    state = .running
    // It works on at once: whatever reads its memory from now on is wrong.
    for pfn in pages.keys { pages[pfn] = [UInt8](repeating: 0xEE, count: 4096) }
  }
  func disarm() { journal.note("disarm") }
}

/// Disks that only remember what was asked of them.
final class ScriptedDisks: DiskSet {
  enum Fault: Error, Equatable { case reserve, snapshot, commit }
  let disks = [
    DiskEpoch(vdev: "xvda", pool: "main", thinID: 7, sizeBytes: 1 << 20, device: "/dev/mapper/x", readOnly: false)
  ]
  let journal: Journal
  let fault: Fault?

  init(journal: Journal, fault: Fault? = nil) {
    self.journal = journal
    self.fault = fault
  }
  private func happens(_ event: String, _ fault: Fault) throws {
    journal.note(event)
    if self.fault == fault { throw fault }
  }
  func forgetUnpublished(published: Set<Int>) { journal.note("published: \(published.sorted())") }
  func reserve(epoch: Int) throws { try happens("reserve", .reserve) }
  func snapshot() throws -> [String: Double] {
    try happens("snapshot", .snapshot)
    return ["create_snap": 1.5]
  }
  func commit() throws { try happens("commit", .commit) }
  func abandon() throws { journal.note("abandon") }
}

/// What happened, in order.
final class Journal: Sendable {
  private let entries = Mutex<[String]>([])
  func note(_ event: String) { entries.withLock { $0.append(event) } }
  var events: [String] { entries.withLock { $0 } }
  func position(_ event: String) -> Int? { events.firstIndex(of: event) }
  func last(_ event: String) -> Int? { events.lastIndex(of: event) }
}

/// A store in a folder of its own that goes away with the test.
final class TemporaryStore {
  let path: String
  let store: EpochStore
  let folder: GuestFolder

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/ckpt-test-\(UInt64.random(in: 0...UInt64.max))"
    store = try EpochStore(path: path)
    folder = try store.folder(uuid: "11111111-2222-3333-4444-555555555555", create: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Everything in the guest's folder that is neither the lock nor the counter.
  var files: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter {
      !["lock", "counter"].contains($0)
    }.sorted()
  }
}

/// The pages of an epoch by frame number.
func pages(of epoch: Int, in folder: GuestFolder) throws -> [UInt64: [UInt8]] {
  var pages: [UInt64: [UInt8]] = [:]
  try folder.open(epoch: epoch).forEachBatch { batch in
    for index in batch.pfns.indices {
      pages[batch.pfns[index]] = Array(batch.bytes[index * 4096..<(index + 1) * 4096])
    }
  }
  return pages
}
