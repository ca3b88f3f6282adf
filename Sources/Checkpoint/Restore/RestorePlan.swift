public import EpochStore

/// How a restore is done.
public struct RestoreOptions: Sendable {
  public var start = RestorePlan.Start.running
  /// Take an epoch of the guest, if it runs, before it is destroyed.
  public var safety = true

  public init() {}
}

/// What a restore would do, found out without changing anything.
public struct RestorePlan: Codable, Hashable, Sendable {
  /// What becomes of the domain that is made.
  public enum Start: String, Codable, Sendable {
    case running, paused
    /// None is made: only the disks go back.
    case nothing
  }

  public struct Disk: Codable, Hashable, Sendable {
    public enum Fate: String, Codable, Sendable {
      /// What was written since the epoch goes.
      case goesBack = "goes-back"
      /// The clone gets a thin snapshot of the epoch's.
      case cloned
      /// It is read-only, and the same for everybody.
      case stays
      /// The guest writes to it and the epoch has nothing of it: what it holds now is what the guest finds.
      case leftOut = "left-out"
    }

    /// Name inside the guest.
    public var vdev: String
    /// The block device in dom0 that the guest will use.
    public var path: String
    public var pool: String
    public var sizeBytes: UInt64
    public var fate: Fate

    public init(vdev: String, path: String, pool: String, sizeBytes: UInt64, fate: Fate) {
      (self.vdev, self.path, self.pool, self.sizeBytes, self.fate) = (vdev, path, pool, sizeBytes, fate)
    }

    enum CodingKeys: String, CodingKey {
      case vdev, path, pool, fate
      case sizeBytes = "size_bytes"
    }
  }

  /// The guest whose epoch it is.
  public var guest: String
  public var epoch: Int
  /// The instant that comes back.
  public var time: EpochTime
  /// The running domain that is destroyed, if there is one.
  public var domain: UInt32?
  /// Name and uuid of the clone; nil for a restore in place.
  public var clone: String?
  public var cloneUUID: String?
  /// Of the epoch's pages.
  public var memoryBytes: UInt64
  public var disks: [Disk]
  /// An epoch of the guest as it is now is taken first.
  public var takesSafetyEpoch: Bool
  /// Why none is taken.
  public var noSafetyReason: String?
  public var start: Start
  /// What somebody should know before.
  public var warnings: [String]

  public init(
    guest: String, epoch: Int, time: EpochTime, domain: UInt32? = nil, clone: String? = nil, cloneUUID: String? = nil,
    memoryBytes: UInt64 = 0, disks: [Disk] = [], takesSafetyEpoch: Bool = false, noSafetyReason: String? = nil,
    start: Start = .running, warnings: [String] = []
  ) {
    (self.guest, self.epoch, self.time, self.domain) = (guest, epoch, time, domain)
    (self.clone, self.cloneUUID) = (clone, cloneUUID)
    (self.memoryBytes, self.disks, self.start, self.warnings) = (memoryBytes, disks, start, warnings)
    (self.takesSafetyEpoch, self.noSafetyReason) = (takesSafetyEpoch, noSafetyReason)
  }

  enum CodingKeys: String, CodingKey {
    case guest, epoch, time, domain, clone, disks, start, warnings
    case cloneUUID = "clone_uuid"
    case memoryBytes = "memory_bytes"
    case takesSafetyEpoch = "safety_epoch"
    case noSafetyReason = "no_safety_reason"
  }

  init(_ manifest: EpochManifest, start: Start) {
    self.init(
      guest: manifest.guest, epoch: manifest.epoch, time: manifest.time, memoryBytes: manifest.imageBytes, start: start)
  }
}

extension EpochManifest {
  /// What the restored guest's memory takes.
  var imageBytes: UInt64 { UInt64(pages + zeroPages) * UInt64(EpochFormat.pageSize) }

  /// What becomes of the disks when the guest goes back to the epoch in place.
  var disksInPlace: [RestorePlan.Disk] {
    disks.map { disk in
      RestorePlan.Disk(
        vdev: disk.vdev, path: disk.device, pool: disk.pool, sizeBytes: disk.sizeBytes,
        fate: disk.thinID != nil ? .goesBack : disk.isLeftOut ? .leftOut : .stays)
    }
  }

  /// What somebody should know of disks that do not go back with the memory.
  var warningsInPlace: [String] {
    disks.filter(\.isLeftOut).map { disk in
      "disk \(disk.vdev) (\(disk.device)) is NOT part of the epoch, which came from xl save: unless it is as it was at "
        + "\(time), the guest finds another disk than its memory knows, and damages it"
    }
  }
}

extension EpochManifest.Disk {
  /// The guest can write to it, and the epoch has no snapshot of it: it came from a file of `xl save`.
  public var isLeftOut: Bool { thinID == nil && !readOnly }
}
