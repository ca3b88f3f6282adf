/// How a take went: what was copied when, and why. Everything that QEMU's `info migrate` tells of a migration, and the pause
/// in its parts beside it (`phases` of the manifest).
public struct TakeStatistics: Codable, Hashable, Sendable {
  /// One pass over pages: live (`1`, `2`, …), while the guest froze (`freeze`), or in the pause (`pause`).
  public struct Round: Codable, Hashable, Sendable {
    public var name: String
    /// Pages that the round had to look at.
    public var pages: Int
    /// Pages copied.
    public var copied: Int
    /// Pages of which the epoch had the content already, so that they were not copied.
    public var unchanged: Int
    /// Page tables caught in a change, left to a later round.
    public var torn: Int
    /// Frame numbers without a page.
    public var absent: Int
    /// Pages that the guest wrote during the round; 0 where nothing logs them.
    public var dirtied: Int
    /// Pages copied that were all zero; nil before they were written, and in epochs of older releases.
    public var zero: Int?
    public var ms: Double

    public init(
      name: String, pages: Int = 0, copied: Int = 0, unchanged: Int = 0, torn: Int = 0, absent: Int = 0,
      dirtied: Int = 0, zero: Int? = nil, ms: Double = 0
    ) {
      self.name = name
      self.pages = pages
      self.copied = copied
      self.unchanged = unchanged
      self.torn = torn
      self.absent = absent
      self.dirtied = dirtied
      self.zero = zero
      self.ms = ms
    }
  }

  /// The whole take but the writing of its manifest, and what came before the first page was copied.
  public var totalMs = 0.0
  public var setupMs = 0.0
  /// `continuous` or `per-take`.
  public var tracking = ""
  /// How the changes since the base were found: `log`, `compare`, or `all` when there is no base.
  public var changes = ""
  /// Why it was not the log; empty when it was.
  public var reason = ""
  public var rounds: [Round] = []
  /// Why live copying ended: `small`, `rounds`, `time`, `no longer shrinks`.
  public var precopyEnd = ""
  /// All memory of the guest, in bytes.
  public var totalBytes = 0
  /// Bytes copied out of the guest, and how many of them live, while it froze, and in the pause.
  public var transferredBytes = 0
  public var precopyBytes = 0
  public var freezeBytes = 0
  public var pauseBytes = 0
  /// Bytes compressed and written within the pause, because they did not fit into the staging memory.
  public var spilledBytes = 0
  /// Pages copied by content: stored, all zero, and those whose content the epoch turned out to have.
  public var normalPages = 0
  public var zeroPages = 0
  public var unchangedPages = 0
  /// Pages that did not change and were stored all the same, so that the epoch needs fewer files (``Relocation``); nil in epochs of
  /// older releases.
  public var relocatedPages: Int?
  public var pageSize = 4096
  /// How often the log of dirty pages was read.
  public var dirtySyncs = 0
  /// Bytes per second that all live rounds together copied, and pages per second that the guest wrote meanwhile; without a round,
  /// since the last epoch. 0 where nothing logs them.
  public var bytesPerSecond = 0.0
  public var dirtyPagesPerSecond = 0.0
  /// What a person should know.
  public var notes: [String] = []

  public init() {}

  enum CodingKeys: String, CodingKey {
    case totalMs = "total_ms"
    case setupMs = "setup_ms"
    case tracking, changes, reason, rounds
    case precopyEnd = "precopy_end"
    case totalBytes = "total_bytes"
    case transferredBytes = "transferred_bytes"
    case precopyBytes = "precopy_bytes"
    case freezeBytes = "freeze_bytes"
    case pauseBytes = "pause_bytes"
    case spilledBytes = "spilled_bytes"
    case normalPages = "normal_pages"
    case zeroPages = "zero_pages"
    case unchangedPages = "unchanged_pages"
    case relocatedPages = "relocated_pages"
    case pageSize = "page_size"
    case dirtySyncs = "dirty_syncs"
    case bytesPerSecond = "bytes_per_second"
    case dirtyPagesPerSecond = "dirty_pages_per_second"
    case notes
  }
}
