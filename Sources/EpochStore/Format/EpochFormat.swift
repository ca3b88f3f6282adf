/// The numbers of the epoch file, version 3. `Format.md` is the description; this is its Swift half.
public enum EpochFormat {
  public static let version = 3
  /// Bytes of a page.
  public static let pageSize = 4096
  /// Pages of a group, aligned: group number = pfn / 16. A frame holds pages of one group.
  public static let framePages = 16
  /// Pages of a frame that are compressed together, with a checksum of their own; the last block may have fewer. A page
  /// can then be had without hashing and decompressing the whole frame, which matters when younger epochs replaced the
  /// rest of it.
  static let blockPages = 4
  /// pfns are below this (4 PiB of guest memory).
  public static let pfnLimit: UInt64 = 1 << 40
  /// Largest body of a record, bytes.
  public static let recordLimit = 128 << 20
  /// Most records of one epoch.
  public static let recordCountLimit = 65_536
  /// Epoch numbers are 1 and up, at most this.
  public static let epochLimit = Int(UInt32.max)

  static let groupLimit: UInt64 = pfnLimit / UInt64(framePages)
  static let groupBytes = pageSize * framePages
  static let frameBlocks = framePages / blockPages
  /// The pages whose blocks stand before a frame's head; those of the others stand behind it.
  static let lowerHalf: UInt16 = 0x00ff
  /// Blocks of `pages` pages of one half.
  static func blocks(pages: Int) -> Int { (pages + blockPages - 1) / blockPages }
  /// Blocks of a frame with the pages of a mask.
  static func blocks(_ mask: UInt16) -> Int {
    blocks(pages: (mask & lowerHalf).nonzeroBitCount) + blocks(pages: (mask & ~lowerHalf).nonzeroBitCount)
  }
  /// Bytes of a block's entry in its frame's head: length and checksum.
  static let blockEntryBytes = 10
  /// Bytes of a frame's head.
  static func headBytes(blocks: Int) -> Int { frameHeaderBytes + blocks * blockEntryBytes }
  /// Most bytes of the blocks of one half: all raw.
  static let halfLimit = UInt16(groupBytes / 2)
  static let headerMagic: [UInt8] = Array("CKPTEPO1".utf8)
  static let trailerMagic: [UInt8] = Array("CKPTEND1".utf8)
  static let frameMagic: UInt32 = 0x4d52_4643  // "CFRM" in the file
  static let headerBytes = 40
  static let frameHeaderBytes = 20
  static let pageEntryBytes = 40
  static let recordEntryBytes = 32
  static let trailerBytes = 88
  /// An index larger than this is refused before memory is set aside for it: 6 TiB of guest memory.
  static let indexLimit: UInt64 = 4 << 30

  /// Bytes of a page that is incompressible and alone in its group.
  static let mostBytesOfPage = pageSize + headBytes(blocks: 1) + pageEntryBytes

  /// Bytes that an epoch's file can take at worst. What `GuestFolder.create` should reserve to be safe.
  ///
  /// - Parameters:
  ///   - pages: pages appended, in all rounds: each may be incompressible and alone in its group.
  ///   - inherited: pages of the base: each may cost an index entry.
  public static func worstCaseBytes(
    pages: Int, inherited: Int = 0, records: Int = 0, recordBytes: Int = 0
  ) -> UInt64 {
    UInt64(
      headerBytes + trailerBytes + pages * mostBytesOfPage + inherited * pageEntryBytes + records * recordEntryBytes
        + recordBytes)
  }
}

extension UnsafeRawPointer {
  /// Little endian integer at a byte offset, aligned or not.
  @inline(__always)
  func little<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
  }
}

extension UnsafeMutableRawPointer {
  @inline(__always)
  func setLittle<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ value: T) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}
