/// Bytes of a guest page, in streams as in memory.
public let pageSize = 4096

/// Type of a guest page as Xen reports it in bits 28–31 (`XEN_DOMCTL_PFINFO_*`, public/domctl.h), here shifted down.
/// Pinned page tables are the ones Xen must pin again after restore.
public enum PageType: UInt8, CaseIterable, Sendable {
  case normal = 0x0
  case l1 = 0x1
  case l2 = 0x2
  case l3 = 0x3
  case l4 = 0x4
  case l1Pinned = 0x9
  case l2Pinned = 0xA
  case l3Pinned = 0xB
  case l4Pinned = 0xC
  case broken = 0xD
  /// Populated by restore, content undefined: never a way to say "zero page".
  case allocateOnly = 0xE
  case invalid = 0xF

  /// 4096 bytes follow in PAGE_DATA.
  public var carriesData: Bool { rawValue < PageType.broken.rawValue }
  /// Restore gives the guest memory at this pfn.
  public var isPopulated: Bool { carriesData || self == .allocateOnly }
  public var isPageTable: Bool { carriesData && self != .normal }
  /// 1–4 for page tables, 0 for everything else.
  public var tableLevel: Int { isPageTable ? Int(rawValue & 0x7) : 0 }
}

/// One entry of PAGE_DATA: type in bits 63–60, bits 59–52 zero, pfn in bits 51–0.
public struct PageEntry: Equatable, Sendable {
  public let rawValue: UInt64

  static let pfnMask: UInt64 = (1 << 52) - 1

  /// - Parameter pfn: cut to 52 bits by the format; the writer refuses larger ones through the guest's own bound.
  public init(pfn: UInt64, type: PageType) {
    rawValue = UInt64(type.rawValue) << 60 | min(pfn, Self.pfnMask)
  }

  init(rawValue: UInt64) throws(StreamFault) {
    guard rawValue & (0xFF << 52) == 0 else { throw .reserved(rawValue) }
    guard PageType(rawValue: UInt8(rawValue >> 60)) != nil else { throw .pageType(UInt8(rawValue >> 60)) }
    self.rawValue = rawValue
  }

  public var pfn: UInt64 { rawValue & Self.pfnMask }
  // Both initialisers admit known types only, so the fallback is never taken.
  public var type: PageType { PageType(rawValue: UInt8(rawValue >> 60)) ?? .invalid }
}

/// One PAGE_DATA record as read: entries, and 4096 bytes for each of those that carry data, in order.
public struct PageBatch: Sendable {
  public let entries: [PageEntry]
  private let pages: [UInt8]

  init(entries: [PageEntry], pages: [UInt8]) {
    self.entries = entries
    self.pages = pages
  }

  /// libxc writes at most this many entries into one record, and so do we.
  public static let maximumEntries = 1024

  /// The bytes of all pages that carry data, without a copy.
  public func withPages<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try pages.withUnsafeBytes(body)
  }

  /// Calls `body` once for each entry, with its page where the type carries data.
  public func forEachEntry(_ body: (PageEntry, UnsafeRawBufferPointer?) throws -> Void) rethrows {
    try pages.withUnsafeBytes { bytes in
      var offset = 0
      for entry in entries {
        guard entry.type.carriesData else {
          try body(entry, nil)
          continue
        }
        try body(entry, UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + pageSize]))
        offset += pageSize
      }
    }
  }
}
