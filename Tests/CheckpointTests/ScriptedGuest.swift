import EpochStore
import Foundation
import Glibc
import MigrationStream
import Synchronization
import Xen

@testable import Checkpoint

/// A guest made of an array of pages. It changes while it runs, and does what the script says.
///
/// Its "hypervisor" keeps a log of dirty pages as Xen does: reading an empty log never fails, and tools share it.
final class ScriptedGuest: Guest, @unchecked Sendable {
  enum Fault: Error, Equatable {
    case arm, prepareRequest, request, awaitSuspended, copy, processors, state, resume, collect, lastLook, memory
  }
  enum State: Equatable { case running, suspended }

  let identity: GuestIdentity
  let configuration = Array(#"{"c_info":{"name":"web"}}"#.utf8)
  private(set) var suspendPath = ""
  var suspendNote: String?
  /// Called as each thing happens, in order, from any thread.
  let journal: Journal
  var fault: Fault?
  /// What the guest does at the last moment before it is suspended.
  var whileSuspending: (ScriptedGuest) -> Void = { _ in }
  /// What it does each time a live copy has read some of it.
  var whileCopied: (ScriptedGuest) -> Void = { _ in }
  /// What it does each time its log was emptied.
  var whileCollected: (ScriptedGuest) -> Void = { _ in }
  /// It never takes the request.
  var isDeaf = false
  /// It offers a suspend event channel that is gone when the request comes.
  var losesChannel = false
  /// What happens while its CPUs are read.
  var whileReadingProcessors: (ScriptedGuest) -> Void = { _ in }
  /// What happens before some of it is copied while it is held.
  var beforeHeldCopy: (ScriptedGuest) -> Void = { _ in }
  /// What happens when its CPU state is asked for.
  var beforeState: (ScriptedGuest) -> Void = { _ in }
  /// What it does from the first instant after the resume.
  var afterResume: (ScriptedGuest) -> Void = { _ in }
  private(set) var condition = State.running
  private(set) var pages: [UInt64: [UInt8]]
  var types: [UInt64: UInt8] = [:]
  /// Pages that look torn while the guest runs.
  var torn: Set<UInt64> = []
  let lock = NSRecursiveLock()

  // What the hypervisor keeps.
  var canLog = true
  private(set) var isLogging = false
  private(set) var log = PageSet()
  var trackingNote: String?
  /// Each set that was read from the log.
  private(set) var collects = 0
  private(set) var copied: [UInt64] = []
  var isBeingSaved = false

  init(pages: [UInt64: [UInt8]], most: Int = 64, kind: EpochManifest.Kind = .pvh, journal: Journal) {
    self.pages = pages
    self.journal = journal
    identity = GuestIdentity(
      name: "web", uuid: "11111111-2222-3333-4444-555555555555", kind: kind, vcpus: 1,
      memoryBytes: UInt64(most * 4096), xenVersion: "4.17")
  }

  /// The guest writes a page, or gives it back.
  func write(_ pfn: UInt64, _ content: [UInt8]?) {
    lock.withLock {
      pages[pfn] = content
      if isLogging, content != nil, !unprotected.contains(pfn), !fresh.contains(pfn) { log.insert(pfn) }
    }
  }

  /// Xen gives the guest a page: not logged, as for PVH, nor is what the guest writes to it until the next collect.
  func give(_ pfn: UInt64, _ content: [UInt8]) {
    lock.withLock {
      pages[pfn] = content
      fresh.insert(pfn)
    }
  }
  private var fresh: Set<UInt64> = []

  /// Another tool takes from the log, or switches it off.
  func stealLog(andSwitchOff: Bool) {
    lock.withLock {
      (log, unprotected) = (PageSet(), PageSet())
      if andSwitchOff { isLogging = false }
    }
  }

  func forgetWhatHappened() { lock.withLock { copied = [] } }

  private func happens(_ event: String, _ fault: Fault) throws {
    journal.note(event)
    if self.fault == fault { throw fault }
  }

  /// A disk is attached to it during the take.
  var getsDisk = false
  func hasSameDisks() -> Bool { !getsDisk }

  func arm() throws {
    suspendPath = losesChannel ? "event-channel" : "xenstore"
    try happens("arm", .arm)
  }
  func disarm() { journal.note("disarm") }
  func dropMemory() { journal.note("dropMemory") }

  private(set) var present = PageSet()
  private(set) var pageTotal: UInt64 = 0
  func scan() {
    journal.note("scan \(condition)")
    lock.withLock {
      present = PageSet(pages.keys)
      pageTotal = UInt64(pages.count)
    }
  }
  func assume(_ known: PageSet, pages: UInt64) -> Bool {
    lock.withLock {
      guard pages == self.pages.count else { return false }
      (present, pageTotal) = (known, pages)
      return true
    }
  }
  func hasResized() -> Bool { lock.withLock { UInt64(pages.count) != pageTotal } }
  var mayStillSuspend = false
  func keepMapped() { journal.note("keepMapped") }
  func settleLive(anew: Bool) -> (come: PageSet, gone: PageSet) { anew ? settleAnew() : settle() }
  /// As with Xen's count of pages: a page that came for another one that went is not found.
  func settle() -> (come: PageSet, gone: PageSet) {
    lock.withLock { pageTotal == UInt64(pages.count) && canLog ? (PageSet(), PageSet()) : settleAnew() }
  }
  func settleAnew() -> (come: PageSet, gone: PageSet) {
    let before = present
    scan()
    return (present.subtracting(before), before.subtracting(present))
  }
  func unmapSpent() { journal.note("unmap") }
  var mappingMs: Double { 0 }

  func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) throws -> Int {
    try happens(running ? "live copy" : "copy", .copy)
    if !running { beforeHeldCopy(self) }
    defer { if running { whileCopied(self) } }
    return lock.withLock {
      for (index, pfn) in pfns.enumerated() {
        let type = types[pfn] ?? 0
        guard let page = pages[pfn], type < 0xD else {
          receiver.absent(pfn)
          continue
        }
        if running, torn.contains(pfn) {
          receiver.torn(pfn)
          continue
        }
        let known = page.withUnsafeBytes { receiver.holds(pfn, $0.baseAddress!, type: type) }
        if known { continue }
        guard let room = receiver.room() else { return index }
        page.withUnsafeBytes { room.copyMemory(from: $0.baseAddress!, byteCount: 4096) }
        receiver.received(pfn, type: type)
        copied.append(pfn)
      }
      return pfns.count
    }
  }

  /// What the note said when the log was asked for.
  private(set) var noteAtBegin: String?
  func beginLog() throws -> LogDirty.Start {
    noteAtBegin = noteAtBegin ?? trackingNote
    guard canLog else { return .unavailable }
    if isLogging { return .alreadyOn }
    isLogging = true
    log = PageSet()
    return .begun
  }
  func endLog() {
    isLogging = false
    journal.note("endLog")
  }
  func peek(into set: inout PageSet, final: Bool) throws {
    if final { try happens("last look", .lastLook) }
    if fault == .memory { throw XenError.call("reading the log of dirty pages", domain: 1, errno: ENOMEM) }
    lock.withLock { set.formUnion(log) }
  }
  func collect(into set: inout PageSet) throws -> Int {
    try happens("collect", .collect)
    defer { whileCollected(self) }
    return lock.withLock {
      set.formUnion(log)
      collects += 1
      defer { (log, unprotected, fresh) = (PageSet(), PageSet(), []) }
      return log.count
    }
  }
  func mark(_ pfn: UInt64) -> Bool {
    guard identity.kind == .pvh else { return false }
    lock.withLock { if isLogging { log.insert(pfn) } }
    return true
  }
  /// Pages that the guest writes unseen until the next collect.
  private(set) var unprotected = PageSet()
  func unprotect(_ pages: PageSet) -> PageSet {
    lock.withLock {
      log.formUnion(pages)
      unprotected.formUnion(pages)
      journal.note("unprotect \(pages.count)")
    }
    return pages
  }
  func setTrackingNote(_ note: String?) { trackingNote = note }

  func prepareRequest() throws {
    try happens("prepareRequest", .prepareRequest)
    if losesChannel { (suspendPath, suspendNote) = ("xenstore", "the channel is gone") }
  }
  func request() throws { try happens("request", .request) }
  func awaitSuspended(unless isTaken: () -> Bool, _ mayGoOn: () throws -> Void) throws -> Bool {
    // The last thing that a PV guest's kernel does is to write its start_info, which is page 1 here.
    if identity.kind == .pv, let page = pages[1] { write(1, page) }
    whileSuspending(self)
    // Not for ever: a take that does not stop shall fail its test.
    for _ in 0..<20_000 where isDeaf {
      try mayGoOn()
      usleep(1000)
    }
    try happens("suspended", .awaitSuspended)
    // Let go by the keeper before anybody saw it suspended.
    if isTaken() { return false }
    condition = .suspended
    return true
  }
  func readProcessors() throws {
    whileReadingProcessors(self)
    try happens("processors", .processors)
  }
  func state() throws -> GuestState {
    beforeState(self)
    try happens("state", .state)
    return GuestState(records: [Record(type: .hvmContext, body: [1, 2, 3])], canary: identity.kind == .pv ? 1 : nil)
  }
  /// Another tool has resumed it before the take does.
  var isLetGo = false
  /// Its domain does not exist any more.
  var isDestroyed = false
  var presence: Suspension.Presence {
    isDestroyed ? .gone : condition == .suspended && !isLetGo ? .suspended : .running
  }
  func resume() throws -> Bool {
    try happens("resume", .resume)
    if isLetGo { return false }
    condition = .running
    // It works on at once; a PV guest begins with its start_info page.
    if identity.kind == .pv, let page = pages[1] { write(1, page) }
    afterResume(self)
    return true
  }
  func handOver() { journal.note("handOver") }
}

/// Disks that only remember what was asked of them.
final class ScriptedDisks: DiskSet {
  enum Fault: Error, Equatable { case check, reserve, snapshot, commit }
  let disks = [
    DiskEpoch(vdev: "xvda", pool: "main", thinID: 7, sizeBytes: 1 << 20, device: "/dev/mapper/x", readOnly: false)
  ]
  let journal: Journal
  let fault: Fault?
  /// What delays the snapshots.
  let whileSnapshotting: @Sendable () -> Void
  /// What happens while another take has the pool.
  let whileReserving: @Sendable () -> Void
  /// What happens as epochs go, by what is left.
  let whileForgetting: @Sendable (Set<Int>) -> Void

  init(
    journal: Journal, fault: Fault? = nil, rooms: [[PoolRoom]] = [],
    whileSnapshotting: @escaping @Sendable () -> Void = {}, whileReserving: @escaping @Sendable () -> Void = {},
    whileForgetting: @escaping @Sendable (Set<Int>) -> Void = { _ in }
  ) {
    self.journal = journal
    self.fault = fault
    looks = Mutex(rooms)
    self.whileSnapshotting = whileSnapshotting
    self.whileReserving = whileReserving
    self.whileForgetting = whileForgetting
  }
  private func happens(_ event: String, _ fault: Fault) throws {
    journal.note(event)
    if self.fault == fault { throw fault }
  }
  func diskOnlyEpochs(published: Set<Int>, used: Int) -> [DiskOnlyEpochs] { unknown.withLock { $0 } }
  /// What pools have of a folder that is elsewhere.
  let unknown = Mutex<[DiskOnlyEpochs]>([])
  func forgetUnpublished(published: Set<Int>, used: Int) {
    journal.note("published: \(published.sorted())")
    whileForgetting(published)
  }
  func mountedEpochs() -> Set<Int> { mounted.withLock { $0 } }
  /// Epochs that somebody looks at.
  let mounted = Mutex<Set<Int>>([])
  /// How full the pools are, asked again and again; the last one stays.
  private let looks: Mutex<[[PoolRoom]]>
  func rooms() -> [PoolRoom] { looks.withLock { $0.count > 1 ? $0.removeFirst() : $0.first ?? [] } }
  func check(epoch: Int) throws { try happens("check", .check) }
  func reserve(epoch: Int) throws {
    try happens("reserve", .reserve)
    whileReserving()
  }
  func snapshot() throws -> [String: Double] {
    try happens("snapshot", .snapshot)
    whileSnapshotting()
    journal.note("snapshot made")
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
      !["lock", "counter", "hashes"].contains($0)
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
