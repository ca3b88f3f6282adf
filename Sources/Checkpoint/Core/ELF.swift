/// The parts of a 64-bit little-endian ELF core file (System V ABI, chapters 4 and 5; names as in elf(5)).
enum ELF {
  static let headerBytes: UInt64 = 64
  static let programHeaderBytes: UInt64 = 56
  static let sectionHeaderBytes: UInt64 = 64

  /// What follows the file's header: program headers at once, sections where it says.
  static func header(programHeaders: Int, sections: Int = 0, sectionsAt offset: UInt64 = 0, nameSection: Int = 0)
    -> [UInt8]
  {
    // Class 64, little endian, version 1, System V.
    var bytes: [UInt8] =
      [0x7f, UInt8(ascii: "E"), UInt8(ascii: "L"), UInt8(ascii: "F"), 2, 1, 1] + Array(repeating: 0, count: 9)
    bytes.append(little: UInt16(4))  // ET_CORE
    bytes.append(little: UInt16(62))  // EM_X86_64
    bytes.append(little: UInt32(1))  // EV_CURRENT
    bytes.append(little: UInt64(0))  // e_entry
    bytes.append(little: headerBytes)  // e_phoff
    bytes.append(little: offset)  // e_shoff
    bytes.append(little: UInt32(0))  // e_flags
    bytes.append(little: UInt16(headerBytes))
    bytes.append(little: UInt16(programHeaderBytes))
    bytes.append(little: UInt16(programHeaders))
    bytes.append(little: UInt16(sections == 0 ? 0 : sectionHeaderBytes))
    bytes.append(little: UInt16(sections))
    bytes.append(little: UInt16(nameSection))
    return bytes
  }

  /// A part of the file that is memory, or notes.
  struct ProgramHeader {
    enum Kind: UInt32 {
      case load = 1
      case note = 4
    }
    var kind: Kind
    var offset: UInt64
    var virtual: UInt64 = 0
    var physical: UInt64 = 0
    var bytes: UInt64

    /// An alignment of 0 is what crash knows a core of kdump's kind by.
    var encoded: [UInt8] {
      var result: [UInt8] = []
      result.append(little: kind.rawValue)
      result.append(little: UInt32(kind == .load ? 7 : 0))  // readable, writable, executable
      for word in [offset, virtual, physical, bytes, bytes, 0] { result.append(little: word) }
      return result
    }
  }

  /// A named part of the file.
  struct Section {
    enum Kind: UInt32 {
      case none = 0
      case data = 1
      case names = 3
      case note = 7
    }
    var name: String
    var kind: Kind
    var offset: UInt64 = 0
    var bytes: UInt64 = 0
    var alignment: UInt64 = 1
    var entryBytes: UInt64 = 0

    func encoded(name: UInt32) -> [UInt8] {
      var result: [UInt8] = []
      result.append(little: name)
      result.append(little: kind.rawValue)
      for word in [0, 0, offset, bytes] { result.append(little: word) }
      result.append(little: UInt64(0))  // sh_link, sh_info
      result.append(little: alignment)
      result.append(little: entryBytes)
      return result
    }
  }

  /// A note: name and content, each filled up to four bytes.
  static func note(_ name: String, type: UInt32, _ content: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(little: UInt32(name.utf8.count + 1))
    bytes.append(little: UInt32(content.count))
    bytes.append(little: type)
    bytes += Array(name.utf8) + [0]
    bytes.pad(to: 4)
    bytes += content
    bytes.pad(to: 4)
    return bytes
  }
}

extension [UInt8] {
  mutating func append(little value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  mutating func pad(to alignment: Int) {
    append(contentsOf: repeatElement(0, count: (alignment - count % alignment) % alignment))
  }

  /// The integer at `offset`; nil beyond the end.
  func little<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type = Value.self) -> Value? {
    guard offset >= 0, offset <= count - MemoryLayout<Value>.size else { return nil }
    return withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
  }
}
