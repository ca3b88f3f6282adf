public import EpochStore

/// Everything about this host's checkpoints at a glance.
public struct HostStatus: Sendable {
  /// The store, in bytes.
  public struct Store: Sendable {
    public var path: String
    /// What all guests' epochs have, as far as their folders can be read.
    public var used: UInt64
    public var fileSystem: FileSystemSpace
    public var limits: SpaceLimits

    public init(path: String, used: UInt64, fileSystem: FileSystemSpace, limits: SpaceLimits = SpaceLimits()) {
      (self.path, self.used, self.fileSystem, self.limits) = (path, used, fileSystem, limits)
    }
  }

  public struct Guest: Sendable {
    /// In its newest epoch; today's for one without epochs.
    public var name: String
    public var uuid: String
    /// nil when it does not run, or that cannot be known.
    public var domain: UInt32?
    /// The hypervisor holds it suspended now.
    public var isHeld = false
    /// The domain is what is left of one that crashed, was shut down or is being destroyed: it runs no more.
    public var isEnded = false
    /// It has a folder that cannot be read: nothing is known of its epochs.
    public var isUnreadable = false
    public var epochs = 0
    /// Epochs that no take builds on and no restore should use.
    public var damaged = 0
    public var newest: EpochSummary?
    /// Bytes of the disk that its folder has.
    public var bytes: UInt64 = 0
    public var quota: UInt64?
    public var streak = TakeStreak()
    /// Why the last pruning by its schedule failed; nil when it did not. For whoever knows the schedules to fill in.
    public var pruneProblem: String?
    /// Files of no epoch, which the next take removes.
    public var leftovers = 0
    /// Its last restore, if that did not end. No matter while it runs.
    public var unfinished: UnfinishedRestore?

    public init(name: String, uuid: String) { (self.name, self.uuid) = (name, uuid) }
  }

  public var host: String
  /// The hypervisor's release; nil where there is none, or it cannot be asked.
  public var xen: String?
  public var store: Store
  public var pools: [PoolReport] = []
  /// By name. With Xen, running guests without epochs too.
  public var guests: [Guest] = []
  /// Folders of guests that cannot be read; they are told of in `unknown` as well.
  public var unreadable: [UnreadableFolder] = []
  /// What `ckpt recover` would have to do, a line each.
  public var recoverable: [String] = []
  /// What could not be looked at, and why, a line each.
  public var unknown: [String] = []

  /// Restores that did not end, of guests that do not run. None where Xen does not say which guests run.
  public var unfinished: [UnfinishedRestore] {
    xen == nil ? [] : guests.filter { $0.domain == nil || $0.isEnded }.compactMap(\.unfinished)
  }

  public init(host: String, store: Store) { (self.host, self.store) = (host, store) }
}
