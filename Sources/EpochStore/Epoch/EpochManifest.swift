/// What an epoch is, in JSON beside its file. An epoch exists when its manifest does.
///
/// The first group of fields is the caller's; the last (`bytes`, `pages`, `zeroPages`, `needs`, `file`, `fileHash`)
/// is filled by `EpochWriter.publish`.
public struct EpochManifest: Codable, Hashable, Sendable {
  /// How Xen runs the guest.
  public enum Kind: String, Codable, Sendable { case pv, pvh }

  /// One disk of the guest and the thin snapshot that belongs to this epoch.
  public struct Disk: Codable, Hashable, Sendable {
    /// Name inside the guest, as `xvda`.
    public var vdev: String
    /// Name of the thin pool; empty when the disk has no snapshot.
    public var pool: String
    /// Thin id of the snapshot; nil when the disk has none (read-only disks need none).
    public var thinID: UInt32?
    /// Size of the volume in bytes.
    public var sizeBytes: UInt64
    /// Bytes that the guest reads and writes at least (512, or 4096 on disks called 4Kn); nil when it has no snapshot, and for epochs taken
    /// before this was written down.
    public var sectorBytes: Int?
    /// The block device in dom0 that the guest uses.
    public var device: String
    public var readOnly: Bool

    public init(
      vdev: String, pool: String, thinID: UInt32?, sizeBytes: UInt64, sectorBytes: Int? = nil, device: String,
      readOnly: Bool
    ) {
      self.vdev = vdev
      self.pool = pool
      self.thinID = thinID
      self.sizeBytes = sizeBytes
      self.sectorBytes = sectorBytes
      self.device = device
      self.readOnly = readOnly
    }

    enum CodingKeys: String, CodingKey {
      case vdev, pool
      case thinID = "thin_id"
      case sizeBytes = "size_bytes"
      case sectorBytes = "sector_bytes"
      case device
      case readOnly = "read_only"
    }
  }

  /// Version of the epoch file format and of this manifest.
  public var format: Int
  /// Name of the guest when the epoch was taken; ``GuestFolder/manifest(_:)`` gives the one that it was given since.
  public var guest: String
  /// Lower case, 36 characters.
  public var uuid: String
  public var epoch: Int
  /// The instant that memory and disks show.
  public var time: EpochTime
  public var kind: Kind
  public var vcpus: Int
  /// Memory of the guest in bytes (its maximum; pages that it gave back are not in the file).
  public var memoryBytes: UInt64
  /// Milliseconds from our request to suspend until the guest ran again, as dom0 sees it.
  public var pauseMs: Double
  /// Milliseconds that the hypervisor held the guest suspended.
  public var stopMs: Double
  public var disks: [Disk]
  /// Milliseconds per phase of the take.
  public var phases: [String: Double]
  /// How the guest was asked to suspend: `event-channel` or `xenstore`.
  public var suspendPath: String
  public var xenVersion: String
  /// How the take went; nil for an epoch that was not taken from a running guest.
  public var statistics: TakeStatistics?
  /// ``identity`` where the epoch was taken, 16 hex digits; nil for one that was taken into this store.
  public internal(set) var origin: String?

  /// Size of the epoch's file.
  public internal(set) var bytes: UInt64
  /// Pages with a content, in this epoch's file or in one that it needs.
  public internal(set) var pages: Int
  /// Pages that are all zero and cost a bit.
  public internal(set) var zeroPages: Int
  /// Older epochs of the guest whose files hold pages of this one, ascending. They are read directly: what those epochs
  /// need themselves does not matter.
  public internal(set) var needs: [Int]
  /// Name of the epoch's file in the guest's folder.
  public internal(set) var file: String
  /// XXH3-64 that closes the file's trailer, 16 hex digits: binds manifest and file.
  public internal(set) var fileHash: String

  public init(
    guest: String, uuid: String, epoch: Int, time: EpochTime = .now, kind: Kind, vcpus: Int,
    memoryBytes: UInt64, pauseMs: Double = 0, stopMs: Double = 0, disks: [Disk] = [],
    phases: [String: Double] = [:], suspendPath: String = "", xenVersion: String = "",
    statistics: TakeStatistics? = nil
  ) {
    self.format = EpochFormat.version
    self.guest = guest
    self.uuid = uuid
    self.epoch = epoch
    self.time = time
    self.kind = kind
    self.vcpus = vcpus
    self.memoryBytes = memoryBytes
    self.pauseMs = pauseMs
    self.stopMs = stopMs
    self.disks = disks
    self.phases = phases
    self.suspendPath = suspendPath
    self.xenVersion = xenVersion
    self.statistics = statistics
    self.bytes = 0
    self.pages = 0
    self.zeroPages = 0
    self.needs = []
    self.file = ""
    self.fileHash = ""
  }

  enum CodingKeys: String, CodingKey {
    case format, guest, uuid, epoch, time, kind, vcpus
    case memoryBytes = "memory_bytes"
    case pauseMs = "pause_ms"
    case stopMs = "stop_ms"
    case disks, phases, origin
    case suspendPath = "suspend_path"
    case xenVersion = "xen_version"
    case statistics
    case bytes, pages
    case zeroPages = "zero_pages"
    case needs, file
    case fileHash = "file_xxh3"
  }
}

extension EpochManifest {
  /// What the epoch is known by wherever it is carried: the checksum that closes its file where it was taken. An import writes another file
  /// of the same content. nil when the manifest makes no sense.
  public var identity: UInt64? { UInt64(origin ?? fileHash, radix: 16) }

  /// The manifest of this epoch in the store that it is imported to.
  public func imported(identity: UInt64, disks: [Disk]) -> EpochManifest {
    var manifest = self
    manifest.origin = ManifestFile.hexadecimal(identity)
    manifest.disks = disks
    return manifest
  }
}
