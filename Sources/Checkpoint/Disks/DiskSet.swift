public import DeviceMapper
public import EpochStore

/// The disks of one guest, as a take uses them. In this order: `check`, `reserve`, `snapshot`, `commit`; `abandon` at any time takes the
/// epoch back. From `reserve` to `commit` nobody else can change the pools. `commit` comes before the epoch's manifest: a snapshot
/// that no manifest names is garbage, the other way round is a broken epoch.
public protocol DiskSet: AnyObject, Sendable {
  /// The disks of the epoch that was last reserved; before that, with `thinID` nil.
  var disks: [DiskEpoch] { get }
  /// Drops what takes that ended between the disks' commit and the manifest left in the pools.
  ///
  /// - Parameter used: the highest number that the guest's folder ever gave away.
  func forgetUnpublished(published: Set<Int>, used: Int) throws
  /// What the pools have of epochs that the guest's folder never had.
  func diskOnlyEpochs(published: Set<Int>, used: Int) throws -> [DiskOnlyEpochs]
  /// Epochs whose disks somebody looks at.
  func mountedEpochs() throws -> Set<Int>
  /// How full the pools are, by name. May make them larger where that costs nobody anything.
  func rooms() throws -> [PoolRoom]
  /// Checks that the pools can bear one more epoch.
  func check(epoch: Int) throws
  /// Checks it again, gives out the thin ids and writes the journal.
  func reserve(epoch: Int) throws
  /// Inside the pause: no file, no allocation that can be avoided.
  ///
  /// - Returns: milliseconds per step.
  func snapshot() throws -> [String: Double]
  func commit() throws
  func abandon() throws
}

/// One disk of the guest in an epoch: the manifest's entry.
public typealias DiskEpoch = EpochManifest.Disk

/// A disk as xenstore shows it: `physical-device` of its backend, and the path it was configured with.
public struct GuestDisk: Equatable, Sendable {
  public var vdev: String
  public var number: DeviceNumber
  public var path: String
  public var readOnly: Bool

  public init(vdev: String, number: DeviceNumber, path: String, readOnly: Bool) {
    self.vdev = vdev
    self.number = number
    self.path = path
    self.readOnly = readOnly
  }
}
