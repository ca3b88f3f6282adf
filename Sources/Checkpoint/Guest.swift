public import EpochStore
public import MigrationStream

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

/// A running guest as the engine sees it: to be asked, held, copied, and let go.
///
/// `XenGuest` is the real one; unit tests script another. Calls come in the order in which they stand here.
public protocol Guest: AnyObject {
  var identity: GuestIdentity { get }
  /// The configuration with which the guest can be built again.
  var configuration: [UInt8] { get }
  /// The word for how the guest is asked to suspend; known once it is armed.
  var suspendPath: String { get }

  /// Prepares everything that the pause needs while the guest runs: mappings, channel, static records.
  func arm() throws
  /// Pages of the guest as known now.
  var pageCount: Int { get }

  /// Asks the guest to suspend.
  func request() throws
  /// Waits until it is. When this throws, the guest runs on.
  func awaitSuspended() throws
  /// Brings the mappings up to date with the suspended guest.
  /// - Returns: whether anything moved; `pageCount` and the frame numbers may then differ.
  func revalidate() throws -> Bool
  /// Pieces of memory that can be copied on their own, on any thread.
  var chunkCount: Int { get }
  /// Page i of the guest goes to `pages + i * 4096`, its type to `types[i]`.
  func copy(chunk: Int, to pages: UnsafeMutableRawPointer, types: UnsafeMutableBufferPointer<UInt8>) throws
  /// The frame number of every page, ascending.
  func writePFNs(to pfns: UnsafeMutableBufferPointer<UInt64>)
  /// CPUs, clock and the rest of the suspended guest, as records of the migration stream.
  func records(in staging: StagedMemory) throws -> [Record]
  /// Lets the guest go on in place. When this throws, the guest is still suspended.
  func resume() throws

  /// Lets go of everything; the guest runs.
  func disarm()
}
