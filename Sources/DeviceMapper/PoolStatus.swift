/// The status line of a thin-pool (kernel: pool_status in dm-thin.c, "thin-pool" in thin-provisioning.rst), parsed strictly:
/// what is not understood is an error, because the reserve that keeps guests alive is computed from it.
public struct PoolStatus: Equatable, Sendable {
  public enum Mode: String, Sendable {
    case readWrite = "rw"
    case readOnly = "ro"
    case outOfDataSpace = "out_of_data_space"
    /// Metadata could not be committed or read. The kernel then prints this one word and nothing else.
    case failed = "Fail"
  }

  public var mode: Mode
  public var transactionID: UInt64
  /// In metadata blocks of 4096 bytes. The kernel counts a hidden reserve of min(16 MiB, 10 %) as used.
  public var usedMetadataBlocks: UInt64
  public var totalMetadataBlocks: UInt64
  /// In data blocks of the pool's block size.
  public var usedDataBlocks: UInt64
  public var totalDataBlocks: UInt64
  /// The root of the metadata snapshot that a tool (thin_delta, thin_ls) holds; only one exists per pool.
  public var heldMetadataRoot: UInt64?
  /// The metadata was found damaged: growing and writing are refused until thin_check or thin_repair ran offline.
  public var needsCheck: Bool
  public var errorsWhenFull: Bool
  public var discardPassdown: Bool

  public static let metadataBlockBytes: UInt64 = 4096

  /// Bytes of metadata that can still be allocated: the hidden reserve is already taken off, since the kernel
  /// counts it as used.
  public var freeMetadataBytes: UInt64 {
    (totalMetadataBlocks - usedMetadataBlocks) * Self.metadataBlockBytes
  }
  public var totalMetadataBytes: UInt64 { totalMetadataBlocks * Self.metadataBlockBytes }
  public var freeDataBlocks: UInt64 { totalDataBlocks - usedDataBlocks }

  /// The part of "used" metadata that is the kernel's hidden reserve, in blocks: min(16 MiB, 10 %).
  public var hiddenMetadataReserveBlocks: UInt64 { min(4096, totalMetadataBlocks / 10) }

  public init(
    mode: Mode, transactionID: UInt64 = 0, usedMetadataBlocks: UInt64 = 0, totalMetadataBlocks: UInt64 = 0,
    usedDataBlocks: UInt64 = 0, totalDataBlocks: UInt64 = 0, heldMetadataRoot: UInt64? = nil,
    needsCheck: Bool = false, errorsWhenFull: Bool = false, discardPassdown: Bool = true
  ) {
    self.mode = mode
    self.transactionID = transactionID
    self.usedMetadataBlocks = usedMetadataBlocks
    self.totalMetadataBlocks = totalMetadataBlocks
    self.usedDataBlocks = usedDataBlocks
    self.totalDataBlocks = totalDataBlocks
    self.heldMetadataRoot = heldMetadataRoot
    self.needsCheck = needsCheck
    self.errorsWhenFull = errorsWhenFull
    self.discardPassdown = discardPassdown
  }

  /// - Parameter line: the parameters of the status line, without start, length and target type. A failed pool prints
  ///   one word; it is reported with all numbers 0 and `needsCheck`.
  public init?(line: String) {
    let words = line.split(separator: " ")
    if words == ["Fail"] {
      self.init(mode: .failed, needsCheck: true)
      return
    }
    guard words.count >= 8,
      let transactionID = UInt64(words[0]),
      let metadata = Self.fraction(words[1]), let data = Self.fraction(words[2]),
      let mode = Mode(rawValue: String(words[4])), mode != .failed,
      words[3] == "-" || UInt64(words[3]) != nil,
      ["discard_passdown", "no_discard_passdown", "ignore_discard"].contains(words[5]),
      ["error_if_no_space", "queue_if_no_space"].contains(words[6]),
      ["needs_check", "-"].contains(words[7])
    else { return nil }
    self.init(
      mode: mode, transactionID: transactionID, usedMetadataBlocks: metadata.used,
      totalMetadataBlocks: metadata.total, usedDataBlocks: data.used, totalDataBlocks: data.total,
      heldMetadataRoot: UInt64(words[3]), needsCheck: words[7] == "needs_check",
      errorsWhenFull: words[6] == "error_if_no_space", discardPassdown: words[5] == "discard_passdown")
  }

  private static func fraction(_ word: Substring) -> (used: UInt64, total: UInt64)? {
    let parts = word.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let used = UInt64(parts[0]), let total = UInt64(parts[1]), used <= total else {
      return nil
    }
    return (used, total)
  }
}
