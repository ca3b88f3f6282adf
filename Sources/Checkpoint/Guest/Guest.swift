public import EpochStore
public import MigrationStream
public import Xen

/// What an epoch says of its guest.
public struct GuestIdentity: Sendable, Equatable {
  public var name: String
  public var uuid: String
  public var kind: EpochManifest.Kind
  public var vcpus: Int
  /// The most memory the guest may have, in bytes.
  public var memoryBytes: UInt64
  public var xenVersion: String

  public init(
    name: String, uuid: String, kind: EpochManifest.Kind, vcpus: Int, memoryBytes: UInt64, xenVersion: String
  ) {
    self.name = name
    self.uuid = uuid
    self.kind = kind
    self.vcpus = vcpus
    self.memoryBytes = memoryBytes
    self.xenVersion = xenVersion
  }
}

/// A running guest as the engine sees it: to be watched, held, copied, and let go.
///
/// `XenGuest` is the real one; unit tests script another.
public protocol Guest: AnyObject {
  var identity: GuestIdentity { get }
  /// The configuration with which the guest can be built again.
  var configuration: [UInt8] { get }
  /// The word for how the guest is asked to suspend; known once it is armed, for good once the request is prepared.
  var suspendPath: String { get }
  /// Why that is not the way which the guest offered; nil when there is nothing to say.
  var suspendNote: String? { get }

  /// Whether it has the disks that it had when it was first looked at.
  func hasSameDisks() throws -> Bool
  /// Finds out how the guest can be asked to suspend; neither it nor another tool notices.
  func arm() throws
  /// Lets go of everything; the guest runs, unless ``resume()`` has failed.
  func disarm()
  /// Lets go of its memory for good, and of nothing else: Xen keeps a destroyed guest for as long as anybody has its memory mapped.
  func dropMemory()

  // MARK: Memory

  /// Finds out which frame numbers have a page; see ``present``.
  func scan() throws
  var present: PageSet { get }
  /// In place of a scan, when the log of dirty pages reaches back to a time at which these pages were all; `pages` is
  /// ``pageTotal`` of that time. False when the guest gave back or got memory since: then the log does not tell everything.
  func assume(_ known: PageSet, pages: UInt64) throws -> Bool
  var pageTotal: UInt64 { get }
  /// Whether Xen counts other pages now than ``pageTotal``: some went or came. Only for a guest whose pages Xen counts (PVH).
  func hasResized() throws -> Bool
  /// Maps all memory and keeps it mapped, for a pause that compares every page.
  func keepMapped() throws
  /// Finds now, while the guest runs, what `settle` would have to find in the pause. `anew`: by a new scan in any case.
  func settleLive(anew: Bool) throws -> (come: PageSet, gone: PageSet)
  /// Brings ``present`` up to date with the suspended guest, and tells what came (or moved) and what went.
  func settle() throws -> (come: PageSet, gone: PageSet)
  /// As `settle`, from a new scan.
  func settleAnew() throws -> (come: PageSet, gone: PageSet)
  /// Copies pages to `receiver`, on any thread; returns how many were dealt with before there was no room.
  func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) throws -> Int
  /// Unmaps what copies of the suspended guest left mapped; else that is done as it is disarmed, when it runs again.
  func unmapSpent()

  /// Milliseconds that copies spent on mapping pages so far.
  var mappingMs: Double { get }

  // MARK: The log of dirty pages

  /// Whether another tool saves or migrates the guest now, and so reads the log and switches it as it likes.
  var isBeingSaved: Bool { get }
  func beginLog() throws -> LogDirty.Start
  func endLog()
  /// Adds the pages written since the last collect, and leaves them in the log. `final`: the guest is suspended.
  func peek(into pages: inout PageSet, final: Bool) throws
  /// Takes the pages written since the last call out of the log; returns how many.
  func collect(into pages: inout PageSet) throws -> Int
  /// Puts a page into the log that must come with the next collect; false when this guest has no such call.
  func mark(_ pfn: UInt64) -> Bool
  /// Puts pages into the log and takes off their write protection, where the log works by one that the guest notices: it writes them
  /// without a fault until the next collect. Returns those of which that is so.
  func unprotect(_ pages: PageSet) -> PageSet
  /// A note that stays with the running domain and goes with it; nil when there is none.
  var trackingNote: String? { get }
  func setTrackingNote(_ note: String?) throws

  // MARK: The pause

  /// The last step before the request: whatever another tool may notice, and would not fit into the pause.
  func prepareRequest() throws
  /// Asks the guest to suspend.
  func request() throws
  /// Waits until it is. When this throws, it is not held: it runs, or may suspend yet (``mayStillSuspend``).
  ///
  /// - Parameters:
  ///   - isTaken: whether the keeper has let it go meanwhile.
  ///   - mayGoOn: called again and again until the guest has taken the request; throws to have it withdrawn.
  /// - Returns: false when the keeper did; the guest is not held for us then.
  func awaitSuspended(unless isTaken: () -> Bool, _ mayGoOn: () throws -> Void) throws -> Bool
  /// Reads CPUs and clock of the suspended guest; on any thread, beside copies.
  func readProcessors() throws
  /// The suspended guest without its memory. ``readProcessors()`` and `settle` come first.
  func state() throws -> GuestState
  /// What Xen has of the guest that is held.
  var presence: Suspension.Presence { get }
  /// Lets the guest go on in place. When this throws, the guest is still suspended.
  ///
  /// - Returns: false when somebody else had let it go before.
  func resume() throws -> Bool
  /// It was asked, and may suspend yet though the take has ended: somebody has to be there then.
  var mayStillSuspend: Bool { get }
  /// Another process has taken over what was asked of the guest: it is not touched any more.
  func handOver()
}

/// A suspended guest without its memory.
public struct GuestState: Sendable {
  /// Records of the migration stream.
  public var records: [Record]
  /// A page that the guest will write as soon as it runs again.
  public var canary: UInt64?

  public init(records: [Record], canary: UInt64? = nil) {
    self.records = records
    self.canary = canary
  }
}
