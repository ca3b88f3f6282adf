/// Pages in RAM, waiting to be written: copies, never live guest memory.
///
/// The three buffers stay the caller's and must not change while `EpochWriter.append` runs.
public struct StagedPages {
  /// Page frame numbers, strictly ascending, below 2^40.
  public let pfns: UnsafeBufferPointer<UInt64>
  /// Xen's page type of each, 0...15 (0 NOTAB, 1...4 L1TAB...L4TAB, 9...12 the same pinned).
  public let types: UnsafeBufferPointer<UInt8>
  /// Contents; page `i` starts at byte `i * 4096`. At least 8-byte aligned.
  public let pages: UnsafeRawBufferPointer

  public init(
    pfns: UnsafeBufferPointer<UInt64>, types: UnsafeBufferPointer<UInt8>, pages: UnsafeRawBufferPointer
  ) {
    self.pfns = pfns
    self.types = types
    self.pages = pages
  }

  /// Throws `StoreError.invalid` when the three do not fit each other.
  func check() throws(StoreError) {
    guard types.count == pfns.count, pages.count == pfns.count * EpochFormat.pageSize else {
      throw .invalid(
        "staged pages do not fit: \(pfns.count) pfns, \(types.count) types, \(pages.count) bytes")
    }
    guard Int(bitPattern: pages.baseAddress) % 8 == 0 else {
      throw .invalid("staged pages must start at a multiple of 8 bytes")
    }
    var next: UInt64 = 0
    for pfn in pfns {
      guard pfn >= next, pfn < EpochFormat.pfnLimit else {
        throw .invalid("staged pfn \(pfn) is out of order or not below 2^40")
      }
      next = pfn + 1
    }
    for type in types where type > 15 { throw .invalid("page type \(type) does not fit four bits") }
  }
}

/// An opaque blob of an epoch: a libxc record, the guest's configuration, our own notes.
public struct StoredRecord: Hashable, Sendable {
  public let type: UInt32
  public let body: [UInt8]

  public init(type: UInt32, body: [UInt8]) {
    self.type = type
    self.body = body
  }
}

/// Some pages of an epoch, in pfn order. The buffers are valid only during the call that got them.
public struct PageBatch {
  public let pfns: UnsafeBufferPointer<UInt64>
  public let types: UnsafeBufferPointer<UInt8>
  /// Contents of every page of the batch, zero pages too; page `i` starts at byte `i * 4096`.
  public let bytes: UnsafeRawBufferPointer
}
